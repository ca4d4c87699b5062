"""The ledger in PostgreSQL, for any number of workers on any number of machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strongroom.postgres import Login, Postgres

from .sqlledger import Session, SQLLedger, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import psycopg

    from strongroom.clock import Clock

T = TypeVar("T")
TABLES: Final = schema("TIMESTAMPTZ", "BIGINT", " WITH (fillfactor = 70)")
"""With room in each page, since a row is rewritten at every step: then no index has to be."""


class PostgresLedger(SQLLedger):
    """Records in a PostgreSQL database, whose clock it goes by.

    A fail-over loses nothing that was acknowledged if the standby is a synchronous one. With an asynchronous
    one an epoch may be given again, and two workers go on: then only the hooks' idempotence protects.

    Args:
        login: how to reach the database. The tables are made when missing, in the schema ``public``.
        clock: in tests, instead of the database's.
    """

    locked = " FOR UPDATE"
    skipping = " FOR UPDATE SKIP LOCKED"

    def __init__(self, login: Login, clock: Clock | None = None):
        self._database = Postgres(login, TABLES, "strongroom_rotation", "the ledger's database")
        self._clock = clock

    def after_fork(self) -> None:
        self._database.renew()

    def close(self) -> None:
        self._database.close()

    def _transact(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        return self._database.transact(lambda cursor: work(_Session(cursor, self._clock)))


class _Session(Session):
    def __init__(self, cursor: psycopg.Cursor[Any], clock: Clock | None):
        self._cursor, self._clock = cursor, clock

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        found = self._cursor.execute(_native(statement), values)
        return found.fetchall() if found.description else []

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._cursor.executemany(_native(statement), rows)

    def now(self) -> datetime:
        if self._clock:
            return self._clock.now()
        now: datetime = self.run("SELECT clock_timestamp()")[0][0]
        return now.astimezone(UTC)

    def stored(self, time: datetime | None) -> Any:
        return time

    def instant(self, stored: Any) -> datetime | None:
        return stored.astimezone(UTC) if isinstance(stored, datetime) else None


def _native(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()
