"""Subjects: who an actor is stands in the journal encrypted, under a key that each subject has alone.

The chain covers the ciphertext. Whoever deletes a subject's key (`shred`) makes every record of it
unreadable for ever, and the journal still verifies. Neither the journal nor `subjects.db` holds a principal
in clear: the database finds one by its HMAC-SHA256 under a key of its own.

What a file system, a snapshot or a backup keeps of a deleted key is beyond this module; under a `subject_key`
the keys stand wrapped there, and what was kept opens only with that.
"""

from __future__ import annotations

import hmac
import json
import os
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError

from .actor import Actor

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from strongroom.keys import KeyWrapper

FILE_NAME: Final = "subjects.db"
_KEY: Final = 32
_NONCE: Final = 12
_INDEX: Final = "index"
_KEPT: Final = 1024
"""Sealed actors that are kept at most: their text is used again, so that a record costs no encryption."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS subject (uid TEXT PRIMARY KEY, handle BLOB UNIQUE NOT NULL, key BLOB NOT NULL,
                                    wrapped TEXT NOT NULL) WITHOUT ROWID
"""
_WAIT: Final = 5.0

Sealed = dict[str, str]
"""What a record says of an actor: ``uid``, ``how`` and ``sealed``."""


class Subjects:
    """The subjects of one journal, safe across threads and processes.

    Args:
        folder: the journal's.
        wrapper: the key encryption key that their keys stand under, if there is one.
        reading: only `open` and `find` are wanted; nothing is made or changed.
    """

    def __init__(self, folder: Path, wrapper: KeyWrapper | None = None, *, reading: bool = False):
        self._path, self._wrapper, self._reading = folder / FILE_NAME, wrapper, reading
        self._connection: sqlite3.Connection | None = None
        self.after_fork()

    def after_fork(self) -> None:
        """Forget the connection: SQLite's must not be used, nor closed, in a child."""
        self._lock = threading.RLock()
        self._inherited, self._connection = self._connection, None
        self._sealed: OrderedDict[Actor, Sealed] = OrderedDict()
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._index: bytes | None = None
        self._seen = -1

    def seal(self, actor: Actor) -> Sealed:
        """What a record may say of an actor.

        Raises:
            UnavailableError: the database cannot be read or written, with ``performed=False``.
            SecretStoreError: as the key that wraps the subjects' keys says.
        """
        with self._lock, self._open() as connection:
            self._notice(connection)
            if actor not in self._sealed:
                self._sealed[actor] = self._seal(connection, actor)
                while len(self._sealed) > _KEPT:
                    self._sealed.popitem(last=False)
            return dict(self._sealed[actor])

    def open(self, sealed: Mapping[str, str]) -> Actor | None:
        """The actor that a record tells of; None where the subject was shredded, or its key is not here.

        Raises:
            IntegrityError: the record's text was not made by this subject's key.
        """
        if self._reading and not self._path.exists():
            return None
        with self._lock, self._open() as connection:
            said = self._opened(connection, sealed)
            if said is None:
                return None
            other = said.pop("on_behalf_of", None)
            behalf = self._opened(connection, other) if other else None
            acted_for = behalf["principal"] if behalf else ("(shredded)" if other else "")
            return Actor(**said, how=sealed.get("how", ""), on_behalf_of=acted_for)

    def find(self, subject: str) -> str | None:
        """The uid of a subject, given its principal or that uid itself; None if nobody is known so."""
        if not self._path.exists():
            return None
        with self._lock, self._open() as connection:
            handle = self._handle(connection, subject)
            query = "SELECT uid FROM subject WHERE (uid = ? AND uid <> ?) OR handle = ?"
            row = connection.execute(query, (subject, _INDEX, handle)).fetchone()
        return row[0] if row else None

    def shred(self, uid: str) -> bool:
        """Delete a subject's key for ever, for every process; False if there is none."""
        with self._lock, self._open() as connection:
            gone = connection.execute(
                "DELETE FROM subject WHERE uid = ? AND uid <> ?", (uid, _INDEX)
            ).rowcount
            self._forget()
        return gone > 0

    def close(self) -> None:
        """Let go of the database. Safe to repeat."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._forget()
            if connection:
                connection.close()

    def _forget(self) -> None:
        self._sealed.clear()
        self._keys.clear()

    def _notice(self, connection: sqlite3.Connection) -> None:
        """Another process may have shredded a subject: nothing is sealed under a key that nobody has."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._seen:
            self._seen = version
            self._forget()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        import sqlite3

        problem = ""
        try:
            yield self._connected()
        except sqlite3.Error as exc:
            problem = exc.sqlite_errorname if hasattr(exc, "sqlite_errorname") else type(exc).__name__
        except OSError as exc:
            problem = exc.strerror or type(exc).__name__
        if problem:
            hint = f"free space, or give this account the right to write {self._path.parent}"
            raise UnavailableError(f"{self._path}: {problem}", performed=False, hint=hint)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect("ro" if self._reading else "rw")
        return self._connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        import sqlite3

        if not self._reading:  # SQLite would make it for everybody to read
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        place = f"{self._path.absolute().as_uri()}?mode={mode}"
        found = sqlite3.connect(place, _WAIT, isolation_level=None, check_same_thread=False, uri=True)
        if not self._reading:
            found.execute("PRAGMA secure_delete = ON")
            found.execute("PRAGMA synchronous = FULL")
            found.execute(_SCHEMA)
        return found

    def _handle(self, connection: sqlite3.Connection, principal: str) -> bytes:
        if self._index is None:
            _, self._index = self._kept(connection, b"") or self._made(connection, _INDEX, b"")
        return hmac.digest(self._index, principal.encode("utf-8", "surrogatepass"), "sha256")

    def _subject(self, connection: sqlite3.Connection, principal: str) -> tuple[str, bytes]:
        if principal not in self._keys:
            if len(self._keys) >= _KEPT:
                self._keys.clear()
            handle = self._handle(connection, principal)
            found = self._kept(connection, handle) or self._made(connection, os.urandom(16).hex(), handle)
            self._keys[principal] = found
        return self._keys[principal]

    def _kept(self, connection: sqlite3.Connection, handle: bytes) -> tuple[str, bytes] | None:
        query = "SELECT uid, key, wrapped FROM subject WHERE handle = ?"
        row = connection.execute(query, (handle,)).fetchone()
        return (row[0], self._unwrap(*row)) if row else None

    def _made(self, connection: sqlite3.Connection, uid: str, handle: bytes) -> tuple[str, bytes]:
        """Of two processes that make the same subject at once the first counts for both."""
        key, wrapped = self._new_key(uid)
        insert = "INSERT INTO subject VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
        connection.execute(insert, (uid, handle, key, wrapped))
        found = self._kept(connection, handle)
        if found is None:
            raise UnavailableError("the subject was shredded while it was made", performed=False)
        return found

    def _new_key(self, uid: str) -> tuple[bytes, str]:
        if self._wrapper is None:
            return os.urandom(_KEY), ""
        made = self._wrapper.generate_data_key(_context(uid)).wrapped
        return made.ciphertext, json.dumps([made.provider_id, made.key_info.hex()])

    def _unwrap(self, uid: str, key: bytes, wrapped: str) -> bytes:
        from strongroom.keys import WrappedKey

        if not wrapped:
            return key
        if self._wrapper is None:
            problem = f"the subjects' keys in {self._path} are wrapped"
            raise InvalidRequestError(problem, hint="name their key in strongroom.toml: [audit] subject_key")
        provider, info = json.loads(wrapped)
        return self._wrapper.unwrap(WrappedKey(provider, bytes.fromhex(info), key), _context(uid))

    def _seal(self, connection: sqlite3.Connection, actor: Actor) -> Sealed:
        said: dict[str, Any] = {"principal": actor.principal, "name": actor.name, "address": actor.address}
        if actor.on_behalf_of:  # a subject of its own, so that either can be shredded
            said["on_behalf_of"] = self._seal(connection, Actor(actor.on_behalf_of, actor.how))
        uid, key = self._subject(connection, actor.principal)
        text = json.dumps({name: value for name, value in said.items() if value}, separators=(",", ":"))
        return {"uid": uid, "how": actor.how, "sealed": _encrypt(key, uid, text.encode())}

    def _opened(self, connection: sqlite3.Connection, sealed: Mapping[str, str]) -> dict[str, Any] | None:
        query = "SELECT uid, key, wrapped FROM subject WHERE uid = ? AND uid <> ?"
        row = connection.execute(query, (sealed.get("uid", ""), _INDEX)).fetchone()
        if row is None:
            return None
        found: dict[str, Any] = json.loads(_decrypt(self._unwrap(*row), row[0], sealed.get("sealed", "")))
        return found


def _context(uid: str) -> dict[str, str]:
    return {"purpose": "strongroom-audit-subject", "uid": uid}


def _encrypt(key: bytes, uid: str, text: bytes) -> str:
    """Under a random nonce: SP 800-38D allows 2^32 of them, and each subject and address takes one."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE)
    return urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, text, uid.encode())).decode()


def _decrypt(key: bytes, uid: str, sealed: str) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        raw = urlsafe_b64decode(sealed)
        return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], uid.encode())
    except (InvalidTag, ValueError):
        pass
    raise IntegrityError("what a record says of its actor was not made by this subject's key")
