"""Coordinator: who may write now, where a provider has no compare-and-set of its own.

A lease alone is not enough: its holder may be suspended past its end, and wake. So each lease carries a
**fence**, a number that only grows, and what is recorded of a resource is written only under the newest one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import Clock
from .errors import SecretConflictError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one resource, until it runs out.

    Attributes:
        resource: the provider's canonical name, as ``Backend.locate`` gives it.
        fence: higher than that of every lease of this resource before.
        expires: seconds since the epoch, by the coordinator's clock.
        holder: tells this lease from any other.
    """

    resource: str
    fence: int
    expires: float
    holder: str


class Coordinator(ABC):
    """Gives leases, and keeps one recorded text per resource under the fence. Safe across threads.

    Every method raises UnavailableError while the coordinator does not answer: then nothing may be written.
    """

    @abstractmethod
    def acquire(self, resource: str, seconds: float) -> Lease | None:
        """Take the lease of a resource for so long, or None while another holds it."""

    @abstractmethod
    def seconds_left(self, lease: Lease) -> float:
        """How long a lease still lasts, by the coordinator's clock; negative once it ran out."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give a lease back before it runs out; one that ran out or was overtaken is not an error."""

    @abstractmethod
    def recorded(self, resource: str) -> str | None:
        """What was last recorded of a resource."""

    @abstractmethod
    def record(self, lease: Lease, text: str) -> None:
        """Record a text, unless a higher fence was given meanwhile.

        Raises:
            SecretConflictError: the lease was overtaken; its holder must stop.
        """

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


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
