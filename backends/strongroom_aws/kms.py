"""AWS KMS keys as key encryption keys, behind ``aws-kms://REGION/KEY``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from strongroom.backend import Settings
from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError
from strongroom.keys import (
    DATA_KEY_LENGTH,
    DataKey,
    KeyWrapper,
    WrappedKey,
    Wrapping,
    bind,
    encode_context,
    unbind,
)
from strongroom.names import StoreURL
from strongroom.value import SecretValue

from ._errors import translate
from ._kms import LOGGERS, SERVICE, Key

_OAEP = "RSAES_OAEP_SHA_256"
_CIPHERTEXT = range(1, 6145)  # the API model, CiphertextType


class KMSKey(KeyWrapper):
    """A KMS key, compatible with the KMS keyring of AWS's own Encryption SDKs.

    The URL names it by id, by alias (``aws-kms://eu-west-1/alias/strongroom``), or by ARN where it belongs to
    another account. A message records the key's ARN as KMS answers it, never the alias. What an alias means
    is known from KMS's first answer; until then every key of the region may be meant, and KMS decrypts under
    the one that is.

    Multi-Region keys (``mrk-…``) open in each of their regions what was wrapped in any of them, always by the
    replica in the configured region.

    Credentials are as for ``aws-sm``. The option ``grant_tokens`` is a token or up to ten, for grants made a
    moment ago. The option ``algorithm = "RSAES_OAEP_SHA_256"`` declares an RSA key: see `AsymmetricKMSKey`.
    KMS takes contexts of up to 8,192 characters, and writes them to CloudTrail in clear.
    """

    provider_id = "aws-kms"
    loggers = LOGGERS
    largest = 4096  # the API model, Encrypt: Plaintext
    longest = 512  # of a data key: 184 in 2026, and RSA_4096; the API model promises no more than 6,144

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = Key(url, settings)
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``aws-kms://REGION/KEY[?endpoint=http://127.0.0.1:PORT]``, without I/O."""
        algorithm = settings.options.get("algorithm", "SYMMETRIC_DEFAULT")
        if algorithm not in ("SYMMETRIC_DEFAULT", _OAEP):
            raise InvalidRequestError("no algorithm for KMS keys", hint=f"SYMMETRIC_DEFAULT or {_OAEP}")
        found: type[KMSKey] = AsymmetricKMSKey if algorithm == _OAEP else KMSKey
        return found(url, settings)  # type: ignore[return-value]  # both are KMS keys

    @classmethod
    def wrappings(cls) -> tuple[Wrapping, ...]:
        return KMSKey.wrapping(), AsymmetricKMSKey.wrapping(f'algorithm = "{_OAEP}"')

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    @property
    def key_id(self) -> str:  # type: ignore[override]  # an alias is known by its key once it answered
        """The key's ARN, once KMS has answered; until then what the URL says."""
        return self._key.arn or self._key.name

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        encode_context(context)  # refuses what a message cannot hold
        answer = self._key.call("Encrypt", SecretValue(data_key), EncryptionContext=dict(context))
        return self.wrapped(answer["CiphertextBlob"])

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        encode_context(context)
        answer = self._key.call(
            "GenerateDataKey", NumberOfBytes=DATA_KEY_LENGTH, EncryptionContext=dict(context)
        )
        return DataKey(answer["Plaintext"].reveal(), self.wrapped(answer["CiphertextBlob"]))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._decrypt(wrapped, EncryptionContext=dict(context)).reveal()

    def matches(self, wrapped: WrappedKey) -> bool:
        """By the key's ARN; a multi-Region key by its id, in any region."""
        info = wrapped.key_info.decode("ascii", "replace")
        return wrapped.provider_id == self.provider_id and self._key.may_be(info)

    def _decrypt(self, wrapped: WrappedKey, **params: object) -> SecretValue:
        if len(wrapped.ciphertext) in _CIPHERTEXT and self.matches(wrapped):
            # With KeyId KMS tries no other key, whatever the ciphertext names.
            plaintext: SecretValue = self._key.call("Decrypt", CiphertextBlob=wrapped.ciphertext, **params)[
                "Plaintext"
            ]
            if self.matches(wrapped):  # the answer told the ARN, hence the account
                return plaintext
        raise IntegrityError(f"the wrapped data key was not made under KMS key {self.key_id}")


class AsymmetricKMSKey(KMSKey):
    """An RSA key of KMS: whoever has its public half can wrap, so that encrypted stores refuse it.

    RSAES-OAEP takes no context: what is wrapped is the data key and the context's SHA-256, 64 bytes. AWS's
    own SDKs have no such keyring, hence the provider id of our own.
    """

    provider_id = "strongroom-aws-kms-rsa"
    symmetric = False
    algorithm = "RSAES-OAEP-SHA-256"
    context = "bound by digest"
    largest = 190  # Encrypt: Plaintext, for RSA_2048; 318 and 446 for the longer ones

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        bound = SecretValue(bind(data_key, context))
        answer = self._key.call("Encrypt", bound, EncryptionAlgorithm=_OAEP)
        return self.wrapped(answer["CiphertextBlob"])

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return KeyWrapper.generate_data_key(self, context)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return unbind(self._decrypt(wrapped, EncryptionAlgorithm=_OAEP).reveal(), context)
