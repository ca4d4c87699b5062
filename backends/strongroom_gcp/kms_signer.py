"""Cloud KMS keys that sign: ``gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N``."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretStoreError,
    UnsupportedOperationError,
)
from strongroom.keys import Signer, low_s
from strongroom.names import StoreURL

from ._errors import translate
from ._kms import LIMIT, LOGGERS, PROVIDER_ID, CryptoKey, crc32c, is_intact

from google.cloud import kms_v1 as api  # isort: skip  (grpc is imported by _channel first)

_ALGORITHMS: Final = {
    "EC_SIGN_P256_SHA256": "ES256",
    "EC_SIGN_P384_SHA384": "ES384",
    "EC_SIGN_SECP256K1_SHA256": "ES256K",
    "EC_SIGN_ED25519": "Ed25519",
    "HMAC_SHA256": "HS256",
    **{f"RSA_SIGN_PSS_{bits}_SHA256": "PS256" for bits in (2048, 3072, 4096)},
    **{f"RSA_SIGN_PKCS1_{bits}_SHA256": "RS256" for bits in (2048, 3072, 4096)},
}
"""CryptoKeyVersion.CryptoKeyVersionAlgorithm, as far as we sign so."""
_MAC_LENGTH: Final = 32


class _Facts(NamedTuple):
    algorithm: str
    public_key: bytes | None


class CloudKMSSigner(Signer):
    """A signing key of Cloud KMS: ES256, ES384, ES256K, Ed25519, PS256, RS256, HS256.

    Which of them, Cloud KMS tells with the public key when it is first needed; of an HMAC key with the
    version's description, which takes another permission, unless the option ``algorithm`` says it. Messages
    are hashed here and sent as digests, so that they may be of any length; Ed25519 and HS256 take up to
    64 KiB. Credentials are as for ``gcp-sm``.
    """

    ALGORITHMS = tuple(dict.fromkeys(_ALGORITHMS.values()))
    provider_id = PROVIDER_ID
    loggers = LOGGERS

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = CryptoKey(url, settings)
        if self._key.version is None:
            raise InvalidRequestError(
                "a signing key is one version of a Cloud KMS key", hint="end the URL in /cryptoKeyVersions/1"
            )
        self.key_id = self._key.version
        self._algorithm = _checked(settings.options.get("algorithm"))
        self._public_key: bytes | None = None
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the key a URL names, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Google's SDK raises."""
        return translate(exc, operation)

    @property
    def algorithm(self) -> str:  # type: ignore[override]  # Cloud KMS knows it
        """As configured, or as Cloud KMS says."""
        if self._algorithm is None:
            self._algorithm = self._asked()
        return self._algorithm

    def public_key(self) -> bytes | None:
        if self.algorithm != "HS256" and self._public_key is None:
            self._public_key = self._described().public_key
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Sign a message; Ed25519 and HS256 take up to 64 KiB.

        Raises:
            InvalidRequestError: the message is of a length that Cloud KMS does not take.
        """
        if self.algorithm not in ("Ed25519", "HS256"):
            return super().sign(message)
        if len(message) > LIMIT:
            raise InvalidRequestError(f"Cloud KMS takes at most {LIMIT} bytes for {self.algorithm}")
        return self._maced(message) if self.algorithm == "HS256" else self._signed(data=message)

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        signature = self._signed(digest=digest)
        return low_s(signature) if self.algorithm == "ES256K" else signature

    def _signed(self, data: bytes = b"", digest: bytes = b"") -> bytes:
        field = "digest" if digest else "data"
        content: Any = {f"sha{len(digest) * 8}": digest} if digest else data
        checksum = {f"{field}_crc32c": crc32c(digest or data)}

        def read(answer: Any) -> bytes | None:
            verified = getattr(answer, f"verified_{field}_crc32c")
            return self._intact(answer, verified, answer.signature, answer.signature_crc32c)

        request = api.AsymmetricSignRequest(name=self.key_id, **{field: content}, **checksum)
        return self._key.call("AsymmetricSign", lambda: request, read)

    def _maced(self, message: bytes) -> bytes:
        def read(answer: Any) -> bytes | None:
            return self._intact(answer, answer.verified_data_crc32c, answer.mac, answer.mac_crc32c)

        request = api.MacSignRequest(name=self.key_id, data=message, data_crc32c=crc32c(message))
        mac = self._key.call("MacSign", lambda: request, read)
        if len(mac) != _MAC_LENGTH:
            raise InvalidRequestError("the Cloud KMS key is not for HMAC-SHA256", hint="check its algorithm")
        return mac

    def _intact(self, answer: Any, verified: bool, made: bytes, checksum: int | None) -> bytes | None:
        """What was made, if it was made of what was sent and arrived as it was made."""
        if not (verified and is_intact(made, checksum)):
            return None
        if not self._key.is_of_this_key(answer.name):
            raise IntegrityError("Cloud KMS signed with another key than it was asked to")
        return bytes(made)

    def _asked(self) -> str:
        try:
            found = self._described()
        except InvalidRequestError:  # no public half: an HMAC key, or none that signs
            found = None
        if found is None:
            return _known(self._key.call("GetCryptoKeyVersion", self._version_request, _algorithm_name))
        self._public_key = found.public_key
        return found.algorithm

    def _described(self) -> _Facts:
        return self._key.call("GetPublicKey", lambda: api.GetPublicKeyRequest(name=self.key_id), self._facts)

    def _facts(self, answer: Any) -> _Facts | None:
        if not is_intact(answer.pem.encode(), answer.pem_crc32c):
            return None
        if not self._key.is_of_this_key(answer.name):
            raise IntegrityError("Cloud KMS answered for another key than it was asked for")
        return _Facts(_known(_algorithm_name(answer)), _der(answer.pem))

    def _version_request(self) -> Any:
        return api.GetCryptoKeyVersionRequest(name=self.key_id)


def _algorithm_name(answer: Any) -> str:
    return str(getattr(answer.algorithm, "name", "unknown to this SDK"))


def _known(name: str) -> str:
    if name not in _ALGORITHMS:
        raise UnsupportedOperationError(f"the Cloud KMS key's algorithm is {name}, which does not sign here")
    return _ALGORITHMS[name]


def _der(pem: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    key = load_pem_public_key(pem.encode())
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _checked(algorithm: object) -> str | None:
    known = sorted(set(_ALGORITHMS.values()))
    if algorithm is not None and algorithm not in known:
        raise InvalidRequestError("Cloud KMS does not sign so", hint=f"algorithms: {', '.join(known)}")
    return algorithm if isinstance(algorithm, str) else None
