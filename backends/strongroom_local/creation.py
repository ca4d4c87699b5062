"""Making a new database: its key first, then the file, which appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from strongroom.errors import InvalidRequestError, SecretConflictError

from . import schema
from .database import connect
from .kek import VARIANTS, Kek, keyset_file, keyset_option, passphrase, record

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.localkey import LocalKey

_Undo = Callable[[], None]


def create(path: Path, variant: str, settings: Settings) -> None:
    """Make the database at `path` if there is none, with its key kept as `variant` says.

    The file is built under another name, synced, and linked into place, which fails if another process was
    faster; its database then stands, and this one is dropped with its keyset. A crash leaves at most a
    keyset or a hidden temporary file that nothing refers to; so does a lost race of OS keyring entries.

    Raises:
        InvalidRequestError: no such variant; no passphrase; the keyset would lie beside the database.
        As `KeysetFile.create`, `OsKeyring.create` and SQLite.
    """
    if variant not in VARIANTS:
        raise InvalidRequestError(f"create={variant[:50]!r} is none of {', '.join(VARIANTS)}")
    if path.exists():
        return
    domain = str(uuid.uuid4())
    kek, undo = _make_key(variant, domain, path, settings)
    made = False
    try:
        made = _publish(path, domain, kek)
    finally:
        if not made:
            undo()


def _publish(path: Path, domain: str, kek: Kek) -> bool:
    from .keyset import sync_directory

    with _temporary(path) as temporary:
        _build(temporary, domain, kek)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    sync_directory(path.parent)
    return True


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # makes it 0600
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{name}{suffix}").unlink(missing_ok=True)


def _build(path: Path, domain: str, kek: Kek) -> None:
    connection = connect(path, 0)
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            schema.build(connection)
            for name, value in (("domain", domain), ("secrets", 0), ("wraps", 0)):
                schema.write_fact(connection, name, value)
            record(connection, kek)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    finally:
        connection.close()
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # no connection holds a lock on it yet
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_key(variant: str, domain: str, path: Path, settings: Settings) -> tuple[Kek, _Undo]:
    if variant == "keyset":
        return _make_file(domain, path, settings)
    if variant == "os-keyring":
        from .os_keyring import OsKeyring

        return Kek(variant, domain, OsKeyring(domain).create(_NoCounter()).key_id), _nothing
    from .keyset import Keyset
    from .passphrase import seal_keyset

    keyset = Keyset.generate()
    return Kek(variant, seal_keyset(keyset, passphrase(settings).reveal_text()), keyset.name), _nothing


def _make_file(domain: str, path: Path, settings: Settings) -> tuple[Kek, _Undo]:
    chosen = keyset_option(settings)
    file = keyset_file(chosen or str(_default_folder() / f"{domain}.json"), path)
    if chosen is None:
        file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        key: LocalKey = file.create()
    except SecretConflictError:
        if chosen is None:
            raise
        # Databases may share a keyset that its owner names. It is not ours to remove, whatever comes.
        return Kek("keyset", str(file.path), file.load().key_id), _nothing
    kek = Kek("keyset", str(file.path), key.key_id)
    return kek, _nothing if chosen else lambda: _remove(file.path, key.key_id)


def _default_folder() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # "If an implementation encounters a relative path it should consider the path invalid and ignore it"
    # (XDG Base Directory Specification).
    home = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return home / "strongroom" / "keysets"


def _remove(path: Path, key_name: str) -> None:
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.{key_name}.wraps").unlink(missing_ok=True)


def _nothing() -> None:
    pass


class _NoCounter:
    """For a key that is made now and first used when its database is opened."""

    def reserve(self, count: int) -> NoReturn:
        """Refuse."""
        raise InvalidRequestError("the database is not made yet")
