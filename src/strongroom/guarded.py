"""Conditional writes where the provider has none: a lease, a fence and stamped versions (Azure, SSM, HSM).

A guarded write takes the lease of its secret, settles what is there, compares, writes, and records the new
version under the lease's fence. The provider knows nothing of fences: a holder suspended past its lease may
wake and write. So each version carries a **stamp** (predecessor, fence, write id) in the provider's own
call, and whoever writes next finds such a late version and writes the value it hid once more. Until then a
reader can get the late value: that is the harm left, and why the capability is called CAS_GUARDED.

The rules are model-checked (``tests/models``). Two of them are easy to get wrong. What follows a base is
judged under the lease: without it a paused holder and its successor both find that they won. And of two
versions after the recorded one the higher fence counts, not the newer one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from .backend import ABSENT, Absent, Secret, SecretVersion, Settings
from .errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from .names import Companion
from .stamp import Head, Stamp, back, chain, standing_for, true_tip

if TYPE_CHECKING:
    from .lease import Lease
    from .names import Key
    from .value import SecretValue

T = TypeVar("T")
__all__ = ["Guard", "Head", "Port", "Stamp", "chain"]

SKEW: Final = 2.0
"""Seconds: how far the coordinator's clock and ours may run apart during one lease."""

_NOTHING = ""  # recorded of a resource that is known not to exist
_STRIPES = 64
_POLL = 0.02
_log = logging.getLogger(__name__)


class Port(Protocol):
    """What a guarded backend gives its `Guard`. Reads may be repeated; `write` is one attempt."""

    def head(self, key: Key) -> Head | None:
        """The version that a native reader gets, or None if there is none."""
        ...

    def heads(self, key: Key) -> Sequence[Head]:
        """Every version that can be read, newest first as far as the provider tells; the first is `head`."""
        ...

    def get(self, key: Key, version: str) -> Secret:
        """One version's value and record."""
        ...

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        """Write a new version that carries `stamp`; with `stamp.before` None, none may be there yet.

        Raises:
            UnavailableError: `performed` is None if the answer was lost.
        """
        ...


class Guard:
    """Writes one backend's secrets under its coordinator's leases, or without one unconditionally.

    Args:
        port: the backend's calls.
        settings: the coordinator, timeout, attempts and clock.
        locate: a key's canonical resource, the same in every process: ``Backend.locate``.
        creates: the provider itself refuses a first version where there is one, so that ``ABSENT`` needs
            no coordinator.
    """

    def __init__(
        self, port: Port, settings: Settings, locate: Callable[[Key], str], *, creates: bool = False
    ):
        self._port, self._settings, self._locate, self._creates = port, settings, locate, creates
        self._coordinator = settings.coordinator
        self._lease_seconds = 3 * settings.timeout + SKEW
        self.after_fork()

    @property
    def active(self) -> bool:
        """Whether there is a coordinator, so that conditional writes are allowed."""
        return self._coordinator is not None

    def after_fork(self) -> None:
        """New locks: the parent's may be held by threads that are not here."""
        self._locks = [threading.Lock() for _ in range(_STRIPES)]

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None
    ) -> SecretVersion:
        """As ``Backend.put``.

        Raises:
            UnsupportedOperationError: conditional, without a coordinator.
            SecretConflictError: not in that state; nothing of ours was written.
            UnavailableError: `performed` is None if the write's outcome or its place in the order is unknown.
        """
        if not self.active:
            return self._put_unguarded(key, value, if_version, record)
        with self._lease(key) as lease:
            tip = self._settle(key, lease)
            self._compare(key, tip, if_version)
            return self._write(key, value, record, tip, lease)

    def line(self, key: Key) -> list[Head]:
        """The versions in their order, newest first, settled under the lease where there is a coordinator."""
        return chain(*self._settled_heads(key))

    def settled(self, key: Key) -> str | None:
        """The version to read as current, or None: read the provider's newest.

        A companion is read settled, since each rotation begins with what it says: a late frame, of a rotation
        that is done, would stop all that follow.
        """
        line = self.line(key) if self.active and isinstance(key, Companion) else []
        return line[0].version if line else None

    def current(self, key: Key, read: Callable[[str | None], T]) -> T:
        """What `read` gives for the version of `settled`; if that was retired since, for the one that is now.

        Raises:
            SecretNotFoundError: there is none.
        """
        wanted, version = object(), self.settled(key)
        while version is not None and version != wanted:
            with suppress(SecretNotFoundError):
                return read(version)
            wanted, version = version, self.settled(key)
        return read(version)

    def after(self, key: Key, base: str) -> list[Head]:
        """The versions that followed `base`, oldest first; one that was only written again is none of them.

        Raises:
            SecretNotFoundError: `base` is not in the line any more.
        """
        line = back(*self._settled_heads(key))
        at = next((at for at, head in enumerate(line) if head.version == base), None)
        if at is None:
            raise SecretNotFoundError("what came after this version can no longer be told")
        return [head for head in line[:at][::-1] if not head.again]

    @contextmanager
    def holding(self, key: Key, *, forget: bool = False) -> Iterator[None]:
        """Hold the lease for a delete, restore or purge; `forget` (purge): nothing is there afterwards."""
        if not self.active:
            yield
            return
        with self._lease(key) as lease:
            self._check_time(lease)
            yield
            if forget:
                self._conclude(lease, _NOTHING)

    def _put_unguarded(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None
    ) -> SecretVersion:
        if if_version is ABSENT and self._creates:
            return self._sent(key, value, record, Stamp.new(None))
        if if_version is not None:
            raise UnsupportedOperationError(
                "conditional writes need a coordinator here",
                hint="name one in strongroom.toml: [coordinator]",
            )
        head = self._port.head(key)
        return self._sent(key, value, record, Stamp.new(head.version if head else None))

    def _settled_heads(self, key: Key) -> tuple[Sequence[Head], Head | None]:
        if not self.active:
            return self._port.heads(key), None
        with self._lease(key) as lease:
            tip = self._settle(key, lease)
            return self._port.heads(key) if tip else (), tip

    def _settle(self, key: Key, lease: Lease) -> Head | None:
        """What is current by the coordinator's record, which is brought up to it, and the provider too."""
        assert self._coordinator
        recorded = self._coordinator.recorded(lease.resource)
        head = self._port.head(key)
        if head is None:
            if recorded:
                self._record(lease, _NOTHING)
            return None
        if head.version == recorded:
            return head
        heads = self._port.heads(key)
        tip = true_tip(heads, recorded or None) or head
        past_a_purge = recorded == _NOTHING and tip.before is not None
        if (recorded is not None and not tip.fence) or past_a_purge:
            _log.warning("%s: version %s was written past the coordinator", lease.resource, tip.version)
        self._record(lease, tip.version)
        return tip if tip.version == heads[0].version else self._written_again(key, tip, lease)

    def _written_again(self, key: Key, tip: Head, lease: Lease) -> Head:
        """A late version hides `tip` from every reader: its value becomes the newest once more."""
        _log.warning("%s: a late version hid version %s, which is written again", lease.resource, tip.version)
        try:
            hidden = self._port.get(key, tip.version)
        except SecretNotFoundError:  # disabled since: a revoked value is not brought back
            return tip
        stamp = Stamp.new(tip.version, lease.fence, again=True)
        return Head(self._stamped(key, hidden.value, hidden.record, stamp, lease).id, stamp)

    def _write(
        self, key: Key, value: SecretValue, record: str | None, tip: Head | None, lease: Lease
    ) -> SecretVersion:
        stamp = Stamp.new(tip.version if tip else None, lease.fence)
        return self._stamped(key, value, record, stamp, lease)

    def _stamped(
        self, key: Key, value: SecretValue, record: str | None, stamp: Stamp, lease: Lease
    ) -> SecretVersion:
        self._check_time(lease)
        written = self._sent(key, value, record, stamp)
        self._conclude(lease, written.id)
        return written

    def _conclude(self, lease: Lease, version: str) -> None:
        """Record what the provider has done."""
        try:
            return self._record(lease, version)
        except UnavailableError:
            pass
        # Whoever took the lease may have settled before our write arrived: it may count or be written past.
        raise UnavailableError(
            "the lease was lost during the write", performed=None, hint="look and try again"
        )

    def _sent(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        """One attempt; a lost answer is looked for by its write id."""
        try:
            return self._port.write(key, value, record, stamp)
        except UnavailableError as error:
            if error.performed is False:
                raise
            lost = error
        found = self._found(key, stamp.write_id)
        if found is None:
            lost.performed = None
            raise lost
        return SecretVersion(found.version)

    def _found(self, key: Key, write_id: str) -> Head | None:
        try:
            heads = self._port.heads(key)
        except SecretStoreError:  # a look that is denied says nothing of the write
            return None
        return next((head for head in heads if head.stamp and head.stamp.write_id == write_id), None)

    def _compare(self, key: Key, tip: Head | None, if_version: str | Absent | None) -> None:
        if if_version is ABSENT and tip is not None:
            raise SecretConflictError("it exists already")
        if isinstance(if_version, str) and if_version not in self._standing_for(key, tip):
            raise SecretConflictError("if_version is not the current version")

    def _standing_for(self, key: Key, tip: Head | None) -> set[str]:
        """The ids what is current has been known by: a base does not change by being written again."""
        if tip is None or not tip.again:
            return {tip.version} if tip else set()
        return standing_for(back(self._port.heads(key), tip))

    def _check_time(self, lease: Lease) -> None:
        assert self._coordinator
        if self._coordinator.seconds_left(lease) <= self._settings.timeout + SKEW:
            raise UnavailableError("too little of the lease is left to begin a write", hint="try again")

    def _record(self, lease: Lease, version: str) -> None:
        assert self._coordinator
        try:
            return self._coordinator.record(lease, version)
        except SecretConflictError:  # says nothing of the secret's own state
            pass
        raise UnavailableError("the lease ran out and another holder took it", hint="try again")

    @contextmanager
    def _lease(self, key: Key) -> Iterator[Lease]:
        resource = self._locate(key)
        # Threads of one process queue here, so that only processes wait for each other by asking again.
        with self._locks[hash(resource) % _STRIPES]:
            lease = self._acquired(resource)
            try:
                yield lease
            finally:
                self._release(lease)

    def _acquired(self, resource: str) -> Lease:
        assert self._coordinator
        clock = self._settings.clock
        deadline = clock.monotonic() + self._lease_seconds + self._settings.timeout
        while (lease := self._coordinator.acquire(resource, self._lease_seconds)) is None:
            if clock.monotonic() > deadline:
                raise UnavailableError("another process holds this secret's lease", hint="try again")
            clock.sleep(_POLL)
        return lease

    def _release(self, lease: Lease) -> None:
        assert self._coordinator
        try:
            self._coordinator.release(lease)
        except UnavailableError:
            _log.warning("%s: the lease could not be given back and runs out by itself", lease.resource)
