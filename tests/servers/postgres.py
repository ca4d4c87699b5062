"""The real PostgreSQL from Debian, with SCRAM-SHA-256 logins over loopback, in a folder of its own.

It does not run as root, so for root it becomes the user that Debian's package made, in a folder that this
user may enter.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.servers.process import free_port, running, wait_for_interrupt

ADMIN = "postgres"
_QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60", "autovacuum=off")
_numbers = itertools.count(1)


def _program(name: str) -> str:
    return str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))


def _unprivileged() -> list[str]:
    """Options of `setpriv` that become a user who may run the server."""
    return ["--reuid", ADMIN, "--regid", ADMIN, "--clear-groups"] if os.geteuid() == 0 else []


@dataclass
class Postgres:
    """A running server; connections and roles are the tests' own."""

    port: int
    password: str = field(repr=False)
    data: Path = Path()

    @property
    def where(self) -> str:
        """What a client must know beside user and password."""
        return f"host=127.0.0.1 port={self.port} dbname=postgres"

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the superuser, as another program's."""
        return psycopg.connect(
            self.where, user=ADMIN, password=self.password, dbname=database, autocommit=True
        )

    def new_role(self, password: str) -> str:
        """Make a role that may log in, and return its name."""
        role = f"app_{os.getpid()}_{next(_numbers)}"
        self._give(role, password, "CREATE ROLE {} LOGIN PASSWORD {}")
        return role

    def set_password(self, role: str, password: str) -> None:
        """Change a role's password."""
        self._give(role, password, "ALTER ROLE {} PASSWORD {}")

    def _give(self, role: str, password: str, statement: LiteralString) -> None:
        """With a verifier made here: the password in clear would stand in the server's log."""
        with self.admin() as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            connection.execute(sql.SQL(statement).format(sql.Identifier(role), verifier.decode()))

    def kill(self) -> None:
        """End it as a power cut would."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def promote(self) -> None:
        """Of a standby: take writes; returns once it does."""
        with self.admin() as connection:
            assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)

    def sessions(self, role: str) -> int:
        """How many connections a role has."""
        with self.admin() as connection:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
            row = connection.execute(asked, [role]).fetchone()
        assert row
        return int(row[0])


@contextmanager
def server() -> Iterator[Postgres]:
    """A fresh server on a free port."""
    postgres = Postgres(free_port(), secrets.token_hex(16))
    with _folder() as folder:
        _initialise(folder, postgres.password)
        with _run(postgres, folder, "PostgreSQL"):
            yield postgres


@contextmanager
def standby(primary: Postgres) -> Iterator[Postgres]:
    """Another server that follows this one, and has what it acknowledges; `promote` makes it take writes."""
    with _folder() as folder:
        following = Postgres(free_port(), primary.password, folder / "data")
        argv = [
            "setpriv", *_unprivileged(), _program("pg_basebackup"), "-R", "--no-sync",
            "-D", str(folder / "data"), "--wal-method=stream", "--checkpoint=fast",
            "-d", f"{primary.where} user={ADMIN}",
        ]  # fmt: skip
        environment = {**os.environ, "PGPASSWORD": primary.password}
        subprocess.run(argv, check=True, capture_output=True, cwd=folder, env=environment)
        with _run(following, folder, "PostgreSQL (standby)"):
            with primary.admin() as admin:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
            yield following


@contextmanager
def _run(postgres: Postgres, folder: Path, name: str) -> Iterator[None]:
    options = [
        f"--{option}" for option in (*_QUICK, "listen_addresses=127.0.0.1", "unix_socket_directories=")
    ]
    argv = [_program("postgres"), "-D", str(folder / "data"), "-p", str(postgres.port), *options]
    with running(name, [*_unprivileged(), *argv], lambda: _answers(postgres)):
        postgres.data = folder / "data"
        yield
        _stop(folder / "data" / "postmaster.pid")


@contextmanager
def _folder() -> Iterator[Path]:
    """Outside the run's private folder, which the server's user may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    if os.geteuid() == 0:
        user = pwd.getpwnam(ADMIN)
        os.chown(folder, user.pw_uid, user.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(folder: Path, password: str) -> None:
    first = folder / "password"
    first.write_text(password)
    first.chmod(0o644)
    argv = [
        "setpriv", *_unprivileged(), _program("initdb"), f"--pgdata={folder / 'data'}", f"--username={ADMIN}",
        f"--pwfile={first}", "--auth=scram-sha-256", "--no-sync", "--locale=C", "--encoding=UTF8",
    ]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True, cwd=folder)
    first.unlink()


def _answers(postgres: Postgres) -> bool:
    try:
        postgres.admin().close()
    except psycopg.OperationalError:
        return False
    return True


def _stop(pid_file: Path) -> None:
    """Let it remove its shared memory, which a kill would leave behind."""
    server = int(pid_file.read_text().split()[0])
    os.kill(server, signal.SIGINT)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)


if __name__ == "__main__":
    with server() as running_server:
        wait_for_interrupt(
            [f"export PGPASSWORD={running_server.password}", f"psql '{running_server.where} user={ADMIN}'"]
        )
