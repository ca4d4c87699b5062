"""Companions: where a pending value waits on stores that cannot hold one, and what tells that it is done."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from .backend import Backend, Secret, Stage
from .errors import IntegrityError, InvalidRequestError, SecretNotFoundError
from .names import Companion, Name
from .value import Kind, SecretValue


def check_rotation_id(rotation_id: str) -> str:
    """Check that a rotation id is a UUID, and return it in its canonical form.

    Raises:
        InvalidRequestError: it is not; a guessable or reused id could meet another rotation's value.
    """
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        import uuid  # takes longer than a read of an embedded store that has no rotation

        return str(uuid.UUID(rotation_id))
    raise InvalidRequestError("a rotation id is a UUID", operation="pending", hint="use str(uuid.uuid4())")


@dataclass(frozen=True)
class Frame:
    """What stands before the value in a companion: one line of JSON, so that a person can read it.

    Attributes:
        rotation_id: whose it is.
        held: a value waits; otherwise the rotation is done.
        base: the version that the held value follows.
        version: what a done rotation became; None if it was discarded.
        was: of a done frame, the companion's own version that held the value.
    """

    rotation_id: str
    held: bool
    base: str | None = None
    version: str | None = None
    was: str | None = None

    def done_as(self, rotation_id: str) -> bool:
        """Whether this rotation was promoted."""
        return not self.held and self.rotation_id == rotation_id and self.version is not None

    def with_value(self, value: SecretValue) -> SecretValue:
        """What a companion keeps."""
        facts = {"rotation": self.rotation_id, "base": self.base, "version": self.version, "was": self.was}
        line = {"strongroom": "held" if self.held else "done", "kind": value.kind, **facts}
        return SecretValue(json.dumps(line).encode() + b"\n" + value.reveal(), value.kind)

    @classmethod
    def split(cls, framed: SecretValue) -> tuple[Frame, SecretValue]:
        """Frame and value; IntegrityError if that is not what it is."""
        line, _, rest = framed.reveal().partition(b"\n")
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, InvalidRequestError):
            frame, kind = cls._read(json.loads(line))
            return frame, SecretValue(rest, kind)
        line = rest = b""  # another tool's value may be a secret too
        raise IntegrityError("the companion holds no pending value", hint="damaged, or another tool's")

    @classmethod
    def _read(cls, facts: Any) -> tuple[Frame, Kind]:
        held = {"held": True, "done": False}[facts["strongroom"]]
        base, version, was = told = [facts[fact] for fact in ("base", "version", "was")]
        if facts["kind"] not in ("text", "binary") or not all(isinstance(fact, str | None) for fact in told):
            raise TypeError
        return cls(check_rotation_id(facts["rotation"]), held, base, version, was), facts["kind"]


@dataclass(frozen=True)
class Found:
    """A companion as it was read."""

    frame: Frame
    value: SecretValue
    version: str
    secret: Secret


def find(backend: Backend, name: Name) -> Found | None:
    """The companion of a name, or None where there is none."""
    try:
        secret = backend.get(Companion(name), Stage.CURRENT)
    except SecretNotFoundError:
        return None
    return Found(*Frame.split(secret.value), secret.version, secret)
