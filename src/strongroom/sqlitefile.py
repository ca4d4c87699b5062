"""One SQLite file that processes and threads of a machine share: made whole, durable, safe across forks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from .errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@final
class SQLiteFile:
    """Runs transactions on a file (0600, made when missing), one at a time.

    Args:
        path: not on a network file system, whose locks SQLite cannot trust.
        schema: statements that make the tables unless they exist.
        what: whose database it is, for errors.
        patience: seconds to wait for another process's transaction.
    """

    def __init__(self, path: str | os.PathLike[str], schema: str, what: str, patience: float = 5.0):
        self._path, self._schema, self._what, self._patience = Path(path), schema, what, patience
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self.renew()
        with _fork_lock:
            _files.add(self)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction that nobody else's writes interleave, and sync it to disk.

        Raises:
            UnavailableError: the database does not answer; nothing was written.
        """
        return self._run("BEGIN IMMEDIATE", work)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on one snapshot. Raises as `write`."""
        return self._run("BEGIN", work)

    def close(self) -> None:
        """Safe to repeat; another call opens it again."""
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

    def _run(self, begin: str, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                with self._open() as connection:
                    connection.execute(begin)
                    return work(connection)
            except (sqlite3.Error, OSError) as exc:
                problem = getattr(exc, "sqlite_errorname", type(exc).__name__)
        raise UnavailableError(f"{self._what} {self._path} does not answer ({problem})")

    def _disconnect(self) -> None:
        if self._connection and self._pid == os.getpid():
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._create()
            opened = sqlite3.connect(
                self._path, timeout=self._patience, isolation_level=None, check_same_thread=False
            )
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = FULL")  # a fence given twice after a power cut is no fence
            opened.executescript(self._schema)
            self._connection, self._pid = opened, os.getpid()
        if self._pid != os.getpid():  # a fork made in C, of which `_before_fork` was not told
            raise UnavailableError(
                f"{self._what} was open when this process was forked", hint="open it after forking"
            )
        return self._connection

    def _create(self) -> None:
        """Make a missing file; one that exists is not touched.

        It is built under another name and linked into place whole: of processes that turn one new file to
        WAL at the same moment, SQLite tells some at once that it is busy, without waiting. A kill leaves at
        most a hidden file beside it, which nothing reads.

        ▲ Closing any descriptor of a file drops all of the process's POSIX locks on it, also those of another
        `SQLiteFile` (https://sqlite.org/howtocorrupt.html, section 2.2).
        """
        if self._path.exists():
            return
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)  # 0600
        try:
            with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as built:
                built.execute("PRAGMA journal_mode = WAL")
                built.executescript(self._schema)
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


_files: weakref.WeakSet[SQLiteFile] = weakref.WeakSet()
_fork_lock = threading.Lock()
_at_fork: list[SQLiteFile] = []


# ▲ A child inherits SQLite's table of the locks that its process holds, and not the locks (howtocorrupt.html,
# section 2.6): the parent would remove the log as its last user, and fences that the child was given be given
# again (a test shows it). So nothing is open during a fork; afterwards both open their own.
def _before_fork() -> None:
    _fork_lock.acquire()
    _at_fork[:] = list(_files)
    for file in _at_fork:
        file.pause()


def _after_in_parent() -> None:
    for file in _at_fork:
        file.resume()
    _at_fork.clear()
    _fork_lock.release()


def _after_in_child() -> None:
    global _fork_lock  # noqa: PLW0603  (the parent's thread that holds it does not exist here)
    _fork_lock = threading.Lock()
    for file in _at_fork:
        file.renew()
    _at_fork.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
