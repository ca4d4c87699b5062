"""Key encryption keys (KEKs) and signing keys: what a key author implements.

A message is encrypted under a fresh data key; the data key stands in the message's header, wrapped under one
or several KEKs. To bring another KEK (a KMS, an HSM), subclass `KeyWrapper`: three attributes, `wrap` and
`unwrap`::

    class ConsulKey(KeyWrapper):
        provider_id = "acme-consul"

        def __init__(self, client, key_id): ...
        def wrap(self, data_key, context): ...      # -> self.wrapped(ciphertext)
        def unwrap(self, wrapped, context): ...     # -> the data key

A `Signer` signs with a private key that never leaves its provider.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, NoReturn, Self

from .errors import IntegrityError, InvalidRequestError, SecretStoreError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .backend import Settings
    from .names import StoreURL

DATA_KEY_LENGTH: Final = 32
"""Bytes in a data key: AES-256, and the HKDF input of both committing suites of the AWS Encryption SDK."""

MAX_CONTEXT_LENGTH: Final = 65_535
"""Bytes of an encoded context: its length is two bytes in the message header."""

DIGEST_LENGTH: Final = 32
"""Bytes of the SHA-256 digest that `bind` puts behind a data key."""


_FIELD_LENGTHS: Final = 6
_MORE_INFO: Final = 128


class WrappedKey(NamedTuple):
    """An encrypted data key (EDK) as it stands in a message header.

    `provider_id` and `key_info` say which KEK can open it, in clear; each field takes at most 65,535 bytes.
    """

    provider_id: str
    key_info: bytes
    ciphertext: bytes


class Wrapping(NamedTuple):
    """One way to wrap data keys: a row of the table of key services.

    Attributes:
        algorithm: by the name its provider gives it.
        context: ``"authenticated"`` by the provider itself, or ``"bound by digest"``, see `bind`.
        symmetric: as of `KeyWrapper`.
        largest: the most bytes the service wraps in one call, where it says.
        option: what strongroom.toml says to have it; empty for what a key does without.
    """

    algorithm: str
    context: str = "authenticated"
    symmetric: bool = True
    largest: int | None = None
    option: str = ""


class DataKey(NamedTuple):
    """A new data key, in plaintext and wrapped. Its repr does not show the plaintext."""

    plaintext: bytes
    wrapped: WrappedKey

    def __repr__(self) -> str:
        return f"DataKey(wrapped under {self.wrapped.provider_id!r})"


class ProviderKey(ABC):  # noqa: B024  (its two kinds have the abstract methods)
    """What wrappers and signers that open by URL have in common."""

    loggers: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the key a URL names, without I/O where that is possible.

        Raises:
            InvalidRequestError: the URL or a setting is wrong.
        """
        raise NotImplementedError

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate the SDK's exception by table, as `Backend.error_for` does; None for one not known."""
        return None

    def after_fork(self) -> None:
        """In a forked child: drop sessions and sockets without closing them, the parent still uses them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


class KeyWrapper(ProviderKey):
    """A key encryption key.

    Attributes:
        key_id: what the provider calls the key (an ARN, a URL path, a label). An identifier, never a
            credential: it stands in clear in every message.
        provider_id: the name space of `key_id`, such as ``"aws-kms"``; your own may not begin with
            ``aws-kms`` or ``strongroom-``.
        symmetric: False if whoever holds only the public half can wrap. Encrypted stores refuse such a key,
            since anybody with the public key could forge their messages.
        algorithm, context, largest: how it wraps, see `Wrapping`.
        remote: whether a call leaves this process and is worth sparing; a `DataKeyCache` serves only messages
            under at least one such key.
        longest: at most how many bytes a wrapped data key has; the default is that of RSA with 8,192 bits.
            Encrypted stores tell from it how large a value fits.

    The context is a mapping of str to str and must be authenticated with the data key: natively where the
    provider takes additional data (give it `encode_context(context)`, or the pairs where it takes pairs, as
    AWS KMS does). Where it does not, wrap what `bind` returns, exactly 64 bytes, and `unbind` that again.

    Every method is safe across threads. Errors are Strongroom's, raised outside the ``except`` that caught
    the provider's, so that no provider exception, which may hold key material, travels with them:

    - `UnavailableError`: the provider did not answer usefully; another KEK of the message is tried.
    - `PermissionDeniedError`: the provider refused the identity; another KEK is tried.
    - `IntegrityError`: the wrapped key or its context does not verify under this KEK.
    - `InvalidRequestError`: the key cannot wrap any more, or at all.
    """

    key_id: str
    provider_id: str
    symmetric: bool = True
    algorithm: str = "AES-256-GCM"
    context: str = "authenticated"
    largest: int | None = None
    longest: int = 1024
    remote: bool = True

    @classmethod
    def wrappings(cls) -> tuple[Wrapping, ...]:
        """Every way in which the keys wrap that open by this class's URLs, the default first.

        Override it where an option of the configuration chooses among several.
        """
        return (cls.wrapping(),)

    @classmethod
    def wrapping(cls, option: str = "") -> Wrapping:
        """The one way of this class."""
        return Wrapping(cls.algorithm, cls.context, cls.symmetric, cls.largest, option)

    @abstractmethod
    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        """Wrap the 32 bytes of `data_key`, bound to `context`."""

    @abstractmethod
    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        """The data key in `wrapped`, which `matches` accepted, or an error if it or `context` was changed."""

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        """A fresh data key. Override it where the provider makes one in the same call, as AWS KMS does."""
        plaintext = os.urandom(DATA_KEY_LENGTH)
        return DataKey(plaintext, self.wrap(plaintext, context))

    def matches(self, wrapped: WrappedKey) -> bool:
        """Whether this KEK made `wrapped`, judged by its identifiers alone and without I/O.

        A message chooses among configured KEKs and nothing else: it can never name a key, an endpoint or an
        account that was not configured. Override it where `key_info` holds more than the key id.
        """
        return wrapped.provider_id == self.provider_id and wrapped.key_info == self.key_id.encode()

    def is_primary(self, wrapped: WrappedKey) -> bool:
        """Whether `wrap` would use the same key today: of a KEK with versions that it knows, the newest."""
        return self.matches(wrapped)

    def room(self) -> int:
        """At most how many bytes a data key wrapped by this KEK takes in a message's header.

        Some record more than `key_id`: a version, an IV, an ARN where the configuration has an alias.
        """
        named = len(self.provider_id.encode()) + len(self.key_id.encode())
        return _FIELD_LENGTHS + named + _MORE_INFO + self.longest

    def wrapped(self, ciphertext: bytes) -> WrappedKey:
        """`ciphertext` under this KEK's identifiers, as the default `matches` expects them."""
        return WrappedKey(self.provider_id, self.key_id.encode(), ciphertext)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_id} {self.key_id}>"


class Signer(ProviderKey):
    """A private key that signs and never leaves its provider; or a shared one, for HS256.

    Attributes:
        key_id: what the provider calls the key, one version of it.
        provider_id: the name space of `key_id`, as for `KeyWrapper`.
        ALGORITHMS: what keys of this class can sign; a subclass names its own.
        algorithm: one of `ALGORITHMS`; the names are those of RFC 7518, RFC 8812 (ES256K) and Ed25519.

    Signatures: ASN.1 DER for the ECDSA ones, as X.509 and `cryptography` have them (`raw_signature` gives
    r || s); of ES256K always the one with the low s, since Bitcoin (BIP 62) and Ethereum (EIP-2) refuse the
    other; the bytes of RFC 8032 for Ed25519; 32 bytes for HS256, to be compared in constant time.

    Every method is safe across threads; errors are as for `KeyWrapper`.
    """

    ALGORITHMS: ClassVar[tuple[str, ...]] = (
        "ES256", "ES384", "ES256K", "Ed25519", "PS256", "RS256", "HS256",
    )  # fmt: skip
    key_id: str
    provider_id: str
    algorithm: str

    def sign(self, message: bytes) -> bytes:
        """Sign a message of any length, hashed as `algorithm` says.

        Ed25519 and HS256 override this: they take the message itself.
        """
        import hashlib

        return self.sign_digest(hashlib.new(self._hash(), message).digest())

    @abstractmethod
    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a digest made elsewhere, such as the Keccak-256 of a transaction, as it is.

        Raises:
            InvalidRequestError: not as long as the algorithm's digest, see `check_digest`.
            UnsupportedOperationError: Ed25519 and HS256 sign no digests.
        """

    @abstractmethod
    def public_key(self) -> bytes | None:
        """The public key as SubjectPublicKeyInfo in DER (RFC 5280), or None for HS256."""

    def check_digest(self, digest: bytes) -> bytes:
        """`digest`, if `algorithm` can sign it; what `sign_digest` does first, before any I/O."""
        length = 48 if self._hash() == "sha384" else 32
        if len(digest) != length:
            problem = f"a digest for {self.algorithm} is {length} bytes long"
            raise InvalidRequestError(problem, operation="sign")
        return digest

    def _hash(self) -> str:
        if self.algorithm in ("Ed25519", "HS256"):
            raise UnsupportedOperationError(f"{self.algorithm} signs messages, not digests", operation="sign")
        return "sha384" if self.algorithm == "ES384" else "sha256"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_id} {self.key_id}>"


_SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def der_signature(raw: bytes) -> bytes:
    """The ASN.1 DER form of an ECDSA signature given as r || s, both of the same length."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def raw_signature(der: bytes, size: int = 32) -> bytes:
    """The r || s form of an ECDSA signature in ASN.1 DER, `size` bytes each: as long as the curve's order."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(der))


def low_s(der: bytes) -> bytes:
    """The secp256k1 signature with the smaller of the two s that both verify (BIP 62, EIP-2)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    r, s = decode_dss_signature(der)
    return encode_dss_signature(r, min(s, _SECP256K1_ORDER - s))


class Context(dict[str, str]):
    """An encryption context that knows its canonical bytes, so that each message encodes it once.

    It cannot be changed: several messages may share one.
    """

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes, pairs: Mapping[str, str] | None = None):
        super().__init__(pairs or {})
        self.encoded = encoded

    @classmethod
    def of(cls, pairs: Mapping[str, str]) -> Context:
        """A copy of `pairs`; raises as `encode_context` does."""
        return cls(_encode(pairs), pairs)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("an encryption context cannot be changed: it would not match its bytes")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = _refuse
    pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.encoded, dict(self))


def encode_context(context: Mapping[str, str]) -> bytes:
    """The canonical bytes of an encryption context, as the AWS Encryption SDK writes and authenticates them.

    A count, then the pairs sorted by their UTF-8 key, each string after its length; counts and lengths are
    two bytes, big-endian. No pairs are no bytes.

    Raises:
        InvalidRequestError: more than `MAX_CONTEXT_LENGTH` bytes, or text that UTF-8 cannot hold.
    """
    return context.encoded if isinstance(context, Context) else _encode(context)


def _encode(context: Mapping[str, str]) -> bytes:
    if not context:
        return b""
    parts = _encode_pairs(context)
    if parts is None:
        raise InvalidRequestError("an encryption context must be text that UTF-8 can hold")
    encoded = b"".join(parts)
    if len(encoded) > MAX_CONTEXT_LENGTH:
        raise InvalidRequestError(
            f"the encryption context takes {len(encoded)} bytes; at most {MAX_CONTEXT_LENGTH} are allowed"
        )
    return encoded


def _encode_pairs(context: Mapping[str, str]) -> list[bytes] | None:
    try:
        parts = [len(context).to_bytes(2, "big")]
        for key, value in sorted([(key.encode(), value.encode()) for key, value in context.items()]):
            parts += (len(key).to_bytes(2, "big"), key, len(value).to_bytes(2, "big"), value)
    except UnicodeEncodeError:
        return None
    except OverflowError:  # a count or length above two bytes: let the caller's length check say so
        return [bytes(MAX_CONTEXT_LENGTH + 1)]
    return parts


def bind(data_key: bytes, context: Mapping[str, str]) -> bytes:
    """What a KEK without additional data wraps: the data key and the SHA-256 of its context, 64 bytes."""
    return data_key + _digest(context)


def unbind(bound: bytes, context: Mapping[str, str]) -> bytes:
    """The data key in what `bind` made, compared in constant time.

    Raises:
        IntegrityError: another context, or not 64 bytes.
    """
    from hmac import compare_digest

    data_key, digest = bound[:DATA_KEY_LENGTH], bound[DATA_KEY_LENGTH:]
    if not compare_digest(digest, _digest(context)):
        raise IntegrityError(
            "the wrapped data key does not belong to this context",
            hint="the message or its context was changed",
        )
    return data_key


def _digest(context: Mapping[str, str]) -> bytes:
    from hashlib import sha256  # not at import time: it takes longer than the rest of opening a store

    return sha256(encode_context(context)).digest()
