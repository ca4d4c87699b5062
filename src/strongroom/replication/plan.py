"""What a replication finds, is about to do, and has done: it is shown to people, and holds no value."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from strongroom.errors import SecretStoreError

    from .record import Record


class Action(enum.Enum):
    """What is to be done about one name at the replica.

    CREATE, UPDATE, DELETE, RESTORE: the replica is behind, and will be written. RESTORE: a name that the
    replica has deleted.
    SAME: there is nothing to write.
    QUARANTINE: two values claim one place in the order; nothing is written until a person adopts the name.
    FOREIGN: what the replica holds under the name is not this replication's; likewise.
    REFUSED: the replica cannot hold it, or must not; the step's reason says why.
    AHEAD: the replica is newer than its source, which must not be; nothing is written.
    """

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"
    SAME = "same"
    QUARANTINE = "quarantine"
    FOREIGN = "foreign"
    REFUSED = "refused"
    AHEAD = "ahead"

    @property
    def writes(self) -> bool:
        """Whether a sync does it by itself."""
        return self in _WRITES


_WRITES = frozenset({Action.CREATE, Action.UPDATE, Action.DELETE, Action.RESTORE})
_MISSING = frozenset({Action.CREATE, Action.RESTORE})
_DRIFTED = frozenset({Action.QUARANTINE, Action.AHEAD, Action.FOREIGN})


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one name.

    Attributes:
        name: the secret's.
        action: what.
        reason: why, in our own words; empty where the action says it.
        record: the source's, that of its tombstone among them; None where it has none yet.
        held: the replica's own, that of its tombstone among them; None where it holds none of ours.
        since: when the oldest write that the replica is known to miss was made; None where nobody can tell.
        here: the source has the name at present.
        tried: False where a sync gave up before it came to the name; what is due there is not known.
    """

    name: str
    action: Action
    reason: str = ""
    record: Record | None = None
    held: Record | None = None
    since: datetime | None = None
    here: bool = True
    tried: bool = True

    @property
    def behind(self) -> int:
        """How many writes the replica is known to miss at least; 0 where it is not behind."""
        if not self.action.writes:
            return 0
        if self.record is None or self.held is None or self.record.epoch != self.held.epoch:
            return 1
        return max(1, self.record.seq - self.held.seq)

    @property
    def missing(self) -> bool:
        """Whether the source has it and the replica has not."""
        return self.here and self.action in _MISSING

    @property
    def drifted(self) -> bool:
        """Whether somebody else has changed the name at the replica."""
        return self.action in _DRIFTED


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync would do, name by name. Planning writes nothing.

    Attributes:
        steps: of every name that source or replica has and the replica's patterns mean, in the names' order.
        epoch: the source's; 0 where nothing was replicated yet.
    """

    steps: tuple[Step, ...]
    epoch: int = 0

    @property
    def due(self) -> tuple[Step, ...]:
        """The steps that a sync carries out."""
        return tuple(step for step in self.steps if step.action.writes)

    @property
    def waiting(self) -> tuple[Step, ...]:
        """The steps that wait for a person."""
        return tuple(step for step in self.steps if not step.action.writes and step.action is not Action.SAME)

    @property
    def counts(self) -> Mapping[Action, int]:
        """How many names there are of each action that occurs."""
        return Counter(step.action for step in self.steps)

    def lag(self, now: datetime) -> timedelta | None:
        """The age of the oldest write that the replica misses; None if it misses none, or nobody can tell."""
        behind = [step.since for step in self.due if step.since]
        return max(now - min(behind), timedelta(0)) if behind else None


@dataclass(frozen=True, slots=True)
class Report:
    """What a sync did.

    Attributes:
        done: the steps that were carried out, in the names' order.
        failed: why others were not, by name.
        skipped: the steps that nobody tried: they wait for a person, or the replica stopped answering.
        seconds: how long it took.
    """

    done: tuple[Step, ...] = ()
    failed: Mapping[str, SecretStoreError] = field(default_factory=dict)
    skipped: tuple[Step, ...] = ()
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return not self.failed and not self.skipped


@dataclass(frozen=True, slots=True)
class Status:
    """How a replica stands.

    Attributes:
        replica: its alias.
        source: its source's alias.
        epoch: the source's; 0 where nothing was replicated yet.
        names: how many names the source has that the replica should have.
        in_sync: how many of them it has as the source has them.
        missing: how many of them it has not at all.
        lag_versions: how many writes it is known to miss, deletions among them.
        lag: the age of the oldest write that it misses; None if it misses none, or nobody can tell.
        drift: how many names differ not only because the replica is behind: somebody else changed it there.
        quarantined: of how many names two values claim one place in the order.
        diverged: of how many names the divergence report keeps a write.
        foreign: how many names hold what is not this replication's.
        last_sync: when this process last finished one in which nothing failed.
    """

    replica: str
    source: str
    epoch: int = 0
    names: int = 0
    in_sync: int = 0
    missing: int = 0
    lag_versions: int = 0
    lag: timedelta | None = None
    drift: int = 0
    quarantined: int = 0
    diverged: int = 0
    foreign: int = 0
    last_sync: datetime | None = None

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to do, neither for a sync nor for a person."""
        return not (self.lag_versions or self.drift or self.quarantined or self.diverged)
