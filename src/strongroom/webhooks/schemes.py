"""The keys of Standard Webhooks: HMAC-SHA256 (``v1``) and Ed25519 (``v1a``), told apart by their prefix."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from typing import TYPE_CHECKING, Final, Protocol

from strongroom.errors import InvalidRequestError
from strongroom.keys import Signer
from strongroom.value import SecretValue, take

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SecretLike = SecretValue | str | bytes
SigningKey = SecretLike | Signer

SHORTEST, LONGEST = 24, 64
"""Bytes of a symmetric secret (Standard Webhooks 1.0.0, "Signature scheme")."""
_ED25519: Final = 32
_HINT: Final = (
    "whsec_ with 24 to 64 bytes in Base64, whsk_ or whpk_ (strongroom.webhooks.new_secret makes one)"
)


class Scheme(Protocol):
    """A key that signs, or checks signatures."""

    name: str

    def sign(self, message: bytes) -> bytes:
        """The signature's bytes."""

    def is_one_of(self, signatures: Iterable[str], message: bytes) -> bool:
        """Whether one of the signatures, in Base64, is this key's for the message; all are looked at."""


def new_secret() -> SecretValue:
    """A new symmetric secret: ``whsec_`` and 32 random bytes in Base64."""
    return SecretValue("whsec_" + base64.b64encode(os.urandom(32)).decode())


def schemes_of(keys: SigningKey | Iterable[SigningKey]) -> list[Scheme] | InvalidRequestError:
    """What each key can do, by how it is written; other bytes are a symmetric secret themselves.

    Never raises but returns what is wrong, and says nothing of the key: the frames here hold it. The caller
    rebinds its own variable first, then raises.
    """
    single = isinstance(keys, (SecretValue, str, bytes, Signer))
    schemes = []
    for key in [keys] if single else keys:  # type: ignore[union-attr]
        scheme = _remote(key) if isinstance(key, Signer) else _written(take(key))
        if scheme is None:
            return InvalidRequestError("not a key of Standard Webhooks", operation="webhook", hint=_HINT)
        schemes.append(scheme)
    return schemes or InvalidRequestError("without a key nothing is genuine", operation="webhook")


def is_key(value: SecretValue) -> bool:
    """Whether a value is written as a key of Standard Webhooks."""
    return _parsed(value) is not None


def _written(value: SecretValue | InvalidRequestError) -> Scheme | None:
    return _parsed(value) if isinstance(value, SecretValue) else None


def _remote(signer: Signer) -> Scheme | None:
    return _Remote(signer) if signer.algorithm == "Ed25519" else None


def _parsed(value: SecretValue) -> Scheme | None:
    data = value.reveal()
    prefix, mark, text = data.partition(b"_")
    if prefix + mark not in (b"whsec_", b"whsk_", b"whpk_"):
        return _symmetric(data) if value.kind == "binary" else None
    key = strict_base64(text)
    if key is None:
        return None
    return {b"whsec": _symmetric, b"whsk": _private, b"whpk": _public}[prefix](key)


def strict_base64(text: bytes | str) -> bytes | None:
    """The bytes, if this is how they are written and no other way: one signature has one form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    written = base64.b64encode(data)
    return data if written == (text.encode() if isinstance(text, str) else text) else None


def _symmetric(key: bytes) -> Scheme | None:
    return _Symmetric(key) if SHORTEST <= len(key) <= LONGEST else None


def _private(key: bytes) -> Scheme | None:
    """A seed of RFC 8032, or as libsodium has it with its public key behind."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(key) not in (_ED25519, 2 * _ED25519):
        return None
    private = Ed25519PrivateKey.from_private_bytes(key[:_ED25519])
    behind = key[_ED25519:]
    if behind and not hmac.compare_digest(behind, private.public_key().public_bytes_raw()):
        return None
    return _Ed25519(private.public_key(), private)


def _public(key: bytes) -> Scheme | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return _Ed25519(Ed25519PublicKey.from_public_bytes(key)) if len(key) == _ED25519 else None


class _Symmetric:
    name = "v1"
    __slots__ = ("_key",)

    def __init__(self, key: bytes):
        self._key = key

    def sign(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")

    def is_one_of(self, signatures: Iterable[str], message: bytes) -> bool:
        """Compared as it is written, so that what decodes alike is not taken for alike."""
        expected, found = base64.b64encode(self.sign(message)), False
        for signature in signatures:
            found |= hmac.compare_digest(signature.encode(), expected)
        return found


class _Ed25519:
    name = "v1a"
    __slots__ = ("_private", "_public")

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None = None):
        self._public, self._private = public, private

    def sign(self, message: bytes) -> bytes:
        if self._private is None:
            raise InvalidRequestError("a public key (whpk_) verifies and cannot sign", operation="webhook")
        return self._private.sign(message)

    def is_one_of(self, signatures: Iterable[str], message: bytes) -> bool:
        found = False
        for signature in signatures:
            found |= self._is(strict_base64(signature), message)
        return found

    def _is(self, signature: bytes | None, message: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature or bytes(64), message)
        except InvalidSignature:
            return False
        return True


class _Remote:
    """A private key that stays with its provider."""

    name = "v1a"
    __slots__ = ("_signer",)

    def __init__(self, signer: Signer):
        self._signer = signer

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)

    def is_one_of(self, signatures: Iterable[str], message: bytes) -> bool:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        public = load_der_public_key(self._signer.public_key() or b"")
        return isinstance(public, Ed25519PublicKey) and _Ed25519(public).is_one_of(signatures, message)
