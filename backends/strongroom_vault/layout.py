"""How a value lies in a KV map: under ``value``, with kind, record and write id under ``strongroom``.

``bao kv get -field=value`` shows a text as it is. A map without ``strongroom`` is somebody else's and is read
as JSON text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from strongroom.errors import IntegrityError
from strongroom.value import SecretValue

VALUE: Final = "value"
MARK: Final = "strongroom"

ENTRY_BYTES: Final = 1 << 20
"""A storage entry's largest size on integrated storage (raft's ``max_entry_size``)."""
ENVELOPE_BYTES: Final = 4096
"""What an entry holds beside the value: names, mark, record, the engine's own metadata and encryption."""

# Go's encoding/json, in which the engine stores the map, writes these bytes as six: control characters (but
# \t \n \r, two) and < > &; U+2028 and U+2029 too.
_SIX = bytes([*range(0x20), *b"<>&"]).translate(None, b"\t\n\r")
_TWO = b'\t\n\r"\\'
_LINE_SEPARATOR = re.compile(b"\xe2\x80[\xa8\xa9]")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a map holds: the value, and what was written with it."""

    value: SecretValue
    record: str | None = None
    write_id: str | None = None


def new_write_id() -> str:
    """Names one put, so that its version is known again if the answer is lost."""
    return uuid.uuid4().hex


def encode(value: SecretValue, record: str | None, write_id: str) -> dict[str, Any]:
    """The map to write."""
    mark = {"kind": value.kind, "write": write_id}
    text = value.reveal_text() if value.kind == "text" else base64.b64encode(value.reveal()).decode()
    return {VALUE: text, MARK: mark if record is None else {**mark, "record": record, "of": _sum(text)}}


def decode(data: Mapping[str, Any]) -> Stored:
    """Read a map, ours or not.

    Raises:
        IntegrityError: ours, but the value was changed to something that is not base64.
    """
    mark, text = data.get(MARK), data.get(VALUE)
    kind = mark.get("kind") if isinstance(mark, dict) else None
    if kind not in ("text", "binary") or not isinstance(text, str) or not isinstance(mark, dict):
        return Stored(_foreign(data))
    value = SecretValue(text) if kind == "text" else _binary(text)
    text = ""
    if value is None:
        data = {}
        raise IntegrityError("a binary value is not base64 any more: something else wrote it")
    return Stored(value, _text(mark.get("record")), _text(mark.get("write")))


def record_of(data: Mapping[str, Any]) -> str | None:
    """Replication's record in a map, whose value nobody asked for; None if it is of another value.

    Who edits a value in Vault's own pages leaves all other fields as they are, and the record is one of them.
    """
    mark, text = data.get(MARK), data.get(VALUE)
    if not isinstance(mark, dict) or not isinstance(text, str) or mark.get("of") != _sum(text):
        return None
    return _text(mark.get("record"))


def size(value: SecretValue) -> int:
    """Bytes the value takes in the storage entry."""
    data = value.reveal()
    if value.kind == "binary":
        return 4 * -(-len(data) // 3)
    six, two = len(data) - len(data.translate(None, _SIX)), len(data) - len(data.translate(None, _TWO))
    return len(data) + 5 * six + two + 3 * len(_LINE_SEPARATOR.findall(data))


def _foreign(data: Mapping[str, Any]) -> SecretValue:
    return SecretValue(json.dumps(data, ensure_ascii=False, separators=(",", ":")))


def _binary(text: str) -> SecretValue | None:
    try:
        return SecretValue(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None


def _sum(text: str) -> str:
    """An unkeyed hash: it stands beside the value itself, and tells nothing to who cannot read that."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _text(thing: Any) -> str | None:
    return thing if isinstance(thing, str) else None
