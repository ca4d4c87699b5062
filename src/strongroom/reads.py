"""What a store's reads of current values go through: its pins, and over them its cache if it has one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self, final

from .audit.event import WarmReads
from .backend import Backend, Capability, Clock, Secret, SecretVersion
from .cache import Cache, CachePolicy
from .cached import answer
from .errors import PartialFailureError, SecretStoreError, UnavailableError
from .names import Name
from .observing import scheme_of, tally_of
from .pins import Pins

if TYPE_CHECKING:
    from .audit.event import AuditHook
    from .cached import Entry, Hit, Outcome
    from .value import SecretValue

    Serve = Callable[[], Callable[[dict[str, Entry]], None] | None]  # a weak reference to it
    Written = tuple[SecretVersion, SecretValue, float]  # and when the write began


class Reads:
    """The reads of one store, and what its writes do to them.

    Attributes:
        saw: told the current version by each answer of the provider and each write here.
        caches: whether there is a cache.
        epoch: counts the writes of this store: what was asked before the last may have been changed by it.
        warm: by name, what ``current`` answers without asking: see ``Entry``. It stays the same dict.
        monotonic: what the deadlines in it are compared with.
    """

    def __init__(self, backend: Backend, policy: CachePolicy | None, clock: Clock, alias: str = ""):
        self._backend, self._clock = backend, clock
        self._pins = Pins(backend, clock)
        policy = None if backend.leases else policy
        shown = alias or scheme_of(backend.origin)
        self._cache = Cache(policy, self._pinned, clock, tally_of(shown)) if policy else None
        self.caches = policy is not None
        self.saw: Callable[[Name, Secret | SecretVersion], None] = _nobody
        self.epoch = 0
        self.warm: dict[str, Entry] = {}
        self.monotonic = clock.monotonic
        if self._cache:
            self._cache.landed = self._tell
            self.warm, self.monotonic = self._cache.warm, self._cache.monotonic
        self.after_fork()

    def is_warm(self, name: Name) -> bool:
        """Whether ``current`` would answer from the cache."""
        return self._cache is not None and self._cache.is_warm(name)

    def known(self, name: Name) -> Secret | None:
        """What ``current`` would answer without asking, if it is a value."""
        return self._cache.known(name) if self._cache else None

    def current(self, name: Name) -> Secret:
        """The current version, as ``Cache.get``."""
        return self._cache.get(name) if self._cache else self._read(name)

    def refresh(self, name: Name, rejected: str) -> Secret:
        """The current version, as ``Cache.refresh``."""
        if self._cache:
            return self._cache.refresh(name, rejected)
        self._backend.refused(name, rejected)
        return self._read(name)

    def many(self, names: Sequence[Name], *, look: bool = False) -> dict[Name, Outcome]:
        """An outcome for each; what is not warm comes together where the provider can, and is cached."""
        if self._cache:
            return self._cache.many(names, self._ask, look=look)
        outcomes = {name: outcome for name, outcome, _ in self._ask(names)}
        for name, outcome in outcomes.items():
            if isinstance(outcome, Secret):
                self._tell(name, outcome)
        return {name: outcomes[name] for name in names}

    def every(self, names: Sequence[Name]) -> dict[str, Secret]:
        """The current versions of many names.

        Raises:
            PartialFailureError: some could not be read; ``results`` has the others.
        """
        outcomes = self.many(names)
        results = {name.text: got for name, got in outcomes.items() if isinstance(got, Secret)}
        errors = {name.text: got for name, got in outcomes.items() if isinstance(got, SecretStoreError)}
        if errors:
            problem = f"{len(errors)} of {len(names)} secrets could not be read, first {next(iter(errors))}"
            raise PartialFailureError(problem, results=results, errors=errors)
        return results

    def look(self, names: Sequence[Name]) -> dict[Name, Outcome]:
        """Ask the provider now, whatever is cached; the answers are cached and ``saw`` is told."""
        return self.many(names, look=True)

    def drain_hits(self) -> list[Hit]:
        """Name, version and count of what was answered without asking since this was called last."""
        return self._cache.drain_hits() if self._cache else []

    def writing(self, name: Name) -> Write:
        """A block in which this store writes a name; a later read never sees what was before it."""
        return Write(self, name)

    def begin(self, write: Write) -> float:
        """A write begins: refused, or its answer lost, what was written before may be current no longer."""
        self._pins.drop(write.name)
        with self._lock:
            others = self._writes.setdefault(write.name, [])
            for other in (write, *others) if others else ():
                other.alone = False
            others.append(write)
        return self._clock.monotonic()

    def end(self, write: Write) -> None:
        """It has ended, however; in one step, or another could begin and end before its value is kept."""
        with self._lock:
            others = self._writes.get(write.name, [])
            if write in others:  # not in a forked child
                others.remove(write)
            if not others:
                self._writes.pop(write.name, None)
            if write.lands is None:
                self.forget(write.name)
            else:
                self._replace(write.name, write.lands)
            self.epoch += 1

    def pin(self, name: Name, version: SecretVersion) -> None:
        """Hold on to what was written where labels lag."""
        self._pins.set(name, version)

    def forget(self, name: Name) -> None:
        """Evict a name from the cache."""
        if self._cache:
            self._cache.evict(name)

    def drop(self, name: Name) -> None:
        """Evict a name, and let go of what was written: a revoked version is not waited for."""
        self._pins.drop(name)
        self.forget(name)

    def clear(self) -> None:
        """Forget everything, for good."""
        self._pins.clear()
        if self._cache:
            self._cache.close()

    def after_fork(self) -> None:
        """Start empty, with locks of our own."""
        self._pins.clear()
        self._writes: dict[Name, list[Write]] = {}
        self._lock = threading.RLock()  # a signal's handler may write in the middle of a write
        if self._cache:
            self._cache.after_fork()

    def _replace(self, name: Name, written: Written) -> None:
        version, value, began = written
        origin, now = self._backend.writer.origin, self._clock.now()
        created = version.created_at
        secret = Secret(name.text, value, version.id, origin=origin, created_at=created, confirmed_at=now)
        if self._cache:
            self._cache.replace(name, secret, began)

    def _read(self, name: Name) -> Secret:
        secret = self._pinned(name)
        self._tell(name, secret)
        return secret

    def _pinned(self, name: Name) -> Secret:
        return named(self._pins.read(name), name)

    def _tell(self, name: Name, secret: Secret) -> None:
        # Another failover member's version ids say nothing of whether the secret changed.
        if not secret.degraded:
            self.saw(name, secret)

    def _ask(self, names: Sequence[Name]) -> Iterator[tuple[Name, Outcome, float]]:
        asked = self._clock.monotonic()
        together = self._together(names)
        for name, outcome in together.items():
            yield name, outcome, asked
        for name in names:
            if name not in together:
                asked = self._clock.monotonic()
                yield name, answer(self._pinned, name), asked

    def _together(self, names: Sequence[Name]) -> dict[Name, Outcome]:
        """What one request tells of them; a batch may leave out what it does not find."""
        batch = Capability.BATCH_GET in self._backend.capabilities
        wanted = [name for name in names if batch and not self._pins.holds(name)]
        if len(wanted) < 2:  # a right to read need not be one to read in batches
            return {}
        try:
            found = self._backend.get_many(wanted)
        except UnavailableError as error:
            if self._cache is None:
                raise
            return dict.fromkeys(wanted, error.with_traceback(None))
        answers = ((name, found[name]) for name in wanted if name in found)
        return {name: named(got, name) if isinstance(got, Secret) else got for name, got in answers}


@final
class Write:
    """One write of a store, from before its request until the cache knows of it.

    Whatever happens, the cache does not keep the old value. It keeps the new one if somebody here reads the
    name and nobody else here wrote it meanwhile: of two writes at once only the provider knows the last.

    Attributes:
        name: what is written.
        alone: nobody else here writes it meanwhile.
    """

    def __init__(self, reads: Reads, name: Name):
        self._reads, self.name = reads, name
        self._made: SecretVersion | None = None
        self._written: Written | None = None
        self.alone = True

    @property
    def lands(self) -> Written | None:
        """What the cache may keep of it."""
        return self._written if self.alone and self._cached else None

    def __enter__(self) -> Self:
        self._began = self._reads.begin(self)
        entry = self._reads.warm.get(self.name.text)
        self._cached = entry is not None and self._began < entry.end
        return self

    def made(self, version: SecretVersion, value: SecretValue | None = None) -> None:
        """This version is current now; its value, if it is known here."""
        self._made = version
        self._written = None if value is None else (version, value, self._began)
        # Before the name is forgotten: a reader in between would cache the old label.
        self._reads.pin(self.name, version)

    def __exit__(self, *exc_info: object) -> None:
        self._reads.end(self)
        if self._made:  # only now, since whoever is told may read
            self._reads.saw(self.name, self._made)


@final
class Accounting(WarmReads):
    """The warm reads of one store; a `WarmReads` for its hook.

    Args:
        reads: what counts them.
        hooks: the store's; only a hook that is alone may take counts, or another would not hear of them.
        serve: a weak reference to what is told the dict that the store may answer from without its hooks.

    Attributes:
        allowed: what the cache knows may be answered without telling the hooks.
    """

    def __init__(self, reads: Reads, hooks: Sequence[AuditHook], serve: Serve):
        self._reads, self._serve = reads, serve
        self._hook = hooks[0] if len(hooks) == 1 else None
        self.allowed = False
        if not (reads.caches and self._hook and self._hook.account(self)):
            self._hook = None

    def drain(self) -> Sequence[Hit]:
        """What was read since this was called last."""
        return self._reads.drain_hits()

    def serve(self, allowed: bool) -> None:
        """Whether warm reads may go on; one that has begun is still counted."""
        serve = self._serve()
        if allowed != self.allowed and serve:
            self.allowed = allowed
            serve(self._reads.warm if allowed else {})

    def close(self) -> None:
        """No warm read comes any more; the hook takes the last counts."""
        self.serve(allowed=False)
        hook, self._hook = self._hook, None
        if hook:
            hook.leave(self)


def named(secret: Secret, name: Name) -> Secret:
    """The secret under the name that the caller knows it by."""
    return secret if secret.name == name.text else replace(secret, name=name.text)


def _nobody(name: Name, seen: Secret | SecretVersion) -> None:
    """Nobody watches."""
