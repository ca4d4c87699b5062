"""Keys of a transit engine that sign, behind ``vault-transit://``."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Self

from strongroom.errors import InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.keys import Signer

from ._errors import error_for, garbage
from ._transit import LOGGERS, PROVIDER, Facts, TransitEngineKey, b64, unb64, versioned
from .transport import json_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_TYPES = {
    "ecdsa-p256": ("ES256",),
    "ecdsa-p384": ("ES384",),
    "ed25519": ("Ed25519",),
    "rsa-2048": ("PS256", "RS256"),
    "rsa-3072": ("PS256", "RS256"),
    "rsa-4096": ("PS256", "RS256"),
    "hmac": ("HS256",),
}
_DIGESTS: Mapping[str, Mapping[str, Any]] = {
    "ES256": {"hash_algorithm": "sha2-256", "marshaling_algorithm": "asn1"},
    "ES384": {"hash_algorithm": "sha2-384", "marshaling_algorithm": "asn1"},
    # RFC 7518 section 3.5: the salt is as long as the hash; Vault's own default is as long as fits.
    "PS256": {"hash_algorithm": "sha2-256", "signature_algorithm": "pss", "salt_length": "hash"},
    "RS256": {"hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15"},
}
_ALGORITHMS = (*_DIGESTS, "Ed25519", "HS256")
_ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in SubjectPublicKeyInfo (RFC 8410, section 10.1)."""


class TransitSigner(Signer):
    """A signing key of a transit engine: ES256, ES384, Ed25519, PS256, RS256 or HS256, by the key's type.

    An RSA key signs PS256 unless the option ``algorithm`` says RS256. Derived Ed25519 keys are refused: each
    context has another public key.

    What the key is, is read once from ``MOUNT/keys/KEY`` ("read"), and its latest version then is used from
    there on, so that signatures and `public_key` agree when the key is rotated; open the signer again to use
    the new version. The policy also needs "update" on ``MOUNT/sign/KEY``, for HS256 on ``MOUNT/hmac/KEY``.
    Messages are hashed here; Ed25519 and HS256 send them whole, up to the server's ``max_request_size``.
    """

    ALGORITHMS = _ALGORITHMS
    provider_id = PROVIDER
    loggers = LOGGERS

    def __init__(self, url: StoreURL, settings: Settings):
        self._key = TransitEngineKey(url, settings, "algorithm")
        self._chosen = _checked(settings.options.get("algorithm"))
        self._version: int | None = None
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``vault-transit://HOST:PORT/MOUNT/KEY[?namespace=team]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what hvac and requests raise."""
        return error_for(exc, operation)

    @property
    def key_id(self) -> str:  # type: ignore[override]  # the version is known once the server has answered
        """Server, namespace, mount, name and, once the server has answered, the version."""
        return self._key.id if self._version is None else f"{self._key.id}:v{self._version}"

    @property
    def algorithm(self) -> str:  # type: ignore[override]  # the server knows it
        """As configured, or as the key's type says."""
        return self._chosen or self._facts("open")[1]

    def sign(self, message: bytes) -> bytes:
        if self.algorithm in _DIGESTS:
            return super().sign(message)
        facts, algorithm = self._facts("sign")
        if algorithm == "HS256":
            return self._signed(facts, "hmac", "hmac", {"input": b64(message), "algorithm": "sha2-256"})
        return self._signed(facts, "sign", "signature", {"input": b64(message)})

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        facts, algorithm = self._facts("sign")
        how = {"input": b64(digest), "prehashed": True, **_DIGESTS[algorithm]}
        return self._signed(facts, "sign", "signature", how)

    def public_key(self) -> bytes | None:
        facts, algorithm = self._facts("public_key")
        if algorithm == "HS256":
            return None
        return _spki(facts.public_key, algorithm)

    def _facts(self, operation: str) -> tuple[Facts, str]:
        """What the key is, and what it signs."""
        facts = self._key.facts(operation)
        known = () if facts.derived else _TYPES.get(facts.type, ())
        if not known or (self._chosen and self._chosen not in known):
            raise UnsupportedOperationError(
                f"a transit key of this type does not sign {self._chosen or 'here'}",
                hint=f"types, none of them derived: {', '.join(_TYPES)}",
            )
        self._version = facts.version
        return facts, self._chosen or known[0]

    def _signed(self, facts: Facts, verb: str, field: str, how: Mapping[str, Any]) -> bytes:
        body = json_body({**how, "key_version": facts.version})
        found = versioned(self._key.call("sign", verb, body).data.get(field))
        if found is None or found[0] != facts.version:
            raise garbage("sign")
        return found[1]


def _checked(algorithm: object) -> str | None:
    if algorithm is not None and algorithm not in _ALGORITHMS:
        raise InvalidRequestError("transit keys do not sign so", hint=f"algorithms: {', '.join(_ALGORITHMS)}")
    return algorithm if isinstance(algorithm, str) else None


def _spki(text: str, algorithm: str) -> bytes:
    """DER from what the engine shows: the bare 32 bytes of an Ed25519 key, else PEM."""
    if algorithm == "Ed25519":
        bare = unb64(text)
        if bare is None or len(bare) != 32:
            raise garbage("public_key")
        return _ED25519_SPKI + bare
    lines = [line for line in text.splitlines() if line and not line.startswith("-----")]
    try:
        der = base64.b64decode("".join(lines), validate=True)
    except binascii.Error:
        der = b""
    if not der:
        raise garbage("public_key")
    return der
