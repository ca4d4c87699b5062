"""Coordinators: who may write now, where a provider has no compare-and-set of its own.

One process guards nothing against another unless both ask the same coordinator: `SQLiteCoordinator` for the
processes of one machine, `StoreCoordinator` for all who reach a store that has compare-and-set.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import tempfile
import threading
import uuid
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import ABSENT, Backend, Capability, Clock, Stage
from .errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from .lease import Coordinator, Lease
from .names import Name, Reserved
from .value import SecretValue

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
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self.renew()
        with _fork_lock:
            _coordinators.add(self)

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
            self._disconnect()

    def pause(self) -> None:
        """Before a fork: close the connection and let nobody open one, until `resume` (or `renew`)."""
        self._lock.acquire()
        self._disconnect()

    def resume(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def renew(self) -> None:
        """After a fork, in the child: a lock that nobody holds."""
        self._lock = threading.Lock()

    def _disconnect(self) -> None:
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
        if self._connection is None:
            self._create()
            opened = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = FULL")  # a fence given twice after a power cut is no fence
            opened.execute(_SCHEMA)
            self._connection, self._pid = opened, os.getpid()
        if self._pid != os.getpid():  # a fork made in C, of which `_before_fork` was not told
            raise UnavailableError(
                "the coordinator was open when this process was forked", hint="open it after forking"
            )
        return self._connection

    def _create(self) -> None:
        """Make a missing file; one that exists is not touched.

        It is built under another name and linked into place whole: of processes that turn one new file to
        WAL at the same moment, SQLite tells some at once that it is busy, without waiting. A kill leaves at
        most a hidden file beside it, which nothing reads.

        ▲ Closing any descriptor of a file drops all of the process's POSIX locks on it, also those of another
        store's coordinator (https://sqlite.org/howtocorrupt.html, section 2.2).
        """
        if self._path.exists():
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)  # 0600
        try:
            with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as built:
                built.execute("PRAGMA journal_mode = WAL")
                built.execute(_SCHEMA)
            os.fsync(descriptor)
            with contextlib.suppress(FileExistsError):
                os.link(name, self._path)
            _sync_folder(self._path.parent)  # a file lost in a power cut would begin its fences again
        finally:
            os.close(descriptor)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{name}{suffix}").unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_coordinators: weakref.WeakSet[SQLiteCoordinator] = weakref.WeakSet()
_fork_lock = threading.Lock()
_at_fork: list[SQLiteCoordinator] = []


# ▲ A child inherits SQLite's table of the locks that its process holds, and not the locks (howtocorrupt.html,
# section 2.6): the parent would remove the log as its last user, and fences that the child was given be given
# again (a test shows it). So nothing is open during a fork; afterwards both open their own.
def _before_fork() -> None:
    _fork_lock.acquire()
    _at_fork[:] = list(_coordinators)
    for coordinator in _at_fork:
        coordinator.pause()


def _after_in_parent() -> None:
    for coordinator in _at_fork:
        coordinator.resume()
    _at_fork.clear()
    _fork_lock.release()


def _after_in_child() -> None:
    global _fork_lock  # noqa: PLW0603  (the parent's thread that holds it does not exist here)
    _fork_lock = threading.Lock()
    for coordinator in _at_fork:
        coordinator.renew()
    _at_fork.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a store keeps of one resource, as JSON, under a key of the reserved name space."""

    resource: str
    fence: int = 0
    expires: float = 0.0
    holder: str = ""
    recorded: str | None = None

    def pack(self) -> SecretValue:
        facts = {"fence": self.fence, "expires": self.expires, "holder": self.holder}
        return SecretValue(json.dumps({"resource": self.resource, **facts, "recorded": self.recorded}))

    @classmethod
    def parse(cls, value: SecretValue, resource: str) -> _Entry:
        try:
            entry = cls(**json.loads(value.reveal()))
        except (ValueError, TypeError):
            entry = cls("")
        if entry.resource != resource or not entry.sound:
            raise IntegrityError("a lease in the coordinator's store is damaged", hint="purge it there")
        return entry

    @property
    def sound(self) -> bool:
        """Whether the facts are of the types they should be: another store's writer may have written them."""
        numbers = type(self.fence) is int and self.fence >= 0 and type(self.expires) in (int, float)
        return numbers and type(self.holder) is str and isinstance(self.recorded, str | None)


class StoreCoordinator(Coordinator):
    """Coordinates all processes that reach one store with compare-and-set, such as Vault's KV version 2.

    Time is each process's own wall clock; ``guarded.SKEW`` says how far two may run apart, and the fence
    makes a larger difference harmless. A guarded write costs three writes here.

    Args:
        backend: has Capability.CAS; this object closes it.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the store has no compare-and-set of its own.
    """

    def __init__(self, backend: Backend, clock: Clock | None = None):
        if Capability.CAS not in backend.capabilities:
            raise InvalidRequestError(
                f"{backend.origin} cannot coordinate", hint="name a store with compare-and-set of its own"
            )
        self._backend = backend
        self._clock = clock or Clock()

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        entry, version = self._read(resource)
        now = self._clock.now().timestamp()
        if entry.expires > now:
            return None
        taken = replace(entry, fence=entry.fence + 1, expires=now + seconds, holder=uuid.uuid4().hex)
        return _lease(taken) if self._write(taken, version) else None

    def seconds_left(self, lease: Lease) -> float:
        return lease.expires - self._clock.now().timestamp()

    def release(self, lease: Lease) -> None:
        entry, version = self._read(lease.resource)
        if _lease(entry) == lease:
            self._write(replace(entry, expires=0.0), version)

    def recorded(self, resource: str) -> str | None:
        return self._read(resource)[0].recorded

    def record(self, lease: Lease, text: str) -> None:
        entry, version = self._read(lease.resource)
        if _lease(entry) != lease or not self._write(replace(entry, recorded=text), version):
            raise SecretConflictError("the lease was overtaken", hint="stop; another holder writes now")

    def after_fork(self) -> None:
        self._backend.after_fork()

    def close(self) -> None:
        self._backend.close()

    def _read(self, resource: str) -> tuple[_Entry, str | None]:
        try:
            found = self._backend.get(_reserved(resource), Stage.CURRENT)
        except SecretNotFoundError:
            return _Entry(resource), None
        return _Entry.parse(found.value, resource), found.version

    def _write(self, entry: _Entry, version: str | None) -> bool:
        """Whether the entry is now as given. A lost answer is read back."""
        if_version = ABSENT if version is None else version
        try:
            self._backend.put(_reserved(entry.resource), entry.pack(), if_version)
            return True
        except SecretConflictError:
            return False
        except UnavailableError as error:
            if error.performed is False:
                raise
        return self._read(entry.resource)[0] == entry


def _lease(entry: _Entry) -> Lease:
    return Lease(entry.resource, entry.fence, entry.expires, entry.holder)


def _reserved(resource: str) -> Reserved:
    """A resource's name is longer than a portable name, and of other characters."""
    return Reserved("lease", Name(hashlib.sha256(resource.encode()).hexdigest()[:32]))
