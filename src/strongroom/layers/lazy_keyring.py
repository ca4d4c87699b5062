"""A keyring that is opened when it is first used: a store whose region is down still opens, to fail over."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import IntegrityError, InvalidRequestError, SecretNotFoundError, UnavailableError
from strongroom.keys import KeyWrapper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.backend import Clock
    from strongroom.envelope.keyring import Keyring, KeyringPlace
    from strongroom.keys import WrappedKey

_ROOM: Final = 256  # a raw AES key's 68 bytes, and the names of name space, keyring and version


@final
class LazyKeyring(KeyWrapper):
    """The keyring in a place, for an encrypted store. Arguments are those of `Keyring.open`.

    Its errors are those of a key: a keyring that is missing must not pass for a secret that is.

    Raises:
        InvalidRequestError: a root is asymmetric, and ``forgeable`` is not written.
    """

    provider_id = "strongroom-keyring"
    remote = False
    longest = 48

    def __init__(
        self,
        place: KeyringPlace,
        roots: Sequence[KeyWrapper],
        *,
        name: str,
        forgeable: bool = False,
        clock: Clock,
    ):
        self._place, self._roots, self._name = place, tuple(roots), name
        self._forgeable, self._clock = forgeable, clock
        self._keyring: Keyring | None = None
        self._closed = False
        self._lock = threading.Lock()
        asymmetric = next((root.key_id for root in roots if not root.symmetric), None)
        if asymmetric and not forgeable:
            raise InvalidRequestError(
                f"keyring {name}: root {asymmetric} is asymmetric: whoever has its public half could put a"
                " keyring of his own in its place",
                hint="use a symmetric key, or write forgeable = true",
            )
        self.symmetric = not asymmetric

    @property
    def key_id(self) -> str:  # type: ignore[override]  # its place knows
        """The keyring's id, once it is open; until then what the configuration calls it."""
        return self._keyring.key_id if self._keyring else self._name

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        missing = None
        try:
            return self._opened().wrap(data_key, context)
        except SecretNotFoundError as error:
            missing = error
        finally:
            data_key = b""  # this frame travels with an error
        raise self._gone(missing)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        keyring, missing = self._opened(), None
        if not keyring.matches(wrapped):
            raise IntegrityError(f"the wrapped data key was not made under keyring {self._name}")
        try:
            return keyring.unwrap(wrapped, context)
        except SecretNotFoundError as error:
            missing = error
        raise self._gone(missing)

    def matches(self, wrapped: WrappedKey) -> bool:
        """By the keyring's id; until it is open, every keyring may be meant."""
        if self._keyring:
            return self._keyring.matches(wrapped)
        return wrapped.provider_id == self.provider_id

    def is_primary(self, wrapped: WrappedKey) -> bool:
        return self._opened().is_primary(wrapped)

    def room(self) -> int:
        return _ROOM

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        (self._keyring or self._place).after_fork()

    def close(self) -> None:
        self._closed = True
        keyring, self._keyring = self._keyring, None
        with ExitStack() as ends:
            for root in self._roots:
                ends.callback(root.close)
            ends.callback((keyring or self._place).close)

    def _opened(self) -> Keyring:
        from strongroom.envelope.keyring import Keyring

        missing = None
        with self._lock:
            if self._closed:
                raise InvalidRequestError(f"the keyring {self._name} is closed")
            try:
                if self._keyring is None:
                    self._keyring = Keyring.open(
                        self._place,
                        self._roots,
                        name=self._name,
                        forgeable=self._forgeable,
                        clock=self._clock,
                    )
                return self._keyring
            except SecretNotFoundError as error:
                missing = error
        raise self._gone(missing)

    def _gone(self, missing: SecretNotFoundError) -> UnavailableError:
        return UnavailableError(missing.message, hint=missing.hint, retryable=False)
