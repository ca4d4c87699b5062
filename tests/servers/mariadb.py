"""The real MariaDB from Debian, over TLS and loopback, in a folder of its own.

It does not run as root, so for root it becomes nobody, in a folder that this user may enter.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from tests.servers.https import Authority
from tests.servers.process import free_port, running, wait_for_interrupt

ADMIN = "admin"
_USER = "nobody"
_PROGRAM = "/usr/sbin/mariadbd"
_SQL = Path("/usr/share/mysql")
_TABLES = ("mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data")
_QUICK = (
    "innodb-flush-log-at-trx-commit=0", "innodb-buffer-pool-size=6M", "innodb-log-file-size=4M",
    "innodb-log-buffer-size=2M", "skip-log-bin", "skip-name-resolve", "performance-schema=OFF",
    "max-connections=60",
)  # fmt: skip
_numbers = itertools.count(1)


@dataclass
class MariaDB:
    """A running server; accounts are the tests' own.

    Attributes:
        folder: its data; beside it stands `log`, once `general_log` is on.
        ca_file: whom to trust for its certificate.
    """

    port: int
    password: str = field(repr=False)
    folder: Path
    ca_file: Path

    def admin(self) -> pymysql.Connection[Any]:
        """A connection of the superuser, as another program's."""
        return self.connect(ADMIN, self.password)

    def connect(self, user: str, password: str) -> pymysql.Connection[Any]:
        """A connection of an account, without TLS."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, autocommit=True, ssl_disabled=True
        )

    def run(self, statement: str, *args: object) -> list[tuple[Any, ...]]:
        """What a statement of the superuser answers."""
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(statement, args)
            return list(cursor.fetchall())

    def new_user(self, password: str, plugin: str = "mysql_native_password") -> str:
        """Make an account that may log in from anywhere, and return its name."""
        user = f"app_{os.getpid()}_{next(_numbers)}"
        self.run(f"CREATE USER {user}@'%%' IDENTIFIED VIA {plugin} USING PASSWORD(%s)", password)
        return user


@contextmanager
def server(authority: Authority) -> Iterator[MariaDB]:
    """A fresh server on a free port."""
    with _folder() as folder:
        mariadb = MariaDB(free_port(), secrets.token_hex(16), folder / "data", authority.ca_file)
        _initialise(folder, mariadb.password)
        issued = authority.issue()
        for path in (issued.certificate, issued.key):
            _give(Path(shutil.copy(path, folder)))
        options = [
            *_QUICK, f"tmpdir={folder}", f"datadir={mariadb.folder}", f"port={mariadb.port}",
            "bind-address=127.0.0.1", f"socket={folder / 'socket'}", f"pid-file={folder / 'pid'}",
            f"general-log-file={folder / 'log'}",
            f"ssl-cert={folder / 'cert.pem'}", f"ssl-key={folder / 'key.pem'}",
        ]  # fmt: skip
        argv = [_PROGRAM, "--no-defaults", *(f"--{option}" for option in options)]
        with running("MariaDB", [*_unprivileged(), *argv], lambda: _answers(mariadb)):
            yield mariadb


def _unprivileged() -> list[str]:
    """Options of `setpriv` that become a user who may run the server."""
    return ["--reuid", _USER, "--regid", "nogroup", "--clear-groups"] if os.geteuid() == 0 else []


def _give(path: Path) -> Path:
    """To the server's user, without which it cannot read or write there."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(_USER)
        os.chown(path, user.pw_uid, user.pw_gid)
    return path


@contextmanager
def _folder() -> Iterator[Path]:
    """Outside the run's private folder, which the server's user may not enter."""
    folder = _give(Path(tempfile.mkdtemp(prefix="mariadb-", dir="/tmp")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(folder: Path, password: str) -> None:
    """What mariadb-install-db does, without help texts, and with a superuser who has a password at once."""
    (folder / "data").mkdir()
    _give(folder / "data")
    tables = [(_SQL / f"{name}.sql").read_text() for name in _TABLES]
    setup = ["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;", *tables]
    admin = f"GRANT ALL ON *.* TO {ADMIN}@127.0.0.1 IDENTIFIED BY '{password}' WITH GRANT OPTION;"
    argv = [
        "setpriv", *_unprivileged(), _PROGRAM, "--no-defaults", "--bootstrap", f"--datadir={folder / 'data'}",
        f"--tmpdir={folder}", "--innodb-log-file-size=4M",
    ]  # fmt: skip
    nobody = "DELETE FROM global_priv WHERE user <> 'mariadb.sys';"
    statements = "\n".join([*setup, nobody, "FLUSH PRIVILEGES;", admin, ""])
    subprocess.run(argv, check=True, capture_output=True, cwd=folder, input=statements.encode())


def _answers(mariadb: MariaDB) -> bool:
    try:
        mariadb.admin().close()
    except pymysql.OperationalError:
        return False
    return True


if __name__ == "__main__":
    with server(Authority()) as running_server:
        wait_for_interrupt([f"mariadb -h 127.0.0.1 -P {running_server.port} -u {ADMIN}"])
