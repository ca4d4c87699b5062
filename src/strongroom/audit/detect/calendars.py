"""Working time by a declared calendar and time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@final
@dataclass(frozen=True, slots=True)
class Calendar:
    """When people work.

    Attributes:
        zone: the zone that `hours`, `days` and `holidays` are meant in.
        days: of the week, 0 is Monday.
        begins: the time of day when work begins.
        ends: when it ends; the same as `begins` is the whole day, and earlier is a shift over midnight, which
            belongs to the day it begins on.
        holidays: days without work.
    """

    zone: ZoneInfo
    days: frozenset[int]
    begins: time
    ends: time
    holidays: frozenset[date]

    @staticmethod
    def parse(given: Mapping[str, Any], where: str) -> Calendar:
        """From ``timezone``, ``days`` (``mon-fri``), ``hours`` (``07:00-19:00``) and ``holidays``.

        Raises:
            InvalidRequestError: a key or a value is not one of these.
        """
        unknown = given.keys() - {"timezone", "days", "hours", "holidays"}
        if unknown:
            raise InvalidRequestError(f"{where}: a calendar has no {min(unknown)!r}")
        begins, ends = _hours(given.get("hours", "07:00-19:00"), where)
        holidays = frozenset(_day(one, where) for one in given.get("holidays", ()))
        days = _days(given.get("days", "mon-fri"), where)
        return Calendar(_zone(given.get("timezone", "UTC"), where), days, begins, ends, holidays)

    def is_working_time(self, moment: datetime) -> bool:
        """Whether people work at that moment; an hour that summer time repeats counts both times."""
        local = moment.astimezone(self.zone)
        day, now = local.date(), local.time()
        if self.begins < self.ends:
            return self.begins <= now < self.ends and self._works_on(day)
        if now >= self.begins:
            return self._works_on(day)
        return now < self.ends and self._works_on(date.fromordinal(day.toordinal() - 1))

    def _works_on(self, day: date) -> bool:
        return day.weekday() in self.days and day not in self.holidays


def _zone(name: object, where: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        pass
    raise InvalidRequestError(
        f"{where}: no time zone {name!r}", hint="an IANA name; the package tzdata has them all"
    )


def _days(text: object, where: str) -> frozenset[int]:
    found: set[int] = set()
    for part in str(text).replace(" ", "").lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise InvalidRequestError(f"{where}: {text!r} are no days", hint="such as mon-fri or mon,wed,sat")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update(range(begin, end + 1) if begin <= end else (*range(begin, 7), *range(end + 1)))
    return frozenset(found)


def _hours(text: object, where: str) -> tuple[time, time]:
    begins, _, ends = str(text).partition("-")
    try:
        return time.fromisoformat(begins), time.fromisoformat("00:00" if ends == "24:00" else ends)
    except ValueError:
        pass
    raise InvalidRequestError(f"{where}: {text!r} are no hours", hint="such as 07:00-19:00")


def _day(given: object, where: str) -> date:
    try:
        return given if isinstance(given, date) else date.fromisoformat(str(given))
    except ValueError:
        pass
    raise InvalidRequestError(f"{where}: {given!r} is no day", hint="such as 2026-12-25")
