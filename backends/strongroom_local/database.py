"""Connections to one SQLite file: one a thread, none across a fork, every write durable when it returns."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError

from . import schema
from .place import check_file

LOG_LENGTH: Final = 4 << 20
"""Bytes of the write-ahead log after which it is moved into the database."""

_PRAGMAS: Final = (
    # FULL: the log is synced at each commit. NORMAL, usual with WAL, loses acknowledged writes at a power cut
    # (https://sqlite.org/pragma.html#pragma_synchronous); fullfsync is what macOS needs for the same.
    "synchronous = FULL",
    "fullfsync = ON",
    "secure_delete = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "temp_store = MEMORY",
    # We move the log ourselves, under the writer's lock: before SQLite 3.51.3, a passive checkpoint beside
    # another connection's commit can corrupt the database (https://sqlite.org/wal.html, the WAL-reset bug).
    "wal_autocheckpoint = 0",
)


class _Handle:
    """One thread's connection; the lock is held while it is used."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None
        self.lock = threading.RLock()
        self.process = os.getpid()

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # nothing is uncommitted: the lock was ours
                connection.close()

    def __del__(self) -> None:
        if self.process == os.getpid():
            self.close()


@final
class Database:
    """An open database file.

    Args:
        path: an existing file, as `place` gives it.
        timeout: seconds to wait for another process's lock.
    """

    def __init__(self, path: Path, timeout: float):
        self.path = path
        self._timeout = timeout
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._inherited = False
        self._paused: list[_Handle] = []
        self.renew()
        with _fork_lock:
            _databases.add(self)
        try:
            with self.reading() as connection:  # what is wrong shows at once
                self.domain = str(schema.read_fact(connection, "domain"))
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the database."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, *, erase: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer disturbs, durable when the block has ended.

        With `erase`, what it removed is gone from the log as well, unless a reader still needs it.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
        self._move_log(0 if erase else LOG_LENGTH)

    def close(self) -> None:
        """Close all connections; those in use when their transaction ends."""
        self._closed = True
        with self._lock:
            for handle in list(self._handles):
                with handle.lock:
                    handle.close()

    def pause(self) -> None:
        """Close all connections and let nobody open one, until `resume` (or `renew`, in a forked child)."""
        self._lock.acquire()
        self._paused = list(self._handles)
        for handle in self._paused:
            handle.lock.acquire()
            handle.close()

    def resume(self) -> None:
        """Let threads use the database again."""
        for handle in self._paused:
            handle.lock.release()
        self._paused = []
        self._lock.release()

    def renew(self) -> None:
        """Begin without connections, and with locks that nobody holds."""
        self._lock = threading.Lock()
        self._handles = weakref.WeakSet[_Handle]()
        self._paused = []
        self._local = threading.local()

    def abandon(self) -> None:
        """In a forked child: drop, never close, connections that came along; the database is then refused.

        Only a fork that Python was not told of before (made in C) leaves any. SQLite believes that it still
        holds the parent's locks, so that another connection of the child would not take them.
        """
        inherited = [handle.connection for handle in self._handles if handle.process != os.getpid()]
        for connection in filter(None, inherited):
            self._inherited = True
            _never_close(connection)
        if self._inherited:
            self.renew()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        handle = self._handle()
        with handle.lock:
            connection = self._connection(handle)
            with connection:  # commits; rolls back what raised, or could not be committed
                connection.execute(begin)
                schema.check(connection)
                yield connection

    def _handle(self) -> _Handle:
        # Every use passes this lock, so that a thread that writes on and on cannot hold up a fork.
        with self._lock:
            handle: _Handle | None = getattr(self._local, "handle", None)
            if handle is None:
                handle = self._local.handle = _Handle()
                self._handles.add(handle)
        return handle

    def _connection(self, handle: _Handle) -> sqlite3.Connection:
        if self._closed:
            raise InvalidRequestError("the store is closed", hint="open it again")
        if self._inherited:
            raise UnavailableError(
                "the database was open when this process was forked",
                hint="open it after forking",
                retryable=False,
            )
        self._check_identity()
        if handle.connection is None:
            handle.connection = _connect(self.path, self._timeout)
        return handle.connection

    def _check_identity(self) -> None:
        """A write to a file that was replaced (by a restored backup, say) would be acknowledged and lost."""
        status = check_file(self.path)
        identity = status.st_dev, status.st_ino
        self._identity = self._identity or identity
        if identity != self._identity:
            raise UnavailableError(
                "the database file was replaced while it was open",
                hint="open the store again",
                retryable=False,
            )

    def _move_log(self, at_least: int) -> None:
        # The write is durable already: a failure here is none of the caller's.
        with contextlib.suppress(sqlite3.Error, OSError):
            if Path(f"{self.path}-wal").stat().st_size > at_least:
                handle = self._handle()
                with handle.lock:
                    if handle.connection:
                        handle.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    connection = None
    try:
        connection = connect(path, timeout)
        schema.migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        return connection
    except BaseException as exc:
        if connection is not None:
            connection.close()
        denied = _denied(path, exc)
        if denied is None:
            raise
    raise denied


def _denied(path: Path, exc: BaseException) -> PermissionDeniedError | None:
    """SQLite says "cannot open" of whatever it lacks; the two permissions it needs are worth a name."""
    if getattr(exc, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CANTOPEN:
        return None
    if not os.access(path, os.R_OK):
        return PermissionDeniedError(f"this user may not read {path}", hint="grant access to it")
    if not os.access(path.parent, os.W_OK):
        hint = "SQLite keeps its log there: grant write access"
        return PermissionDeniedError(f"this user may not write the folder {path.parent}", hint=hint)
    return None


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection in autocommit mode to an existing file, whatever it holds."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        connection.close()
        raise
    return connection


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_fork_lock = threading.Lock()
_at_fork: list[Database] = []


def _never_close(connection: sqlite3.Connection) -> None:
    """Keep an object past the interpreter's end, when its destructor would close it."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


# ▲ SQLite keeps a table of the locks it holds on each file, which a child inherits with fork while the locks
# themselves stay with the parent (https://sqlite.org/howtocorrupt.html, section 2.6). Dropping the child's
# connection does not help: a second one believes that the locks are held, the parent deletes the log as the
# last user, and what the child then writes is acknowledged and lost (a test shows it). So nothing is open
# during a fork: threads wait a moment, and then parent and child open their own.
def _before_fork() -> None:
    _fork_lock.acquire()
    _at_fork[:] = list(_databases)
    for database in _at_fork:
        database.pause()


def _after_in_parent() -> None:
    for database in _at_fork:
        database.resume()
    _at_fork.clear()
    _fork_lock.release()


def _after_in_child() -> None:
    global _fork_lock  # noqa: PLW0603  (the parent's thread that holds it does not exist here)
    _fork_lock = threading.Lock()
    for database in list(_databases):
        database.renew() if database in _at_fork else database.abandon()
    _at_fork.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
