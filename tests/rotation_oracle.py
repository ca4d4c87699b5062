"""What a cron expression means, found the slow way: a clock is watched, and nothing of ours is asked.

An oracle that shares no code and no idea with `strongroom.rotation.cron`: it walks through time in steps,
reads the zone's clock at each, and writes down when a wanted time is shown first, or was skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

Wanted = Callable[[datetime], bool]
STEP = timedelta(minutes=15)
"""Every change of a clock in the tables falls on a quarter of an hour, and so do the times asked for."""


def watched(wanted: Wanted, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """When a clock between two instants shows, for the first time, what is wanted, or has just skipped it."""
    found: list[datetime] = []
    clock, utc = ZoneInfo(zone), begin - timedelta(days=1)
    highest = utc.astimezone(clock).replace(tzinfo=None)
    while (utc := utc + STEP) <= end:
        shown = utc.astimezone(clock).replace(tzinfo=None)
        if any(wanted(wall) for wall in _new(highest, shown)) and utc > begin:
            found.append(utc)
        highest = max(highest, shown)
    return found


def _new(highest: datetime, shown: datetime) -> Iterator[datetime]:
    """The times after the latest that was ever shown: one in most steps, none in a repeated hour."""
    while highest < shown:
        highest += STEP
        yield highest


def changes(zone: str, year: int) -> list[date]:
    """The days of a year on which the offset at noon differs from the day before."""
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365)]
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone)).utcoffset() for day in days]
    return [day for day, here, before in zip(days[1:], noons[1:], noons, strict=False) if here != before]


def around(day: date, days: int = 2) -> tuple[datetime, datetime]:
    """Some days before a date to some days after it, in UTC."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return noon - timedelta(days=days), noon + timedelta(days=days)
