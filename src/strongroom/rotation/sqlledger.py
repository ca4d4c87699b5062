"""The ledger as two tables of a SQL database: what SQLite and PostgreSQL have in common.

Every change reads its row under a lock, asks `ledgerrules` what becomes of it, and writes it, in one
transaction. Who has a rotation's row locked may wait for its secret's, and never the other way round.
"""

# ruff: noqa: S608  (statements are put together from this file's own constants)

from __future__ import annotations

import json
import uuid
from abc import abstractmethod
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import ledgerrules as rules
from .ledger import CLOSED, LEASE_SECONDS, PROMOTED, Entry, Known, Ledger, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

T = TypeVar("T")
_NAMES: Final = tuple(field.name for field in fields(Entry))
_TIMES: Final = frozenset(["due", "started", "updated", "lease_until", "tick", "promoted", "quiet_until"])
_STATES: Final = frozenset(["state", "proved"])
_CLAIMED: Final = ("epoch", "lease_until", "quiet_until", "token")
_COLUMNS: Final = ", ".join(_NAMES)
_HOLES: Final = ", ".join("?" * len(_NAMES))


def _texts(states: Iterable[State]) -> str:
    return ", ".join(sorted(f"'{state.value}'" for state in states))


# Literals, since only a condition that reads as the index's own lets the database use a partial index.
_CLOSED: Final = f"state IN ({_texts(CLOSED)})"
_OPEN: Final = f"NOT ({_CLOSED})"
_WORKABLE: Final = f"state IN ({_texts(state for state in State if rules.workable(state))})"
_MOVING: Final = frozenset(State) - CLOSED - {State.GRACE}
_IN_MOTION: Final = f"state IN ({_texts(_MOVING)})"
_INSERT: Final = f"INSERT INTO strongroom_rotation ({_COLUMNS}) VALUES ({_HOLES})"
_SELECT: Final = f"SELECT {_COLUMNS} FROM strongroom_rotation"
_DUE: Final = f"""SELECT secret, next_due FROM strongroom_secret s WHERE next_due <= ? AND NOT EXISTS (
    SELECT 1 FROM strongroom_rotation r WHERE r.secret = s.secret AND {_OPEN})
    ORDER BY next_due, secret LIMIT ?"""
_PURGE: Final = f"""DELETE FROM strongroom_rotation WHERE id IN (SELECT id FROM strongroom_rotation
    WHERE {_CLOSED} AND updated < ? AND (quiet_until IS NULL OR quiet_until <= ?) LIMIT ?) RETURNING 1"""
_PLAN_NEW: Final = """INSERT INTO strongroom_secret AS s (secret, next_due) VALUES (?, ?)
    ON CONFLICT (secret) DO UPDATE SET next_due = excluded.next_due WHERE s.next_due IS NULL"""

_KNOWN: Final = "SELECT secret, next_due, last_success FROM strongroom_secret"
_PART: Final = 1000
"""Parameters of one statement; SQLite takes 32,766, and fewer before 3.32."""


def _parts(secrets: list[str]) -> Iterator[list[str]]:
    return (secrets[start : start + _PART] for start in range(0, len(secrets), _PART))


def schema(time: str, whole: str, end: str = "") -> str:
    """The statements that make the tables where they are missing.

    Args:
        time, whole: the database's types for an instant and for an integer.
        end: what follows a table's columns.
    """
    return f"""
    CREATE TABLE IF NOT EXISTS strongroom_secret (
        secret TEXT PRIMARY KEY, next_due {time}, last_success {time}){end};
    CREATE TABLE IF NOT EXISTS strongroom_rotation (
        id TEXT PRIMARY KEY, secret TEXT NOT NULL, state TEXT NOT NULL, epoch {whole} NOT NULL,
        due {time} NOT NULL, started {time} NOT NULL, updated {time} NOT NULL,
        base TEXT, version TEXT, lease_until {time}, attempts {whole} NOT NULL, replaced {whole} NOT NULL,
        error TEXT, tick {time}, facts TEXT, proved TEXT, promoted {time}, quiet_until {time},
        token TEXT NOT NULL){end};
    CREATE UNIQUE INDEX IF NOT EXISTS strongroom_rotation_one_open
        ON strongroom_rotation (secret) WHERE {_OPEN};
    CREATE INDEX IF NOT EXISTS strongroom_rotation_due ON strongroom_rotation (due) WHERE {_WORKABLE};
    CREATE INDEX IF NOT EXISTS strongroom_rotation_moving ON strongroom_rotation (started) WHERE {_IN_MOTION};
    CREATE INDEX IF NOT EXISTS strongroom_rotation_old ON strongroom_rotation (updated) WHERE {_CLOSED};
    CREATE INDEX IF NOT EXISTS strongroom_rotation_secret ON strongroom_rotation (secret, started);
    CREATE INDEX IF NOT EXISTS strongroom_rotation_started ON strongroom_rotation (started);
    CREATE INDEX IF NOT EXISTS strongroom_secret_due ON strongroom_secret (next_due);
    """


class Session:
    """One transaction: rows in, rows out, times as the database keeps them."""

    @abstractmethod
    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives; its parameters are question marks."""

    @abstractmethod
    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement that gives no rows for each of these."""

    @abstractmethod
    def now(self) -> datetime:
        """The ledger's clock."""

    @abstractmethod
    def stored(self, time: datetime | None) -> Any:
        """An instant as the database keeps it."""

    @abstractmethod
    def instant(self, stored: Any) -> datetime | None:
        """What `stored` was made of."""

    def entries(self, condition: str, *values: Any) -> list[Entry]:
        """The records that meet a condition."""
        return [self._entry(row) for row in self.run(f"{_SELECT} WHERE {condition}", *values)]

    def insert(self, entry: Entry) -> None:
        """Write a new record."""
        self.run(_INSERT, *self._row(entry))

    def update(self, entries: Iterable[Entry], names: Sequence[str] = _NAMES) -> None:
        """Write records that are locked, or some attributes of them."""
        columns = ", ".join(f"{name} = ?" for name in names)
        rows = ((*self._row(entry, names), entry.id) for entry in entries)
        self.run_many(f"UPDATE strongroom_rotation SET {columns} WHERE id = ?", rows)

    def _row(self, entry: Entry, names: Sequence[str] = _NAMES) -> list[Any]:
        return [self._column(name, getattr(entry, name)) for name in names]

    def _column(self, name: str, value: Any) -> Any:
        if name in _TIMES:
            return self.stored(value)
        if name in _STATES:
            return value.value if value else None
        return json.dumps(dict(value)) if name == "facts" and value is not None else value

    def _entry(self, row: Sequence[Any]) -> Entry:
        return Entry(**{name: self._attribute(name, value) for name, value in zip(_NAMES, row, strict=True)})

    def _attribute(self, name: str, value: Any) -> Any:
        if name in _TIMES:
            return self.instant(value)
        if name in _STATES:
            return State(value) if value else None
        return json.loads(value) if name == "facts" and value is not None else value


class SQLLedger(Ledger):
    """The records of all rotations in a SQL database.

    Attributes:
        locked: what a SELECT ends with so that its rows are locked.
        skipping: the same, rows that others have locked left out.
    """

    locked = ""
    skipping = ""

    @abstractmethod
    def _transact(self, work: Callable[[Session], T], *, write: bool = True) -> T:
        """Run `work` in a transaction; again, whole, if that was rolled back, or its outcome is unknown."""

    def now(self) -> datetime:
        return self._transact(lambda session: session.now(), write=False)

    def begin(
        self,
        rotation_id: str,
        secret: str,
        *,
        base: str | None,
        tick: datetime | None = None,
        next_due: datetime | None = None,
    ) -> Entry:
        def work(session: Session) -> Entry:
            planned = self._planned(session, secret)
            if there := session.entries("id = ?", rotation_id):
                return rules.same_secret(there[0], secret)
            rules.check_tick(tick, planned)
            now = session.now()
            busy = f"secret = ? AND ({_OPEN} OR quiet_until > ?)"
            others = session.entries(busy, secret, session.stored(now))
            entry = rules.begun(rotation_id, secret, now, base=base, tick=tick, others=others)
            session.insert(entry)
            if next_due is not None:
                self._set(session, secret, "next_due", next_due)
            return entry

        return self._transact(work)

    def get(self, rotation_id: str) -> Entry:
        rows = self._transact(lambda session: session.entries("id = ?", rotation_id), write=False)
        return rules.found(rows[0] if rows else None, rotation_id)

    def find(
        self, *, secret: str | None = None, states: Collection[State] | None = None, limit: int = 1000
    ) -> Sequence[Entry]:
        texts = [state.value for state in states or ()]
        wanted = f"state IN ({', '.join('?' * len(texts)) or 'NULL'})" if states is not None else "1 = 1"
        if states is not None and frozenset(states) <= _MOVING:  # few among all that wait and are over
            wanted += f" AND {_IN_MOTION}"
        if secret is not None:
            wanted, texts = f"{wanted} AND secret = ?", [*texts, secret]
        order = "ORDER BY started DESC, id DESC LIMIT ?"
        return self._transact(lambda s: s.entries(f"{wanted} {order}", *texts, limit), write=False)

    def claim(self, rotation_id: str, seconds: float = LEASE_SECONDS) -> Entry | None:
        token = uuid.uuid4().hex

        def work(session: Session) -> Entry | None:
            entry = rules.found(self._lock(session, rotation_id), rotation_id)
            claimed = rules.claimed(entry, session.now(), seconds, token)
            return claimed and self._write(session, entry, claimed)

        return self._transact(work)

    def claim_due(self, limit: int, seconds: float = LEASE_SECONDS) -> Sequence[Entry]:
        token, tries = uuid.uuid4().hex, 0

        def work(session: Session) -> Sequence[Entry]:
            nonlocal tries
            tries += 1
            if tries > 1 and (mine := session.entries(f"token = ? AND {_OPEN}", token)):
                return mine
            now = session.now()
            free = f"{_WORKABLE} AND due <= ? AND (lease_until IS NULL OR lease_until <= ?)"
            order = f"ORDER BY due, id LIMIT ?{self.skipping}"
            at = session.stored(now)
            due = session.entries(f"{free} {order}", at, at, limit)
            claims = [claim for entry in due if (claim := rules.claimed(entry, now, seconds, token))]
            session.update(claims, _CLAIMED)
            return claims

        return self._transact(work)

    def renew(self, entry: Entry, seconds: float = LEASE_SECONDS) -> Entry:
        return self._change(entry.id, lambda found, now: rules.renewed(entry, found, now, seconds))

    def record(self, entry: Entry, state: State, **changes: Any) -> Entry:
        return self._change(entry.id, lambda found, now: rules.recorded(entry, found, now, state, changes))

    def release(self, entry: Entry, *, due: rules.Due | None = None, **changes: Any) -> None:
        def work(session: Session) -> None:
            found = self._lock(session, entry.id)
            free = rules.released(entry, found, session.now(), due, changes)
            if found and free:
                self._write(session, found, free)

        self._transact(work)

    def move(
        self,
        rotation_id: str,
        states: Collection[State],
        to: State,
        *,
        epoch: int | None = None,
        **changes: Any,
    ) -> Entry:
        token = uuid.uuid4().hex

        def moved(found: Entry | None, now: datetime) -> Entry:
            entry = rules.found(found, rotation_id)
            return rules.moved(entry, now, states, to, epoch, token, changes)

        return self._change(rotation_id, moved)

    def last_success(self, secret: str) -> datetime | None:
        return self._secret(secret, "last_success")

    def next_due(self, secret: str) -> datetime | None:
        return self._secret(secret, "next_due")

    def known(self, secrets: Collection[str]) -> Mapping[str, Known]:
        def work(session: Session) -> dict[str, Known]:
            found: dict[str, Known] = {}
            for part in _parts(list(secrets)):
                holes = ", ".join("?" * len(part))
                rows = session.run(f"{_KNOWN} WHERE secret IN ({holes})", *part)
                found |= {row[0]: Known(session.instant(row[1]), session.instant(row[2])) for row in rows}
            return {secret: found.get(secret, Known()) for secret in secrets}

        return self._transact(work, write=False)

    def plan(self, secret: str, due: datetime, *, expected: datetime | None) -> bool:
        def work(session: Session) -> bool:
            if self._planned(session, secret) not in (expected, due):
                return False
            self._set(session, secret, "next_due", due)
            return True

        return self._transact(work)

    def plan_new(self, dues: Mapping[str, datetime]) -> None:
        def work(session: Session) -> None:
            in_order = sorted(dues.items())  # two workers that met in different orders would block each other
            session.run_many(_PLAN_NEW, ((secret, session.stored(due)) for secret, due in in_order))

        self._transact(work)

    def due(self, limit: int) -> Sequence[tuple[str, datetime]]:
        def work(session: Session) -> list[tuple[str, datetime]]:
            rows = session.run(_DUE, session.stored(session.now()), limit)
            return [(secret, at) for secret, stored in rows if (at := session.instant(stored))]

        return self._transact(work, write=False)

    def purge(self, before: datetime, limit: int = 10_000) -> int:
        def work(session: Session) -> int:
            now = session.stored(session.now())
            return len(session.run(_PURGE, session.stored(before), now, limit))

        return self._transact(work)

    def _change(self, rotation_id: str, change: Callable[[Entry | None, datetime], Entry]) -> Entry:
        def work(session: Session) -> Entry:
            found = self._lock(session, rotation_id)
            return self._write(session, found, change(found, session.now()))

        return self._transact(work)

    def _lock(self, session: Session, rotation_id: str) -> Entry | None:
        rows = session.entries(f"id = ?{self.locked}", rotation_id)
        return rows[0] if rows else None

    def _write(self, session: Session, before: Entry | None, after: Entry) -> Entry:
        if after != before:
            session.update([after])
        if after.state in PROMOTED and before and before.promoted is None and after.promoted:
            self._set(session, after.secret, "last_success", after.promoted)
        return after

    def _planned(self, session: Session, secret: str) -> datetime | None:
        """What `next_due` says; the row is locked until the transaction ends."""
        session.run("INSERT INTO strongroom_secret (secret) VALUES (?) ON CONFLICT DO NOTHING", secret)
        row = f"SELECT next_due FROM strongroom_secret WHERE secret = ?{self.locked}"
        return session.instant(session.run(row, secret)[0][0])

    def _set(self, session: Session, secret: str, column: str, time: datetime) -> None:
        statement = f"UPDATE strongroom_secret SET {column} = ? WHERE secret = ?"
        session.run_many(statement, [(session.stored(time), secret)])

    def _secret(self, secret: str, column: str) -> datetime | None:
        def work(session: Session) -> datetime | None:
            rows = session.run(f"SELECT {column} FROM strongroom_secret WHERE secret = ?", secret)
            return session.instant(rows[0][0]) if rows else None

        return self._transact(work, write=False)
