"""Azure Key Vault and Managed HSM keys as key encryption keys, behind ``azure-key://VAULT/KEY``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError
from strongroom.keys import KeyWrapper, WrappedKey, Wrapping, bind, unbind

from ._client import LOGGERS
from ._errors import translate
from ._keys import Key

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL


class VaultKey(KeyWrapper):
    """An RSA key: whoever has its public half can wrap, so that encrypted stores refuse it.

    RSA-OAEP with SHA-256 takes no context: what is wrapped is the data key and the context's SHA-256, 64
    bytes. The service wraps under the newest version, or under the one the URL names; a message records
    which, and is opened by that one, so that a rotated key opens what its older versions made. The option
    ``algorithm = "A256KW"`` declares a 256-bit AES key of a Managed HSM: see `SymmetricVaultKey`.

    Credentials are as for ``azure-kv``; they need keys/wrapKey and keys/unwrapKey, and no right to read keys.
    """

    provider_id = "strongroom-azure-key"
    loggers = LOGGERS
    symmetric = False
    algorithm = "RSA-OAEP-256"
    context = "bound by digest"
    largest: int | None = 190  # of a 2,048-bit key: RFC 8017 section 7.1.1, 256 - 2 * 32 - 2
    lengths: ClassVar[frozenset[int]] = frozenset({256, 384, 512})
    """Bytes of a ciphertext: the service has RSA keys of 2,048, 3,072 and 4,096 bits."""
    longest = 512

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = Key(url, settings)
        self.key_id = self._key.id
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``azure-key://VAULT/KEY[/VERSION][?endpoint=https://127.0.0.1:PORT]``, without I/O."""
        kinds = {kind.algorithm: kind for kind in (VaultKey, SymmetricVaultKey)}
        found = kinds.get(settings.options.get("algorithm", cls.algorithm))
        if found is None:
            raise InvalidRequestError("no algorithm of this kind of key", hint=" or ".join(kinds))
        return found(url, settings)  # type: ignore[return-value]  # both are keys of a vault

    @classmethod
    def wrappings(cls) -> tuple[Wrapping, ...]:
        return VaultKey.wrapping(), SymmetricVaultKey.wrapping(f'algorithm = "{SymmetricVaultKey.algorithm}"')

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Azure's SDK raises."""
        return translate(exc, "get")

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        used = self._key.use("wrapkey", self.algorithm, bind(data_key, context), self._key.version)
        if len(used.value) not in self.lengths:
            raise IntegrityError(
                f"Key Vault wrapped into {len(used.value)} bytes, which is not {self.algorithm}"
            )
        return WrappedKey(self.provider_id, f"{self._key.id}/{used.version}".encode(), used.value)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        version = self._key.version_in(wrapped.key_info)
        if version is None or len(wrapped.ciphertext) not in self.lengths:
            raise IntegrityError(f"the wrapped data key was not made under key {self.key_id}")
        # The algorithm is the configured key's, never the message's: who has an RSA key's public half could
        # otherwise forge what passes for the work of an AES key of the same name.
        used = self._key.use("unwrapkey", self.algorithm, wrapped.ciphertext, version)
        return unbind(used.value, context)

    def matches(self, wrapped: WrappedKey) -> bool:
        """By vault and key, any version of it."""
        ours = wrapped.provider_id == self.provider_id
        return ours and self._key.version_in(wrapped.key_info) is not None


class SymmetricVaultKey(VaultKey):
    """A 256-bit AES key of a Managed HSM, wrapping with AES-KW (RFC 3394), which takes no context either.

    https://learn.microsoft.com/azure/key-vault/managed-hsm/about-keys-details
    """

    symmetric = True
    algorithm = "A256KW"
    largest = None
    lengths: ClassVar[frozenset[int]] = frozenset({72})
    """64 bytes and the 8 that the mechanism adds."""
    longest = 72
