"""From strongroom.toml and the command line alone to another password of a real PostgreSQL user."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

import strongroom
from strongroom.cli.main import cli
from tests.canary import CANARY, assert_no_canary
from tests.servers.postgres import ADMIN, Postgres
from tests.unit.cli_support import Result
from tests.unit.ledger_support import empty_database

NAME = "db/password"
OLD = f"{CANARY}-old"
PROGRAM = [str(Path(sys.executable).with_name("strongroom"))]


class Machine:
    """A folder with a configuration, a local store, and a user of the server."""

    def __init__(self, folder: Path, server: Postgres, ledger: str):
        self.folder, self.server = folder, server
        self.user = server.new_role(OLD)
        (folder / "db").mkdir(mode=0o700)
        (folder / "strongroom.toml").write_text(
            f'[store.prod]\nurl = "local://{folder}/db/s.db?create=keyset"\n'
            f'options = {{ keyset = "{folder}/keyset.json" }}\ncache = false\n'
            f'[rotation.db]\nnames = ["{NAME}"]\nrotator = "postgresql"\n'
            f'options = {{ host = "127.0.0.1", port = {server.port}, user = "{self.user}" }}\n'
            f'schedule = {{ every = "rate(1 day)" }}\n[ledger]\n{ledger}\n'
        )
        with strongroom.open("prod", config=folder / "strongroom.toml") as store:
            store.put(NAME, OLD)

    def run(self, *args: str) -> Result:
        """Run ``strongroom ARGS`` here, in this process."""
        done = CliRunner(env={"LEDGER_PASSWORD": self.server.password}).invoke(
            cli, ["--config", str(self.folder / "strongroom.toml"), *args], prog_name="strongroom"
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert_no_canary(done.stdout + done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    def value(self) -> str:
        """What a program reads."""
        with strongroom.open("prod", config=self.folder / "strongroom.toml") as store:
            return store.get(NAME).value.reveal_text()

    def accepts(self, password: str) -> bool:
        """Whether the server lets the user in with it."""
        try:
            psycopg.connect(self.server.where, user=self.user, password=password).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def serving(machine: Machine) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A worker that looks every second, and the port of its health."""
    argv = [*PROGRAM, "rotation", "serve", "--every", "1", "--threads", "2", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=machine.folder,
        env={**os.environ, "LEDGER_PASSWORD": machine.server.password},
    ) as worker:
        assert worker.stderr
        try:
            found = re.search(r"127\.0\.0\.1:(\d+)", worker.stderr.readline())
            assert found
            yield worker, int(found[1])
        finally:
            worker.kill()


@pytest.fixture
def on_sqlite(tmp_path: Path, postgres_server: Postgres) -> Machine:
    """The ledger of one machine."""
    return Machine(tmp_path, postgres_server, f'url = "sqlite://{tmp_path}/ledger.db"')


def test_a_password_is_rotated_on_request(on_sqlite: Machine) -> None:
    """The new one is let in, the old one is not, and `status` says that it is done."""
    assert on_sqlite.accepts(on_sqlite.value())
    done = on_sqlite.run("rotation", "start", NAME)
    assert (done.code, f"prod:{NAME}: done" in done.out, done.err) == (0, True, "")
    assert on_sqlite.value() != OLD
    assert on_sqlite.accepts(on_sqlite.value())
    assert not on_sqlite.accepts(OLD)
    assert f"prod:{NAME}  done" in on_sqlite.run("rotation", "status", NAME).out


def test_a_worker_rotates_what_is_due_and_drains(tmp_path: Path, postgres_server: Postgres) -> None:
    """Its ledger is a PostgreSQL database, as several machines share it; SIGTERM ends it with 0."""
    database = "ledger_of_a_worker"
    login = empty_database(postgres_server, database)
    machine = Machine(
        tmp_path,
        postgres_server,
        f'url = "{login.url}"\nuser = "{ADMIN}"\npassword = "env://LEDGER_PASSWORD"',
    )
    assert "begun 0" in machine.run("rotation", "tick").out
    with closing(postgres_server.admin(database)) as connection:
        connection.execute("UPDATE strongroom_secret SET next_due = next_due - interval '2 days'")
    with serving(machine) as (worker, port):
        metrics = ""
        while 'strongroom_rotation_steps_total{step="done",outcome="ok"} 1' not in metrics:
            metrics = _asked(port, "/metrics")
        assert _asked(port, "/healthz") == "ok\n"
        worker.send_signal(signal.SIGTERM)
        log, said = worker.communicate(timeout=60)
    assert (worker.returncode, "nothing is under way here" in said) == (0, True)
    assert [line.split("  ")[1:4] for line in log.splitlines()][-1] == [f"prod:{NAME}", "done", "ok"]
    assert_no_canary(log + said)
    assert machine.value() != OLD
    assert machine.accepts(machine.value())


def _asked(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: Any = answer.read().decode()
        return str(text)
