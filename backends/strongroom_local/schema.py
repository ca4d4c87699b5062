"""The database's schema: its versions, and the way from each to the next."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError

APPLICATION_ID: Final = 0x5374726D
"""In the file's header, where ``file(1)`` and we look: ``Strm``."""


class Migration(NamedTuple):
    """The step to schema version `version`.

    `oldest` is the oldest schema version whose code may go on using the file after it: its own for a change
    that older code would break, a lower one for an addition that older code does not notice.
    """

    version: int
    oldest: int
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        1,
        (
            "CREATE TABLE fact (name TEXT PRIMARY KEY, value NOT NULL, sum INTEGER NOT NULL)",
            """CREATE TABLE secret (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
               deleted_at INTEGER, sum INTEGER NOT NULL)""",
            "CREATE INDEX bin ON secret (deleted_at) WHERE deleted_at IS NOT NULL",
            "CREATE TABLE value (version TEXT PRIMARY KEY, data BLOB NOT NULL, sum INTEGER NOT NULL)",
            f"PRAGMA application_id = {APPLICATION_ID}",
        ),
    ),
)
"""Every step there ever was, in order. A released step never changes."""


def newest() -> int:
    """The schema version this code writes."""
    return MIGRATIONS[-1].version


def checksum(*fields: object) -> int:
    """CRC-32 of a row: SQLite's pages bear no checksum, so a flipped bit in a key, a stage or a number would
    go unnoticed, and an intact ciphertext be served as another version. Forgery is the message's concern."""
    return zlib.crc32(repr(fields).encode())


def read_fact(connection: sqlite3.Connection, name: str) -> str | bytes | int:
    """What the database records of itself under `name`.

    Raises:
        IntegrityError: it is missing or does not verify.
    """
    row = connection.execute("SELECT value, sum FROM fact WHERE name = ?", (name,)).fetchone()
    if row is None or checksum(name, row[0]) != row[1]:
        raise corrupt()
    value: str | bytes | int = row[0]
    return value


def write_fact(connection: sqlite3.Connection, name: str, value: str | bytes | int) -> None:
    """Record `value` under `name`."""
    connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (name, value, checksum(name, value)))


def corrupt() -> IntegrityError:
    """The error for a database that does not verify."""
    return IntegrityError("the database is corrupt", hint="restore it from a backup")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an opened database to `newest`, in one transaction; several processes may try at once.

    Raises:
        IntegrityError: not a database of ours.
        InvalidRequestError: its schema is newer than this code can use.
    """
    with connection:  # commits, or rolls back
        connection.execute("BEGIN")
        found = _version(connection)
    if found < newest():
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _step(connection, _version(connection))


def build(connection: sqlite3.Connection) -> None:
    """Make the schema in a new database, within the caller's transaction."""
    _step(connection, 0)


def check(connection: sqlite3.Connection) -> None:
    """Refuse a schema that this code cannot use. Asked in every transaction, since another process may have
    migrated the database meanwhile.

    Raises:
        IntegrityError, InvalidRequestError: as `migrate`.
    """
    found = _pragma(connection, "user_version")
    if found == newest():
        return
    # A flipped bit in the header must not look like a newer version: the version stands in a row, too.
    if found < newest() or found != read_fact(connection, "schema"):
        raise corrupt()
    if int(read_fact(connection, "oldest")) > newest():
        raise InvalidRequestError(
            f"the database has schema version {found}, this Strongroom knows {newest()}",
            hint="upgrade Strongroom",
        )


def _version(connection: sqlite3.Connection) -> int:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise IntegrityError(
            "the file is not a Strongroom database, or its header is corrupt",
            hint="check the path, or restore it from a backup",
        )
    found = _pragma(connection, "user_version")
    if found < newest() and found != read_fact(connection, "schema"):
        raise corrupt()
    return found


def _step(connection: sqlite3.Connection, start: int) -> None:
    for migration in MIGRATIONS:
        if migration.version > start:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {migration.version}")
            write_fact(connection, "schema", migration.version)
            write_fact(connection, "oldest", migration.oldest)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
