"""``rotation plan``: the coming year in the zone of each schedule and in UTC, and what is overdue."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.memory import MemoryBackend
from strongroom.rotation.ledger import State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.planning import Outlook, outlook
from strongroom.rotation.policy import Policy, secret_of
from strongroom.rotation.rotators.random_value import RandomRotator
from strongroom.rotation.schedule import Schedule, next_after
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.unit.cli_support import Result

WEEKLY = 'schedule = { every = "cron(0 3 ? * SUN *)", timezone = "Europe/Zurich", window = "2h" }'
MONTHLY = 'schedule = { every = "rate(30 days)" }'
Plan = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two rotations, one by the calendar and one by a rate, and one on request."""
    (tmp_path / "strongroom.toml").write_text(
        '[store.prod]\nurl = "memory://plan"\n'
        f'[rotation.db]\nnames = ["db/password"]\nrotator = "random"\n{WEEKLY}\n'
        f'[rotation.api]\nnames = ["api/key", "api/other"]\nrotator = "random"\n{MONTHLY}\n'
        '[rotation.hand]\nnames = ["rare/key"]\nrotator = "random"\n'
        f'[ledger]\nurl = "sqlite://{tmp_path}/ledger.db"\n'
    )
    return tmp_path


@pytest.fixture
def plan(place: Path) -> Plan:
    """Runs the command on that configuration."""

    def run(*args: str) -> Result:
        words = ["--config", str(place / "strongroom.toml"), "rotation", "plan", *args]
        done = CliRunner().invoke(cli, words, prog_name="strongroom")
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    return run


@pytest.fixture
def ledger(place: Path) -> Iterator[SQLiteLedger]:
    """What the configuration's engine would remember."""
    with closing(SQLiteLedger(place / "ledger.db")) as ledger:
        yield ledger


def test_a_year_of_every_secret(plan: Plan) -> None:
    """52 or 53 Sundays and a rate every 30 days, all in UTC; nothing is due yet."""
    done = plan("--json")
    weekly, monthly, _, by_hand = done.json["secrets"]
    sundays = [datetime.fromisoformat(text) for text in weekly["instants"]]
    assert done.code == 0
    assert len(sundays) in (52, 53)
    assert {instant.utcoffset() for instant in sundays} == {timedelta()}
    assert len(monthly["instants"]) == 12
    assert (by_hand["every"], by_hand["next"], by_hand["instants"]) == (None, None, [])
    assert weekly["next"] == weekly["instants"][0]
    assert not any(one["overdue"] for one in done.json["secrets"])


def test_each_instant_is_told_in_its_zone_and_in_utc(plan: Plan) -> None:
    """Between 03:00 and 04:30 on a Sunday in Zurich, whatever its clock is set to, and the same in UTC."""
    lines = plan("db/password", "--show", "60").out.splitlines()
    found = [re.search(r"Sun (\S+ \S+) (CES?T) +(\S+ \S+)Z", line) for line in lines[1:]]
    assert len(found) in (52, 53)
    for one in filter(None, found):
        local, utc = (datetime.fromisoformat(text) for text in (one[1], one[3]))
        assert local - utc == timedelta(hours=2 if one[2] == "CEST" else 1)
        assert (3, 0) <= (local.hour, local.minute) < (4, 30)
    assert all(found)
    assert {one[2] for one in found if one} == {"CET", "CEST"}


def test_only_so_many_are_shown(plan: Plan) -> None:
    """The rest is counted; --days and --timezone are as they say."""
    done = plan("db/password", "--show", "2", "--timezone", "Asia/Tokyo")
    assert (len(done.out.splitlines()), "JST" in done.out) == (4, True)
    assert re.search(r"5[01] more until 20", done.out)
    assert len(plan("db/password", "--days", "7", "--json").json["secrets"][0]["instants"]) == 1
    assert "on request" in plan("rare/key").out


def test_secrets_that_nothing_spreads_are_told(plan: Plan) -> None:
    """On stderr, or in the document; the plan stands all the same."""
    told = plan()
    assert (told.code, told.err.count("\n")) == (0, 1)
    assert "warning: prod:api/key: 2 secrets are due at one moment" in told.err
    assert [one["secret"] for one in plan("--json").json["warnings"]] == ["prod:api/key"]


def test_what_is_overdue_needs_action(plan: Plan, ledger: SQLiteLedger) -> None:
    """Exit code 10, and since when."""
    ledger.plan("prod:api/key", ledger.now() - timedelta(days=3), expected=None)
    told, document = plan("api/key"), plan("--json")
    assert (told.code, document.code) == (10, 10)
    assert "overdue since" in told.out
    assert [one["name"] for one in document.json["secrets"] if one["overdue"]] == ["api/key"]
    assert plan("db/password").code == 0
    assert plan("--quiet").out == ""


@pytest.mark.parametrize(
    ("args", "problem"),
    [(("no/such",), "no [rotation.LABEL] rotates it"), (("--timezone", "Mars/Olympus"), "no time zone")],
)
def test_what_is_not_there_is_said(plan: Plan, args: tuple[str, ...], problem: str) -> None:
    """Exit code 2, in a line."""
    done = plan(*args)
    assert (done.code, problem in done.err, done.out) == (2, True, "")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (WEEKLY.replace("SUN", "SUN#6"), "day-of-week"),
        (WEEKLY.replace("2h", "8d"), "reaches the next tick"),
        (WEEKLY.replace("? * SUN", "31 2 ?"), "no date that exists"),
        ('schedule = { every = "rate(1 hour)" }', "until the next rotation"),
        (f'grace = "30m"\n{WEEKLY}', "shorter than cache 1:00:00"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(place: Path, plan: Plan, wrong: str, problem: str) -> None:
    """Exit code 2: nothing of it is planned, so that nobody relies on it."""
    path = place / "strongroom.toml"
    path.write_text(path.read_text().replace(WEEKLY, wrong))
    done = plan()
    assert (done.code, problem in done.err, done.out) == (2, True, "")


class Scene:
    """One policy, a ledger in memory, and a clock."""

    def __init__(self, schedule: Schedule) -> None:
        self.clock = FakeClock(datetime(2026, 11, 2, 12, tzinfo=UTC))
        self.ledger = MemoryLedger(self.clock)
        store = SecretStore(MemoryBackend(), cache=None, alias="prod")
        self.policy = Policy("db/password", store, RandomRotator(), schedule)
        self.secret = secret_of(self.policy)

    def look(self) -> Outlook:
        [found] = outlook([self.policy], self.ledger)
        return found

    def rotate(self, state: State = State.DONE) -> str:
        """Begin one, and let it be in this state."""
        rotation_id = str(uuid.uuid4())
        self.ledger.begin(rotation_id, self.secret, base=None)
        path = [
            State.CREATED,
            State.SET,
            State.TESTED,
            State.PROMOTED,
            State.GRACE,
            State.REVOKING,
            State.DONE,
        ]
        claimed = self.ledger.claim(rotation_id)
        assert claimed
        for step in path[: path.index(state) + 1] if state in path else [state]:
            claimed = self.ledger.record(claimed, step)
        return rotation_id


NIGHTLY = Schedule("cron(0 3 * * ? *)", window=timedelta(hours=2))


def test_a_window_that_was_missed_is_overdue_until_it_is_served() -> None:
    """The next chance is planned, and it says that the last one was lost."""
    scene = Scene(NIGHTLY)
    scene.rotate()
    assert scene.look().since is None
    scene.clock.advance(86_400)
    missed = scene.look()
    assert missed.last
    assert missed.next
    assert missed.since == next_after(NIGHTLY, scene.secret, missed.last)
    assert (missed.overdue, missed.next > scene.clock.now(), missed.reason) == (True, True, "")
    scene.rotate()
    assert not scene.look().overdue


def test_a_rotation_under_way_serves_what_is_past() -> None:
    """Nothing is overdue while it goes on; ORPHANED, somebody has to look."""
    scene = Scene(NIGHTLY)
    rotation_id = scene.rotate(State.SET)
    scene.clock.advance(86_400)
    found = scene.look()
    assert found.open
    assert (found.open.id, found.overdue) == (rotation_id, False)
    scene.ledger.move(rotation_id, [State.SET], State.ORPHANED)
    assert scene.look().overdue


def test_what_comes_begins_at_each_own_instant() -> None:
    """The plan's later instants are those that the schedule itself says, until the day asked for."""
    scene = Scene(NIGHTLY)
    first = scene.look().next
    assert first
    coming = list(scene.look().coming(first + timedelta(days=9, hours=3)))
    assert coming[:2] == [first, next_after(NIGHTLY, scene.secret, first)]
    assert len(coming) == 10
    assert all((later - earlier) > timedelta(hours=22) for earlier, later in pairwise(coming))


def test_what_the_ledger_remembers_is_what_is_planned() -> None:
    """An engine's own plan stands, as long as it is to come."""
    scene = Scene(NIGHTLY)
    later = scene.clock.now() + timedelta(days=3)
    scene.ledger.plan(scene.secret, later, expected=None)
    assert scene.look().next == later
