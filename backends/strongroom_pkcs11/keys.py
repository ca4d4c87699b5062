"""A key in a PKCS#11 token as key encryption key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Self, final

from strongroom.errors import IntegrityError, InvalidRequestError, ProviderFault, SecretStoreError
from strongroom.keys import DATA_KEY_LENGTH, KeyWrapper, WrappedKey, Wrapping, encode_context
from strongroom.retry import attempts

from ._errors import error_for
from .access import KeyAccess
from .uri import TokenURI
from .wrapping import WRAPPINGS

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_DOUBTFUL = ("GeneralError", "FunctionFailed")


@final
class TokenKey(KeyWrapper):
    """A KEK that never leaves its token: ``pkcs11:token=prod;object=kek``.

    The option ``mechanism`` is one of `wrapping.WRAPPINGS`: ``aes-key-wrap-pad`` by default, and ``rsa-oaep``
    for a URL with ``type=private`` or ``type=public``. Opening does no I/O.

    Raises:
        InvalidRequestError: the URL names no key, the mechanism is unknown, or no module is configured.
    """

    provider_id = "strongroom-pkcs11"

    def __init__(self, uri: TokenURI, settings: Settings):
        default = "rsa-oaep" if uri.type in ("private", "public") else "aes-key-wrap-pad"
        mechanism = settings.options.get("mechanism", default)
        if mechanism not in WRAPPINGS:
            raise InvalidRequestError("unknown mechanism for a KEK", hint=f"one of: {', '.join(WRAPPINGS)}")
        self._wrapping = WRAPPINGS[mechanism]
        self.symmetric = self._wrapping.symmetric
        self.algorithm, self.context = self._wrapping.algorithm, self._wrapping.context
        self.longest = 128 if self.symmetric else KeyWrapper.longest
        self.key_id = uri.key_id
        self._settings = settings
        self._access = KeyAccess(uri, settings)

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the KEK a URL names."""
        return cls(TokenURI.parse(url), settings)

    @classmethod
    def wrappings(cls) -> tuple[Wrapping, ...]:
        return tuple(
            Wrapping(how.algorithm, how.context, how.symmetric, option=f'mechanism = "{name}"' if at else "")
            for at, (name, how) in enumerate(WRAPPINGS.items())
        )

    error_for = staticmethod(error_for)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        encode_context(context)  # refused before the token is asked
        sealing = partial(self._wrapping.seal, data_key=data_key, context=context)
        return self.wrapped(self._access.use("wrap", sealing))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        encode_context(context)
        opening = partial(self._wrapping.open, ciphertext=wrapped.ciphertext, context=context)
        return attempts(
            self._settings, lambda: self._judged(self._access.attempt("unwrap", opening)), again=True
        )

    def close(self) -> None:
        """Leave the token; the last user of it in this process logs out."""
        self._access.close()

    def _judged(self, outcome: bytes | SecretStoreError) -> bytes | SecretStoreError:
        """Tell a forged ciphertext from a broken token, where the token says the same of both.

        SoftHSM answers CKR_GENERAL_ERROR to a wrong tag. If the token opens what it has just wrapped, it is
        the ciphertext that is wrong.
        """
        fault = outcome.__cause__ if isinstance(outcome, SecretStoreError) else None
        if isinstance(fault, ProviderFault) and fault.kind in _DOUBTFUL and self._works():
            outcome = IntegrityError(
                f"the wrapped data key does not verify under {self.key_id}",
                hint="the message or its context was changed, or a different key bears this name",
            )
        return outcome

    def _works(self) -> bool:
        probe = os.urandom(DATA_KEY_LENGTH)
        seal, opened = self._wrapping.seal, self._wrapping.open
        return self._access.attempt("wrap", lambda find: opened(find, seal(find, probe, {}), {})) == probe
