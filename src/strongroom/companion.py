"""Companions: where a pending value waits on stores that cannot hold one, and what tells that it is done."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .backend import ABSENT, Backend, Capability, Secret, Stage
from .errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from .names import Companion, Name
from .value import Kind, SecretValue

if TYPE_CHECKING:
    from uuid import UUID


def check_rotation_id(rotation_id: str) -> str:
    """Check that a rotation id is a UUID, and return it in its canonical form.

    Terraform's AWS provider calls RotateSecret with a token of another form, of the time and a count, which
    is the id of the version that Secrets Manager then awaits: it stays as it is.

    Raises:
        InvalidRequestError: it is neither; a guessable or reused id could meet another rotation's value.
    """
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        return rotation_id if _is_terraforms(rotation_id) else str(rotation_uuid(rotation_id))
    raise InvalidRequestError("a rotation id is a UUID", operation="pending", hint="use str(uuid.uuid4())")


def rotation_uuid(rotation_id: str) -> UUID:
    """The UUID that a rotation id is, or that stands for it: the same every time.

    Raises:
        ValueError: it is no rotation id.
    """
    import uuid  # takes longer than a read of an embedded store that has no rotation

    if not _is_terraforms(rotation_id):
        return uuid.UUID(rotation_id)
    return uuid.uuid5(uuid.UUID(_NAMESPACE), rotation_id)


def _is_terraforms(rotation_id: str) -> bool:
    """https://github.com/hashicorp/terraform-plugin-sdk, helper/id: UniqueId."""
    return re.fullmatch(r"terraform-[0-9]{18}[0-9a-f]{8}", rotation_id) is not None


_NAMESPACE = "3c7c2f0e-6f0b-5a43-8d0c-9f3b1f5f6a52"
_NONE = type(None)
_EPOCHS = {"held": (int, _NONE), "claimed": (int,), "done": (_NONE,)}


@dataclass(frozen=True)
class Frame:
    """What stands before the value in a companion: one line of JSON, so that a person can read it.

    Attributes:
        rotation_id: whose it is.
        held: a value waits; otherwise the rotation is done, or a worker has claimed the companion for it.
        base: the version that the held value follows.
        version: what a done rotation became; None if it was discarded.
        was: of a done frame, the companion's own version that held the value.
        epoch: under which a worker has claimed it, and then held its value; None of one that claims nothing.
    """

    rotation_id: str
    held: bool
    base: str | None = None
    version: str | None = None
    was: str | None = None
    epoch: int | None = None

    @property
    def claimed(self) -> bool:
        """Whether a worker makes a value for it just now, or died at it."""
        return not self.held and self.epoch is not None

    def done_as(self, rotation_id: str) -> bool:
        """Whether this rotation was promoted."""
        return not self.held and self.rotation_id == rotation_id and self.version is not None

    def with_value(self, value: SecretValue) -> SecretValue:
        """What a companion keeps."""
        facts = {"rotation": self.rotation_id, "base": self.base, "version": self.version, "was": self.was}
        state = "held" if self.held else "claimed" if self.claimed else "done"
        line: dict[str, Any] = {"strongroom": state, "kind": value.kind, **facts}
        if self.epoch is not None:
            line["epoch"] = self.epoch
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
        state, epoch = facts["strongroom"], facts.get("epoch")
        held = {"held": True, "claimed": False, "done": False}[state]
        base, version, was = told = [facts[fact] for fact in ("base", "version", "was")]
        if facts["kind"] not in ("text", "binary") or not all(isinstance(fact, str | None) for fact in told):
            raise TypeError
        if type(epoch) not in _EPOCHS[state]:
            raise TypeError
        return cls(check_rotation_id(facts["rotation"]), held, base, version, was, epoch), facts["kind"]


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


@dataclass(frozen=True)
class Stray:
    """A pending value that blocks another rotation.

    Attributes:
        version: the version, of the secret or of its companion, that has it.
        rotation_id: whose it is; None if it is another tool's, or does not open.
        base: the version that was current when it was put; None where that is not known.
        value: another tool's value, where it can be read.
    """

    version: str
    rotation_id: str | None = None
    base: str | None = None
    value: SecretValue | None = None


def stray(backend: Backend, name: Name, rotation_id: str) -> Stray | None:
    """What is pending that is not this rotation's; see ``Pending.stray``."""
    if Capability.NATIVE_PENDING in backend.capabilities:
        return _native_stray(backend, name, rotation_id)
    try:
        found = find(backend, name)
    except IntegrityError:  # encrypted under a key that is gone, or another tool's: its version will do
        return Stray(backend.versions(Companion(name))[0].id)
    if found is None or not found.frame.held or found.frame.rotation_id == rotation_id:
        return None
    return Stray(found.version, found.frame.rotation_id, found.frame.base)


def _native_stray(backend: Backend, name: Name, rotation_id: str) -> Stray | None:
    if Capability.DESCRIBE not in backend.capabilities:
        return None
    info = backend.describe(name)
    for other, base in info.pending.items():
        if other != rotation_id:
            return Stray(other, other, base)
    if info.foreign is None or info.foreign == rotation_id:
        return None
    value = None
    with contextlib.suppress(SecretNotFoundError, IntegrityError):  # it has none, or is not encrypted
        value = backend.get(name, Stage.PENDING).value
    return Stray(info.foreign, value=value)


def claim(backend: Backend, name: Name, rotation_id: str, epoch: int, check: Callable[[], None]) -> None:
    """Claim a companion for a rotation; see ``Pending.claim``."""
    found = find(backend, name)
    check()
    if found and _claimed_already(found, rotation_id, epoch):
        return
    error: SecretStoreError
    try:
        frame = Frame(rotation_id, False, epoch=epoch).with_value(SecretValue(""))
        backend.put(Companion(name), frame, found.version if found else ABSENT)
        return
    except (SecretConflictError, UnavailableError) as exc:
        error = exc
    with half_done():
        found = find(backend, name)
    if not found or not _claimed_already(found, rotation_id, epoch):
        raise error


def _claimed_already(found: Found, rotation_id: str, epoch: int) -> bool:
    """What another rotation claimed may be taken: the ledger stops its worker, or has ended it."""
    frame, mine = found.frame, found.frame.rotation_id == rotation_id
    if frame.held:
        raise SecretConflictError("a pending value is held", hint=f"rotation {frame.rotation_id} holds it")
    if mine and not frame.claimed:
        raise is_done()
    if mine and (frame.epoch or 0) > epoch:
        raise SecretConflictError("another worker has claimed this rotation")
    return mine and frame.epoch == epoch


def require_claim(found: Found | None, rotation_id: str, epoch: int | None) -> None:
    """A value is held over exactly the claim under which it was made; one that nobody claimed, over none.

    Raises:
        SecretConflictError: another worker's claim stands there, or none.
    """
    claimed = found.frame if found and found.frame.claimed else None
    mine = claimed and claimed.rotation_id == rotation_id and claimed.epoch == epoch
    if not mine and (claimed or epoch is not None):
        raise SecretConflictError("another worker has claimed the pending value")


def is_done() -> SecretConflictError:
    """What a rotation is told that has ended."""
    return SecretConflictError("this rotation is done", hint="begin a new one")


@contextlib.contextmanager
def half_done() -> Iterator[None]:
    """After a first write nothing may say that nothing happened, such as the read that looks what did."""
    try:
        yield
    except UnavailableError as error:
        error.performed = None
        raise
