"""AWS six-field `cron()` expressions on a zone's clock: which instants they name.

cronsim reads the fields and matches days; the year, ``?``, ``W``, AWS's day numbers, and what happens where
a clock is changed are ours. Each instant of an expression comes once: one that the clock skips, at the moment
of the change; one that the clock shows twice, the first time.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cronsim import CronSim

WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS: Final = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
RAREST_YEARS: Final = 41
"""29 February on a given weekday comes every 28 years, and once in 40 where a century has no leap day."""

DAY: Final = timedelta(days=1)
SAMPLE: Final = date(2026, 1, 1)
"""Whence an expression is judged: the same for every reader, whenever it is read."""

FIELDS: Final = ("minutes", "hours", "day-of-month", "month", "day-of-week", "year")


def _list_of(value: str) -> str:
    term = rf"(?:\*|(?:{value})(?:-(?:{value}))?)(?:/[0-9]{{1,2}})?"
    return rf"{term}(?:,{term})*"


_NUMBER = r"[0-9]{1,2}"
_WEEKDAY = rf"[1-7]|{'|'.join(WEEKDAYS)}"
GRAMMAR: Final = (
    re.compile(_list_of(_NUMBER)),
    re.compile(_list_of(_NUMBER)),
    re.compile(rf"\?|LW?|{_NUMBER}W|{_list_of(_NUMBER)}"),
    re.compile(_list_of(rf"{_NUMBER}|{MONTHS}")),
    re.compile(rf"\?|L|(?:{_WEEKDAY})(?:L|#[1-5])|{_list_of(_WEEKDAY)}"),
    re.compile(r"\*"),
)
"""What Secrets Manager and EventBridge take; nothing random, hashed or named (``R``, ``H``, ``@daily``)."""


class Cron:
    """The instants of one cron expression in one zone. Immutable, and safe across threads.

    Args:
        fields: minutes, hours, day of month, month, day of week (1 is Sunday), year (always ``*``).
        zone: an IANA name.

    Raises:
        InvalidRequestError: the expression or the zone is not understood, or names no date that exists.
        BackendNotInstalledError: cronsim is missing.
    """

    def __init__(self, fields: str, zone: str):
        self.zone = zone_of(zone)
        parts = _checked(fields)
        self._weekday_nearest = int(parts[2][:-1]) if re.fullmatch(r"\d+W", parts[2]) else None
        self._fields = _read(parts)
        hours, minutes = sorted(self._fields.hours), sorted(self._fields.minutes)
        self._times = [time(hour, minute) for hour in hours for minute in minutes]
        # Secrets of one schedule ask for the same days.
        self._day_from = lru_cache(maxsize=400)(self._find_day)
        self._instants_of = lru_cache(maxsize=400)(self._find_instants)
        if self._day_from(SAMPLE) is None:
            raise invalid(f"cron({fields}) names no date that exists")

    def after(self, instant: datetime) -> datetime:
        """The first instant later than this one."""
        day: date | None = instant.astimezone(self.zone).date()
        while day := self._day_from(day) if day else None:
            instants = self._instants_of(day)
            if instants[-1] > instant:
                return instants[bisect_right(instants, instant)]
            day += DAY
        raise invalid("the calendar ends before the schedule's next date")

    def until(self, instant: datetime) -> datetime:
        """The last instant that is not later than this one."""
        # A clock that is put back over midnight has shown tomorrow's first minutes already.
        day: date | None = instant.astimezone(self.zone).date() + DAY
        while day := self._day_from(day, -DAY) if day else None:
            instants = self._instants_of(day)
            if instants[0] <= instant:
                return instants[bisect_right(instants, instant) - 1]
            day -= DAY
        raise invalid("the calendar begins after the schedule's last date")

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """All instants later than `after` and not later than `until`."""
        found = self.after(after)
        while found <= until:
            yield found
            found = self.after(found)

    def gaps(self) -> list[timedelta]:
        """How far its instants are apart, over many of its days and wherever a clock is changed."""
        runs = [self._days_from(SAMPLE, 64)]
        runs += [self._days_from(day - 2 * DAY, 4) for day in _days_of_change(self.zone)]
        found = []
        for run in runs:
            instants = [instant for day in run for instant in self._instants_of(day)]
            found += [later - earlier for earlier, later in pairwise(instants) if later > earlier]
        return found

    def _days_from(self, day: date, count: int) -> Iterator[date]:
        for _ in range(count):
            found = self._day_from(day)
            if found is None:
                return
            yield found
            day = found + DAY

    def _find_day(self, day: date, step: timedelta = DAY) -> date | None:
        """The first of its days from this one on, or backwards."""
        for _ in range(RAREST_YEARS * 366):
            if day.month not in self._fields.months:
                day = _month_beside(day, forwards=step == DAY)
            elif self._matches(day):
                return day
            else:
                day += step
        return None

    def _matches(self, day: date) -> bool:
        if self._weekday_nearest is not None:
            return day.day == _nearest_weekday(day, self._weekday_nearest)
        return self._fields.match_day(day)

    def _find_instants(self, day: date) -> tuple[datetime, ...]:
        """What the day's times of the expression are in UTC, ascending, each once."""
        if self._is_even(day):
            offset = datetime.combine(day, time(), self.zone).utcoffset() or timedelta()
            return tuple(datetime.combine(day, at, UTC) - offset for at in self._times)
        return tuple(sorted({in_utc(datetime.combine(day, at), self.zone) for at in self._times}))

    def _is_even(self, day: date) -> bool:
        """Whether no clock is changed from the day's midnight to the next."""
        begin, end = (datetime.combine(midnight, time(), self.zone) for midnight in (day, day + DAY))
        return begin.utcoffset() == end.utcoffset() == begin.replace(fold=1).utcoffset()


def invalid(message: str, hint: str | None = None) -> InvalidRequestError:
    """What is raised for a schedule that cannot be."""
    return InvalidRequestError(message, operation="schedule", hint=hint)


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """An IANA zone by its name; InvalidRequestError if this machine knows none of that name."""
    if name == "UTC":  # known to machines that have no zones at all
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    hint = "an IANA name such as Europe/Zurich; pip install tzdata where the system has none"
    raise invalid(f"no time zone is called {name!r}", hint)


@lru_cache(maxsize=64)
def _days_of_change(zone: tzinfo) -> tuple[date, ...]:
    """The days of five years on which the zone's clock is changed."""
    days = [SAMPLE + number * DAY for number in range(5 * 366)]
    offsets = [datetime.combine(day, time(), zone).utcoffset() for day in days]
    return tuple(day for day, (here, there) in zip(days, pairwise(offsets), strict=False) if here != there)


def in_utc(wall: datetime, zone: tzinfo) -> datetime:
    """When a clock first shows this time; if it skips it, the moment of the change."""
    aware = wall.replace(tzinfo=zone)
    utc = aware.astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) == wall:
        return utc
    # Python reads a skipped time with fold=0 by the offset before the change, which is after it, and with
    # fold=1 the other way round (PEP 495): the change is between the two.
    return _change(aware.replace(fold=1).astimezone(UTC), utc, zone)


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first second of the new offset: in (before, after]."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (middle, after) if middle.astimezone(zone).utcoffset() == old else (before, middle)
    return after


def _checked(fields: str) -> list[str]:
    parts = fields.upper().split()
    if len(parts) != len(FIELDS):
        raise invalid(f"cron({fields}) has {len(parts)} fields, not six", f"cron({' '.join(FIELDS)})")
    for part, grammar, name in zip(parts, GRAMMAR, FIELDS, strict=True):
        if not grammar.fullmatch(part):
            raise invalid(f"cron({fields}): {part!r} is not a {name} field", _HINTS.get(name))
    if (parts[2] == "?") == (parts[4] == "?"):
        hint = "a day matches one of the two: AWS knows neither 'and' nor 'or' here"
        raise invalid(f"cron({fields}): exactly one of day-of-month and day-of-week is ?", hint)
    return parts


_HINTS: Final = {
    "year": "a schedule that ends would leave its secrets unrotated, so it is *",
    "day-of-week": "1 to 7 or SUN to SAT, and 1 is SUN; L, 6L and FRI#2 stand alone",
    "day-of-month": "1 to 31; L, LW and 15W stand alone",
}


def _read(parts: list[str]) -> CronSim:
    """cronsim's sets of minutes, hours and months, and its `match_day`."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        pass
    else:
        try:
            return CronSim(" ".join(_as_cron(parts)), datetime(2026, 1, 1))  # noqa: DTZ001  (no clock is asked)
        except CronSimError as exc:
            problem = str(exc)
        raise invalid(f"cron({' '.join(parts)}) names no date that exists, or a field is wrong: {problem}")
    hint = "pip install 'strongroom[rotation]'"
    raise BackendNotInstalledError("cron() schedules need cronsim, which is not installed", hint=hint)


def _as_cron(parts: list[str]) -> list[str]:
    minutes, hours, days, months, weekdays, _ = parts
    if re.fullmatch(r"\d+W", days):
        days = days[:-1]
    return [minutes, hours, days.replace("?", "*"), months, _weekdays(weekdays)]


def _weekdays(field: str) -> str:
    """AWS counts from 1, Sunday; cron from 0, and takes 7 for Sunday too."""
    if field == "?":
        return "*"
    if field == "L":
        return "6"
    names = re.compile(rf"(?<![#/\d])(?:{_WEEKDAY})")
    counted = names.sub(lambda found: _from_sunday(found[0]), _steps(field))
    return counted.replace("*", "0-6") if "/" in counted else counted


def _from_sunday(day: str) -> str:
    return str(WEEKDAYS.index(day) if day in WEEKDAYS else int(day) - 1)


def _steps(field: str) -> str:
    """``MON/3`` goes up to Saturday: cronsim would go on to its second Sunday."""
    return re.sub(rf"(?<![-\w])({_WEEKDAY})/", r"\1-SAT/", field)


def _month_beside(day: date, forwards: bool) -> date:
    first = day.replace(day=1)
    return (first + timedelta(days=32)).replace(day=1) if forwards else first - DAY


def _nearest_weekday(day: date, wanted: int) -> int | None:
    """The weekday nearest to a date of the day's month, and within it; None if the month is shorter."""
    last = monthrange(day.year, day.month)[1]
    if wanted > last:
        return None
    weekday = day.replace(day=wanted).weekday()
    if weekday == 5:
        return wanted - 1 if wanted > 1 else 3
    if weekday == 6:
        return wanted + 1 if wanted < last else last - 2
    return wanted
