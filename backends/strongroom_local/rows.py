"""Secrets and values as rows, each verified when it is read.

SQLite's pages bear no checksum. Every row here has one, and the number of secrets is recorded, so that
damage is found before it is believed: also the damage that makes a row seem not to exist.

Two things cannot be told from the file alone: that it is an older copy of itself, and that a log which a
crash left was damaged before it was read, since SQLite takes a log up to its first bad frame.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from datetime import datetime

from strongroom.value import SecretValue

from .entry import Entry, Version, to_number
from .schema import checksum, corrupt, read_fact, write_fact

_Row = tuple[int, str, str, int | None, int]
_COLUMNS = "SELECT id, key, state, deleted_at, sum FROM secret"


def load(connection: sqlite3.Connection, key: str) -> Entry | None:
    """The secret under `key`, also from the bin.

    Raises:
        IntegrityError: it does not verify.
    """
    row = connection.execute(f"{_COLUMNS} WHERE key = ?", (key,)).fetchone()
    return _entry(row, key) if row else None


def load_all(connection: sqlite3.Connection) -> Iterator[tuple[str, Entry]]:
    """Every secret and its key, also those in the bin, in no order.

    Raises:
        IntegrityError: one does not verify, or some are missing.
    """
    count = 0
    for row in connection.execute(f"{_COLUMNS} NOT INDEXED"):
        count += 1
        yield row[1], _entry(row, row[1])
    if count != read_fact(connection, "secrets"):
        raise corrupt()


def verify_absence(connection: sqlite3.Connection, key: str) -> None:
    """Make sure that a key which was not found does not exist, by looking at all there are.

    Raises:
        IntegrityError: it does, or may.
    """
    count = 0
    for row in connection.execute(f"{_COLUMNS} NOT INDEXED"):
        count += 1
        if row[1] == key or _sum(*row[:4]) != row[4]:
            raise corrupt()
    if count != read_fact(connection, "secrets"):
        raise corrupt()


def save(connection: sqlite3.Connection, key: str, entry: Entry) -> None:
    """Write a secret's row, a new one if it has none."""
    deleted_at = None if entry.deleted_at is None else to_number(entry.deleted_at)
    if entry.id is None:
        (entry.id,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM secret").fetchone()
        _count(connection, 1)
    state = entry.to_json()
    row = (entry.id, key, state, deleted_at, _sum(entry.id, key, state, deleted_at))
    connection.execute(
        "INSERT INTO secret (id, key, state, deleted_at, sum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id)"
        " DO UPDATE SET state = excluded.state, deleted_at = excluded.deleted_at, sum = excluded.sum",
        row,
    )


def remove(connection: sqlite3.Connection, entry: Entry) -> None:
    """Remove a secret and all its values."""
    for version in entry.versions:
        remove_value(connection, version)
    connection.execute("DELETE FROM secret WHERE id = ?", (entry.id,))
    _count(connection, -1)


def remove_expired(connection: sqlite3.Connection, deleted_before: datetime) -> None:
    """Purge what has been in the bin since before a time."""
    where = "WHERE deleted_at IS NOT NULL AND deleted_at <= ?"
    for row in connection.execute(f"{_COLUMNS} {where}", (to_number(deleted_before),)).fetchall():
        remove(connection, _entry(row, row[1]))


def read_value(connection: sqlite3.Connection, version: Version) -> SecretValue:
    """The value of a version that is present.

    Raises:
        IntegrityError: it is missing or does not verify.
    """
    row = connection.execute("SELECT data, sum FROM value WHERE version = ?", (version.id,)).fetchone()
    if row is not None and isinstance(row[0], bytes) and zlib.crc32(row[0], checksum(version.id)) == row[1]:
        return SecretValue(row[0], version.kind)
    row = None  # this frame travels with the error
    raise corrupt()


def write_value(connection: sqlite3.Connection, version: Version, value: SecretValue) -> None:
    """Keep the value of a new version."""
    connection.execute(
        "INSERT INTO value VALUES (?, ?, ?)",
        (version.id, value.reveal(), zlib.crc32(value.reveal(), checksum(version.id))),
    )


def remove_value(connection: sqlite3.Connection, version: Version) -> None:
    """Destroy a version's value; ``secure_delete`` overwrites it with zeros."""
    connection.execute("DELETE FROM value WHERE version = ?", (version.id,))
    version.present = False


def _entry(row: _Row, key: str) -> Entry:
    if row[1] != key or _sum(*row[:4]) != row[4]:
        raise corrupt()
    return Entry.from_json(row[2], row[0], row[3])


def _sum(row: int, key: str, state: str, deleted_at: int | None) -> int:
    return checksum(row, key, state, deleted_at)


def _count(connection: sqlite3.Connection, change: int) -> None:
    write_fact(connection, "secrets", int(read_fact(connection, "secrets")) + change)
