"""What a pass of an engine is to begin, and what it says of ticks that were not served in time."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, final

from strongroom.errors import SecretStoreError

from . import events
from .clockguard import ClockGuard
from .policy import secret_of
from .schedule import due, next_after, planned, skipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from strongroom.clock import Clock

    from .events import Events
    from .ledger import Entry, Ledger
    from .policies import Policies
    from .policy import Policy
    from .schedule import Due, Schedule


class Task(NamedTuple):
    """A secret to rotate now.

    Attributes:
        policy: its policy.
        tick: the instant that the ledger remembers.
        due: what the schedule says of it.
        missed: earlier ticks that it serves too.
    """

    policy: Policy
    tick: datetime
    due: Due
    missed: int


@final
class Duty:
    """Finds what is due; begins nothing while the ledger's clock has leapt ahead. Safe across threads."""

    def __init__(self, ledger: Ledger, policies: Policies, told: Events, clock: Clock):
        self._ledger, self._policies, self._events, self._clock = ledger, policies, told, clock
        self._guard: ClockGuard | None = None
        self._held: set[str] = set()

    def tasks(self, limit: int) -> Iterator[Task]:
        """What is due by the ledger and by its schedule; what is not any more is planned anew."""
        now = self._ledger.now()
        holds = self._is_ahead(now)
        if not holds:
            self._held.clear()
        for policy, tick, last in self._waiting(limit):
            if holds:
                self._hold(policy)
            elif task := _task(policy, tick, last, now):
                yield task
            else:
                self._plan(policy, tick, last, now)

    def _waiting(self, limit: int) -> Iterator[tuple[Policy, datetime, datetime | None]]:
        """Policies whose instant has come by the ledger, and when each succeeded last."""
        waiting = self._ledger.due(limit)
        known = self._ledger.known([secret for secret, _ in waiting])
        for secret, tick in waiting:
            policy = self._policies.find(secret)
            if policy and policy.schedule:
                yield policy, tick, _last(policy, known[secret].last_success)

    def _plan(self, policy: Policy, tick: datetime, last: datetime | None, now: datetime) -> None:
        assert policy.schedule
        secret = secret_of(policy)
        self._ledger.plan(secret, planned(policy.schedule, secret, last, now), expected=tick)
        if _missed(policy.schedule, secret, last, now):
            self._events.tell(events.SKIPPED, policy, None, outcome="window closed")

    def tell(self, task: Task, entry: Entry) -> None:
        """Say that a rotation has begun late, or outside its window."""
        if task.due.reason == "max-age":
            self._events.tell(events.OVERDUE, task.policy, entry.id, outcome="max-age")
        if task.missed > 1:
            self._events.tell(events.SKIPPED, task.policy, entry.id, outcome="missed")

    def _is_ahead(self, now: datetime) -> bool:
        if self._guard is None:
            self._guard = ClockGuard(self._clock, now)
        return self._guard.jump(now) is not None

    def _hold(self, policy: Policy) -> None:
        secret = secret_of(policy)
        if secret not in self._held:  # once, not in every pass
            self._held.add(secret)
            self._events.tell(events.OVERDUE, policy, None, outcome="clock")


def _last(policy: Policy, success: datetime | None) -> datetime | None:
    """The last success; where puts count, the last put if that was later. An outage is no put."""
    if not policy.puts_count:
        return success
    put = None
    with suppress(SecretStoreError):
        put = policy.store.describe(policy.name).newest
    made = put.created_at if put else None
    return max(filter(None, (success, made)), default=None)


def _task(policy: Policy, tick: datetime, last: datetime | None, now: datetime) -> Task | None:
    assert policy.schedule
    secret = secret_of(policy)
    found = due(policy.schedule, secret, last, now)
    return Task(policy, tick, found, _missed(policy.schedule, secret, last, now)) if found else None


def _missed(schedule: Schedule, secret: str, last: datetime | None, now: datetime) -> int:
    """How many ticks have passed since the last success, the latest too."""
    if last is None:
        return 1
    return skipped(schedule, last, now) + 1 if next_after(schedule, secret, last) <= now else 0
