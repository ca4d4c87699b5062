"""Signed notes and checkpoints for the verifier (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

Written apart from the writer's code on purpose. Everything is strict: what has two spellings has one here, so
that no bit of a note can change unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidRequestError

from .verify_tree import HASH_LENGTH, MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

ED25519: Final = 1
ECDSA: Final = 2
COSIGNATURE: Final = 4
"""Signature types of https://c2sp.org/signed-note; the third is a witness's."""

MAX_NOTE: Final = 256 << 10
"""Bytes of a note; sixteen post-quantum signatures, which C2SP asks for, take a third of it."""

_MAX_SIGNATURES: Final = 64
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\Z")
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class MalformedNoteError(Exception):
    """It is no signed checkpoint; the message says what is missing."""


@dataclass(frozen=True)
class VerifierKey:
    """A public key in C2SP's text form, ``name+id+base64``.

    Attributes:
        name: of the key.
        key_id: four bytes.
        type: `ED25519`, `ECDSA` or `COSIGNATURE`.
        public: 32 bytes for the two of Ed25519, SubjectPublicKeyInfo in DER for ECDSA.
    """

    name: str
    key_id: bytes
    type: int
    public: bytes

    @property
    def witness(self) -> bool:
        """Whether it is a witness's key, which cosigns and does not sign."""
        return self.type == COSIGNATURE


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it stands in a note; its signatures are not verified yet.

    Attributes:
        origin: who signs the log.
        size: how many leaves the tree has.
        root: its root hash.
        text: the bytes that are signed.
        signatures: key name, key id and signature of each line.
    """

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...]


def parse_key(text: str) -> VerifierKey:
    """A verifier key from its text form.

    Raises:
        InvalidRequestError: it is none, its id does not belong to it, or its type is not known here.
    """
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or re.search(r"\s", parts[0]):
        raise _no_key("it is not of the form name+id+base64")
    name, number, encoded = parts
    material = base64_bytes(encoded)
    if material is None or len(material) < 1 + HASH_LENGTH:
        raise _no_key("its last part is no public key")
    key = VerifierKey(name, key_id(name, material), material[0], material[1:])
    if number != key.key_id.hex():
        raise _no_key("its id does not belong to its name and key")
    if key.type not in (ED25519, ECDSA, COSIGNATURE) or _loaded(key) is None:
        raise _no_key("its type is none of Ed25519, ECDSA P-256 and witness cosignature")
    return key


def key_id(name: str, material: bytes) -> bytes:
    """The id of a key from its type and public key; of ECDSA, as C2SP says, the hash of the DER alone."""
    if material[0] == ECDSA:
        return sha256(material[1:]).digest()[:4]
    return sha256(name.encode() + b"\n" + material).digest()[:4]


def _no_key(problem: str) -> InvalidRequestError:
    hint = "strongroom audit checkpoint prints the key of a journal"
    return InvalidRequestError(f"this is no verifier key: {problem}", hint=hint)


def parse_checkpoint(note: str) -> Checkpoint:
    """Read a checkpoint from a note, without trusting it.

    Raises:
        MalformedNoteError: it is none.
    """
    if len(note) > MAX_NOTE or _CONTROL.search(note):
        raise MalformedNoteError("it is too long, or holds control characters")
    text, separator, rest = note.rpartition("\n\n")
    if not separator or not rest.endswith("\n"):
        raise MalformedNoteError("it has no signatures")
    signatures = tuple(_signature(line) for line in rest[:-1].split("\n")[: _MAX_SIGNATURES + 1])
    if len(signatures) > _MAX_SIGNATURES:
        raise MalformedNoteError(f"it has more than {_MAX_SIGNATURES} signatures")
    origin, size, root = _body(text.split("\n"))
    return Checkpoint(origin, size, root, _utf8(text + "\n"), signatures)


def _body(lines: Sequence[str]) -> tuple[str, int, bytes]:
    if len(lines) < 3 or not all(lines) or not _SIZE.match(lines[1]):
        raise MalformedNoteError("its text is not an origin, a size and a root hash")
    size, root = int(lines[1]), base64_bytes(lines[2])
    if root is None or len(root) != HASH_LENGTH or size >= MAX_SIZE:
        raise MalformedNoteError("its root is no hash, or its size too large")
    return lines[0], size, root


def _signature(line: str) -> tuple[str, bytes, bytes]:
    found = _SIGNATURE.match(line)
    signature = base64_bytes(found[2]) if found else None
    if not found or signature is None or len(signature) < 5:
        raise MalformedNoteError("a line behind its text is no signature")
    return found[1], signature[:4], signature[4:]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    raise MalformedNoteError("it is not UTF-8")


def base64_bytes(text: str) -> bytes | None:
    """The bytes, if this is their one standard spelling: decoders pass over stray characters and bits."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if base64.b64encode(found).decode() == text else None


def signed_by(checkpoint: Checkpoint, keys: Sequence[VerifierKey]) -> bool:
    """Whether one of the keys signed it, and none of their signatures is wrong (C2SP signed-note)."""
    results = [
        _verified(key, checkpoint.text, signature)
        for name, number, signature in checkpoint.signatures
        for key in keys
        if not key.witness and (key.name, key.key_id) == (name, number)
    ]
    return bool(results) and all(results)


def cosigned_by(checkpoint: Checkpoint, key: VerifierKey) -> int | None:
    """When a witness saw it, seconds since 1970; None if it did not sign, or its signature is wrong."""
    for name, number, signature in checkpoint.signatures:
        if (key.name, key.key_id) == (name, number) and len(signature) == 8 + 64:
            time = int.from_bytes(signature[:8], "big")
            message = b"cosignature/v1\ntime %d\n%b" % (time, checkpoint.text)
            if time < MAX_SIZE and _verified(key, message, signature[8:]):
                return time
    return None


def _verified(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA as WITH
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    public = _loaded(key)
    try:
        if isinstance(public, Ed25519PublicKey):
            public.verify(signature, message)
        elif isinstance(public, EllipticCurvePublicKey):
            public.verify(signature, message, WITH(SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _loaded(key: VerifierKey) -> object:
    """The public key as `cryptography` has it; None if it is none, or of another curve than P-256."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        if key.type != ECDSA:
            return Ed25519PublicKey.from_public_bytes(key.public)
        found = load_der_public_key(key.public)
    except (ValueError, UnsupportedAlgorithm):
        return None
    right = isinstance(found, EllipticCurvePublicKey) and isinstance(found.curve, SECP256R1)
    return found if right else None
