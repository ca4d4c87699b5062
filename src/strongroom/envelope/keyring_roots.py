"""The KEKs that a keyring is encrypted under: sealing its document, opening it, and who is named in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, final

from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.keys import DataKey, KeyWrapper, WrappedKey

from .cipher import decrypt, encrypt
from .message import decode_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .cipher import Plaintext

T = TypeVar("T")

RAW_AES: Final = struct.pack(">II", 128, 12)
"""Lengths in bits and bytes of tag and IV, which raw AES keys put between their name and the IV."""

RAW_AES_TAIL: Final = len(RAW_AES) + 12
"""Bytes of a raw AES key's info after its name."""


class Root(NamedTuple):
    """A KEK that opens a keyring, as the keyring's message names it.

    Attributes:
        provider_id: the name space of `key_id`.
        key_id: what the provider calls the key.
        configured: whether it is among the roots that the keyring was opened with.
    """

    provider_id: str
    key_id: str
    configured: bool


@final
class Roots:
    """The roots that were configured.

    Args:
        keys: 1 to 16 KEKs.
        forgeable: accept an asymmetric one: whoever has its public half can put a keyring of his own in the
            place, and then reads what is encrypted under it.
    """

    def __init__(self, keys: Sequence[KeyWrapper], *, forgeable: bool):
        self.keys = tuple(keys)
        self._forgeable = forgeable

    @property
    def symmetric(self) -> bool:
        """Whether nobody can make a keyring who cannot open one."""
        return not self._forgeable or all(key.symmetric for key in self.keys)

    def seal(self, document: bytes, name: str) -> bytes:
        """A message with the document, which any root opens.

        Raises:
            UnavailableError, PermissionDeniedError: a root could not be used; the message names it.
            InvalidRequestError: no root or more than 16, or an asymmetric one.
        """
        named = [_Named(key) for key in self.keys]
        for key in named:
            self._check(key)
        try:
            return encrypt(document, keys=named, context={}, bindings=_bindings(name))
        except BaseException:
            document = b""  # this frame travels with the error
            raise

    def open(self, message: bytes, name: str) -> tuple[Plaintext, tuple[str, ...]]:
        """What `seal` made under the same name, and the key ids of the roots that were passed over.

        Raises:
            IntegrityError: no message, not a keyring's, that of a keyring of another name, or made under
                none of the roots.
            UnavailableError, PermissionDeniedError: no root that could open it could be used.
            InvalidRequestError: as for `seal`.
        """
        usable, over, failure = self._usable()
        if failure is not None and not usable:
            raise failure
        opened = decrypt(message, keys=usable, context={}, bindings=_bindings(name))
        return opened, (*over, *opened.passed_over)

    def tried(self, message: bytes, name: str) -> Iterator[SecretStoreError | None]:
        """For each root, None if it opens the message alone, or why it does not."""
        for key in self.keys:
            problem = None
            try:
                Roots([key], forgeable=self._forgeable).open(message, name)
            except SecretStoreError as error:
                problem = error.with_traceback(None)
            yield problem

    def named_in(self, message: bytes) -> tuple[Root, ...]:
        """The roots of a message."""
        return tuple(
            Root(wrapped.provider_id, _key_id(wrapped), any(key.matches(wrapped) for key in self.keys))
            for wrapped in decode_header(message)[0].wrapped_keys
        )

    def missing_in(self, message: bytes) -> tuple[str, ...]:
        """Key ids of the roots that a message does not name."""
        there = decode_header(message)[0].wrapped_keys
        return tuple(key.key_id for key in self.keys if not any(map(key.matches, there)))

    def _usable(self) -> tuple[list[KeyWrapper], list[str], SecretStoreError | None]:
        usable, over, failure = list[KeyWrapper](), list[str](), None
        for key in map(_Named, self.keys):
            try:
                self._check(key)  # some providers tell only when asked, and may not answer
                usable.append(key)
            except (UnavailableError, PermissionDeniedError) as error:
                failure = failure or error
                over.append(key.key_id)
        return usable, over, failure

    def _check(self, key: KeyWrapper) -> None:
        if not self._forgeable and not key.symmetric:
            raise InvalidRequestError(
                f"root {key.key_id} is asymmetric: whoever has its public half could forge the keyring",
                hint="use a symmetric key, or write forgeable = true",
            )


@final
class _Named(KeyWrapper):
    """A root whose errors say which root it is: there are several, and the one that is down is looked for."""

    def __init__(self, inner: KeyWrapper):
        self._inner = inner
        self.provider_id = inner.provider_id

    @property
    def key_id(self) -> str:  # type: ignore[override]  # an alias is known by its key once it answered
        return self._inner.key_id

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # some providers tell only when asked
        return self._named(lambda: self._inner.symmetric)

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return self._named(lambda: self._inner.generate_data_key(context))

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        try:
            return self._inner.wrap(data_key, context)
        except BaseException as error:
            data_key = b""  # this frame travels with the error
            self._name(error)
            raise

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._named(lambda: self._inner.unwrap(wrapped, context))

    def matches(self, wrapped: WrappedKey) -> bool:
        return self._inner.matches(wrapped)

    def _named(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except SecretStoreError as error:
            self._name(error)
            raise

    def _name(self, error: BaseException) -> None:
        if isinstance(error, SecretStoreError) and self.key_id not in error.message:
            error.message = f"root {self.key_id}: {error.message}"


def _bindings(name: str) -> dict[str, str]:
    return {"strongroom-kind": "keyring", "strongroom-name": name}


def _key_id(wrapped: WrappedKey) -> str:
    info = wrapped.key_info
    raw = info[-RAW_AES_TAIL : -RAW_AES_TAIL + len(RAW_AES)] == RAW_AES
    return (info[:-RAW_AES_TAIL] if raw else info).decode("utf-8", "replace")
