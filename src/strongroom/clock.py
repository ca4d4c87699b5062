"""The clock, and the chance that spreads waits apart: tests inject both."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event


class Clock:
    """The system's clock; tests inject another."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def wait(self, event: Event, seconds: float | None) -> bool:
        """Wait for the event, at most so long; whether it is set."""
        return event.wait(seconds)

    def chance(self) -> float:
        """A number from 0 to 1, by which the waits of a fleet are spread so that they do not end together."""
        return int.from_bytes(os.urandom(4)) / 2**32  # `random` would be a tenth of a start's time
