"""How far each rotation has come: the ledger, which never holds a value.

Stages say which value is current; the ledger says which step was proved. A record moves under compare-and-set
on its epoch and state, and what is recorded has been synced to disk when the call returns.

::

    STARTED -> CREATED -> SET -> TESTED -> PROMOTED -> GRACE -> REVOKING -> DONE
       |          |        |        |                    |          |
       +- WAITING +--------+--------+-> ABORTED          +-> ROLLED_BACK
                  +--------+--------+-> SUPERSEDED       any open state -> ORPHANED -> (resume) as before
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import SecretConflictError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import timedelta

LEASE_SECONDS: Final = 60.0
"""How long a worker may be silent before another goes on. Hooks end before; each step renews it."""
LEASE_LIMIT: Final = 3600.0
"""No lease is longer: what a worker that died had is free after at most so many seconds."""


class State(enum.Enum):
    """What was proved last."""

    STARTED = "started"
    WAITING = "waiting"
    CREATED = "created"
    SET = "set"
    TESTED = "tested"
    PROMOTED = "promoted"
    GRACE = "grace"
    REVOKING = "revoking"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    SUPERSEDED = "superseded"
    ORPHANED = "orphaned"
    ABORTED = "aborted"

    @property
    def open(self) -> bool:
        """Whether it keeps the next rotation of the secret from beginning."""
        return self not in CLOSED


CLOSED: Final = frozenset([State.DONE, State.ROLLED_BACK, State.SUPERSEDED, State.ABORTED])
"""Final: nothing moves a rotation out of these."""
BY_HAND: Final = frozenset([State.WAITING, State.ORPHANED])
"""Open, and no worker claims it: a person moves it on."""
PROMOTED: Final = frozenset([State.PROMOTED, State.GRACE, State.REVOKING, State.DONE])
"""Its value is, or was, current."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One rotation's record.

    Attributes:
        id: the rotation id.
        secret: ``STORE:NAME``, by which at most one rotation is open.
        state: what was proved last.
        epoch: of the last claim; what carries a lower one changes nothing.
        base: the version that was current when it began.
        version: the pending version, once promoted the one it became.
        due: when it goes on; of a rotation in grace its end.
        lease_until: while a worker has it; None when it is free.
        attempts: failures of the present step in a row.
        replaced: how many values the target rejected by its policy.
        error: class and operation of the last failure; never its text. It goes, with the attempts, when the
            state changes, but for ORPHANED.
        tick: the schedule's instant that it serves; None if a person asked.
        started, updated: by the ledger's clock; a claim is no update.
        facts: identifiers to show and to resume by, such as the id of an access key; never a value.
        proved: of an ORPHANED one, the state before, to which a person lets it go back.
        promoted: when its value became current.
        quiet_until: until then a worker that lost its lease may be in a hook still; then the secret's next
            rotation may begin. None if every worker gave its lease back.
        token: of the call that claimed or moved it last: that call, repeated after a lost answer, finds it.
    """

    id: str
    secret: str
    state: State
    epoch: int
    due: datetime
    started: datetime
    updated: datetime
    base: str | None = None
    version: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    replaced: int = 0
    error: str | None = None
    tick: datetime | None = None
    facts: Mapping[str, str] | None = None
    proved: State | None = None
    promoted: datetime | None = None
    quiet_until: datetime | None = None
    token: str = ""


class Known(NamedTuple):
    """What a ledger knows of a secret's schedule; None where there is nothing."""

    next_due: datetime | None = None
    last_success: datetime | None = None


class OvertakenError(SecretConflictError):
    """Another worker has taken the rotation over, or a person moved it: record nothing and begin nothing."""


class InProgressError(SecretConflictError):
    """Another rotation of the secret is open, or a worker that lost its lease of it may be in a hook still.

    Attributes:
        rotation_id: of that one.
        retry_after: seconds until the next may begin, if only that worker is waited for.
    """

    def __init__(self, message: str, *, rotation_id: str = "", **facts: Any):
        super().__init__(message, **facts)
        self.rotation_id = rotation_id


class Ledger(ABC):
    """Keeps the records of all rotations, for any number of workers. Safe across threads.

    All times are the ledger's own, never a worker's. Every method raises UnavailableError while it does not
    answer; then nothing may be done at a target.
    """

    @abstractmethod
    def now(self) -> datetime:
        """The ledger's clock, in UTC."""

    @abstractmethod
    def begin(
        self,
        rotation_id: str,
        secret: str,
        *,
        base: str | None,
        tick: datetime | None = None,
        next_due: datetime | None = None,
    ) -> Entry:
        """Write STARTED, once per rotation id: a repeat returns the record as it is now.

        Args:
            tick: what `next_due(secret)` must say still, else another worker has begun it.
            next_due: what it says from then on, in the same transaction.

        Raises:
            InProgressError: another rotation of this secret is open, or the last lease that was taken from
                a worker of it, plus the hook limit, has not passed.
            OvertakenError: the schedule has moved on from `tick`.
            InvalidRequestError: the rotation id is another secret's.
        """

    @abstractmethod
    def get(self, rotation_id: str) -> Entry:
        """One record; SecretNotFoundError if there is none."""

    @abstractmethod
    def find(
        self, *, secret: str | None = None, states: Collection[State] | None = None, limit: int = 1000
    ) -> Sequence[Entry]:
        """Records, the newest first."""

    @abstractmethod
    def claim(self, rotation_id: str, seconds: float = LEASE_SECONDS) -> Entry | None:
        """Take a rotation over, under a new epoch, whether it is due or not; None while another has it.

        Closed ones, ORPHANED ones and those that wait for a person are returned as they are: not claimed.
        """

    @abstractmethod
    def claim_due(self, limit: int, seconds: float = LEASE_SECONDS) -> Sequence[Entry]:
        """Take over up to so many rotations that are due and that nobody has."""

    @abstractmethod
    def renew(self, entry: Entry, seconds: float = LEASE_SECONDS) -> Entry:
        """Keep a rotation, also past the lease's end if nobody has taken it; else OvertakenError."""

    @abstractmethod
    def record(self, entry: Entry, state: State, **changes: Any) -> Entry:
        """Move a claimed rotation on, and return its record; its lease stays, and ends with the rotation.

        Args:
            entry: as it was claimed or recorded last: nothing is written unless epoch and state are still so.
                What was recorded already, and its answer lost, may be recorded again.
            changes: attributes of `Entry` to set besides; `due` may be a timedelta from the ledger's now.

        Raises:
            OvertakenError: another worker or a person has moved it.
        """

    @abstractmethod
    def release(self, entry: Entry, *, due: datetime | timedelta | None = None, **changes: Any) -> None:
        """Give a claimed rotation back, to go on at `due`; one that was overtaken is not an error.

        Only a worker that is in no hook any more may do this.
        """

    @abstractmethod
    def move(
        self,
        rotation_id: str,
        states: Collection[State],
        to: State,
        *,
        epoch: int | None = None,
        **changes: Any,
    ) -> Entry:
        """What a person does, whoever has the lease: from one of `states` to another, under a new epoch.

        The worker that had it is fenced: its next `renew` or `record` raises. The record is free, and due now
        unless `due` is given.

        Args:
            epoch: only if it is still this.

        Raises:
            OvertakenError: it is in none of `states`, or has another epoch.
        """

    @abstractmethod
    def last_success(self, secret: str) -> datetime | None:
        """When a rotation of the secret was promoted last."""

    @abstractmethod
    def next_due(self, secret: str) -> datetime | None:
        """When the schedule wants the next one; None if it never was planned."""

    def known(self, secrets: Collection[str]) -> Mapping[str, Known]:
        """`next_due` and `last_success` of each of these, asked for together."""
        return {secret: Known(self.next_due(secret), self.last_success(secret)) for secret in secrets}

    @abstractmethod
    def plan(self, secret: str, due: datetime, *, expected: datetime | None) -> bool:
        """Set `next_due` if it is `expected` still; whether it is `due` now."""

    def plan_new(self, dues: Mapping[str, datetime]) -> None:
        """Set `next_due` of those of these secrets that never were planned."""
        for secret, due in dues.items():
            self.plan(secret, due, expected=None)

    @abstractmethod
    def due(self, limit: int) -> Sequence[tuple[str, datetime]]:
        """Secrets whose `next_due` has come and that have no open rotation, the longest overdue first."""

    @abstractmethod
    def purge(self, before: datetime, limit: int = 10_000) -> int:
        """Forget closed rotations that were updated before; how many. What `last_success` says stays.

        What is forgotten could be begun again: keep it for longer than the events that begin rotations may
        be late.
        """

    def after_fork(self) -> None:
        """In a forked child: drop connections without closing them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""
