"""AWS KMS keys that sign, behind ``aws-kms://REGION/KEY``."""

from __future__ import annotations

from typing import Self

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.keys import Signer, low_s
from strongroom.names import StoreURL

from ._errors import translate
from ._kms import LOGGERS, SERVICE, Key

_ALGORITHMS = {
    "ES256": "ECDSA_SHA_256",
    "ES384": "ECDSA_SHA_384",
    "ES256K": "ECDSA_SHA_256",
    "PS256": "RSASSA_PSS_SHA_256",
    "RS256": "RSASSA_PKCS1_V1_5_SHA_256",
    "HS256": "HMAC_SHA_256",
}
_SPECS = {
    "ECC_NIST_P256": "ES256",
    "ECC_NIST_P384": "ES384",
    "ECC_SECG_P256K1": "ES256K",
    "HMAC_256": "HS256",
    "RSA_2048": "PS256",
    "RSA_3072": "PS256",
    "RSA_4096": "PS256",
}
_MESSAGE = range(1, 4097)  # the API model, GenerateMac: Message


class KMSSigner(Signer):
    """A signing key of KMS: ES256, ES384, ES256K, PS256, RS256, HS256.

    Which of them is asked of KMS when it is first needed, or said by the option ``algorithm``; an RSA key
    signs PS256 unless that says RS256. Messages are hashed here and sent as digests, so that they may be of
    any length; HS256 takes 1 to 4,096 bytes, as KMS does. Credentials and ``grant_tokens`` are as for KEKs.
    """

    ALGORITHMS = tuple(_ALGORITHMS)
    provider_id = "aws-kms"
    loggers = LOGGERS

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = Key(url, settings)
        self._algorithm = _checked(settings.options.get("algorithm"))
        self._public_key: bytes | None = None
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``aws-kms://REGION/KEY[?endpoint=http://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    @property
    def key_id(self) -> str:  # type: ignore[override]  # an alias is known by its key once it answered
        """The key's ARN, once KMS has answered; until then what the URL says."""
        return self._key.arn or self._key.name

    @property
    def algorithm(self) -> str:  # type: ignore[override]  # KMS knows it
        """As configured, or as the key's spec says."""
        if self._algorithm is None:
            spec = str(self._key.call("DescribeKey")["KeyMetadata"].get("KeySpec"))
            if spec not in _SPECS:
                raise UnsupportedOperationError("the KMS key is of a kind that does not sign here")
            self._algorithm = _SPECS[spec]
        return self._algorithm

    def sign(self, message: bytes) -> bytes:
        """Sign a message; HS256 takes 1 to 4,096 bytes.

        Raises:
            InvalidRequestError: the message is of a length that KMS does not take, for HS256.
        """
        if self.algorithm != "HS256":
            return super().sign(message)
        if len(message) not in _MESSAGE:
            raise InvalidRequestError("KMS takes messages of 1 to 4,096 bytes for HS256")
        answer = self._key.call("GenerateMac", Message=message, MacAlgorithm=_ALGORITHMS["HS256"])
        return bytes(answer["Mac"])

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        algorithm = _ALGORITHMS[self.algorithm]
        answer = self._key.call("Sign", Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)
        signature = bytes(answer["Signature"])
        return low_s(signature) if self.algorithm == "ES256K" else signature

    def public_key(self) -> bytes | None:
        if self.algorithm != "HS256" and self._public_key is None:
            self._public_key = bytes(self._key.call("GetPublicKey")["PublicKey"])
        return self._public_key


def _checked(algorithm: object) -> str | None:
    if algorithm is not None and algorithm not in _ALGORITHMS:
        known = ", ".join(sorted(_ALGORITHMS))
        raise InvalidRequestError("KMS does not sign so", hint=f"algorithms: {known}")
    return algorithm if isinstance(algorithm, str) else None
