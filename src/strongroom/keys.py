"""Key encryption keys (KEKs): what a key author implements, and the one KEK that needs no provider.

A message is encrypted under a fresh data key; the data key stands in the message's header, wrapped under one
or several KEKs. To bring another KEK (a KMS, an HSM), subclass `KeyWrapper`: three attributes, `wrap` and
`unwrap`::

    class ConsulKey(KeyWrapper):
        provider_id = "acme-consul"

        def __init__(self, client, key_id): ...
        def wrap(self, data_key, context): ...      # -> self.wrapped(ciphertext)
        def unwrap(self, wrapped, context): ...     # -> the data key
"""

from __future__ import annotations

import functools
import os
import struct
import threading
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol, final

from .errors import IntegrityError, InvalidRequestError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_KEY_LENGTH: Final = 32
"""Bytes in a data key: AES-256, and the HKDF input of both committing suites of the AWS Encryption SDK."""

MAX_CONTEXT_LENGTH: Final = 65_535
"""Bytes of an encoded context: its length is two bytes in the message header."""

MAX_WRAPS: Final = 2**31
"""Wraps under one local key. NIST SP 800-38D section 8.3 allows 2^32 GCM calls with random IVs under one key;
half of it leaves room for a restored backup that counts a stretch twice."""

WRAP_BLOCK: Final = 65_536
"""Wraps reserved durably at a time: a crash loses at most this many, and uses none twice."""


class WrappedKey(NamedTuple):
    """An encrypted data key (EDK) as it stands in a message header.

    `provider_id` and `key_info` say which KEK can open it, in clear; each field takes at most 65,535 bytes.
    """

    provider_id: str
    key_info: bytes
    ciphertext: bytes


class DataKey(NamedTuple):
    """A new data key, in plaintext and wrapped. Its repr does not show the plaintext."""

    plaintext: bytes
    wrapped: WrappedKey

    def __repr__(self) -> str:
        return f"DataKey(wrapped under {self.wrapped.provider_id!r})"


class KeyWrapper(ABC):
    """A key encryption key.

    Attributes:
        key_id: what the provider calls the key (an ARN, a URL path, a label). An identifier, never a
            credential: it stands in clear in every message.
        provider_id: the name space of `key_id`, such as ``"aws-kms"``; your own may not begin with
            ``aws-kms`` or ``strongroom-``.
        symmetric: False if whoever holds only the public half can wrap. Encrypted stores refuse such a key,
            since anybody with the public key could forge their messages.

    The context is a mapping of str to str and must be authenticated with the data key: natively where the
    provider takes additional data (give it `encode_context(context)`, or the pairs where it takes pairs, as
    AWS KMS does). Where it does not, wrap ``data_key + SHA-256(encode_context(context))``, exactly 64 bytes,
    and compare the digest in constant time when unwrapping.

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

    def wrapped(self, ciphertext: bytes) -> WrappedKey:
        """`ciphertext` under this KEK's identifiers, as the default `matches` expects them."""
        return WrappedKey(self.provider_id, self.key_id.encode(), ciphertext)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_id} {self.key_id}>"


class Context(dict[str, str]):
    """An encryption context that knows its canonical bytes, so that each message encodes it once.

    Made by `Context.of` or by the message decoder, and not changed after.
    """

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes):
        super().__init__()
        self.encoded = encoded

    @classmethod
    def of(cls, pairs: Mapping[str, str]) -> Context:
        """A copy of `pairs`; raises as `encode_context` does."""
        context = cls(_encode(pairs))
        context.update(pairs)
        return context


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


class WrapCounter(Protocol):
    """Counts the wraps of one local key, for all processes and for ever."""

    def reserve(self, count: int) -> int:
        """Take the next `count` numbers and return the first; it is durable (fsync) before this returns.

        No number is ever given twice, whatever crashes. A counter may stop counting once it has passed
        `MAX_WRAPS`.

        Raises:
            UnavailableError: it could not be made durable.
            PermissionDeniedError: the counter cannot be written, so the key can only unwrap.
        """
        ...


@functools.cache
def aes_gcm() -> tuple[Any, type[Exception]]:
    """``AESGCM`` and ``InvalidTag``, imported on first use: importing strongroom must stay quick."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


_IV_LENGTH: Final = 12
_TAG_LENGTH: Final = 16
_WRAPPED_LENGTH: Final = DATA_KEY_LENGTH + _TAG_LENGTH
_RAW_AES_LENGTHS: Final = struct.pack(">II", _TAG_LENGTH * 8, _IV_LENGTH)


@final
class LocalKey(KeyWrapper):
    """A 256-bit AES key in this process's memory, compatible with the AWS Encryption SDK's raw AES keyring.

    AES-256-GCM with a random 96-bit IV and the encoded context as additional data. The SDK opens what it
    wrapped with `namespace` as key namespace (provider id), `name` as key name and the same 32 bytes, and
    the reverse.

    Args:
        key: the 32 bytes; this object keeps no readable copy.
        name: the key's name within `namespace`.
        counter: where wraps are counted; without it the key only unwraps.

    A fork drops the numbers the parent reserved; the child reserves its own.
    """

    def __init__(
        self,
        key: bytes,
        *,
        name: str,
        namespace: str = "strongroom-local",
        counter: WrapCounter | None = None,
    ):
        if len(key) != DATA_KEY_LENGTH:
            raise InvalidRequestError(f"a local key is {DATA_KEY_LENGTH} bytes long")
        if namespace.startswith("aws-kms"):  # reserved by the AWS Encryption SDK
            raise InvalidRequestError("the name space of a local key may not begin with 'aws-kms'")
        self.key_id, self.provider_id = name, namespace
        aead, self._invalid_tag = aes_gcm()
        self._aead = aead(key)
        self._info = name.encode() + _RAW_AES_LENGTHS
        self._counter = counter
        self.after_fork()
        _local_keys.add(self)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        """Wrap under a random IV.

        Raises:
            InvalidRequestError: the key has wrapped `MAX_WRAPS` data keys; make a new one.
            PermissionDeniedError: the key has no counter it can write, so it only unwraps.
            UnavailableError: the counter could not be made durable.
        """
        aad = encode_context(context)
        self._count()
        iv = os.urandom(_IV_LENGTH)
        return WrappedKey(self.provider_id, self._info + iv, self._aead.encrypt(iv, data_key, aad))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        """The data key.

        Raises:
            IntegrityError: the wrapped key, its IV or the context was changed, or another key has this key's
            name.
        """
        data_key = self._open(wrapped, encode_context(context))
        if data_key is None:
            raise IntegrityError(
                f"the wrapped data key does not verify under local key {self.key_id}",
                hint="the message or its context was changed, or a different key bears this name",
            )
        return data_key

    def matches(self, wrapped: WrappedKey) -> bool:
        """By name space and name; `key_info` also holds the tag's and IV's lengths and the IV itself."""
        return (
            wrapped.provider_id == self.provider_id
            and len(wrapped.key_info) == len(self._info) + _IV_LENGTH
            and wrapped.key_info.startswith(self._info)
        )

    def _open(self, wrapped: WrappedKey, aad: bytes) -> bytes | None:
        if len(wrapped.ciphertext) != _WRAPPED_LENGTH:
            return None
        try:
            data_key: bytes = self._aead.decrypt(wrapped.key_info[-_IV_LENGTH:], wrapped.ciphertext, aad)
        except self._invalid_tag:
            return None
        return data_key

    def _count(self) -> None:
        with self._lock:
            if self._next == self._end:
                self._reserve()
            self._next += 1

    def _reserve(self) -> None:
        if self._counter is None:
            raise PermissionDeniedError(
                f"local key {self.key_id} is read-only: it opens messages but cannot make new ones",
                hint="its wrap counter must be writable",
            )
        start = self._counter.reserve(WRAP_BLOCK)
        if start + WRAP_BLOCK > MAX_WRAPS:
            raise InvalidRequestError(
                f"local key {self.key_id} has wrapped its {MAX_WRAPS} data keys, the bound for random IVs",
                hint="create a new key and encrypt under it; this one still opens what it wrapped",
            )
        self._next, self._end = start, start + WRAP_BLOCK

    def after_fork(self) -> None:
        """Forget the numbers reserved by the parent, and its lock; called in every forked child."""
        self._lock = threading.Lock()
        self._next = self._end = 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LocalKey cannot be pickled: it would carry the key")


_local_keys: weakref.WeakSet[LocalKey] = weakref.WeakSet()


def _after_fork() -> None:
    # Parent and child would both spend the block the parent reserved, and the lock may be held by a thread
    # that does not exist in the child.
    for key in list(_local_keys):
        key.after_fork()


os.register_at_fork(after_in_child=_after_fork)
