"""The clock, and the chance that spreads waits apart: tests inject both."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event


def _elapsed() -> Callable[[], float]:
    """A clock that nobody can set, and that goes on while the machine is suspended, where there is one.

    Linux's `time.monotonic` stands still then: after a night a laptop, a virtual machine or a function that
    was frozen would take what it remembers for as fresh as the evening before.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        return partial(time.clock_gettime, boot) if boot and time.clock_gettime(boot) else time.monotonic
    except OSError:  # a kernel or a sandbox without it
        return time.monotonic


elapsed = _elapsed()


class Clock:
    """The system's clock; tests inject another."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back; those of a suspended machine count too."""
        return elapsed()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def wait(self, event: Event, seconds: float | None) -> bool:
        """Wait for the event, at most so long; whether it is set."""
        return event.wait(seconds)

    def chance(self) -> float:
        """A number from 0 to 1, by which the waits of a fleet are spread so that they do not end together."""
        return int.from_bytes(os.urandom(4)) / 2**32  # `random` would be a tenth of a start's time
