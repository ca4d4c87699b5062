"""JournalHook: an intent is durable before anything happens, an outcome follows, warm reads are counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from strongroom.errors import SecretStoreError, UnavailableError

from .event import AuditHook
from .record import of_event, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from strongroom.clock import Clock

    from .actor import Actor
    from .event import AuditEvent, WarmReads
    from .gaps import Gaps
    from .identity import Identity

READS: Final = frozenset(
    {"get", "get_many", "prefetch", "list", "versions", "describe", "refresh", "pending.get"}
    | {"pending.stray", "on_change", "watch"}
)
"""Operations that change nothing: their intents are durable at once, their outcomes within a second."""

ALLOW: Final = "allow"
_PER_RECORD: Final = 256
"""Names whose counts stand in one record."""
_PATIENCE: Final = 5.0
"""Seconds for which a store that closes waits for a disk that hangs."""


class Trail(Protocol):
    """Where records go: a journal, or a sink that is asked each time."""

    failed: SecretStoreError | None

    def append(self, fields: Mapping[str, Any], *, durable: bool = True) -> str:
        """As `strongroom.audit.journal.Journal.append`."""
        ...

    def flush(self) -> None:
        """As `strongroom.audit.journal.Journal.flush`."""
        ...

    def after_fork(self) -> None:
        """As `strongroom.audit.journal.Journal.after_fork`."""
        ...

    def close(self) -> None:
        """As `strongroom.audit.journal.Journal.close`."""
        ...


class Policy:
    """What becomes of an operation that cannot be recorded.

    Args:
        otherwise: ``refuse`` or ``allow``.
        operations: the same for some operations: by name, as ``pending.*``, or ``*`` for all others.
    """

    def __init__(self, otherwise: str = "refuse", operations: Mapping[str, str] | None = None):
        self._otherwise, self._operations = otherwise, dict(operations or {})

    def allows(self, operation: str) -> bool:
        """Whether it may go on unrecorded."""
        keys = (operation, f"{operation.partition('.')[0]}.*", "*")
        found = (self._operations[key] for key in keys if key in self._operations)
        return next(found, self._otherwise) == ALLOW


@dataclass(frozen=True)
class Recording:
    """What the hooks of one trail share.

    Attributes:
        trail: where records go.
        seal: what a record may say of an actor.
        gaps: told what went unrecorded.
        clock: injected in tests.
        awake: called before each operation: starts what flushes, where it does not run yet.
        refusal: why no operation may begin now, if one must not.
    """

    trail: Trail
    seal: Callable[[Actor], dict[str, str]]
    gaps: Gaps
    clock: Clock
    awake: Callable[[], None] = lambda: None
    refusal: Callable[[], SecretStoreError | None] = lambda: None


class JournalHook(AuditHook):
    """Records the operations of one store, or of one key.

    Args:
        recording: where to.
        identity: who acts where the program does not say.
        policy: what may go on unrecorded.
        strict: each warm read is recorded as an operation of its own.
        alias: what the configuration calls the store.
    """

    def __init__(
        self,
        recording: Recording,
        identity: Identity,
        policy: Policy,
        *,
        strict: bool = False,
        alias: str = "",
    ):
        self._trail, self._gaps, self._clock = recording.trail, recording.gaps, recording.clock
        self._recording, self.identity, self._policy = recording, identity, policy
        self._strict, self._alias = strict, alias
        self._counts: list[Counts] = []
        self.after_fork()

    def after_fork(self) -> None:
        """What the parent owes the parent hands in."""
        self._owed: set[str] = set()
        self._lock = threading.Lock()
        self.identity.after_fork()

    def before(self, event: AuditEvent) -> None:
        """Make the intent durable.

        Raises:
            UnavailableError: with ``performed=False``, it could not be.
        """
        self._record(event, durable=True)

    def after(self, event: AuditEvent) -> None:
        """Record the outcome; until that is done no warm read is served either."""
        try:
            self._record(event, durable=event.operation not in READS)
        except BaseException:
            self._owed.add(event.correlation_id)
            self._serve()
            raise
        self._owed.discard(event.correlation_id)

    def account(self, reads: WarmReads) -> bool:
        """Warm reads are counted, but for a strict store."""
        if not self._strict:
            self._counts.append(Counts(reads, self._clock))
            self._serve()
        return not self._strict

    def leave(self, reads: WarmReads) -> None:
        """Take the last counts; the store closes whatever becomes of them."""
        if self._lock.acquire(timeout=_PATIENCE):
            leaving = [counts for counts in self._counts if counts.reads is reads]
            try:
                self._flush(leaving)
            finally:
                self._counts = [counts for counts in self._counts if counts not in leaving]
                self._lock.release()

    def flush(self) -> None:
        """Record the counts of warm reads, which stop while that fails."""
        if self._counts and self._lock.acquire(timeout=_PATIENCE):
            try:
                self._flush(self._counts)
                self._serve()
            finally:
                self._lock.release()

    def stop(self) -> None:
        """No warm read until a flush succeeds."""
        for counts in self._counts:
            counts.reads.serve(allowed=False)

    def _serve(self) -> None:
        refused = self._trail.failed or self._recording.refusal()
        for counts in self._counts:
            counts.reads.serve(allowed=not self._owed and (refused is None or self._open))

    @property
    def _open(self) -> bool:
        return self._policy.allows("get")

    def _flush(self, waiting: Sequence[Counts]) -> None:
        try:
            for counts in waiting:
                if counts.any():
                    self._gaps.settle()
                    counts.hand_over(self._alias, self._sealed(None), self._trail)
            self._trail.flush()
        except SecretStoreError as error:
            if self._open:
                for counts in waiting:
                    if missed := counts.given_up():
                        self._gaps.missed("get", error, missed)
            else:
                self.stop()

    def _record(self, event: AuditEvent, *, durable: bool) -> None:
        try:
            if event.phase == "intent":
                self._begin()
            self._gaps.settle()
            actor = self._sealed(event.actor)
            *parts, last = _sides(event)
            for part in parts:
                self._trail.append(of_event(part, actor=actor), durable=False)
            self._trail.append(of_event(last, actor=actor), durable=durable)
        except UnavailableError as error:
            if not self._policy.allows(event.operation):
                raise
            self._gaps.missed(event.operation, error)

    def _begin(self) -> None:
        self._recording.awake()
        if refusal := self._recording.refusal():
            refusal.performed = False
            raise refusal

    def _sealed(self, actor: Actor | None) -> dict[str, str]:
        """A refusal by the key of the subjects is not one of the caller, who may well read."""
        try:
            return self._recording.seal(actor or self.identity.actor())
        except UnavailableError:
            raise
        except SecretStoreError as error:
            problem = type(error).__name__
        raise UnavailableError(
            f"who acts cannot be recorded: the key of the audit's subjects failed ({problem})",
            performed=False,
            hint="see that strongroom check finds the key named by [audit] subject_key",
        )


class Counts:
    """How often each version of one store was read warm, until the trail has it.

    Attributes:
        reads: the store's.
    """

    def __init__(self, reads: WarmReads, clock: Clock):
        self.reads, self._clock = reads, clock
        self._since: datetime = clock.now()
        self._owed: dict[tuple[str, str], int] = {}

    def any(self) -> bool:
        """Whether there is anything to hand over."""
        for name, version, count in self.reads.drain():
            self._owed[name, version] = self._owed.get((name, version), 0) + count
        return bool(self._owed)

    def hand_over(self, store: str, actor: Mapping[str, str], trail: Trail) -> None:
        """Append them. What the trail took is no longer ours, also if it is durable only later.

        Raises:
            UnavailableError: it did not take all.
        """
        since, self._since = stamp(self._since), self._clock.now()
        while batch := list(self._owed.items())[:_PER_RECORD]:
            reads = [[name, version, count] for (name, version), count in batch]
            record = {"kind": "reads", "store": store, "since": since, "reads": reads, "actor": actor}
            trail.append(record, durable=False)
            for key, _ in batch:
                del self._owed[key]

    def given_up(self) -> int:
        """How many are owed; they are not any more."""
        total = sum(self._owed.values())
        self._owed.clear()
        return total


def _sides(event: AuditEvent) -> Iterator[AuditEvent]:
    """One record for each name: who looks for what became of a name finds it."""
    if not event.parts:
        yield event
    for part in event.parts:
        outcome = part.outcome or event.outcome
        performed = None if outcome == "ok" else event.performed
        alone = replace(event, name=part.name, version=part.version, parts=())
        yield replace(alone, outcome=outcome, performed=performed)
