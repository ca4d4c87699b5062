"""Signed notes (https://c2sp.org/signed-note), as checkpoints are written: text, and who signed it.

Two kinds of keys sign: Ed25519 (type 1) and ECDSA P-256 (type 2); a witness cosigns with Ed25519 and a time
(type 4, https://c2sp.org/tlog-cosignature). A public key is written ``name+id+base64``.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError

if TYPE_CHECKING:
    from strongroom.keys import Signer

ED25519: Final = 1
ECDSA: Final = 2
COSIGNATURE: Final = 4
"""The types of signatures that C2SP signed-note assigns."""

_ID_LENGTH: Final = 4
_RAW_LENGTH: Final = 32
_TIME_LENGTH: Final = 8
_NAME: Final = re.compile(r"[^\s+\x00-\x1f]+")
_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_ED25519_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key before its 32 bytes (RFC 8410 section 10.1)."""


class Signature(NamedTuple):
    """One signature line: the key's name and id, and what the key made."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """As it stands in a note, with its line feed."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


class Note(NamedTuple):
    """A note: its text with the last line feed, and its signatures, none of them verified."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, note: str) -> Note:
        """Take a note apart.

        Raises:
            IntegrityError: it is not a signed note.
        """
        text, found, rest = note.rpartition("\n\n")
        lines = rest.split("\n")
        if not found or lines.pop() or not lines or _CONTROL.search(note):
            raise IntegrityError("this is not a signed note")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def __str__(self) -> str:
        """The note as it is written."""
        return f"{self.text}\n{''.join(signature.line() for signature in self.signatures)}"


class NoteKey(NamedTuple):
    """A public key that verifies notes.

    Attributes:
        name: a URL without scheme, as C2SP recommends; of a journal its origin.
        kind: `ED25519`, `ECDSA` or `COSIGNATURE`.
        public: the 32 bytes of RFC 8032, of ECDSA the SubjectPublicKeyInfo in DER.
    """

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """The key that ``name+id+base64`` is.

        Raises:
            InvalidRequestError: it is none, or of a kind that is not known here.
        """
        name, key_id, material = _key_parts(text.strip())
        key = cls(name, material[0], material[1:])
        known = key.kind == ECDSA or (key.kind in (ED25519, COSIGNATURE) and len(key.public) == _RAW_LENGTH)
        if not known or key.key_id.hex() != key_id:
            raise _no_key()
        return key

    @property
    def key_id(self) -> bytes:
        """Four bytes; of ECDSA they are the hash of the public key alone, as C2SP says."""
        kind = bytes([self.kind])
        named = b"" if self.kind == ECDSA else self.name.encode() + b"\n" + kind
        return sha256(named + self.public).digest()[:_ID_LENGTH]

    def __str__(self) -> str:
        """The key as it is written."""
        material = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def signed(self, note: Note) -> bool:
        """Whether this key signed, or cosigned, the note's text."""
        return any(
            _verifies(self, note.text.encode(), signature.value)
            for signature in note.signatures
            if (signature.name, signature.key_id) == (self.name, self.key_id)
        )


class NoteSigner:
    """A `Signer` that signs notes under a name.

    Args:
        name: of the key, without white space or plus.
        signer: an Ed25519 or ECDSA P-256 (ES256) key; it stays its owner's to close.
    """

    def __init__(self, name: str, signer: Signer):
        if not _NAME.fullmatch(name):
            raise InvalidRequestError("the name of a note's key has no white space and no plus")
        self._name, self._signer = name, signer
        self._key: NoteKey | None = None

    @property
    def key(self) -> NoteKey:
        """The public half; a remote key is asked for it once.

        Raises:
            InvalidRequestError: the key is of a kind that signs no notes.
            SecretStoreError: as the signer says.
        """
        if self._key is None:
            self._key = _note_key(self._name, self._signer)
        return self._key

    def sign(self, text: str) -> str:
        """The signed note of a text that ends with a line feed.

        Raises:
            IntegrityError: the signature does not verify under the key's own public half.
            SecretStoreError: as the signer says.
        """
        note = Note(text, (Signature(self._name, self.key.key_id, self._signer.sign(text.encode())),))
        if not self.key.signed(note):  # the provider may have taken another key, or hashed twice
            raise IntegrityError("the signing key made a signature that does not verify", operation="sign")
        return str(note)


def _note_key(name: str, signer: Signer) -> NoteKey:
    algorithm, public = signer.algorithm, signer.public_key()
    if algorithm == "Ed25519" and public and public.startswith(_ED25519_HEAD):
        return NoteKey(name, ED25519, public.removeprefix(_ED25519_HEAD))
    if algorithm == "ES256" and public:
        return NoteKey(name, ECDSA, public)
    raise InvalidRequestError(
        f"a {algorithm} key signs no checkpoints", hint="use an Ed25519 or an ECDSA P-256 (ES256) key"
    )


def _key_parts(text: str) -> tuple[str, str, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    material = _base64(encoded)
    if not _NAME.fullmatch(name) or not material:
        raise _no_key()
    return name, key_id, material


def _no_key() -> InvalidRequestError:
    return InvalidRequestError("this is not a public key for notes", hint="it reads name+id+base64")


def _signature(line: str) -> Signature:
    match = _LINE.fullmatch(line)
    value = _base64(match[2]) if match else None
    if not match or not value or len(value) <= _ID_LENGTH:
        raise IntegrityError("a note's signature line is malformed")
    return Signature(match[1], value[:_ID_LENGTH], value[_ID_LENGTH:])


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _verifies(key: NoteKey, text: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA as ECDSA_WITH
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if key.kind == COSIGNATURE:
        seconds, signature = int.from_bytes(signature[:_TIME_LENGTH]), signature[_TIME_LENGTH:]
        text = b"cosignature/v1\ntime %d\n%b" % (seconds, text)
    try:
        if key.kind != ECDSA:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
            return True
        public = load_der_public_key(key.public)
        if not isinstance(public, EllipticCurvePublicKey):
            return False
        public.verify(signature, text, ECDSA_WITH(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
