"""What stands inside a keyring's message: its versions, with their keys in clear."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, Self, final

from strongroom.errors import IntegrityError
from strongroom.keys import DATA_KEY_LENGTH

_FORMAT: Final = "strongroom-keyring"
_FORMAT_VERSION: Final = 1
_ALGORITHM: Final = "AES-256-GCM"
_ID: Final = re.compile(r"keyring-[0-9a-f]{16}")
_VERSION: Final = re.compile(r"[0-9a-f]{16}")  # a counter's file is named after it
VERSION_LENGTH: Final = 16


@final
class VersionKey:
    """One version of a keyring: 32 random bytes and their name.

    Attributes:
        name: random, so that no two versions share a name, and with it a wrap counter.
        created: when, UTC, ISO 8601.
        key: the 32 bytes; not in the repr.
    """

    __slots__ = ("created", "key", "name")

    def __init__(self, name: str, created: str, key: bytes):
        self.name = name
        self.created = created
        self.key = key

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """A new random key under a new random name."""
        return cls(
            os.urandom(VERSION_LENGTH // 2).hex(),
            now.astimezone(UTC).isoformat(timespec="seconds"),
            os.urandom(DATA_KEY_LENGTH),
        )

    def __repr__(self) -> str:
        return f"<VersionKey {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring's version cannot be pickled: it would carry the key")


@final
class Document:
    """A keyring in clear; its repr shows no key. Not changed once made.

    Attributes:
        id: the keyring's own, random: what its messages name.
        generation: counts every write, so that an older keyring put back in its place is noticed.
        primary: the name of the version that wraps.
        keys: every version, the oldest first.
    """

    __slots__ = ("generation", "id", "keys", "primary")

    def __init__(self, id: str, generation: int, primary: str, keys: tuple[VersionKey, ...]):  # noqa: A002
        self.id = id
        self.generation = generation
        self.primary = primary
        self.keys = keys

    @classmethod
    def begin(cls, first: VersionKey) -> Self:
        """A new keyring with one version."""
        return cls(f"keyring-{os.urandom(8).hex()}", 1, first.name, (first,))

    def has(self, version: str) -> bool:
        """Whether there is a version of this name."""
        return any(key.name == version for key in self.keys)

    def next(self, added: VersionKey | None) -> Document:
        """The following generation, with one more version as its primary, or none."""
        keys = (*self.keys, added) if added else self.keys
        return Document(self.id, self.generation + 1, added.name if added else self.primary, keys)

    def to_json(self) -> bytes:
        """The document with its keys in clear: for encryption only."""
        keys = [
            {
                "name": key.name,
                "algorithm": _ALGORITHM,
                "created": key.created,
                "key": base64.b64encode(key.key).decode(),
            }
            for key in self.keys
        ]
        facts = {"id": self.id, "generation": self.generation, "primary": self.primary, "keys": keys}
        document = {"format": _FORMAT, "version": _FORMAT_VERSION, **facts}
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes, where: str) -> Document:
        """Read `to_json`; `where` names the place in errors.

        Raises:
            IntegrityError: not a keyring of version 1.
        """
        document, text = cls._parse(text), b""  # this frame travels with the error
        if document is None:
            raise IntegrityError(
                f"the keyring in {where} is of a newer version, or none",
                hint="upgrade strongroom, or restore the keyring from a backup",
            )
        return document

    @classmethod
    def _parse(cls, text: bytes) -> Document | None:
        try:
            facts = json.loads(text)
            keys = tuple(_version_key(entry) for entry in facts["keys"])
            document = cls(facts["id"], facts["generation"], facts["primary"], keys)
            return document if (facts["format"], facts["version"]) == _KIND and document._is_sound() else None
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
            return None

    def _is_sound(self) -> bool:
        names = [key.name for key in self.keys]
        return (
            bool(_ID.fullmatch(self.id))
            and type(self.generation) is int
            and self.generation >= 1
            and len(set(names)) == len(names)
            and self.primary in names
        )

    def __repr__(self) -> str:
        return f"<Document {self.id} generation {self.generation}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring cannot be pickled: it would carry its keys")


_KIND: Final = (_FORMAT, _FORMAT_VERSION)


def _version_key(entry: Any) -> VersionKey:
    name, created, key = entry["name"], entry["created"], base64.b64decode(entry["key"], validate=True)
    datetime.fromisoformat(created)
    if not _VERSION.fullmatch(name) or entry["algorithm"] != _ALGORITHM or len(key) != DATA_KEY_LENGTH:
        raise ValueError
    return VersionKey(name, created, key)
