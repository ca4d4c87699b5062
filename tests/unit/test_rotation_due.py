"""When a secret is due: never early, never twice for one tick, and one rotation for all that was missed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.rotation.clockguard import ClockGuard
from strongroom.rotation.schedule import (
    FORWARD_JUMP,
    JITTER_SHARE,
    Due,
    Schedule,
    due,
    jitter,
    next_after,
    planned,
    replanned,
    shortest_interval,
    skipped,
    ticks,
)
from strongroom.testing.clock import FakeClock
from tests.scale import scaled

SECRET = "prod:db/password"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NIGHTLY_AT_3 = Schedule("cron(0 3 * * ? *)", "Europe/Zurich", window=2 * HOUR)
MONTHLY = Schedule("rate(30 days)")
SUNDAYS = Schedule("cron(0 3 ? * SUN *)", "Europe/Zurich", window=2 * HOUR, max_age=15 * DAY)
ALL = (
    NIGHTLY_AT_3,
    MONTHLY,
    SUNDAYS,
    Schedule("rate(7 days)", window=12 * HOUR),
    Schedule("cron(0/15 * * * ? *)", "America/New_York"),
    Schedule("cron(30 1 * * ? *)", "America/New_York", window=HOUR),
    Schedule("cron(0 3 29 2 ? *)", window=DAY),
    Schedule("cron(15 2 L * ? *)", "Australia/Lord_Howe", jitter=False, window=HOUR),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def looks(begin: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    while begin <= end:
        yield begin
        begin += every


def worker(
    schedule: Schedule, last: datetime | None, begin: datetime, end: datetime, every: timedelta = HOUR / 4
) -> list[tuple[datetime, Due]]:
    """What one does who looks so often and rotates at once whatever is due."""
    done = []
    for now in looks(begin, end, every):
        if found := due(schedule, SECRET, last, now):
            done.append((now, found))
            last = now
    return done


LAST = at("2026-11-01T03:30")
"""A Sunday, 04:30 in Zurich: in the window of `SUNDAYS`."""
ABSENCES = {"1 h": HOUR, "a window": 2 * HOUR, "40 days": 40 * DAY, "2 years": 730 * DAY}


def identified(schedule: Schedule) -> str:
    return f"{schedule.every} {schedule.window}"


@pytest.mark.parametrize("away", ABSENCES.values(), ids=ABSENCES)
@pytest.mark.parametrize("schedule", [replace(NIGHTLY_AT_3, window=None), MONTHLY], ids=identified)
def test_without_a_window_what_was_missed_is_caught_up_at_once(schedule: Schedule, away: timedelta) -> None:
    """A worker that was away over the instant rotates once when it is back, and then as planned."""
    back = next_after(schedule, SECRET, LAST) + away
    [first, second] = worker(schedule, LAST, back, next_after(schedule, SECRET, back) + HOUR)[:2]
    assert first[0] == back
    assert first[1].tick > LAST
    assert second[0] - next_after(schedule, SECRET, back) < HOUR / 2


@pytest.mark.parametrize("days", [0, 40, 730])
def test_whoever_comes_back_in_a_window_rotates_once(days: int) -> None:
    """Inside the window of any night, after the secret's own instant in it."""
    back = next_after(NIGHTLY_AT_3, SECRET, LAST + days * DAY) + timedelta(minutes=5)
    done = worker(NIGHTLY_AT_3, LAST, back, back + 12 * HOUR)
    assert [now for now, _ in done] == [back]


def test_a_window_ends_with_its_last_moment() -> None:
    """A microsecond before its end a rotation may begin, at its end no more."""
    end = at("2026-11-02T04:00")
    assert due(NIGHTLY_AT_3, SECRET, LAST, end - timedelta(microseconds=1))
    assert due(NIGHTLY_AT_3, SECRET, LAST, end) is None


@pytest.mark.parametrize("days", [0, 40, 730])
def test_whoever_comes_back_outside_a_window_waits_for_the_next(days: int) -> None:
    """Nothing by day, however much was missed; then once, in the window."""
    back = at("2026-11-02T12:00") + days * DAY
    [(now, found)] = worker(NIGHTLY_AT_3, LAST, back, back + DAY)
    assert found.tick <= now < found.tick + 2 * HOUR
    assert found.tick - back < DAY


def test_a_secret_that_would_become_too_old_does_not_wait_for_its_window() -> None:
    """Two Sundays missed, 15 days allowed: at once, and it says so; one Sunday missed waits for the next."""
    [(now, found)] = worker(SUNDAYS, LAST, at("2026-11-10T12:00"), at("2026-11-15T12:00"))
    assert (found.reason, found.tick) == ("schedule", at("2026-11-15T02:00"))
    [(now, found)] = worker(SUNDAYS, LAST, at("2026-11-15T12:00"), at("2026-11-21T12:00"))
    assert (now, found.reason, found.at) == (at("2026-11-15T12:00"), "max-age", at("2026-11-15T12:00"))
    assert due(replace(SUNDAYS, max_age=None), SECRET, LAST, now) is None
    assert skipped(SUNDAYS, LAST, now) == 1


def test_too_old_for_years_is_one_rotation() -> None:
    """At once when somebody looks, and the next one in a window."""
    back = at("2028-11-15T12:00")
    [(first, found), (second, normal)] = worker(SUNDAYS, LAST, back, back + 5 * DAY)
    assert (first, found.reason, found.at) == (back, "max-age", LAST + 15 * DAY)
    assert (normal.reason, second > normal.tick) == ("schedule", True)


@pytest.mark.parametrize("schedule", ALL, ids=identified)
def test_fifty_restarts_rotate_nothing_early(schedule: Schedule) -> None:
    """What each of them plans is the same instant, and before it nothing is due."""
    own = next_after(schedule, SECRET, LAST)
    step = (own - LAST) / 51
    for now in [LAST + step * number for number in range(1, 51)]:
        assert due(schedule, SECRET, LAST, now) is None
        assert planned(schedule, SECRET, LAST, now) == own
    assert due(schedule, SECRET, LAST, own)


@pytest.mark.parametrize("schedule", ALL, ids=identified)
@pytest.mark.parametrize("back", [HOUR, 400 * DAY])
def test_a_clock_that_goes_back_fires_no_tick_again(schedule: Schedule, back: timedelta) -> None:
    """Not at once and not on the way back to where it was."""
    now = next_after(schedule, SECRET, LAST)
    assert due(schedule, SECRET, LAST, now)
    for late in looks(now - back, now, back / 200):
        assert due(schedule, SECRET, now, late) is None


def test_two_clocks_that_differ_do_not_rotate_twice() -> None:
    """A second worker whose clock is 10 minutes before or behind finds the tick served."""
    now = next_after(NIGHTLY_AT_3, SECRET, LAST)
    for skew in (-HOUR / 6, HOUR / 6):
        assert due(NIGHTLY_AT_3, SECRET, now, now + skew) is None


@pytest.mark.parametrize("ahead", [2 * HOUR, 400 * DAY])
def test_a_clock_that_leaps_ahead_is_noticed(ahead: timedelta) -> None:
    """Time that passes is no leap, however much; a clock that is set right again is believed again."""
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    clock.advance((800 * DAY).total_seconds())
    assert guard.jump(clock.now()) is None
    assert guard.jump(clock.now() + FORWARD_JUMP) is None
    assert guard.jump(clock.now() + ahead) == ahead
    assert guard.jump(clock.now() - ahead) is None
    assert ClockGuard(clock, clock.now() + ahead).jump(clock.now() + ahead) is None


def test_a_secret_that_never_was_rotated_waits_for_its_first_tick() -> None:
    """Its first plan is the tick after now; when that has come it is due, and stays so in the window."""
    for schedule in ALL:
        first = planned(schedule, SECRET, None, LAST)
        assert first == next_after(schedule, SECRET, LAST)
        assert due(schedule, SECRET, None, first)


def test_a_changed_schedule_fires_no_tick_of_the_one_before() -> None:
    """Its ledger still wakes at the old instant: what is due then is what the new schedule says."""
    old = next_after(replace(SUNDAYS, max_age=None), SECRET, LAST)
    first_of_month = Schedule("cron(0 3 1 * ? *)", "Europe/Zurich")
    assert due(first_of_month, SECRET, LAST, old) is None
    assert planned(first_of_month, SECRET, LAST, old) == at("2026-12-01T02:00")


@pytest.mark.parametrize("schedule", ALL, ids=identified)
def test_a_process_for_each_pass_puts_nothing_off(schedule: Schedule) -> None:
    """What was never rotated keeps its first instant, however often it is planned anew."""
    first = replanned(schedule, SECRET, None, None, LAST)
    step = (first - LAST) / 10
    for now in [LAST + step * number for number in range(1, 11)]:
        assert replanned(schedule, SECRET, None, first, now) == first
    assert due(schedule, SECRET, None, first)


def test_a_rate_in_a_window_is_not_drawn_anew_by_each_process() -> None:
    """Jitter depends on the tick, and of a rate the tick on now: the earliest draw would win, and each
    pass of a timer would write half of its ledger.
    """
    schedule = Schedule("rate(30 days)", window=2 * HOUR)
    for secret in (f"prod:app/{number}" for number in range(50)):
        first = replanned(schedule, secret, None, None, LAST)
        assert all(replanned(schedule, secret, None, first, LAST + by * HOUR) == first for by in range(1, 20))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Schedule("rate(90 days)"), Schedule("rate(30 days)")),
        (Schedule("cron(0 3 1 * ? *)"), Schedule("cron(0 3 * * ? *)")),
        (Schedule("cron(0 3 1 * ? *)"), NIGHTLY_AT_3),
    ],
    ids=["rate", "cron", "window"],
)
def test_a_tighter_schedule_begins_with_its_next_tick(before: Schedule, after: Schedule) -> None:
    """A secret of 45 days is not rotated the moment that 30 are written down, but by a maximum age."""
    last = LAST - 45 * DAY
    known = max(next_after(before, SECRET, last), next_after(before, SECRET, LAST))
    first = replanned(after, SECRET, last, known, LAST)
    assert LAST < first <= known
    assert first == next_after(after, SECRET, LAST)
    assert replanned(after, SECRET, last, first, LAST + HOUR) == first
    strict = replace(after, max_age=40 * DAY)
    assert replanned(strict, SECRET, last, known, LAST + HOUR / 2) == planned(
        strict, SECRET, last, LAST + HOUR / 2
    )


def test_a_looser_schedule_begins_at_once() -> None:
    """What the old one wants to come is forgotten; what has come a pass looks at, and finds it not due."""
    nightly, monthly = next_after(NIGHTLY_AT_3, SECRET, LAST), next_after(MONTHLY, SECRET, LAST)
    assert replanned(MONTHLY, SECRET, LAST, nightly, LAST + HOUR) == monthly
    assert replanned(MONTHLY, SECRET, LAST, nightly, nightly + HOUR) == nightly
    assert due(MONTHLY, SECRET, LAST, nightly + HOUR) is None
    yearly = Schedule("cron(0 3 1 6 ? *)")
    assert replanned(yearly, SECRET, None, nightly, LAST + HOUR) == at("2027-06-01T03:00")


def test_ten_thousand_secrets_of_one_cron_are_spread_over_its_window() -> None:
    """No minute has more than 2.5 times the mean, and none is outside three quarters of the window."""
    nights = list(ticks(NIGHTLY_AT_3, LAST, LAST + scaled(30) * DAY))
    for before, tick in pairwise([LAST, *nights]):
        instants = [next_after(NIGHTLY_AT_3, f"prod:app/{number}", before) - tick for number in range(10_000)]
        minutes = Counter(instant // timedelta(minutes=1) for instant in instants)
        assert max(minutes.values()) <= 2.5 * 10_000 / 120
        assert min(instants) >= timedelta()
        assert max(instants) < 2 * HOUR * JITTER_SHARE
        assert len(minutes) == 120 * JITTER_SHARE


def test_another_process_computes_the_same_instants() -> None:
    """Nothing of them depends on a process's seed, and they are the same tomorrow: one is written down."""
    tick = at("2026-11-02T02:00")
    names = [f"prod:app/{number}" for number in range(50)]
    program = (
        "from datetime import datetime, timedelta; from strongroom.rotation.schedule import *\n"
        "schedule = Schedule('rate(1 day)', window=timedelta(hours=2))\n"
        f"tick = datetime.fromisoformat({tick.isoformat()!r})\n"
        f"print([jitter(schedule, name, tick).seconds for name in {names}])"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = [jitter(NIGHTLY_AT_3, name, tick).seconds for name in names]
    assert other.stdout.strip() == str(ours)
    assert jitter(NIGHTLY_AT_3, SECRET, tick) == timedelta(seconds=48)


def test_jitter_changes_from_tick_to_tick_and_can_be_turned_off() -> None:
    """A secret is not always the last one of the night; without jitter all are at the tick."""
    nights = list(ticks(NIGHTLY_AT_3, LAST, LAST + 30 * DAY))
    assert len({jitter(NIGHTLY_AT_3, SECRET, night) for night in nights}) > 20
    assert next_after(replace(NIGHTLY_AT_3, jitter=False), SECRET, LAST) == nights[0]
    assert next_after(replace(NIGHTLY_AT_3, window=None), SECRET, LAST) == nights[0]


@settings(max_examples=scaled(500, "irregular looks at a schedule"), deadline=None)
@given(
    schedule=st.sampled_from(ALL),
    seconds=st.integers(0, 2 * 365 * 86_400),
    waits=st.lists(st.integers(1, 90 * 86_400), min_size=1, max_size=6),
)
def test_each_tick_is_served_at_most_once_and_none_early(
    schedule: Schedule, seconds: int, waits: list[int]
) -> None:
    """However irregularly somebody looks: instants rise, and each is past when it is served."""
    last = now = at("2026-01-01T00:00") + timedelta(seconds=seconds)
    served: list[datetime] = []
    for wait in waits:
        now += timedelta(seconds=wait)
        plan = planned(schedule, SECRET, last, now)
        found = due(schedule, SECRET, last, now)
        assert (found is not None) == (plan <= now)
        if found:
            assert last < found.tick <= now
            assert found.at <= now
            assert not served or found.tick > served[-1]
            assert due(schedule, SECRET, now, now) is None
            served.append(found.tick)
            last = now


@pytest.mark.parametrize(
    ("schedule", "window", "problem"),
    [
        ("cron(0 3 * * ? *)", DAY, "reaches the next"),  # 23 hours, on one night in March
        ("cron(0 3 ? * MON,TUE *)", 25 * HOUR, "reaches the next"),
        ("cron(0 0 L,1 * ? *)", HOUR, "day-of-month"),
        ("cron(0/30 * * * ? *)", HOUR, "reaches the next"),
        ("rate(6 hours)", 7 * HOUR, "reaches the next"),
        ("rate(6 hours)", timedelta(), "at least a second"),
        ("rate(6 hours)", -HOUR, "at least a second"),
    ],
)
def test_windows_that_overlap_are_refused(schedule: str, window: timedelta, problem: str) -> None:
    """A day of 23 hours counts."""
    with pytest.raises(InvalidRequestError, match=problem):
        Schedule(schedule, "Europe/Zurich", window=window)


def test_a_window_may_reach_up_to_the_next_tick() -> None:
    """23 hours where a clock is changed, 24 where none is."""
    for zone, hours in (("Europe/Zurich", 23), ("UTC", 24)):
        schedule = Schedule("cron(0 3 * * ? *)", zone, window=hours * HOUR)
        assert shortest_interval(schedule) == hours * HOUR


def test_a_maximum_age_that_the_schedule_exceeds_is_refused() -> None:
    """31 days from one first of the month to the next, and the window in which it may be late."""
    with pytest.raises(InvalidRequestError, match="31 days, 1:00:00 old"):
        Schedule("cron(0 3 1 * ? *)", window=HOUR, max_age=31 * DAY)
    Schedule("cron(0 3 1 * ? *)", window=HOUR, max_age=31 * DAY + HOUR)
    with pytest.raises(InvalidRequestError, match="max_age"):
        Schedule("rate(90 days)", max_age=89 * DAY)


def test_importing_schedules_loads_no_cron_library() -> None:
    """A rate needs none, and an application that reads secrets even less."""
    program = (
        "import sys; from strongroom.rotation.schedule import Schedule; Schedule('rate(1 day)')\n"
        "assert 'cronsim' not in sys.modules\n"
        "sys.modules['cronsim'] = None\n"
        "try: Schedule('cron(0 3 * * ? *)')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("BackendNotInstalledError")
    assert "pip install 'strongroom[rotation]'" in done.stdout
