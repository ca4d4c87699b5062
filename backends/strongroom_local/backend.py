"""LocalBackend: secrets in one SQLite file on this machine, ``local:///path/to/file.db``."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from strongroom.backend import (
    ABSENT,
    Absent,
    Backend,
    Capability,
    Secret,
    SecretInfo,
    SecretVersion,
    Settings,
    Stage,
)
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.names import Companion, Key, Name, StoreURL, key_name, path_key
from strongroom.value import SecretValue

from . import rows
from .database import Database
from .entry import Entry, Held, Version
from .faults import sqlite_error
from .place import place

if TYPE_CHECKING:
    import sqlite3

    from strongroom.keys import KeyWrapper

LIMIT: Final = 1 << 20
"""Bytes of a value as stored, so after encryption; a name's own limit is 1,024 bytes less."""
RECOVERY_DAYS: Final = 30
"""Days in the bin before a deleted secret is purged; the option ``recovery_days`` says otherwise."""

_OPTIONS: Final = ("keyset", "recovery_days")


class LocalBackend(Backend):
    """A store in a SQLite file, for several processes and threads at once.

    It keeps whatever bytes it is given. It is safe only as ``strongroom.open`` uses it, with the Encrypted
    layer above under this database's own key (`own_key`) and `domain`, so that it holds
    ciphertext only.

    Every write is synced to the disk before it returns. Of each secret the newest 100 versions are kept. A
    deleted secret stays in the bin for `RECOVERY_DAYS`, its name reserved; the next write after purges it.
    A destroyed value is overwritten in the file; what the disk or its snapshots keep is beyond a program.

    The file is 0600, in a folder that only its owner can write. Copy it with ``VACUUM INTO`` or sqlite3's
    ``.backup``, not with ``cp`` while it is in use.
    """

    scheme = "local"
    lists_records = True
    capabilities = ~Capability(0) & ~Capability.CAS_GUARDED

    def __init__(self, path: Path, settings: Settings):
        self._settings = settings
        self._window = timedelta(days=_recovery_days(settings))
        self._key: KeyWrapper | None = None
        self._key_lock = threading.Lock()
        self._database = Database(path, settings.timeout)
        self.origin = f"local://{path}"
        self.domain = self._database.domain

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open a database; ``?create=keyset``, ``os-keyring`` or ``passphrase`` first makes a missing one.

        ``create`` says where the new database's key is kept; it is recorded in the database, and ``create``
        says nothing of a database that exists. Options: ``keyset``, a path to use instead of
        ``$XDG_CONFIG_HOME/strongroom/keysets/<database>.json``, and ``recovery_days``. A passphrase comes as
        ``auth = { passphrase = … }``.

        Raises:
            InvalidRequestError: no such database (its hint is ``strongroom init``), a file or folder open to
                others, an unknown option, a newer schema.
            PermissionDeniedError, UnavailableError, IntegrityError: by what the disk and the file say.
        """
        url.allow("create")
        unknown = next((name for name in settings.options if name not in _OPTIONS), None)
        if unknown is not None:
            raise InvalidRequestError(
                f"local stores have no option {unknown!r}", hint=f"options: {', '.join(_OPTIONS)}"
            )
        path = place(url.path if not url.host else f"{url.host}/{url.path}")
        if (variant := url.option("create")) is not None:
            from .creation import create

            create(path, variant, settings)
        return cls(path, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """By SQLite's result code; see `faults`."""
        return sqlite_error(exc, operation)

    def own_key(self) -> KeyWrapper:
        """The database's key encryption key, read from where the database records it, once.

        Raises:
            InvalidRequestError: the keyset is missing, lies beside the database or is open to others; or the
                passphrase was not given.
            PermissionDeniedError: the passphrase is wrong, or the keyset may not be read.
            IntegrityError: the keyset is corrupt, or another database's.
            BackendNotInstalledError, UnavailableError: the OS keyring cannot be used.
        """
        with self._key_lock:
            if self._key is None:
                from .kek import own_key

                self._key = own_key(self._database, self._settings)
            return self._key

    def get(self, key: Key, version: str | Stage) -> Secret:
        with self._database.reading() as database:
            found = self._entry(database, key).find(version)
            if found is None:
                raise SecretNotFoundError("no such version")
            stage = version if isinstance(version, Stage) else None
            return self._secret(database, key, found, stage)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        with self._writing() as database:
            entry = rows.load(database, str(key)) or Entry(self._now())
            if entry.deleted_at:
                raise SecretConflictError("the name is in the bin", hint="restore or purge it first")
            current = entry.current
            if if_version is ABSENT and current:
                raise SecretConflictError("exists already")
            if isinstance(if_version, str) and (not current or current.id != if_version):
                raise SecretConflictError("if_version is not the current version")
            return self._become_current(database, key, entry, self._keep(database, value, record))

    def purge(self, key: Key) -> None:
        with self._writing(erase=True) as database:
            entry = rows.load(database, str(key))
            if entry is None:
                raise SecretNotFoundError("no such secret")
            rows.remove(database, entry)

    def delete(self, key: Key) -> None:
        with self._writing() as database:
            entry = self._entry(database, key)
            entry.deleted_at = self._now()
            rows.save(database, str(key), entry)

    def restore(self, key: Key) -> None:
        with self._writing() as database:
            entry = rows.load(database, str(key))
            if entry is None or not entry.deleted_at:
                raise SecretNotFoundError("not in the bin")
            entry.deleted_at = None
            rows.save(database, str(key), entry)

    def retire(self, key: Key, version: str) -> None:
        with self._writing(erase=True) as database:
            entry = rows.load(database, str(key))
            for found in entry.history if entry else []:
                if entry and found.id == version and found.present:
                    rows.remove_value(database, found)
                    rows.save(database, str(key), entry)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        with self._database.reading() as database:
            everything = sorted(rows.load_all(database), key=lambda row: row[0])
        for text, entry in everything:
            key = path_key(text, mode=self._settings.names)
            listed = isinstance(key, (Name, Companion)) and str(key_name(key)).startswith(prefix)
            if key is not None and listed and not entry.deleted_at:
                yield _info(key, entry) if detail else SecretInfo(key)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        with self._database.reading() as database:
            entry = self._entry(database, key)
        return [entry.public(version) for version in reversed(entry.history) if version.present]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        with self._database.reading() as database:
            entry = self._entry(database, key)
        ids = [version.id for version in entry.history]
        if base not in ids:
            raise SecretNotFoundError("the base version is not known")
        return [entry.public(version) for version in entry.history[ids.index(base) + 1 :]]

    def describe(self, key: Key) -> SecretInfo:
        with self._database.reading() as database:
            return _info(key, self._entry(database, key))

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        with self._writing() as database:
            entry = self._entry(database, key)
            merged = {**entry.tags, **tags}
            entry.tags = {name: text for name, text in merged.items() if text is not None}
            rows.save(database, str(key), entry)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {key: self._outcome(key) for key in keys}

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        with self._writing() as database:
            entry = self._entry(database, key)
            if rotation_id in entry.done:
                raise SecretConflictError("this rotation is done", hint="begin a new one")
            if entry.held:
                return self._held_again(database, entry, entry.held, rotation_id, value)
            if not entry.current:
                raise SecretNotFoundError("a pending value needs a current one")
            if entry.current.id != base_version:
                raise SecretConflictError("base_version is not the current version")
            entry.held = Held(rotation_id, base_version, self._keep(database, value, record))
            rows.save(database, str(key), entry)
            return entry.public(entry.held.version)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        with self._database.reading() as database:
            held = _held(self._entry(database, key), rotation_id)
            return self._secret(database, key, held.version, Stage.PENDING)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        with self._writing() as database:
            entry = self._entry(database, key)
            if became := entry.done.get(rotation_id):
                known = next((version for version in entry.history if version.id == became), None)
                return entry.public(known) if known else SecretVersion(became)
            held = _held(entry, rotation_id)
            if not entry.current or entry.current.id != held.base:
                raise SecretConflictError(
                    "superseded: another version became current", hint="discard it and rotate anew"
                )
            entry.held = None
            entry.finish(rotation_id, held.version.id)
            return self._become_current(database, key, entry, held.version)

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        with self._writing(erase=True) as database:
            entry = self._entry(database, key)
            if entry.done.get(rotation_id):
                raise SecretConflictError("it was promoted already", hint="use rollback")
            if entry.held and entry.held.rotation_id == rotation_id:
                rows.remove_value(database, entry.held.version)
                entry.held = None
                entry.finish(rotation_id, None)
                rows.save(database, str(key), entry)

    def locate(self, key: Key) -> str:
        return f"{self.origin}#{key}"

    def limit(self, key: Key) -> int | None:
        return LIMIT if not isinstance(key, Name) else LIMIT - 1024

    def after_fork(self) -> None:
        self._key_lock = threading.Lock()
        self._database.abandon()

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _writing(self, *, erase: bool = False) -> Iterator[sqlite3.Connection]:
        with self._database.writing(erase=erase) as database:
            rows.remove_expired(database, self._now() - self._window)
            yield database

    def _now(self) -> datetime:
        return self._settings.clock.now()

    def _entry(self, database: sqlite3.Connection, key: Key) -> Entry:
        entry = rows.load(database, str(key))
        if entry is None:
            rows.verify_absence(database, str(key))
        if entry is None or (entry.deleted_at and entry.deleted_at + self._window <= self._now()):
            raise SecretNotFoundError("no such secret")
        if entry.deleted_at:
            raise SecretNotFoundError("the secret is in the bin", hint="restore brings it back")
        return entry

    def _keep(self, database: sqlite3.Connection, value: SecretValue, record: str | None) -> Version:
        version = Version(os.urandom(16).hex(), self._now(), value.kind, record=record)
        rows.write_value(database, version, value)
        return version

    @staticmethod
    def _become_current(
        database: sqlite3.Connection, key: Key, entry: Entry, version: Version
    ) -> SecretVersion:
        entry.history.append(version)
        for pruned in entry.prune():
            rows.remove_value(database, pruned)
        rows.save(database, str(key), entry)
        return entry.public(version)

    @staticmethod
    def _held_again(
        database: sqlite3.Connection, entry: Entry, held: Held, rotation_id: str, value: SecretValue
    ) -> SecretVersion:
        if held.rotation_id != rotation_id:
            raise SecretConflictError(
                "another pending value is held", hint=f"rotation {held.rotation_id} holds it"
            )
        if rows.read_value(database, held.version) != value:
            raise SecretConflictError("another value is pending under this rotation id")
        return entry.public(held.version)

    def _secret(
        self, database: sqlite3.Connection, key: Key, version: Version, stage: Stage | None
    ) -> Secret:
        return Secret(
            str(key),
            rows.read_value(database, version),
            version.id,
            stage,
            self.origin,
            version.created_at,
            self._now(),
            record=version.record,
        )

    def _outcome(self, key: Key) -> Secret | SecretStoreError:
        try:
            return self.get(key, Stage.CURRENT)
        except SecretStoreError as error:
            return error.with_traceback(None)


def _held(entry: Entry, rotation_id: str) -> Held:
    if not entry.held or entry.held.rotation_id != rotation_id:
        raise SecretNotFoundError("nothing is pending under this rotation id")
    return entry.held


def _info(key: Key, entry: Entry) -> SecretInfo:
    newest = entry.history[-1] if entry.history else None
    public = entry.public(newest) if newest else None
    record, held = newest.record if newest else None, entry.held
    pending = {held.rotation_id: held.base} if held else {}
    return SecretInfo(key, dict(entry.tags), public, entry.created_at, record, pending)


def _recovery_days(settings: Settings) -> float:
    days = settings.options.get("recovery_days", RECOVERY_DAYS)
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 <= days <= 36_500:
        raise InvalidRequestError("recovery_days is a number of days from 0 to 36500")
    return days
