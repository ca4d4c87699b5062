"""From strongroom.toml and the command line alone to a replica that follows its source, in processes."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import strongroom
from strongroom.cli.main import cli
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.replication.marks import file_mark
from tests.canary import CANARY, assert_no_canary
from tests.rotation_target import Target, credential
from tests.unit.cli_support import Result

PROGRAM = [str(Path(sys.executable).with_name("strongroom"))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


class Machine:
    """A folder with a configuration, and two local stores: a source and its replica."""

    def __init__(self, folder: Path):
        self.folder = folder
        for alias in ("eu", "us"):
            (folder / alias).mkdir(mode=0o700)
        self.write()

    def write(self, more: str = "", *, eu: str = "portable", us: str = "portable") -> None:
        """The configuration, and how each store's secrets are named."""
        stores = "".join(
            f'[store.{alias}]\nnames = "{names}"\nurl = "local://{self.folder}/{alias}/s.db?create=keyset"\n'
            f'options = {{ keyset = "{self.folder}/{alias}.json" }}\ncache = false\n'
            for alias, names in (("eu", eu), ("us", us))
        )
        replica = '[replica.us]\nsource = "eu"\ndomain = "prod"\n'
        (self.folder / "strongroom.toml").write_text(f'default = "eu"\n{stores}{replica}{more}')

    def run(self, *args: str) -> Result:
        """Run ``strongroom ARGS`` here, in this process."""
        done = CliRunner().invoke(
            cli, ["--config", str(self.folder / "strongroom.toml"), *args], prog_name="strongroom"
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert_no_canary(done.stdout + done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    def put(self, name: str, value: str) -> None:
        """As another program writes at the source."""
        with strongroom.open("eu", config=self.folder / "strongroom.toml") as store:
            store.put(name, value)

    def held(self, name: str) -> str | None:
        """What the replica's readers get."""
        with strongroom.open("us", config=self.folder / "strongroom.toml") as store:
            try:
                return store.get(name).value.reveal_text()
            except SecretNotFoundError:
                return None

    @contextmanager
    def working(self, *args: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """``strongroom ARGS`` that listens, and the port."""
        argv = [*PROGRAM, *args, "--listen", "127.0.0.1:0"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            argv, text=True, cwd=self.folder, env=ENVIRONMENT, stdout=pipe, stderr=pipe
        ) as worker:
            assert worker.stderr
            try:
                found = re.search(r"127\.0\.0\.1:(\d+)", worker.stderr.readline())
                assert found
                yield worker, int(found[1])
            finally:
                worker.kill()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _brought(worker: subprocess.Popen[str], action: str) -> None:
    """Wait until the process has told that it did that at the replica."""
    assert worker.stdout
    wanted = ["us", "db/password", action, "ok"]
    for line in worker.stdout:
        assert_no_canary(line)
        if line.rstrip().split("  ")[1:] == wanted:
            return
    raise AssertionError(f"the process ended before its replica was written: {action}")


def _metrics(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return list(answer.read().decode().splitlines())


def _ended(worker: subprocess.Popen[str]) -> None:
    worker.send_signal(signal.SIGTERM)
    log, said = worker.communicate(timeout=30)
    assert (worker.returncode, "nothing is under way here" in said) == (0, True)
    assert_no_canary(log + said)


def test_a_replica_is_planned_synced_and_shown(machine: Machine) -> None:
    """It is written by nobody else, says whose it is, and is read when the source and its key are gone."""
    machine.put("db/password", f"{CANARY}-1")
    assert machine.run("replica", "plan").code == 10
    assert machine.run("replica", "sync").out.startswith("us: 1 written")
    assert machine.held("db/password") == f"{CANARY}-1"
    assert machine.run("replica", "sync", "--json").json["replicas"]["us"]["done"] == []
    assert (machine.run("replica", "plan").code, machine.run("replica", "status").code) == (0, 0)
    assert "replica  us: same\n" in machine.run("show", "db/password").out
    machine.put("db/password", f"{CANARY}-2")
    [copy] = machine.run("show", "db/password", "--json").json["replicas"]
    assert (copy["replica"], copy["action"], copy["behind"]) == ("us", "update", 1)
    with (
        strongroom.open("us", config=machine.folder / "strongroom.toml") as store,
        pytest.raises(UnsupportedOperationError, match="replica of eu"),
    ):
        store.put("db/password", f"{CANARY}-2")
    (machine.folder / "eu.json").unlink()
    assert machine.held("db/password") == f"{CANARY}-1"


def test_names_of_the_providers_own_are_replicated_where_both_stores_have_them(machine: Machine) -> None:
    """By themselves too; a store of portable names could not tell two of them apart."""
    machine.write(eu="native", us="native")
    machine.put("Team/DbPassword", CANARY)
    assert machine.run("replica", "sync", "Team/DbPassword").out.startswith("us: 1 written")
    assert machine.held("Team/DbPassword") == CANARY
    machine.write(eu="native")
    refused = machine.run("replica", "sync")
    assert (refused.code, "eu has native names, us portable ones" in refused.err) == (2, True)


def test_a_sync_of_an_embedded_source_that_has_nothing_to_write_leaves_its_file_alone(
    machine: Machine,
) -> None:
    """Or whoever follows its changes would follow itself for ever."""
    machine.put("db/password", CANARY)
    machine.run("replica", "sync")
    mark = file_mark(f"local://{machine.folder}/eu/s.db")
    assert mark
    before = mark()
    assert machine.run("replica", "sync").code == 0
    assert mark() == before


def test_a_process_that_watches_brings_what_others_write_within_moments(machine: Machine) -> None:
    """Another process's writes and deletions, long before it would look at everything again."""
    machine.put("db/password", f"{CANARY}-1")
    with machine.working("replica", "sync", "--watch", "--every", "3600") as (worker, port):
        _brought(worker, "create")
        machine.put("db/password", f"{CANARY}-2")
        _brought(worker, "update")
        assert machine.held("db/password") == f"{CANARY}-2"
        assert machine.run("delete", "db/password").code == 0
        _brought(worker, "delete")
        assert machine.held("db/password") is None
        assert 'strongroom_replica_writes_total{replica="us",outcome="ok"} 3' in _metrics(port)
        _ended(worker)


def test_a_worker_of_rotations_follows_too(machine: Machine) -> None:
    """What it rotates is at the replica next, by one process."""
    target, first = Target(machine.folder / "target.db"), credential("app")
    target.issue("app", first)
    machine.write(
        f'[rotation.db]\nnames = ["db/password"]\nrotator = "tests.unit.rotation_cli_support:FileUser"\n'
        f'options = {{ path = "{machine.folder}/target.db" }}\nschedule = {{ every = "rate(1 day)" }}\n'
        f'[ledger]\nurl = "sqlite://{machine.folder}/ledger.db"\n'
    )
    machine.put("db/password", first.reveal_text())
    assert machine.run("rotation", "tick").code == 0
    with closing(sqlite3.connect(machine.folder / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE strongroom_secret SET next_due = next_due - 172800000000")
    arguments = ("rotation", "serve", "--every", "1", "--threads", "1", "--replicas")
    with machine.working(*arguments) as (worker, port):
        _brought(worker, "create")
        if machine.held("db/password") == first.reveal_text():
            _brought(worker, "update")
        rotated = machine.held("db/password")
        assert rotated not in (None, first.reveal_text())
        assert 'strongroom_replica_quarantined{replica="us"} 0' in _metrics(port)
        _ended(worker)
