"""Databases on the real PostgreSQL, for ledgers and coordinators."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from strongroom.postgres import Login
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.value import SecretValue

if TYPE_CHECKING:
    import psycopg

    from tests.servers.postgres import Postgres

_made: set[tuple[int, str]] = set()


def empty_database(server: Postgres, name: str = "ledger") -> Login:
    """A database whose tables are empty, made once per server and name."""
    login = Login(f"postgresql://127.0.0.1:{server.port}/{name}", "postgres", password_of(server))
    with server.admin() as admin:
        if (server.port, name) not in _made:
            admin.execute(f"CREATE DATABASE {name}".encode())
            _made.add((server.port, name))
    _empty(server, name)
    return login


def password_of(server: Postgres) -> Callable[[], SecretValue]:
    """The superuser's."""
    return lambda: SecretValue(server.password)


def empty(ledger: PostgresLedger) -> None:
    """Forget all that a ledger keeps, through its own connection."""

    def work(cursor: psycopg.Cursor[Any]) -> None:
        cursor.execute("DELETE FROM strongroom_rotation")
        cursor.execute("DELETE FROM strongroom_secret")

    ledger._database.transact(work)


def _empty(server: Postgres, name: str) -> None:
    with server.admin(name) as connection:
        for table in ("strongroom_rotation", "strongroom_secret", "strongroom_lease"):
            if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,):
                connection.execute(f"DELETE FROM {table}".encode())
