"""A clock set years ahead makes everything due at once: that is noticed, and nothing is begun by it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from .schedule import FORWARD_JUMP

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.clock import Clock


class ClockGuard:
    """Compares the ledger's clock with the time that has passed, suspended or not, since it was made.

    A restart believes the clock again: so says the person who restarts. A process that lives for one pass
    has nothing to compare with; there, years of missed ticks and a clock that is years ahead look alike.
    """

    def __init__(self, clock: Clock, now: datetime):
        self._clock = clock
        self._began, self._then = now, clock.monotonic()

    def jump(self, now: datetime) -> timedelta | None:
        """How far the ledger's clock has leapt ahead, if it is farther than `FORWARD_JUMP`.

        Rotations that are under way go on; no schedule begins one until the clock is back, or the worker is
        started anew.
        """
        ahead = (now - self._began) - timedelta(seconds=self._clock.monotonic() - self._then)
        return ahead if ahead > FORWARD_JUMP else None
