"""What a pass begins by schedule: once, in its window, and not by a clock that has leapt ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import secret_of
from strongroom.rotation.schedule import Schedule
from strongroom.testing.clock import FakeClock
from tests.rotation_scene import NAME, Scene
from tests.rotation_target import credential

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NIGHTLY = Schedule("cron(0 3 * * ? *)", window=2 * HOUR)
WEEKLY = Schedule("cron(0 3 ? * SUN *)", window=2 * HOUR, max_age=10 * DAY)
MONTHLY = Schedule("rate(30 days)")


class Fleet(Scene):
    """A scene whose worker looks every quarter of an hour."""

    def looks(
        self, span: timedelta, every: timedelta = HOUR / 4, worker: Engine | None = None
    ) -> list[Entry]:
        """What is begun meanwhile, by one worker or by a new process in each pass."""
        begun: list[Entry] = []
        until = self.clock.now() + span
        while self.clock.now() < until:
            begun += (worker or self.another()).tick().begun
            self.clock.advance(every.total_seconds())
        return begun

    def outcomes(self, operation: str) -> list[str]:
        return [str(event.outcome) for event in self.heard.events if event.operation == operation]


def fleet(folder: Path, schedule: Schedule) -> Fleet:
    return Fleet(folder, schedule=schedule)


@pytest.mark.parametrize(("schedule", "days", "count"), [(NIGHTLY, 5, 5), (WEEKLY, 15, 2), (MONTHLY, 65, 2)])
def test_a_process_for_each_pass_rotates_as_often_as_the_schedule_says(
    tmp_path: Path, schedule: Schedule, days: int, count: int
) -> None:
    """The same instants that one worker would begin at: each tick once, none early, none put off."""
    scene = fleet(tmp_path, schedule)
    begun = scene.looks(days * DAY, 3 * HOUR if schedule is MONTHLY else HOUR / 2)
    assert len(begun) == count
    assert len({entry.tick for entry in begun}) == count
    for entry in begun:
        assert entry.tick
        assert timedelta() <= entry.started - entry.tick <= 3 * HOUR
    assert "rotation.skipped" not in scene.heard.operations()
    assert scene.works()


def test_fifty_restarts_within_a_day_begin_nothing_early(tmp_path: Path) -> None:
    """Whatever they plan, it is the same instant, a rate after the last success."""
    scene = fleet(tmp_path, MONTHLY)
    assert len(scene.looks(31 * DAY, 6 * HOUR)) == 1
    last = scene.ledger.last_success(secret_of(scene.policy))
    assert last
    assert scene.looks(DAY, DAY / 50) == []
    assert scene.ledger.next_due(secret_of(scene.policy)) == last + 30 * DAY


@pytest.mark.parametrize("away", [DAY, 40 * DAY, 730 * DAY])
def test_a_worker_that_was_away_catches_up_once(tmp_path: Path, away: timedelta) -> None:
    """Missed nights are told of, and served by one rotation in the next window."""
    scene = fleet(tmp_path, NIGHTLY)
    scene.looks(2 * DAY)
    scene.clock.advance((away + 9 * HOUR).total_seconds())
    begun = scene.looks(DAY)
    assert len(begun) == 1
    assert begun[0].started.hour in (3, 4)
    assert scene.outcomes("rotation.skipped") == ["window closed", "missed"]


def test_whoever_looks_too_seldom_is_told_of_each_window(tmp_path: Path) -> None:
    """Once a day at noon, for a secret that never was rotated and for one that was."""
    scene = fleet(tmp_path, NIGHTLY)
    scene.clock.advance((12 * HOUR).total_seconds())
    assert scene.looks(3 * DAY, DAY) == []
    assert scene.outcomes("rotation.skipped") == ["window closed"] * 2
    scene.finish(scene.begin().id)
    assert scene.looks(3 * DAY, DAY) == []
    assert scene.outcomes("rotation.skipped")[2:] == ["window closed"] * 2


def test_too_old_is_rotated_outside_its_window_and_says_so(tmp_path: Path) -> None:
    """Two Sundays missed: at once, by day."""
    scene = fleet(tmp_path, WEEKLY)
    assert len(scene.looks(5 * DAY)) == 1
    scene.clock.advance((13 * DAY).total_seconds())
    [entry] = scene.looks(HOUR)
    assert scene.outcomes("rotation.overdue") == ["max-age"]
    assert scene.outcomes("rotation.skipped") == ["missed"]
    assert entry.started.hour not in (3, 4)


class Apart(Fleet):
    """The ledger's clock is another machine's, and can be set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, schedule=NIGHTLY)
        self.wall = FakeClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
        self.ledger = MemoryLedger(self.wall)
        self.worker = self.another()

    def nights(self, count: int) -> int:
        """How many rotations one worker begins in so many days, while both clocks go on."""
        begun = 0
        for _ in range(count * 48):
            begun += len(self.worker.tick().begun)
            for clock in (self.wall, self.clock):
                clock.advance(1800)
        return begun


@pytest.mark.parametrize("ahead", [2 * HOUR, 400 * DAY])
def test_a_clock_that_leaps_ahead_begins_nothing_and_is_told_of(tmp_path: Path, ahead: timedelta) -> None:
    """Once for each secret that it would have begun; when the clock is right again all is as before."""
    scene = Apart(tmp_path)
    assert scene.nights(2) == 2
    scene.wall.advance(ahead.total_seconds())
    assert scene.nights(2) == 0
    assert scene.outcomes("rotation.overdue") == ["clock"]
    scene.wall.advance(-ahead.total_seconds())
    assert scene.nights(2) == 2


def test_whoever_restarts_a_worker_says_that_the_clock_is_right(tmp_path: Path) -> None:
    """Then what is due begins: once."""
    scene = Apart(tmp_path)
    scene.nights(2)
    scene.wall.advance((400 * DAY).total_seconds())
    assert scene.nights(1) == 0
    scene.worker = scene.another()
    assert scene.nights(1) == 1


@pytest.mark.parametrize("back", [HOUR, 3 * DAY])
def test_a_clock_that_goes_back_begins_no_tick_again(tmp_path: Path, back: timedelta) -> None:
    """Until it is where it was, nothing; then the next night."""
    scene = Apart(tmp_path)
    assert scene.nights(4) == 4
    scene.wall.advance(-back.total_seconds())
    assert scene.nights(back // DAY) == 0
    assert scene.nights(2) == 2


def test_two_workers_whose_passes_meet_begin_a_tick_once(tmp_path: Path) -> None:
    """Each looks at once after the other, for a week of nights."""
    scene = fleet(tmp_path, NIGHTLY)
    workers = [scene.another(), scene.another()]
    begun = [
        entry
        for _ in range(7 * 24)
        for worker in workers
        for entry in scene.looks(HOUR / 2, HOUR / 2, worker)
    ]
    assert len(begun) == 7
    assert len({entry.tick for entry in begun}) == 7


@pytest.mark.parametrize("counts", [True, False])
def test_a_put_by_hand_counts_as_a_rotation_where_the_policy_says_so(tmp_path: Path, counts: bool) -> None:
    """A month from the put, not from the rotation before it; else when it was due."""
    scene = Fleet(tmp_path, schedule=MONTHLY, puts_count=counts)
    assert len(scene.looks(31 * DAY, 6 * HOUR)) == 1
    scene.looks(20 * DAY, DAY)
    scene.target.issue("app-b", renewed := credential("app-b"))
    scene.store.put(NAME, renewed)
    assert len(scene.looks(15 * DAY, 6 * HOUR)) == (0 if counts else 1)
    assert len(scene.looks(17 * DAY, 6 * HOUR)) == (1 if counts else 0)
    assert "rotation.overdue" not in scene.heard.operations()
