"""Cloud KMS's cryptographic methods, by the documentation (a message's name stands for its docstring)."""

from __future__ import annotations

import hashlib
import struct
from typing import Any, TypeVar

from google.cloud import kms_v1 as api

from tests.servers.google_crypto import Asymmetric, Mac, Material, Symmetric
from tests.servers.google_kms_keys import KEY, Keys, KeyVersion, State, not_enabled
from tests.servers.google_refusal import Refusal, invalid
from tests.servers.google_rules import crc32c

MAX_DATA = 64 * 1024  # EncryptRequest.plaintext, and .additional_authenticated_data
MAX_HSM = 8 * 1024  # EncryptRequest: both together, for HSM keys
_HSM: Any = api.ProtectionLevel.HSM
_M = TypeVar("_M", bound=Material)


class KeyManagement(Keys):
    """The service's methods; each takes a request and returns an answer or raises `Refusal`."""

    def encrypt(self, request: api.EncryptRequest) -> api.EncryptResponse:
        """Encrypt: under the version named, or the primary one."""
        name = request.name
        if KEY.fullmatch(name):
            name = self.key(name).shown.primary.name or f"{name}/cryptoKeyVersions/1"
        version = self.version(name)
        plaintext, aad = request.plaintext, request.additional_authenticated_data
        verified = _verified(request, "plaintext", "additional_authenticated_data")
        _check_size(version, plaintext, aad)
        number = int(version.shown.name.rpartition("/")[2])
        sealed = struct.pack(">I", number) + _material(version, Symmetric).encrypt(plaintext, aad)
        return api.EncryptResponse(
            name=version.shown.name,
            ciphertext=sealed,
            ciphertext_crc32c=crc32c(sealed),
            protection_level=version.shown.protection_level,
            **verified,
        )

    def decrypt(self, request: api.DecryptRequest) -> api.DecryptResponse:
        """Decrypt: "The server will choose the appropriate version"."""
        key = self.key(request.name)
        _verified(request, "ciphertext", "additional_authenticated_data")
        if not request.ciphertext:
            raise invalid("Field [ciphertext] is required.")
        number = int.from_bytes(request.ciphertext[:4], "big")
        if str(number) not in key.versions:
            raise _undecryptable()
        version = self.version(f"{request.name}/cryptoKeyVersions/{number}")
        aad = request.additional_authenticated_data
        plaintext = _material(version, Symmetric).decrypt(request.ciphertext[4:], aad)
        if plaintext is None:
            raise _undecryptable()
        return api.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=crc32c(plaintext),
            used_primary=key.shown.primary.name == version.shown.name,
            protection_level=version.shown.protection_level,
        )

    def asymmetric_sign(self, request: api.AsymmetricSignRequest) -> api.AsymmetricSignResponse:
        """AsymmetricSign: of a digest, or of data; EdDSA is pure and takes data alone."""
        version = self.version(request.name)
        material = _material(version, Asymmetric)
        signature = material.sign(_to_sign(request, material.digest))
        return api.AsymmetricSignResponse(
            name=version.shown.name,
            signature=signature,
            signature_crc32c=crc32c(signature),
            verified_digest_crc32c="digest_crc32c" in request,
            verified_data_crc32c="data_crc32c" in request,
            protection_level=version.shown.protection_level,
        )

    def mac_sign(self, request: api.MacSignRequest) -> api.MacSignResponse:
        """MacSign."""
        version = self.version(request.name)
        if not request.data:  # MacSignRequest.data: "Required."
            raise invalid("Field [data] is required.")
        verified = _verified(request, "data")
        _check_size(version, request.data)
        mac = _material(version, Mac).sign(request.data)
        return api.MacSignResponse(
            name=version.shown.name,
            mac=mac,
            mac_crc32c=crc32c(mac),
            protection_level=version.shown.protection_level,
            **verified,
        )

    def get_public_key(self, request: api.GetPublicKeyRequest) -> api.PublicKey:
        """GetPublicKey, in PEM, the format where none is asked for."""
        version = self.version(request.name)
        pem = _material(version, Asymmetric).public_pem()
        return api.PublicKey(
            name=version.shown.name,
            pem=pem,
            pem_crc32c=crc32c(pem.encode()),
            algorithm=version.shown.algorithm,
            protection_level=version.shown.protection_level,
        )


def _material(version: KeyVersion, kind: type[_M]) -> _M:
    """The version's key, if it is ENABLED ("This version may be used") and of this kind."""
    if version.shown.state != State.ENABLED:
        raise not_enabled(version)
    if not isinstance(version.material, kind):
        raise invalid(f"{version.shown.name} is not for this method; its algorithm is {version.algorithm}.")
    return version.material


def _to_sign(request: api.AsymmetricSignRequest, digest: str) -> bytes:
    if ("digest" in request) == bool(request.data):
        raise invalid("Exactly one of digest and data must be supplied.")
    if request.data:
        _verified(request, "data")
        if len(request.data) > MAX_DATA:
            raise invalid("The data is too large.")
        return hashlib.new(digest, request.data).digest() if digest else request.data
    given = getattr(request.digest, digest) if digest else b""
    if not digest or len(given) != hashlib.new(digest).digest_size:
        raise invalid("The digest must be produced with the algorithm of the key version.")
    _compare("digest", given, request)
    return bytes(given)


def _verified(request: Any, *fields: str) -> dict[str, bool]:
    """A wrong checksum is an error (EncryptRequest.plaintext_crc32c); without one nothing is verified."""
    for field in fields:
        _compare(field, getattr(request, field), request)
    return {f"verified_{field}_crc32c": f"{field}_crc32c" in request for field in fields}


def _compare(field: str, data: bytes, request: Any) -> None:
    name = f"{field}_crc32c"
    if name in request and getattr(request, name) != crc32c(data):
        raise invalid(f"The checksum in field {name} did not match the data in field {field}.")


def _check_size(version: KeyVersion, data: bytes, aad: bytes = b"") -> None:
    hsm = version.shown.protection_level == _HSM
    if max(len(data), len(aad)) > MAX_DATA or (hsm and len(data) + len(aad) > MAX_HSM):
        raise invalid("The data, with its additional data, is too large.")


def _undecryptable() -> Refusal:
    """Google's words: github.com/googleapis/nodejs-kms/issues/145."""
    return invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
