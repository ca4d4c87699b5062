"""What a pass of an engine is to begin, and what it says of ticks that were not served in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, final

from . import events
from .clockguard import ClockGuard
from .policy import secret_of
from .schedule import next_after, skipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from strongroom.clock import Clock

    from .events import Events
    from .ledger import Entry, Ledger
    from .policies import Policies
    from .policy import Policy
    from .schedule import Due


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
        holds = self._is_clock_ahead()
        if not holds:
            self._held.clear()
        for secret, tick in self._ledger.due(limit):
            policy = self._policies.find(secret)
            if policy is None or policy.schedule is None:
                continue
            if holds:
                self._hold(policy)
                continue
            missed = self._missed(policy)
            if found := self._policies.due(policy, self._ledger, tick):
                yield Task(policy, tick, found, missed)
            elif missed:
                self._events.tell(events.SKIPPED, policy, None, outcome="window closed")

    def tell(self, task: Task, entry: Entry) -> None:
        """Say that a rotation has begun late, or outside its window."""
        if task.due.reason == "max-age":
            self._events.tell(events.OVERDUE, task.policy, entry.id, outcome="max-age")
        if task.missed > 1:
            self._events.tell(events.SKIPPED, task.policy, entry.id, outcome="missed")

    def _is_clock_ahead(self) -> bool:
        now = self._ledger.now()
        if self._guard is None:
            self._guard = ClockGuard(self._clock, now)
        return self._guard.jump(now) is not None

    def _hold(self, policy: Policy) -> None:
        secret = secret_of(policy)
        if secret not in self._held:  # once, not in every pass
            self._held.add(secret)
            self._events.tell(events.OVERDUE, policy, None, outcome="clock")

    def _missed(self, policy: Policy) -> int:
        """How many ticks have passed since the last success, the latest too."""
        assert policy.schedule
        secret = secret_of(policy)
        last, now = self._ledger.last_success(secret), self._ledger.now()
        if last is None:
            return 1
        return (
            skipped(policy.schedule, last, now) + 1 if next_after(policy.schedule, secret, last) <= now else 0
        )
