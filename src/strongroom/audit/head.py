"""A checkpoint (https://c2sp.org/tlog-checkpoint): origin, size and root of a tree, as a signed note."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError

from .linefile import LineFile, compact
from .note import Note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECKPOINTS: Final = "checkpoints.jsonl"
LOCK: Final = "checkpoint.lock"
"""Whoever writes to the order or the checkpoints of a journal has this file's lock."""

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_HASH_LENGTH: Final = 32


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head.

    Attributes:
        origin: whose tree.
        size: how many leaves it has.
        root: its root hash.
        note: the signed note, as it is exported.
        time: when it was signed, RFC 3339; empty where only the note is known.
    """

    origin: str
    size: int
    root: bytes
    note: str
    time: str = ""

    @classmethod
    def parse(cls, note: str, time: str = "") -> Checkpoint:
        """Read a signed note; its signatures are not verified.

        Raises:
            IntegrityError: it is no checkpoint.
        """
        lines = Note.parse(note).text.split("\n")[:-1]
        size = _SIZE.fullmatch(lines[1]) if len(lines) > 2 and all(lines) else None
        root = _root(lines[2]) if size else None
        if size is None or root is None:
            raise IntegrityError("this is not a checkpoint")
        return cls(lines[0], int(size[0]), root, note, time)

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Checkpoint:
        """Read a line of the checkpoints. Raises as `parse`."""
        note, time = fields.get("note"), fields.get("time")
        if not isinstance(note, str) or not isinstance(time, str):
            raise IntegrityError("a line of the checkpoints is damaged")
        return cls.parse(note, time)

    def line(self) -> bytes:
        """The checkpoint as a line of the checkpoints."""
        return compact({"time": self.time, "note": self.note})


def body(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint, to be signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def checkpoints(path: Path, offset: int = 0) -> Iterator[tuple[int, Checkpoint]]:
    """The checkpoints of the journal in a folder, oldest first, each with the place behind it.

    Raises:
        IntegrityError: the file was cut or damaged.
    """
    for end, fields in LineFile(path / CHECKPOINTS).read(offset):
        yield end, Checkpoint.of(fields)


def newest(path: Path) -> Checkpoint | None:
    """The last checkpoint of the journal in a folder; raises as `checkpoints`."""
    fields = LineFile(path / CHECKPOINTS).last()
    return None if fields is None else Checkpoint.of(fields)


def _root(text: str) -> bytes | None:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return root if len(root) == _HASH_LENGTH else None
