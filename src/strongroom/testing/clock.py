"""A clock that moves when it is told to."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import final

from strongroom.backend import Clock

_LOOK = 0.002
"""Seconds of real time between two looks of a thread that waits whether time has been moved."""


@final
class FakeClock(Clock):
    """Time stands still until ``advance`` or ``sleep``; safe across threads, and what waits with it notices.

    Attributes:
        slept: the seconds of every ``sleep``, in order.
        spread: what ``chance`` gives: 0 is the shortest of all waits.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)):
        self._start = start
        self._passed = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []
        self.spread = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return self._passed

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait until the event is set or ``advance`` has gone so far; no time passes by itself."""
        until = float("inf") if seconds is None else self._passed + seconds
        while self._passed < until and not event.wait(_LOOK):  # two things to wait for, and no lock for both
            pass
        return event.is_set()

    def chance(self) -> float:
        return self.spread

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        with self._lock:
            self._passed += seconds
