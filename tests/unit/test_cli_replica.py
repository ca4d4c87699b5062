"""The replica commands: what they print, ask and end with, over replicators that answer as told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.cli.options import Options
from strongroom.cli.replica_watching import tell
from strongroom.config import Config
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.replication.member import Member
from strongroom.replication.plan import Action, Plan, Report, Status, Step
from strongroom.replication.record import Record
from strongroom.toml.replicas import ReplicaEntry
from tests.canary import assert_no_canary
from tests.unit.cli_support import Result

T = TypeVar("T")
DOWN = UnavailableError("prod-us does not answer", operation="list")


def _record(epoch: int, seq: int) -> Record:
    return Record(epoch, seq, "a" * 32, "d" * 32)


CHANGED = Step("db/password", Action.UPDATE, "newer at the source", _record(1, 7), _record(1, 5))
NEW = Step("db/user", Action.CREATE, record=_record(1, 1))
AS_IT_SHOULD_BE = Step("db/host", Action.SAME, record=_record(1, 2), held=_record(1, 2))
STOPPED = Step("db/odd", Action.QUARANTINE, "two values have one place", _record(1, 3), _record(1, 3))


@dataclass
class Replica:
    """Answers with what a test gave it; an error is raised."""

    alias: str
    plans: Plan | SecretStoreError = field(default_factory=lambda: Plan((AS_IT_SHOULD_BE,), 1))
    reports: Report | SecretStoreError = field(default_factory=Report)
    stands: Status | SecretStoreError | None = None
    asked: list[tuple[str, Sequence[str] | None]] = field(default_factory=list)
    max_lag: timedelta | None = None

    @property
    def source(self) -> Member:
        return Member("prod-eu", MemoryBackend(), "prod")

    @property
    def replica(self) -> Member:
        return Member(self.alias, MemoryBackend(), "prod")

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        return self._answer("plan", names, self.plans)

    def sync(
        self, names: Sequence[str] | None = None, progress: Callable[[int, int], object] | None = None
    ) -> Report:
        return self._answer("sync", names, self.reports)

    def adopt(self, names: Sequence[str]) -> Report:
        return self._answer("adopt", names, self.reports)

    def status(self) -> Status:
        return self._answer("status", None, self.stands or Status(self.alias, "prod-eu", 1, 3, 3))

    def _answer(self, what: str, names: Sequence[str] | None, answer: T | SecretStoreError) -> T:
        self.asked.append((what, names))
        if isinstance(answer, SecretStoreError):
            raise answer
        return answer


class Run:
    """Runs ``strongroom replica ARGS`` with these replicas."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.replicas: dict[str, Replica] = {}

        @contextmanager
        def replicas(config: Config, **_: Any) -> Iterator[dict[str, Replica]]:
            yield {alias: self.replicas[alias] for alias in config.replicas}

        monkeypatch.setattr("strongroom.replicas.replicas", replicas)
        monkeypatch.setattr("strongroom.cli.replicas.configuration", lambda _: self.config())

    def config(self) -> Config:
        """What the file says."""
        return Config(replicas={alias: ReplicaEntry(alias, "prod-eu", "prod") for alias in self.replicas})

    def given(self, *replicas: Replica) -> None:
        """What the configuration names."""
        self.replicas = {one.alias: one for one in replicas}

    def __call__(self, *args: str) -> Result:
        done = CliRunner().invoke(cli, ["replica", *args], prog_name="strongroom")
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert_no_canary(done.stdout + done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(monkeypatch)


def test_a_plan_shows_what_there_is_to_do_and_where_both_ends_stand(run: Run) -> None:
    """Epoch and sequence, and why; what is as it should be is counted, and shown with --all."""
    run.given(Replica("prod-us", Plan((AS_IT_SHOULD_BE, CHANGED, NEW, STOPPED), 1)))
    done = run("plan")
    assert (done.code, done.err) == (10, "")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["replica", "secret", "action", "source", "held"]
    assert lines[1] == ["prod-us", "db/password", "update", "1.7", "1.5", "newer", "at", "the", "source"]
    assert lines[2] == ["prod-us", "db/user", "create", "1.1", "-"]
    assert lines[3][:5] == ["prod-us", "db/odd", "quarantine", "1.3", "1.3"]
    assert done.out.splitlines()[-1] == "prod-us: same 1, update 1, create 1, quarantine 1"
    assert "db/host" in run("plan", "--all").out


def test_a_plan_in_json_has_every_step_and_neither_digest_nor_write_id(run: Run) -> None:
    """A digest is keyed, and still nothing for a log."""
    run.given(Replica("prod-us", Plan((CHANGED, AS_IT_SHOULD_BE), 1)))
    found = run("plan", "--json")
    [step] = found.json["replicas"]["prod-us"]["steps"]
    assert (step["record"], step["held"], step["behind"]) == (
        {"epoch": 1, "seq": 7},
        {"epoch": 1, "seq": 5},
        2,
    )
    assert (found.code, "dddd" in found.out, "aaaa" in found.out) == (10, False, False)
    assert found.json["replicas"]["prod-us"]["counts"] == {"update": 1, "same": 1}


def test_nothing_to_do_ends_with_nought(run: Run) -> None:
    """For plan, sync and status alike."""
    run.given(Replica("prod-us"))
    assert run("plan").out == "prod-us: same 1\n"
    assert [run(command).code for command in ("plan", "sync", "status")] == [0, 0, 0]


def test_one_replica_is_named_by_store_and_a_wrong_name_gets_the_right_ones(run: Run) -> None:
    """Without it all of them are meant."""
    us, dr = Replica("prod-us"), Replica("prod-dr")
    run.given(us, dr)
    assert run("plan", "db/a", "--store", "prod-dr").code == 0
    assert (us.asked, dr.asked) == ([], [("plan", ("db/a",))])
    wrong = run("plan", "--store", "prod-er")
    assert (wrong.code, "prod-dr, prod-us" in wrong.err) == (2, True)


def test_a_configuration_without_replicas_is_told_what_to_write(run: Run) -> None:
    """As every command says that lacks its table."""
    failed = run("sync")
    assert (failed.code, "[replica" in failed.err) == (2, True)


def test_a_replica_that_is_down_does_not_hide_the_others(run: Run) -> None:
    """What the others say is printed, and the exit code is that of a partial failure; alone, its own."""
    run.given(Replica("prod-us", DOWN, DOWN, DOWN), Replica("prod-dr", Plan((NEW,), 1)))
    for command in ("plan", "sync", "status"):
        done = run(command)
        assert (done.code, "prod-dr" in done.out, "1 of 2 replicas" in done.err) == (8, True, True)
        assert "prod-us: prod-us does not answer" in done.err
        assert run(command, "--store", "prod-us").code == 6


def test_a_sync_says_what_it_wrote_and_what_is_left(run: Run) -> None:
    """Why each failed on stderr; 8 where something failed, 10 where a person is needed."""
    failed = {"db/x": PermissionDeniedError("denied", name="db/x", hint="grant it")}
    replica = Replica("prod-us", reports=Report((CHANGED, NEW), failed, (), 0.25))
    run.given(replica)
    done = run("sync", "db/password", "db/user", "db/x")
    assert done.out == "prod-us: 2 written, 1 failed, in 0.2 s\n"
    assert (done.code, "db/x" in done.err, "grant it" in done.err) == (8, True, True)
    assert replica.asked == [("sync", ("db/password", "db/user", "db/x"))]
    late = Step("db/y", Action.REFUSED, "not tried: the store does not answer", tried=False)
    replica.reports = Report((), failed, (late,))
    done = run("sync")
    assert (done.code, "prod-us: 1 more: not tried: the store does not answer" in done.err) == (8, True)
    replica.reports = Report((), failed, (STOPPED, late))
    done = run("sync")
    assert "0 written, 1 failed, 1 not tried, 1 wait for a person" in done.out
    assert (done.code, "db/odd: quarantine: two values have one place" in done.err) == (10, True)


def test_a_sync_in_json_is_one_document(run: Run) -> None:
    """Errors by name, steps as the plan has them."""
    run.given(Replica("prod-us", reports=Report((NEW,), {"db/x": DOWN}, (STOPPED,), 0.25)))
    found = run("sync", "--json").json["replicas"]["prod-us"]
    assert [step["name"] for step in found["done"]] == ["db/user"]
    assert (found["failed"]["db/x"]["error"], found["seconds"]) == ("UnavailableError", 0.25)
    assert found["skipped"][0]["action"] == "quarantine"


def test_a_dry_run_of_a_sync_is_a_plan(run: Run) -> None:
    """Nothing is written."""
    replica = Replica("prod-us", Plan((NEW,), 1))
    run.given(replica)
    done = run("sync", "--dry-run")
    assert (done.code, "create 1" in done.out, replica.asked) == (0, True, [("plan", None)])


@pytest.mark.parametrize(
    "args", [["--watch", "db/a"], ["--watch", "--dry-run"], ["--every", "5"], ["--listen", "127.0.0.1:0"]]
)
def test_options_that_say_nothing_together_are_refused(run: Run, args: list[str]) -> None:
    """Before anything is opened."""
    replica = Replica("prod-us")
    run.given(replica)
    assert (run("sync", *args).code, replica.asked) == (2, [])


STATUS = Status(
    replica="prod-us",
    source="prod-eu",
    epoch=2,
    names=10,
    in_sync=7,
    missing=1,
    lag_versions=5,
    lag=timedelta(seconds=83),
    drift=4,
    quarantined=2,
    foreign=1,
    diverged=1,
    last_sync=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
)


def test_status_says_how_far_behind_each_is_and_what_a_person_is_to_do(run: Run) -> None:
    """A line for each replica, and one for each thing that only a person can end."""
    run.given(Replica("prod-us", stands=STATUS))
    done = run("status")
    lines = done.out.splitlines()
    assert done.code == 10
    cells = ["prod-us", "prod-eu", "2", "7 of 10", "1", "5", "83 s", "needs a person"]
    assert re.split(" {2,}", lines[1]) == cells
    for said in (
        "1 ahead",
        "2 quarantined",
        "1 foreign",
        "1 diverged",
    ):
        assert any(line.startswith(f"prod-us: {said}") for line in lines)
    assert "prod-us: last synced 2026-01-02 03:04Z" in lines


def test_status_in_json_has_every_number(run: Run) -> None:
    """Lag in seconds, null where there is none."""
    run.given(Replica("prod-us", stands=STATUS), Replica("prod-dr"))
    found = run("status", "--json").json["replicas"]
    assert (found["prod-us"]["lag"], found["prod-us"]["needs_action"]) == (83.0, True)
    assert (found["prod-dr"]["lag"], found["prod-dr"]["needs_action"]) == (None, False)
    assert found["prod-us"]["last_sync"] == "2026-01-02T03:04:00+00:00"


@pytest.mark.parametrize(
    ("seconds", "code", "state"), [(None, 10, "late"), (82, 10, "late"), (84, 0, "behind")]
)
def test_a_replica_that_is_behind_needs_action_once_it_is_late(
    run: Run, seconds: int | None, code: int, state: str
) -> None:
    """A source that is written all day always has one that is a little behind; its max_lag says how long."""
    behind = Status("prod-us", "prod-eu", 1, 3, 2, lag_versions=1, lag=timedelta(seconds=83))
    most = None if seconds is None else timedelta(seconds=seconds)
    run.given(Replica("prod-us", stands=behind, max_lag=most))
    done = run("status")
    assert (done.code, done.out.split()[-1]) == (code, state)


def test_adopting_asks_and_takes_no_answer_from_a_pipe(run: Run) -> None:
    """What the replica holds is lost by it."""
    replica = Replica("prod-us", reports=Report((CHANGED,)))
    run.given(replica)
    refused = run("adopt", "db/password")
    assert (refused.code, "--yes" in refused.err, replica.asked) == (2, True, [])
    done = run("adopt", "db/password", "--yes")
    assert (done.code, replica.asked) == (0, [("adopt", ("db/password",))])
    assert "1 written" in done.out


def test_adopting_needs_to_know_at_which_replica(run: Run) -> None:
    """A name may be foreign at one of them and long replicated at another."""
    run.given(Replica("prod-us"), Replica("prod-dr"))
    refused = run("adopt", "db/password", "--yes")
    assert (refused.code, "prod-dr, prod-us" in refused.err) == (2, True)


def test_errors_of_replicas_are_one_line_of_json(run: Run) -> None:
    """On stderr, with what each of them said."""
    run.given(Replica("prod-us", DOWN), Replica("prod-dr"))
    failed = run("plan", "--json")
    assert json.loads(failed.err)["errors"]["prod-us"]["error"] == "UnavailableError"
    assert list(failed.json["replicas"]) == ["prod-dr"]


def test_a_log_has_a_line_for_each_write_and_trouble_is_told_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Writes on stdout, with --json one of JSON each; what a person should know on stderr."""
    report = Report((CHANGED,), {"db/x": DOWN}, (STOPPED,))
    tell(Options(), "prod-us", report)
    tell(Options(json=True, quiet=False), "prod-us", Report((NEW,)))
    tell(Options(), "prod-us", DOWN)
    tell(Options(), "prod-us", Report())
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split("  ")[1:] == ["prod-us", "db/password", "update", "ok"]
    assert lines[1].split("  ")[1:] == ["prod-us", "db/x", "UnavailableError"]
    line = json.loads(lines[2])
    assert (line["secret"], line["action"], line["outcome"]) == ("db/user", "create", "ok")
    assert said.err.splitlines() == [
        "prod-us: db/x: prod-us does not answer; tried again",
        "prod-us: db/odd: quarantine: two values have one place",
        "prod-us: list: prod-us does not answer; tried again",
        "prod-us: up to its source again",
    ]


def test_a_quiet_log_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """As everywhere."""
    tell(Options(quiet=True), "prod-us", Report((CHANGED,), {"db/x": DOWN}, (STOPPED,)))
    assert capsys.readouterr() == ("", "")
