"""Deliveries that were seen: each takes effect once, whatever its sender or a recorder of it sends again."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, UnavailableError

from .refusal import WebhookError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Effect = Callable[[sqlite3.Connection], object]

T = TypeVar("T")
_log = logging.getLogger(__name__)

RETENTION: Final = timedelta(days=7)
"""How long an id is kept; Standard Webhooks' example of a retry schedule spans 75 h 35 min."""
_SHORTEST: Final = timedelta(
    hours=2
)  # twice the largest tolerance: what a recorder sends again is still known
_SWEPT: Final = 100
_TRANSACTION: Final = 22  # SQLITE_TRANSACTION: BEGIN, COMMIT or ROLLBACK is being prepared
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS strongroom_deliveries (
        source TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (source, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS strongroom_deliveries_seen ON strongroom_deliveries (seen);
"""
_SWEEP: Final = """DELETE FROM strongroom_deliveries WHERE (source, id) IN
    (SELECT source, id FROM strongroom_deliveries WHERE seen < ? ORDER BY seen LIMIT ?)"""


class ReplayStore:
    """A SQLite file of the ids that were seen, on a local disk. Safe across threads, processes and forks.

    The id and what the effect writes through its connection are one transaction, so that a crash between them
    is neither a lost nor a doubled effect. An effect elsewhere can be doubled by a crash: make it idempotent
    by the delivery's id.

    Args:
        path: the file, made with mode 0600; it may be the application's own database.
        retention: how long ids are kept: at least as long as the sender tries again, and two hours.
        wait: how long an effect waits for those before it.
        clock: for tests.

    Raises:
        InvalidRequestError: the retention is too short.
        UnavailableError: the file cannot be opened or written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        retention: timedelta = RETENTION,
        wait: timedelta = timedelta(seconds=30),
        clock: Clock | None = None,
    ):
        if retention < _SHORTEST:
            raise InvalidRequestError("ids are kept for at least two hours", operation="webhook")
        self._path, self._wait = os.fspath(path), wait.total_seconds()
        self._retention, self._clock = int(retention.total_seconds()), clock or Clock()
        _asked(self._create, performed=False)

    def once(self, id: str, digest: str, effect: Effect, *, source: str = "") -> bool:  # noqa: A002
        """Run the effect if this id was not seen, and remember it if the effect ended well.

        Effects run one at a time. One that raises is undone, and so is the id: the next attempt runs it anew.

        Args:
            id: of the delivery, as it was signed.
            digest: of its body.
            effect: is given the connection, in a transaction that it cannot end; an ordinary function.
            source: whose ids these are.

        Returns:
            Whether the effect ran; if not, it had before, and the sender is answered as then.

        Raises:
            WebhookError: the id was seen with another body.
            UnavailableError: the file cannot be read or written, or is locked; with ``performed=None`` it is
                not known whether the effect took place, and another attempt finds out.
        """
        with closing(_asked(self._begin, performed=False)) as db:
            known = _asked(lambda: self._digest(db, source, id), performed=False)
            if known is not None:
                return _same(known, digest, id)
            _asked(lambda: self._remember(db, source, id, digest), performed=False)
            _run(effect, db)
            _asked(lambda: db.execute("COMMIT"), performed=None)
        return True

    def _create(self) -> None:
        new = _made(self._path)
        with closing(self._connected()) as db:
            if new:  # an application's own database keeps its journal as it is
                db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)

    def _connected(self) -> sqlite3.Connection:
        """A connection of this call alone: none is carried over a fork, or shared by threads."""
        db = sqlite3.connect(self._path, timeout=self._wait, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")  # with NORMAL and WAL a power cut would forget the last ids
        return db

    def _begin(self) -> sqlite3.Connection:
        db = self._connected()
        try:
            db.execute("BEGIN IMMEDIATE")  # a read that becomes a write later may find another's in its way
        except sqlite3.Error:
            db.close()
            raise
        return db

    @staticmethod
    def _digest(db: sqlite3.Connection, source: str, id_: str) -> str | None:
        query = "SELECT digest FROM strongroom_deliveries WHERE source = ? AND id = ?"
        row = db.execute(query, (source, id_)).fetchone()
        return row and str(row[0])

    def _remember(self, db: sqlite3.Connection, source: str, id_: str, digest: str) -> None:
        now = int(self._clock.now().timestamp())
        db.execute(_SWEEP, (now - self._retention, _SWEPT))
        db.execute("INSERT INTO strongroom_deliveries VALUES (?, ?, ?, ?)", (source, id_, digest, now))


def _made(path: str) -> bool:
    """Whether the file is new; SQLite would make it readable by others."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True


def _same(known: str, digest: str, id_: str) -> bool:
    if known == digest:
        return False
    _log.warning("a webhook came again with another body: its secret may be known to others (id %s)", id_)
    raise WebhookError("another body")


def _run(effect: Effect, db: sqlite3.Connection) -> None:
    """An effect that ended the transaction itself would be doubled by a crash right after."""
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == _TRANSACTION else sqlite3.SQLITE_OK)
    answer = effect(db)
    if hasattr(answer, "__await__"):
        getattr(answer, "close", lambda: None)()
        raise InvalidRequestError(
            "an effect is an ordinary function: nobody would await it", operation="webhook"
        )
    db.set_authorizer(None)


def _asked(call: Callable[[], T], *, performed: bool | None) -> T:
    try:
        return call()
    except (sqlite3.Error, OSError) as exc:
        problem = getattr(exc, "sqlite_errorname", None) or type(exc).__name__
    raise UnavailableError(
        f"the file of seen webhooks does not answer ({problem})",
        operation="webhook",
        performed=performed,
        hint="is its disk full, or another program holding it?",
    )
