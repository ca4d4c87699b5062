"""What the engine remembers, in one SQLite file; a batch is taken in wholly or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_TABLE: Final = """
CREATE TABLE IF NOT EXISTS entry (space TEXT, key TEXT, value TEXT, PRIMARY KEY (space, key)) WITHOUT ROWID
"""
_CACHED: Final = 200_000
"""Values held in memory at most, after a commit."""


@final
class State:
    """Values of JSON by space and key.

    It holds names, ids and times, as the journal does, and no secret.

    Args:
        path: the file; None keeps it in memory.

    Raises:
        UnavailableError: the file cannot be made or read.
    """

    def __init__(self, path: Path | None = None):
        self._path = path
        self._db = self._opened(path)
        self._known: dict[tuple[str, str], Any] = {}
        self._changed: set[tuple[str, str]] = set()

    def get(self, space: str, key: str) -> Any:
        """The value, or None; whoever changes it in place puts it again."""
        place = (space, key)
        if place not in self._known:
            row = self._run("SELECT value FROM entry WHERE space = ? AND key = ?", place).fetchone()
            self._known[place] = json.loads(row[0]) if row else None
        return self._known[place]

    def put(self, space: str, key: str, value: object) -> None:
        """Remember a value; None forgets it. It lasts once it is committed."""
        self._known[space, key] = value
        self._changed.add((space, key))

    def drop(self, space: str, key: str) -> None:
        """Forget a value."""
        self.put(space, key, None)

    def items(self, space: str) -> Iterator[tuple[str, Any]]:
        """Keys and values, in the order of their keys."""
        self._write()
        rows = self._run("SELECT key, value FROM entry WHERE space = ? ORDER BY key", (space,)).fetchall()
        return ((key, json.loads(value)) for key, value in rows)

    def commit(self) -> None:
        """Make what was put last.

        Raises:
            UnavailableError: the disk does not take it; nothing of the batch is kept.
        """
        self._write()
        self._run("COMMIT")
        self._run("BEGIN")
        if len(self._known) > _CACHED:
            self._known.clear()

    def _write(self) -> None:
        gone = [place for place in self._changed if self._known[place] is None]
        kept = self._changed - set(gone)
        rows = [(*place, json.dumps(self._known[place], separators=(",", ":"))) for place in kept]
        self._run("DELETE FROM entry WHERE space = ? AND key = ?", gone)
        self._run("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", rows)
        self._changed.clear()

    def _run(self, statement: str, values: tuple[Any, ...] | list[Any] = ()) -> sqlite3.Cursor:
        try:
            many = isinstance(values, list)
            return self._db.executemany(statement, values) if many else self._db.execute(statement, values)
        except sqlite3.Error:
            pass
        raise UnavailableError("what the detections remember cannot be kept", hint=f"look at {self._path}")

    def close(self) -> None:
        """Forget what was not committed, and close the file."""
        self._db.close()

    @staticmethod
    def _opened(path: Path | None) -> sqlite3.Connection:
        try:
            if path:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA synchronous = FULL")
            db.execute(_TABLE)
            db.execute("BEGIN")
        except (OSError, sqlite3.Error):
            db = None
        if db is None:
            raise UnavailableError("what the detections remember cannot be opened", hint=f"look at {path}")
        return db
