"""The one key encryption key that needs no provider: AES-256 in this process's memory."""

from __future__ import annotations

import functools
import os
import struct
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, final

from .errors import IntegrityError, InvalidRequestError, PermissionDeniedError
from .keys import DATA_KEY_LENGTH, KeyWrapper, WrappedKey, encode_context

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WRAPS: Final = 2**31
"""Wraps under one local key. NIST SP 800-38D section 8.3 allows 2^32 GCM calls with random IVs under one key;
half of it leaves room for a restored backup that counts a stretch twice."""

WRAP_BLOCK: Final = 65_536
"""Wraps reserved durably at a time, at most: a crash loses at most this many, and uses none twice."""

FIRST_BLOCK: Final = 64
"""Wraps a process reserves first, and then twice as many each time, up to `WRAP_BLOCK`. A command that wraps
once and ends would lose the rest of a whole block: run once a minute, it would spend the key in 22 days."""


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

    remote = False

    longest = _WRAPPED_LENGTH

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
        self._block = FIRST_BLOCK
        self.after_fork()
        _local_keys.add(self)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        """Wrap under a random IV.

        Raises:
            InvalidRequestError: the key has wrapped `MAX_WRAPS` data keys; make a new one.
            PermissionDeniedError: the key has no counter it can write, so it only unwraps.
            UnavailableError: the counter could not be made durable.
        """
        try:
            aad = encode_context(context)
            self._count()
        except BaseException:
            data_key = b""  # this frame travels with the error
            raise
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
        start, count = self._counter.reserve(self._block), self._block
        if start + count > MAX_WRAPS:
            raise InvalidRequestError(
                f"local key {self.key_id} has wrapped its {MAX_WRAPS} data keys, the bound for random IVs",
                hint="create a new key and encrypt under it; this one still opens what it wrapped",
            )
        self._next, self._end = start, start + count
        self._block = min(2 * count, WRAP_BLOCK)

    def after_fork(self) -> None:
        """Forget the numbers reserved by the parent, and its lock; called in every forked child."""
        self._lock = threading.Lock()
        self._next, self._end, self._block = 0, 0, FIRST_BLOCK

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LocalKey cannot be pickled: it would carry the key")


_local_keys: weakref.WeakSet[LocalKey] = weakref.WeakSet()


def _after_fork() -> None:
    # Parent and child would both spend the block the parent reserved, and the lock may be held by a thread
    # that does not exist in the child.
    for key in list(_local_keys):
        key.after_fork()


os.register_at_fork(after_in_child=_after_fork)
