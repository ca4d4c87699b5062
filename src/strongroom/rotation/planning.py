"""What the schedules will do: each secret's next rotation, and its coming year."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from .ledger import CLOSED, State
from .policy import secret_of
from .schedule import due, next_after, planned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from .ledger import Entry, Known, Ledger
    from .policy import Policy
    from .schedule import Schedule

_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """When one secret will be rotated.

    Attributes:
        secret: as the ledger calls it.
        policy: what rotates it.
        last: when a rotation was promoted last; None if none is known.
        next: when it is due, jitter included, in UTC; None on request alone.
        since: since when it is overdue: an instant of its own that has passed and was not served.
        reason: why it is due now; empty if it is not.
        open: the rotation that is under way.
    """

    secret: str
    policy: Policy
    last: datetime | None = None
    next: datetime | None = None
    since: datetime | None = None
    reason: str = ""
    open: Entry | None = None

    @property
    def overdue(self) -> bool:
        """Whether somebody has to look: it should have been rotated, or its rotation has stopped."""
        return bool(self.since) or (self.open is not None and self.open.state is State.ORPHANED)

    def coming(self, until: datetime) -> Iterator[datetime]:
        """All its instants from `next` on, each rotation beginning at its own."""
        if self.next is None or self.policy.schedule is None:
            return iter(())
        instants = following(self.policy.schedule, self.secret, self.next)
        return takewhile(lambda instant: instant <= until, instants)


def outlook(policies: Iterable[Policy], ledger: Ledger) -> Iterator[Outlook]:
    """What is to be expected of each policy, by the ledger's clock. Nothing is changed.

    Raises:
        UnavailableError: the ledger does not answer.
    """
    now, policies = ledger.now(), list(policies)
    known = ledger.known([secret_of(policy) for policy in policies])
    open_ = {entry.secret: entry for entry in ledger.find(states=set(State) - CLOSED, limit=_ALL)}
    for policy in policies:
        secret = secret_of(policy)
        yield _outlook(policy, known[secret], open_.get(secret), now)


def following(schedule: Schedule, secret_id: str, instant: datetime) -> Iterator[datetime]:
    """An instant of a secret, and all after it; each rotation begins at its own."""
    while True:
        yield instant
        instant = next_after(schedule, secret_id, instant)


def _outlook(policy: Policy, known: Known, open_: Entry | None, now: datetime) -> Outlook:
    secret, schedule = secret_of(policy), policy.schedule
    stored, last = known
    if schedule is None:
        return Outlook(secret, policy, last, open=open_)
    if open_ is not None:  # it serves all ticks until now
        return Outlook(secret, policy, last, planned(schedule, secret, open_.started, now), open=open_)
    own = next_after(schedule, secret, last) if last else stored
    since = own if own and own <= now else None
    found = due(schedule, secret, last, now) if since else None
    coming = stored if stored and (stored > now or last is None) else planned(schedule, secret, last, now)
    return Outlook(secret, policy, last, coming, since, found.reason if found else "")
