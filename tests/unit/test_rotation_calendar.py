"""`cron()` on clocks that are changed: each instant once, the same that an independent watcher finds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from strongroom.errors import InvalidRequestError
from strongroom.rotation import cron
from strongroom.rotation.cron import Cron, zone_of
from strongroom.rotation.schedule import Schedule, ticks
from tests.rotation_oracle import around, changes, watched
from tests.scale import NIGHTLY

ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC")
FIVE_YEARS = timedelta(days=5 * 365 + 1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of_day(every: str, zone: str, day: str) -> list[str]:
    """The instants that serve a local date, and those beside it."""
    begin, end = around(date.fromisoformat(day), 1)
    return [f"{tick:%d %H:%M}" for tick in ticks(Schedule(every, zone), begin, end)]


@pytest.mark.parametrize(
    ("every", "zone", "day", "expected"),
    [
        # The clock skips 02:00 to 03:00: once, at the moment of the change.
        ("cron(30 2 * * ? *)", "America/New_York", "2026-03-08", ["08 07:00", "09 06:30"]),
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-29", ["29 01:00", "30 00:30"]),
        ("cron(15 2 * * ? *)", "Australia/Lord_Howe", "2026-10-04", ["03 15:30", "04 15:15"]),
        # It shows 01:00 to 02:00 twice (Berlin 02:00 on, Lord Howe 01:30 to 02:00): once, the first time.
        ("cron(30 1 * * ? *)", "America/New_York", "2026-11-01", ["01 05:30", "02 06:30"]),
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25", ["25 00:30", "26 01:30"]),
        ("cron(45 1 * * ? *)", "Australia/Lord_Howe", "2026-04-05", ["04 14:45", "05 15:15"]),
        # Nothing is changed.
        ("cron(30 2 * * ? *)", "UTC", "2026-03-29", ["29 02:30", "30 02:30"]),
        # A day that Samoa never had is served as the next one begins, which is another tick's moment.
        ("cron(0 12 30 * ? *)", "Pacific/Apia", "2011-12-30", ["30 10:00"]),
        ("cron(0 0 * * ? *)", "Pacific/Apia", "2011-12-30", ["30 10:00", "31 10:00"]),
    ],
)
def test_a_changed_clock_neither_loses_nor_repeats_an_instant(
    every: str, zone: str, day: str, expected: list[str]
) -> None:
    """The gap's job once, the overlap's job once."""
    assert of_day(every, zone, day) == expected


def test_hourly_through_a_repeated_hour_is_each_shown_hour_once() -> None:
    """The second 01:00 of New York is no new instant: two hours pass."""
    found = of_day("cron(0 * * * ? *)", "America/New_York", "2026-11-01")
    assert [hour for hour in found if hour[:2] == "01"][:8] == [
        *("01 00:00", "01 01:00", "01 02:00", "01 03:00", "01 04:00", "01 05:00", "01 07:00", "01 08:00")
    ]


def test_a_clock_put_back_over_midnight_has_shown_tomorrow() -> None:
    """Until 2011 St. John's went from 00:01 back to 23:01: in the second 23:30 midnight's tick has been."""
    calendar = Cron("0 0 * * ? *", "America/St_Johns")
    midnight = at("2010-11-07T02:30")
    assert calendar.until(midnight + timedelta(minutes=30)) == midnight
    assert calendar.after(midnight + timedelta(minutes=30)) == at("2010-11-08T03:30")


Predicate = Callable[[datetime], bool]
MEANINGS: dict[str, Predicate] = {
    "cron(30 2 * * ? *)": lambda t: (t.hour, t.minute) == (2, 30),
    "cron(30 1 * * ? *)": lambda t: (t.hour, t.minute) == (1, 30),
    "cron(0 0 * * ? *)": lambda t: (t.hour, t.minute) == (0, 0),
    "cron(0/15 * * * ? *)": lambda _: True,
    "cron(45 1-3 * * ? *)": lambda t: t.minute == 45 and t.hour in (1, 2, 3),
    "cron(15 */2 ? * SUN,MON *)": lambda t: t.minute == 15 and t.hour % 2 == 0 and t.weekday() in (6, 0),
    "cron(0 2 ? * 1 *)": lambda t: (t.hour, t.minute, t.weekday()) == (2, 0, 6),
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("every", MEANINGS)
def test_an_independent_watcher_finds_the_same_instants(every: str, zone: str) -> None:
    """Two days around each change of the clock; the nightly run takes twenty years, by day it is one."""
    for year in range(2026, 2046 if NIGHTLY else 2027):
        for day in changes(zone, year) or [date(year, 3, 29)]:
            begin, end = around(day)
            ours = list(ticks(Schedule(every, zone), begin, end))
            assert ours == watched(MEANINGS[every], zone, begin, end)


def _last(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


def _last_weekday(day: date) -> bool:
    rest = [day + timedelta(days=number) for number in range(1, 4)]
    return day.weekday() < 5 and all(one.month != day.month or one.weekday() > 4 for one in rest)


def _nearest_to_15(day: date) -> bool:
    """Friday 14th, Monday 16th, or the 15th itself."""
    return (day.day, day.weekday()) in {(14, 4), (16, 0), *((15, weekday) for weekday in range(5))}


DATES: dict[str, Callable[[date], bool]] = {
    "31 * ?": lambda d: d.day == 31,
    "29 2 ?": lambda d: (d.month, d.day) == (2, 29),
    "L * ?": _last,
    "LW * ?": _last_weekday,
    "15W * ?": _nearest_to_15,
    "31 12 ?": lambda d: (d.month, d.day) == (12, 31),
    "1 JAN,JUL ?": lambda d: d.day == 1 and d.month in (1, 7),
    "1/7 * ?": lambda d: d.day in (1, 8, 15, 22, 29),
    "? * FRI#2": lambda d: d.weekday() == 4 and 8 <= d.day <= 14,
    "? * 2#5": lambda d: d.weekday() == 0 and d.day >= 29,
    "? * 6L": lambda d: d.weekday() == 4 and (d + timedelta(days=7)).month != d.month,
    "? * FRIL": lambda d: d.weekday() == 4 and (d + timedelta(days=7)).month != d.month,
    "? * L": lambda d: d.weekday() == 5,
    "? 2 SUN#5": lambda d: (d.month, d.day, d.weekday()) == (2, 29, 6),
    "? * MON-FRI": lambda d: d.weekday() < 5,
    "? * MON/3": lambda d: d.weekday() in (0, 3),
    "? * 2-4/2": lambda d: d.weekday() in (0, 2),
    "? * */2": lambda d: d.weekday() in (6, 1, 3, 5),
}


@pytest.mark.parametrize("days", DATES)
def test_dates_are_those_of_the_calendar(days: str) -> None:
    """Leap days, the 31st, the year's end, nearest and last weekdays: five years, from the dates alone."""
    day, month, weekday = days.split()
    begin = date(2028, 1, 1)
    expected = [one for number in range(1827) if DATES[days](one := begin + timedelta(days=number))]
    calendar = Cron(f"0 3 {day} {month} {weekday} *", "UTC")
    found = [tick.date() for tick in calendar.between(at("2027-12-31T23:00"), at("2032-12-31T23:00"))]
    assert found == expected


def test_the_nearest_weekday_stays_in_its_month() -> None:
    """The 1st on a Saturday is served on Monday the 3rd; the 31st on a Sunday on Friday the 29th."""
    first, last = Cron("0 3 1W * ? *", "UTC"), Cron("0 3 31W * ? *", "UTC")
    assert first.after(at("2026-07-31T12:00")).date() == date(2026, 8, 3)
    assert last.after(at("2026-05-01T12:00")).date() == date(2026, 5, 29)
    assert last.after(at("2026-05-30T12:00")).date() == date(2026, 7, 31)


@pytest.mark.parametrize("zone", ZONES)
def test_backwards_and_forwards_agree(zone: str) -> None:
    """The last instant until a moment is the one that the next one follows, a changed clock or not."""
    calendar = Cron("0/30 0-4 * * ? *", zone)
    for day in changes(zone, 2026) or [date(2026, 1, 1)]:
        begin, end = around(day, 1)
        while begin < end:
            before, after = calendar.until(begin), calendar.after(begin)
            assert before <= begin < after
            assert calendar.after(before) == after
            assert calendar.until(after - timedelta(seconds=1)) == before
            begin += timedelta(minutes=10)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("days", [30, 90])
def test_a_rate_is_exact_over_five_years(zone: str, days: int) -> None:
    """Whatever clocks are changed in between, and over the leap day: to the second."""
    begin = at("2026-01-31T02:30:17")
    found = list(ticks(Schedule(f"rate({days} days)", zone), begin, begin + FIVE_YEARS))
    assert found == [
        begin + timedelta(days=days) * number for number in range(1, FIVE_YEARS.days // days + 1)
    ]


def test_the_rarest_date_is_found() -> None:
    """A fifth Sunday in February: every 28 years, and 40 from 2088, since 2100 has no leap day."""
    schedule = Schedule("cron(0 3 ? 2 SUN#5 *)")
    found = islice(ticks(schedule, at("2026-01-01T00:00"), at("2200-01-01T00:00")), 4)
    assert [tick.year for tick in found] == [2032, 2060, 2088, 2128]


REFUSED = {
    "cron(0 3 31 2 ? *)": "no date",
    "cron(0 3 31 4,6,9,11 ? *)": "no date",
    "cron(0 3 30W 2 ? *)": "no date",
    "cron(0 3 ? * SUN 2027)": "year",
    "cron(0 3 * * * *)": "exactly one",
    "cron(0 3 ? * ? *)": "exactly one",
    "cron(0 3 1 * MON *)": "exactly one",
    "cron(0 3 * * ?)": "six",
    "cron(0 0 3 * * ? *)": "six",
    "cron(R 3 * * ? *)": "minutes",
    "cron(H 3 * * ? *)": "minutes",
    "cron(60 3 * * ? *)": "minute",
    "cron(0 24 * * ? *)": "hour",
    "cron(0 3 0 * ? *)": "day-of-month",
    "cron(0 3 L,1 * ? *)": "day-of-month",
    "cron(0 3 * 13 ? *)": "month",
    "cron(0 3 ? * 0 *)": "day-of-week",
    "cron(0 3 ? * 8 *)": "day-of-week",
    "cron(0 3 ? * SUN#6 *)": "day-of-week",
    "cron(0 3 ? * FRI-MON *)": "day-of-week",
    "cron(*/0 3 * * ? *)": "minute",
    "cron(1\u0662 3 * * ? *)": "minutes",
    "0 3 * * *": "no schedule",
    "@daily": "no schedule",
    "rate(0 days)": "no schedule",
    "rate(-1 days)": "no schedule",
    "rate(1.5 hours)": "no schedule",
    "rate(30 seconds)": "no schedule",
    "rate(1\u0662 days)": "no schedule",
    "": "no schedule",
}


@pytest.mark.parametrize("every", REFUSED)
def test_what_nobody_can_follow_is_refused(every: str) -> None:
    """Random and hashed fields, dates that never come, both days or none, a schedule that ends."""
    with pytest.raises(InvalidRequestError, match=REFUSED[every]):
        Schedule(every)


@pytest.mark.parametrize("zone", ["Europe/Zuerich", "", "../etc/passwd", "MEZ+1\x00"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """Before anything is planned by it, for a rate too."""
    with pytest.raises(InvalidRequestError, match="time zone"):
        Schedule("rate(30 days)", zone)


def test_utc_needs_no_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small container has none; for any other the error says what to install."""

    def nothing(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(cron, "ZoneInfo", nothing)
    zone_of.cache_clear()
    assert Schedule("cron(0 4 * * ? *)", window=timedelta(hours=1)).timezone == "UTC"
    with pytest.raises(InvalidRequestError, match="pip install tzdata"):
        Schedule("cron(0 4 * * ? *)", "Europe/Zurich")
