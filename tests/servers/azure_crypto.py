"""Key material of the Azure double: real keys, with what the service documents of each.

[keys] learn.microsoft.com/azure/key-vault/keys/about-keys-details
[hsm] learn.microsoft.com/azure/key-vault/managed-hsm/about-keys-details
[jwa] RFC 7518, for the forms of keys and signatures
"""

from __future__ import annotations

import base64
import hmac
import os
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from tests.servers.azure_wire import JsonMap, bad_parameter

CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "P-256K": ec.SECP256K1,
}
RSA_SIZES: Final = (2048, 3072, 4096)  # "RSA 2K, 3K, 4K" [keys]
OCT_SIZES: Final = (128, 192, 256)  # "oct 128-bit, 192-bit, 256-bit" [hsm]
_EC_SIGNATURES: Final = {"ES256": "P-256", "ES256K": "P-256K", "ES384": "P-384", "ES512": "P-521"}
_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def encoded(data: bytes) -> str:
    """base64url without padding. [jwa]"""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: Any) -> bytes:
    """The bytes of base64url with or without padding."""
    if not isinstance(text, str):
        raise bad_parameter("Property has invalid value\r\n")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def generated(body: JsonMap) -> Material:
    """A new key as a create request describes it."""
    kty = str(body.get("kty", ""))
    if kty.startswith("RSA"):
        size = body.get("key_size") or 2048
        _check(size in RSA_SIZES, "key_size")
        return RsaMaterial(kty, rsa.generate_private_key(65537, size))
    if kty.startswith("EC"):
        curve = body.get("crv") or "P-256"
        _check(curve in CURVES, "crv")
        return EcMaterial(kty, ec.generate_private_key(CURVES[curve]()), curve)
    _check(kty.startswith("oct"), "kty")
    size = body.get("key_size") or 256
    _check(size in OCT_SIZES, "key_size")
    return OctMaterial(kty, os.urandom(size // 8))


def imported(jwk: JsonMap) -> Material:
    """A key brought as a JSON Web Key. [jwa section 6]"""
    kty = str(jwk.get("kty", ""))
    if kty.startswith("oct"):
        return OctMaterial(kty, decoded(jwk.get("k")))
    number = {name: int.from_bytes(decoded(jwk[name]), "big") for name in _NUMBERS if jwk.get(name)}
    if kty.startswith("EC"):
        curve = CURVES[jwk["crv"]]()
        public = ec.EllipticCurvePublicNumbers(number["x"], number["y"], curve)
        return EcMaterial(kty, ec.EllipticCurvePrivateNumbers(number["d"], public).private_key(), jwk["crv"])
    p, q, d, dp, dq, qi = (number[name] for name in ("p", "q", "d", "dp", "dq", "qi"))
    private = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(number["e"], number["n"]))
    return RsaMaterial(kty, private.private_key())


_NUMBERS: Final = ("n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y")


class Material:
    """One version's key. What it cannot do is 400, as for every algorithm that does not fit its key."""

    key_ops: tuple[str, ...] = ()

    def __init__(self, kty: str) -> None:
        self.kty = kty

    def public(self) -> JsonMap:
        """The public half as members of a JSON Web Key: nothing of a symmetric one is ever released."""
        return {}

    def wrap(self, algorithm: str, data: bytes) -> bytes:
        """Wrap."""
        raise _unfit(algorithm)

    def unwrap(self, algorithm: str, data: bytes) -> bytes:
        """Unwrap."""
        raise _unfit(algorithm)

    def sign(self, algorithm: str, digest: bytes) -> bytes:
        """Sign a digest."""
        raise _unfit(algorithm)

    def verify(self, algorithm: str, digest: bytes, signature: bytes) -> bool:
        """Whether it signed this."""
        raise _unfit(algorithm)


class RsaMaterial(Material):
    """RSA. "RSA-OAEP-256 [...] [Not recommended] RSA1_5, RSA-OAEP"; PS and RS signatures. [keys]"""

    key_ops = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")

    def __init__(self, kty: str, key: rsa.RSAPrivateKey) -> None:
        super().__init__(kty)
        self._key = key

    def public(self) -> JsonMap:
        numbers = self._key.public_key().public_numbers()
        size = (self._key.key_size + 7) // 8
        return {"n": encoded(numbers.n.to_bytes(size, "big")), "e": encoded(numbers.e.to_bytes(3, "big"))}

    def wrap(self, algorithm: str, data: bytes) -> bytes:
        try:
            return self._key.public_key().encrypt(data, _oaep(algorithm))
        except ValueError:
            raise bad_parameter("The value is too long for this key") from None

    def unwrap(self, algorithm: str, data: bytes) -> bytes:
        try:
            return self._key.decrypt(data, _oaep(algorithm))
        except ValueError:
            raise bad_parameter("The wrapped key is invalid") from None

    def sign(self, algorithm: str, digest: bytes) -> bytes:
        return self._key.sign(digest, _rsa_padding(algorithm), Prehashed(_hash(algorithm, digest)))

    def verify(self, algorithm: str, digest: bytes, signature: bytes) -> bool:
        prehashed = Prehashed(_hash(algorithm, digest))
        try:
            self._key.public_key().verify(signature, digest, _rsa_padding(algorithm), prehashed)
        except InvalidSignature:
            return False
        return True


class EcMaterial(Material):
    """One of four curves, each with its own algorithm; signatures are r || s. [keys], [jwa section 3.4]

    Of a secp256k1 signature both s and order - s verify, and the service does not say which it returns: the
    double always returns the greater, so that a client that must have the smaller one is found out.
    """

    key_ops = ("sign", "verify")

    def __init__(self, kty: str, key: ec.EllipticCurvePrivateKey, curve: str) -> None:
        super().__init__(kty)
        self._key, self._curve = key, curve
        self._size = (key.curve.key_size + 7) // 8

    def public(self) -> JsonMap:
        numbers = self._key.public_key().public_numbers()
        x, y = (encoded(each.to_bytes(self._size, "big")) for each in (numbers.x, numbers.y))
        return {"crv": self._curve, "x": x, "y": y}

    def sign(self, algorithm: str, digest: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(digest, self._scheme(algorithm, digest)))
        if self._curve == "P-256K":
            s = max(s, _SECP256K1_ORDER - s)
        return r.to_bytes(self._size, "big") + s.to_bytes(self._size, "big")

    def verify(self, algorithm: str, digest: bytes, signature: bytes) -> bool:
        r, s = (int.from_bytes(half, "big") for half in (signature[: self._size], signature[self._size :]))
        try:
            scheme = self._scheme(algorithm, digest)
            self._key.public_key().verify(encode_dss_signature(r, s), digest, scheme)
        except InvalidSignature:
            return False
        return True

    def _scheme(self, algorithm: str, digest: bytes) -> ec.ECDSA:
        if _EC_SIGNATURES.get(algorithm) != self._curve:
            raise _unfit(algorithm)
        return ec.ECDSA(Prehashed(_hash(algorithm, digest)))


class OctMaterial(Material):
    """AES and HMAC keys, on a Managed HSM only: AES Key Wrap (RFC 3394), HS256 to HS512. [hsm]"""

    key_ops = ("encrypt", "decrypt", "wrapKey", "unwrapKey", "sign", "verify")

    def __init__(self, kty: str, key: bytes) -> None:
        super().__init__(kty)
        self._key = key

    def wrap(self, algorithm: str, data: bytes) -> bytes:
        self._check(algorithm)
        try:
            return keywrap.aes_key_wrap(self._key, data)
        except ValueError:
            raise bad_parameter("The value must be a multiple of 8 bytes, at least 16") from None

    def unwrap(self, algorithm: str, data: bytes) -> bytes:
        self._check(algorithm)
        try:
            return keywrap.aes_key_unwrap(self._key, data)
        except (ValueError, keywrap.InvalidUnwrap):
            raise bad_parameter("The wrapped key is invalid") from None

    def sign(self, algorithm: str, digest: bytes) -> bytes:
        if not algorithm.startswith("HS"):
            raise _unfit(algorithm)
        return hmac.digest(self._key, digest, f"sha{algorithm[2:]}")

    def verify(self, algorithm: str, digest: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(algorithm, digest), signature)

    def _check(self, algorithm: str) -> None:
        # The public SDK's KeyWrapAlgorithm: A128KW, A192KW, A256KW; each takes a key of its own size.
        if algorithm != f"A{len(self._key) * 8}KW":
            raise _unfit(algorithm)


def _oaep(algorithm: str) -> padding.OAEP:
    schemes: dict[str, hashes.HashAlgorithm] = {"RSA-OAEP-256": hashes.SHA256(), "RSA-OAEP": hashes.SHA1()}
    if algorithm not in schemes:
        raise _unfit(algorithm)
    return padding.OAEP(padding.MGF1(schemes[algorithm]), schemes[algorithm], None)


def _rsa_padding(algorithm: str) -> padding.AsymmetricPadding:
    if algorithm[:2] == "RS":
        return padding.PKCS1v15()
    # "The size of the salt value is the same size as the hash function output." [jwa section 3.5]
    _check(algorithm[:2] == "PS", "alg")
    return padding.PSS(padding.MGF1(_HASHES[algorithm[2:]]()), padding.PSS.DIGEST_LENGTH)


def _hash(algorithm: str, digest: bytes) -> hashes.HashAlgorithm:
    """A digest "must be 32 bytes in length" for a 256 algorithm, and so on. [keys]"""
    chosen = _HASHES.get(algorithm.removesuffix("K")[2:])
    if chosen is None:
        raise _unfit(algorithm)
    if len(digest) != chosen().digest_size:
        raise bad_parameter("Invalid length of 'value'")
    return chosen()


def _unfit(algorithm: str) -> Exception:
    return bad_parameter(f"Key and algorithm {algorithm} are not compatible")


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise bad_parameter(f"Property {what} has invalid value\r\n")
