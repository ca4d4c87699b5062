"""Coordinators: who may write now, where a provider has no compare-and-set of its own.

One process guards nothing against another unless both ask the same coordinator: `SQLiteCoordinator` for the
processes of one machine, `StoreCoordinator` for all who reach a store that has compare-and-set.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import Clock
from .errors import SecretConflictError, UnavailableError
from .lease import Coordinator, Lease

if TYPE_CHECKING:
    from collections.abc import Callable


_SCHEMA = """CREATE TABLE IF NOT EXISTS lease (
    resource TEXT PRIMARY KEY, fence INTEGER NOT NULL, expires REAL NOT NULL,
    holder TEXT NOT NULL, recorded TEXT
) STRICT"""


class SQLiteCoordinator(Coordinator):
    """Coordinates the processes of one machine through a SQLite file (0600, made when missing).

    Time is the machine's wall clock. A clock that jumps forward ends leases early, which the fence
    makes harmless; one that jumps back makes the next holder wait.

    Args:
        path: the file; not on a network file system, whose locks SQLite cannot trust.
        clock: injected in tests.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None):
        self._path = Path(path)
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        now = self._now()
        lease = Lease(resource, 0, now + seconds, uuid.uuid4().hex)
        rows = self._run(
            """INSERT INTO lease (resource, fence, expires, holder) VALUES (?, 1, ?, ?)
            ON CONFLICT (resource) DO UPDATE SET fence = fence + 1, expires = excluded.expires,
            holder = excluded.holder WHERE expires <= ? RETURNING fence""",
            (resource, lease.expires, lease.holder, now),
        )
        return Lease(resource, rows[0][0], lease.expires, lease.holder) if rows else None

    def seconds_left(self, lease: Lease) -> float:
        return lease.expires - self._now()

    def release(self, lease: Lease) -> None:
        self._run(
            "UPDATE lease SET expires = 0 WHERE resource = ? AND holder = ?", (lease.resource, lease.holder)
        )

    def recorded(self, resource: str) -> str | None:
        rows = self._run("SELECT recorded FROM lease WHERE resource = ?", (resource,))
        return rows[0][0] if rows else None

    def record(self, lease: Lease, text: str) -> None:
        mine = (text, lease.resource, lease.fence, lease.holder)
        rows = self._run(
            "UPDATE lease SET recorded = ? WHERE resource = ? AND fence = ? AND holder = ? RETURNING 1", mine
        )
        if not rows:
            raise SecretConflictError("the lease was overtaken", hint="stop; another holder writes now")

    def close(self) -> None:
        with self._lock:
            if self._connection and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        def work(connection: sqlite3.Connection) -> list[Any]:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return connection.execute(statement, values).fetchall()

        return self._on_connection(work)

    def _on_connection(self, work: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        with self._lock:
            try:
                return work(self._open())
            except (sqlite3.Error, OSError) as exc:
                problem = getattr(exc, "sqlite_errorname", type(exc).__name__)
        raise UnavailableError(f"the coordinator's database {self._path} does not answer ({problem})")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():  # SQLite must not be carried across a fork
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            opened = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = FULL")  # a fence given twice after a power cut is no fence
            opened.execute(_SCHEMA)
            self._connection, self._pid = opened, os.getpid()
        return self._connection
