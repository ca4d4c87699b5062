"""Numbers and moments as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

DASH: Final = "\u2013"
"""From one to the other."""

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))
FAILURES: Final = {
    "PermissionDeniedError": "denied",
    "SecretNotFoundError": "not found",
    "SecretConflictError": "conflict",
    "UnavailableError": "unavailable",
    "IntegrityError": "not intact",
    "InvalidRequestError": "invalid request",
    "UnsupportedOperationError": "unsupported",
    "PartialFailureError": "partly failed",
}
"""What the classes of failure mean, in a word or two."""


def number(count: int) -> str:
    """With its thousands apart."""
    return f"{count:,}"


def many(count: int, one: str, more: str = "") -> str:
    """A count and what is counted."""
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def share(part: int, whole: int) -> str:
    """A percentage, which is 100 % only of all, and 0 % only of none."""
    if not whole:
        return DASH
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    shown = int(percent * 10) / 10
    return f"{shown:g} %"


def day(at: datetime) -> str:
    """``Mon 23 Nov``."""
    return f"{DAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]}"


def when(time: str) -> str:
    """A record's time, to the second: ``23 Nov 2026, 12:30:00``; UTC."""
    at = datetime.fromisoformat(time[:19])
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M:%S}"


def minute(time: str) -> str:
    """A record's time without its seconds."""
    return when(time)[:-3]


def instant(second: int) -> datetime:
    """A second since 1970."""
    return datetime.fromtimestamp(second, UTC)


def length(seconds: int) -> str:
    """``15 minutes``."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds % size == 0), (1, "second"))
    count = seconds // size
    return unit if count == 1 else f"{count} {unit}s"


def span(start: int, step: int) -> str:
    """When a step of the timeline was: the day and its hours, or the days."""
    begin, end = instant(start), instant(start + step)
    if step > 86400:
        return f"{day(begin)} {DASH} {day(instant(start + step - 1))}"
    if step == 86400:
        return day(begin)
    return f"{day(begin)}, {begin:%H:%M}{DASH}{end:%H:%M}"
