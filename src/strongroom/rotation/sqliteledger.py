"""The ledger as a SQLite file, for the workers of one machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from strongroom.clock import Clock
from strongroom.sqlitefile import SQLiteFile

from .sqlledger import Session, SQLLedger, schema

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
PATIENCE: Final = 30.0
"""Seconds to wait for other workers' transactions."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class SQLiteLedger(SQLLedger):
    """Records in a SQLite file (0600, made when missing), for the processes of one machine.

    Time is the machine's wall clock. One that jumps forward ends leases early, which the epoch makes harmless
    to the ledger, though two workers may be in hooks at once; one that jumps back makes the next worker wait.

    Args:
        path: the file; not on a network file system, whose locks SQLite cannot trust.
        clock: injected in tests.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None):
        tables = schema("INTEGER", "INTEGER", " STRICT")
        self._file = SQLiteFile(path, tables, "the ledger's database", PATIENCE)
        self._clock = clock or Clock()

    def now(self) -> datetime:
        return self._clock.now()

    def close(self) -> None:
        self._file.close()

    def _transact(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        run = self._file.write if write else self._file.read
        return run(lambda connection: work(_Session(connection, self._clock)))


class _Session(Session):
    """Times are whole microseconds since 1970, in UTC."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock):
        self._connection, self._clock = connection, clock

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(statement, rows)

    def now(self) -> datetime:
        return self._clock.now()

    def stored(self, time: datetime | None) -> Any:
        return None if time is None else (time - _EPOCH) // _MICROSECOND

    def instant(self, stored: Any) -> datetime | None:
        return None if stored is None else _EPOCH + timedelta(microseconds=stored)
