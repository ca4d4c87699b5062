"""The database's own key encryption key: where it is kept, and its wrap counter.

The places, of which one is chosen when the database is made:

- ``keyset``: a 0600 file elsewhere, its counter beside it.
- ``os-keyring``: an entry of the OS keyring, the counter a row of the database.
- ``passphrase``: sealed in the database itself, the counter a row of it.

A counter in the database goes back with it when an old copy is restored, so that wraps since the copy are not
counted. The bound, 2^31 of the 2^32 that random IVs allow, leaves room for one such repetition in full.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.localkey import MAX_WRAPS, LocalKey
from strongroom.value import SecretValue

from .faults import sqlite_error
from .schema import corrupt, read_fact, write_fact

if TYPE_CHECKING:
    from strongroom.backend import Settings

    from .database import Database
    from .keyset import KeysetFile

VARIANTS: Final = ("keyset", "os-keyring", "passphrase")
"""What ``?create=`` may say."""


class Kek(NamedTuple):
    """What a database records of its key.

    `kept` is the keyset file's path, the keyring's entry, or the sealed keyset; `name` is the key's own name,
    so that a keyset which was swapped is noticed.
    """

    variant: str
    kept: str | bytes
    name: str


@final
class DatabaseWrapCounter:
    """Counts the wraps of a database's key in the database; see `strongroom.keys.WrapCounter`."""

    def __init__(self, database: Database):
        self._database = database

    def reserve(self, count: int) -> int:
        """Take the next `count` numbers, durably.

        Raises:
            UnavailableError, PermissionDeniedError, IntegrityError: by what SQLite says.
        """
        try:
            return self._reserve(count)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as exc:
            failure = sqlite_error(exc, "open")
        assert failure is not None
        raise failure

    def _reserve(self, count: int) -> int:
        with self._database.writing() as connection:
            start = int(read_fact(connection, "wraps"))
            if start < MAX_WRAPS:
                write_fact(connection, "wraps", start + count)
            return start


def own_key(database: Database, settings: Settings) -> LocalKey:
    """Load the key from where the database says it is, and nowhere else.

    Raises:
        As `LocalBackend.own_key`.
    """
    kek = _recorded(database)
    if kek.variant == "keyset":
        key = _from_file(kek, database.path, settings)
    elif kek.variant == "os-keyring":
        from .os_keyring import OsKeyring

        key = OsKeyring(str(kek.kept)).load(DatabaseWrapCounter(database))
    else:
        key = _from_passphrase(kek, database, settings)
    if key.key_id != kek.name:
        raise IntegrityError(
            f"the keyset is not this database's: it holds {key.key_id}, not {kek.name}",
            hint="restore the right one, or correct its path",
        )
    return key


def record(connection: sqlite3.Connection, kek: Kek) -> None:
    """Write down where the key is kept."""
    for field, value in zip(Kek._fields, kek, strict=True):
        write_fact(connection, f"kek-{field}", value)


def keyset_file(path: str, database: Path) -> KeysetFile:
    """The keyset file at `path`, unless it lies beside the database.

    Raises:
        InvalidRequestError: it does.
    """
    from .keyset import KeysetFile

    file = KeysetFile(path)
    if file.lies_beside(database):
        raise InvalidRequestError(
            f"the keyset {file.path} lies beside its database, so that one copy takes both",
            hint="keep it in another folder, and name that by the option keyset",
        )
    return file


def keyset_option(settings: Settings) -> str | None:
    """The option ``keyset``: an absolute path, ``~`` standing for the home directory."""
    path = settings.options.get("keyset")
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not Path(path).expanduser().is_absolute():
        raise InvalidRequestError("the option keyset is the absolute path of a file")
    return str(Path(path).expanduser())


def passphrase(settings: Settings) -> SecretValue:
    """The passphrase that the configuration gives.

    Raises:
        InvalidRequestError: it gives none.
    """
    given = settings.auth.get("passphrase")
    if not isinstance(given, SecretValue):
        raise InvalidRequestError(
            "the database's key is under a passphrase, and none is given",
            hint='give it in strongroom.toml: auth = { passphrase = "env://…" } or a file:// path',
        )
    return given


def _recorded(database: Database) -> Kek:
    with database.reading() as connection:
        variant, kept, name = (read_fact(connection, f"kek-{field}") for field in Kek._fields)
    kind = bytes if variant == "passphrase" else str
    if variant not in VARIANTS or not isinstance(kept, kind) or not isinstance(name, str):
        raise corrupt()
    return Kek(str(variant), kept, name)


def _from_file(kek: Kek, database: Path, settings: Settings) -> LocalKey:
    return keyset_file(keyset_option(settings) or str(kek.kept), database).load()


def _from_passphrase(kek: Kek, database: Database, settings: Settings) -> LocalKey:
    from .passphrase import open_keyset

    assert isinstance(kek.kept, bytes)
    keyset = open_keyset(kek.kept, passphrase(settings).reveal_text(), str(database.path))
    return keyset.local_key(DatabaseWrapCounter(database))
