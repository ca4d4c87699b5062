"""The cryptography inside the double's Cloud KMS: real keys and signatures, by the API's algorithms.

CryptoKeyVersion.CryptoKeyVersionAlgorithm in google-cloud-kms, and https://cloud.google.com/kms/docs/algorithms.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_IV = 12
_SHA256 = hashes.SHA256()
_SHA384 = hashes.SHA384()


class Material:
    """The secret half of a key version; each kind can do what its algorithm is for."""

    def public_pem(self) -> str:
        """The public half as SubjectPublicKeyInfo in PEM."""
        raise NotImplementedError


@dataclass(frozen=True)
class Symmetric(Material):
    """GOOGLE_SYMMETRIC_ENCRYPTION: AES-256-GCM."""

    key: bytes

    def encrypt(self, plaintext: bytes, aad: bytes) -> bytes:
        """IV, ciphertext and tag."""
        iv = os.urandom(_IV)
        return iv + AESGCM(self.key).encrypt(iv, plaintext, aad)

    def decrypt(self, ciphertext: bytes, aad: bytes) -> bytes | None:
        """The plaintext, or None where it does not verify."""
        try:
            return AESGCM(self.key).decrypt(ciphertext[:_IV], ciphertext[_IV:], aad)
        except (InvalidTag, ValueError):
            return None


@dataclass(frozen=True)
class Mac(Material):
    """HMAC_SHA256."""

    key: bytes

    def sign(self, data: bytes) -> bytes:
        """The tag."""
        return hmac.digest(self.key, data, "sha256")


@dataclass(frozen=True)
class Asymmetric(Material):
    """A signing key: which digest it takes (none for pure EdDSA), and how it signs."""

    key: Any
    digest: str
    sign: Callable[[bytes], bytes]

    def public_pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        pem: bytes = self.key.public_key().public_bytes(serialization.Encoding.PEM, form)
        return pem.decode()


def _ecdsa(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm) -> Asymmetric:
    key = ec.generate_private_key(curve)
    return Asymmetric(key, digest.name, lambda data: key.sign(data, ec.ECDSA(Prehashed(digest))))


def _ed25519() -> Asymmetric:
    key = ed25519.Ed25519PrivateKey.generate()
    return Asymmetric(key, "", key.sign)


def _rsa(scheme: padding.AsymmetricPadding) -> Asymmetric:
    key = rsa.generate_private_key(65_537, 2048)
    return Asymmetric(key, "sha256", lambda data: key.sign(data, scheme, Prehashed(_SHA256)))


# "the salt length is equal to the length of the digest": docs/algorithms
_PSS = padding.PSS(padding.MGF1(_SHA256), _SHA256.digest_size)
MAKERS: dict[str, Callable[[], Material]] = {
    "GOOGLE_SYMMETRIC_ENCRYPTION": lambda: Symmetric(os.urandom(32)),
    "HMAC_SHA256": lambda: Mac(os.urandom(32)),
    "EC_SIGN_P256_SHA256": lambda: _ecdsa(ec.SECP256R1(), _SHA256),
    "EC_SIGN_P384_SHA384": lambda: _ecdsa(ec.SECP384R1(), _SHA384),
    "EC_SIGN_SECP256K1_SHA256": lambda: _ecdsa(ec.SECP256K1(), _SHA256),
    "EC_SIGN_ED25519": _ed25519,
    "RSA_SIGN_PSS_2048_SHA256": lambda: _rsa(_PSS),
    "RSA_SIGN_PKCS1_2048_SHA256": lambda: _rsa(padding.PKCS1v15()),
}
"""How a version of each algorithm is made; others the double does not have."""

PURPOSES = {"GOOGLE_SYMMETRIC_ENCRYPTION": "ENCRYPT_DECRYPT", "HMAC_SHA256": "MAC"}
"""CryptoKey.purpose of each algorithm; the others are for ASYMMETRIC_SIGN."""


def purpose_of(algorithm: str) -> str:
    """The purpose that a key of this algorithm has."""
    return PURPOSES.get(algorithm, "ASYMMETRIC_SIGN")
