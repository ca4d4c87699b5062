"""The audit of one process: a trail and what works for it, shared by every store and key that is open."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol, final

from strongroom.errors import SecretStoreError

from .flushing import Flusher
from .gaps import Gaps
from .hook import JournalHook, Policy, Recording
from .identity import Identity

if TYPE_CHECKING:
    from strongroom.clock import Clock

    from .actor import Actor
    from .hook import Trail


class Helper(Protocol):
    """What works in the background of a trail: checkpoints, sinks, keys."""

    def after_fork(self) -> None:
        """In a forked child: begin anew."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


@final
class Service:
    """What the hooks of one trail share.

    Args:
        trail: a journal, or a sink that is the gate.
        seal: what a record may say of an actor.
        clock: injected in tests.
        helpers: told of forks in this order, and closed in it when everything is recorded, before the trail.
        wake: starts them; called at the first operation of each process.
        refusal: why no operation may begin now, if one must not.

    Attributes:
        trail: as given.
    """

    def __init__(
        self,
        trail: Trail,
        seal: Callable[[Actor], dict[str, str]],
        clock: Clock,
        *,
        helpers: Sequence[Helper] = (),
        wake: Callable[[], object] = lambda: None,
        refusal: Callable[[], SecretStoreError | None] = lambda: None,
    ):
        self.trail, self._clock, self._helpers, self._wake = trail, clock, tuple(helpers), wake
        self._gaps = Gaps(trail.append, clock)
        self._recording = Recording(trail, seal, self._gaps, clock, self._awake, refusal)
        self._hooks: list[JournalHook] = []
        self._flusher = Flusher(self.flush, self._late, clock)
        self._awoken = False
        _services.add(self)

    def hook(
        self,
        principal: Callable[[], str | None],
        policy: Policy,
        *,
        strict: bool = False,
        alias: str = "",
    ) -> JournalHook:
        """The hook of one more store or key; see `JournalHook`.

        Args:
            principal: asks the provider who we are.
            policy: what may go on unrecorded.
            strict: each warm read is recorded.
            alias: what the configuration calls the store.
        """
        identity = Identity(principal, self._clock)
        made = JournalHook(self._recording, identity, policy, strict=strict, alias=alias)
        self._hooks.append(made)
        return made

    def begun(self) -> Trail:
        """The trail, with everything started that works for it: for records that tell of no operation."""
        self._awake()
        return self.trail

    def leave(self, hook: JournalHook) -> None:
        """Its store or key is closed."""
        if hook in self._hooks:
            self._hooks.remove(hook)

    def flush(self) -> None:
        """Record the counts of warm reads, and what nobody waited for."""
        for hook in list(self._hooks):
            hook.flush()
        with suppress(SecretStoreError):  # the next operation is told
            self.trail.flush()

    def after_fork(self) -> None:
        """Begin anew, with locks, threads and a chain of our own."""
        self._awoken = False
        self.trail.after_fork()
        self._gaps.after_fork()
        self._flusher.after_fork()
        for hook in self._hooks:
            hook.after_fork()
        for helper in self._helpers:
            helper.after_fork()

    def close(self) -> None:
        """Record what waits, then end everything; one that fails does not keep the others.

        Raises:
            UnavailableError: what waited could not be made durable.
        """
        _services.discard(self)
        self._flusher.close()
        self.flush()
        with ExitStack() as ends:
            ends.callback(self.trail.close)
            for helper in reversed(self._helpers):
                ends.callback(helper.close)

    def _awake(self) -> None:
        if self._awoken:
            return
        self._awoken = True
        self._wake()
        try:
            self._flusher.start()
        except RuntimeError:  # no more threads, or the interpreter ends: then no read goes uncounted for long
            self._late()

    def _late(self) -> None:
        """A disk that hangs must not let warm reads go on uncounted."""
        for hook in list(self._hooks):
            hook.stop()


_services: weakref.WeakSet[Service] = weakref.WeakSet()
_shared: dict[str, tuple[Service, int]] = {}
_lock = threading.RLock()


def share(place: str, make: Callable[[], Service]) -> Service:
    """The service of a place, made by the first who asks; each who asks `release`s it."""
    with _lock:
        service, users = _shared.get(place) or (make(), 0)
        _shared[place] = service, users + 1
        return service


def release(place: str) -> None:
    """One user less; the last one closes it. Raises as `Service.close`."""
    with _lock:
        service, users = _shared[place]
        if users > 1:
            _shared[place] = service, users - 1
            return
        del _shared[place]
    service.close()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  (the parent may be holding it)
    _lock = threading.RLock()
    with ExitStack() as every:
        for service in list(_services):
            every.callback(service.after_fork)


def _at_exit() -> None:
    for service in list(_services):
        service.flush()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
