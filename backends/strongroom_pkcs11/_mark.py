"""What a version carries of its making, and what its object is called.

The value is an object's own CKA_VALUE, so that every program can read it. Everything else stands in
CKA_APPLICATION, which is set when the object is made and cannot be changed afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from strongroom.backend import SecretVersion, Stage
from strongroom.guarded import Stamp
from strongroom.value import Kind, SecretValue

_INTRODUCTION: Final = "strongroom/1 "
_VERSION = re.compile(r"([1-9][0-9]{0,17})\.[0-9a-f]{32}", re.ASCII)
_OLDER = re.compile(rf".*;{_VERSION.pattern}", re.ASCII | re.DOTALL)
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "pkcs11:strongroom")
_UUID_ARC: Final = 0x69  # 2.25, under which every UUID is an object identifier (ITU-T X.667, section 7)
# Tells one foreign value from another without being a fingerprint of it that others could try values against.
_FINGERPRINT_KEY: Final = os.urandom(32)


@dataclass(frozen=True, slots=True)
class Mark:
    """Of one version.

    Attributes:
        path: where the secret lives on the token, its label while it is the newest.
        number: one more than its predecessor's. Orders the versions, whatever the writers' clocks say.
        over: keyed digests of the foreign values it was written over, which say that those are older. They
            stand in the same private object as the value itself, and nowhere else.
        salt: their key.
    """

    path: str
    number: int
    stamp: Stamp
    kind: Kind
    created_at: datetime
    record: str | None = None
    over: tuple[str, ...] = ()
    salt: str = ""

    @property
    def version(self) -> str:
        """The public id; the write id in it never repeats."""
        return f"{self.number}.{self.stamp.write_id}"

    @property
    def order(self) -> tuple[int, int, datetime, str]:
        """Newer versions have higher ones; a late holder's fence is lower than that of who overtook it."""
        return self.number, self.stamp.fence, self.created_at, self.stamp.write_id

    def written_over(self, value: SecretValue) -> bool:
        """Whether this foreign value is older than this version."""
        return digests(self.salt, [value])[0] in self.over

    def public(self, *stages: Stage) -> SecretVersion:
        """As users see it."""
        return SecretVersion(self.version, self.created_at, frozenset(stages))

    def pack(self) -> str:
        """As CKA_APPLICATION."""
        facts = {
            "path": self.path,
            "number": self.number,
            "stamp": self.stamp.pack(),
            "kind": self.kind,
            "created": self.created_at.isoformat(),
            "record": self.record,
            "over": self.over,
            "salt": self.salt,
        }
        told = {name: fact for name, fact in facts.items() if fact}
        return _INTRODUCTION + json.dumps(told, ensure_ascii=False)

    @classmethod
    def parse(cls, application: str, path: str | None = None) -> Mark | None:
        """What `pack` made, of this path if one is given; None for another program's object, or a copy."""
        if not application.startswith(_INTRODUCTION):
            return None
        try:
            mark = cls._read(json.loads(application.removeprefix(_INTRODUCTION)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None
        return mark if path in (None, mark.path) else None

    @classmethod
    def _read(cls, facts: Any) -> Mark:
        path, number, kind, record = (facts.get(name) for name in ("path", "number", "kind", "record"))
        stamp, made = Stamp.parse(facts["stamp"]), datetime.fromisoformat(facts["created"]).astimezone(UTC)
        texts = isinstance(path, str) and isinstance(record, str | None)
        if stamp is None or not texts or type(number) is not int or kind not in ("text", "binary"):
            raise ValueError
        over, salt = tuple(map(str, facts.get("over", ()))), str(facts.get("salt", ""))
        return cls(path, number, stamp, kind, made, record, over, salt)


def number_of(version: str | None) -> int:
    """The number within a version id of ours; 0 for anything else."""
    match = _VERSION.fullmatch(version or "")
    return int(match[1]) if match else 0


def older_label(path: str, version: str) -> str:
    """What an object is called once `version` is no longer the newest, or was written over a foreign one."""
    return f"{path};{version}"


def is_older_label(label: str) -> bool:
    """Whether `older_label` could have made it."""
    return bool(_OLDER.fullmatch(label))


def digests(salt: str, values: Sequence[SecretValue]) -> tuple[str, ...]:
    """Foreign values as a mark names them."""
    return tuple(_digest(salt.encode(), value) for value in values)


def foreign_version(value: SecretValue) -> str:
    """The id of another program's object: its own in each process, and changed when the value is."""
    return f"foreign-{_digest(_FINGERPRINT_KEY, value)}"


def _digest(key: bytes, value: SecretValue) -> str:
    return hmac.new(key, value.reveal(), hashlib.sha256).hexdigest()[:32]


def object_id(path: str) -> bytes:
    """CKA_OBJECT_ID of every version of a secret: an object identifier made of its path, in DER.

    All versions are found by it in one search, whatever they are called.
    """
    number, arcs = uuid.uuid5(_NAMESPACE, path).int, b""
    while number or not arcs:
        arcs = bytes([number & 0x7F | (0x80 if arcs else 0)]) + arcs
        number >>= 7
    body = bytes([_UUID_ARC]) + arcs
    return bytes([0x06, len(body)]) + body
