"""Cloud KMS keys as key encryption keys: ``gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from strongroom.backend import Settings
from strongroom.errors import IntegrityError, SecretStoreError
from strongroom.keys import DATA_KEY_LENGTH, KeyWrapper, WrappedKey, encode_context
from strongroom.names import StoreURL

from ._errors import translate
from ._kms import LIMIT, LOGGERS, PROVIDER_ID, CryptoKey, crc32c, is_intact

from google.cloud import kms_v1 as api  # isort: skip  (grpc is imported by _channel first)


class CloudKMSKey(KeyWrapper):
    """A symmetric key of Cloud KMS (purpose ENCRYPT_DECRYPT, algorithm GOOGLE_SYMMETRIC_ENCRYPTION).

    The context is authenticated by Cloud KMS as additional data. A message records the key's name without a
    version: what any version wrapped is opened as long as that version is enabled, so that rotating the key
    makes no message unreadable. Wrapping uses the primary version, or the one that the URL names
    (``…/cryptoKeyVersions/N``).

    An HSM key takes contexts of up to 8 KiB less 32 bytes, others of up to 64 KiB. Credentials are as for
    ``gcp-sm``.
    """

    provider_id = PROVIDER_ID
    loggers = LOGGERS
    largest = LIMIT
    longest = 512  # of a data key: about 113 from software keys, and more from external ones

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = CryptoKey(url, settings)
        self.key_id = self._key.key
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the key a URL names, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Google's SDK raises."""
        return translate(exc, operation)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        aad = encode_context(context)

        def request() -> Any:
            return api.EncryptRequest(
                name=self._key.version or self.key_id,
                plaintext=data_key,
                plaintext_crc32c=crc32c(data_key),
                additional_authenticated_data=aad,
                additional_authenticated_data_crc32c=crc32c(aad),
            )

        return self.wrapped(self._key.call("Encrypt", request, self._ciphertext))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        aad = encode_context(context)

        def request() -> Any:
            return api.DecryptRequest(
                name=self.key_id,
                ciphertext=wrapped.ciphertext,
                ciphertext_crc32c=crc32c(wrapped.ciphertext),
                additional_authenticated_data=aad,
                additional_authenticated_data_crc32c=crc32c(aad),
            )

        data_key = self._key.call("Decrypt", request, _plaintext)
        if len(data_key) != DATA_KEY_LENGTH:
            raise IntegrityError("what this Cloud KMS key wrapped is no data key")
        return data_key

    def _ciphertext(self, answer: Any) -> bytes | None:
        """EncryptResponse: discard it unless both checksums were verified and its own is right."""
        verified = answer.verified_plaintext_crc32c and answer.verified_additional_authenticated_data_crc32c
        if not (verified and is_intact(answer.ciphertext, answer.ciphertext_crc32c)):
            return None
        if not self._key.is_of_this_key(answer.name):
            raise IntegrityError("Cloud KMS wrapped under another key than it was asked to")
        return bytes(answer.ciphertext)


def _plaintext(answer: Any) -> bytes | None:
    """DecryptResponse; that it came at all says that what was sent arrived intact: it is authenticated."""
    return bytes(answer.plaintext) if is_intact(answer.plaintext, answer.plaintext_crc32c) else None
