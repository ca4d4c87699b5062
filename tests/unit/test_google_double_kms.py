"""The Google double keeps Cloud KMS's documented rules, with real cryptography, as the SDK's client sees it.

Each rule's source stands beside it in tests/servers/google_kms*.py.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from google.cloud import kms_v1 as api

from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_signers import verified
from tests.canary import CANARY_BYTES, not_ours
from tests.servers.google_rules import crc32c
from tests.unit.google_support import code, key_client_of

if TYPE_CHECKING:
    from tests.servers.google import Google


@pytest.fixture(autouse=True)
def _plain_sdk() -> Iterator[None]:
    """Google's own clients log requests at DEBUG, unless a store of ours happens to be open."""
    with not_ours():
        yield


RING = "projects/p/locations/europe-west6/keyRings/r"
KEY = f"{RING}/cryptoKeys/k"
FIRST = f"{KEY}/cryptoKeyVersions/1"
State = api.CryptoKeyVersion.CryptoKeyVersionState
ALGORITHMS = {
    "EC_SIGN_P256_SHA256": "ES256",
    "EC_SIGN_P384_SHA384": "ES384",
    "EC_SIGN_SECP256K1_SHA256": "ES256K",
    "RSA_SIGN_PSS_2048_SHA256": "PS256",
    "RSA_SIGN_PKCS1_2048_SHA256": "RS256",
}


@pytest.fixture
def client(google_server: Google) -> Any:
    return key_client_of(google_server)


def _sealed(client: Any, aad: bytes = b"context", name: str = KEY) -> Any:
    request = {"name": name, "plaintext": CANARY_BYTES, "additional_authenticated_data": aad}
    return client.encrypt(request=request)


def _opened(client: Any, ciphertext: bytes, aad: bytes = b"context", name: str = KEY) -> Any:
    return client.decrypt(
        request={"name": name, "ciphertext": ciphertext, "additional_authenticated_data": aad}
    )


class TestKeys:
    def test_keys_are_made_in_rings(self, client: Any) -> None:
        """With a first version, primary where the key encrypts."""
        location = RING.partition("/keyRings/")[0]
        template = {"algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}
        wanted = {"purpose": "ENCRYPT_DECRYPT", "version_template": template}
        made = {"parent": RING, "crypto_key_id": "k", "crypto_key": wanted}
        assert code(client.create_crypto_key, request=made) == "NOT_FOUND"
        client.create_key_ring(parent=location, key_ring_id="r", key_ring={})
        assert client.create_crypto_key(request=made).primary.name == FIRST
        assert code(client.create_crypto_key, request=made) == "ALREADY_EXISTS"
        assert code(client.get_crypto_key, name=f"{RING}/cryptoKeys/none") == "NOT_FOUND"
        assert code(client.get_crypto_key, name="k") == "INVALID_ARGUMENT"

    def test_secp256k1_is_for_hsm_keys(self, client: Any, google_server: Google) -> None:
        """And an algorithm has one purpose."""
        google_server.keys.make(KEY)
        wrong = {"ASYMMETRIC_SIGN": "EC_SIGN_SECP256K1_SHA256", "MAC": "EC_SIGN_ED25519"}
        for purpose, algorithm in wrong.items():
            wanted = {"purpose": purpose, "version_template": {"algorithm": algorithm}}
            made = {"parent": RING, "crypto_key_id": "x", "crypto_key": wanted}
            assert code(client.create_crypto_key, request=made) == "INVALID_ARGUMENT"

    def test_only_an_enabled_version_is_used(self, client: Any, google_server: Google) -> None:
        """Disabled and scheduled for destruction it can be restored; destroyed it is gone."""
        clock = FakeClock()
        google_server.reset(clock)
        google_server.keys.make(KEY)
        sealed = _sealed(client).ciphertext
        mask = {"update_mask": {"paths": ["state"]}}
        update = mask | {"crypto_key_version": {"name": FIRST, "state": "DISABLED"}}
        client.update_crypto_key_version(request=update)
        assert client.get_crypto_key(name=KEY).primary.state == State.DISABLED
        assert code(_sealed, client) == code(_opened, client, sealed) == "FAILED_PRECONDITION"
        client.destroy_crypto_key_version(name=FIRST)
        assert code(client.update_crypto_key_version, request=update) == "FAILED_PRECONDITION"
        assert client.restore_crypto_key_version(name=FIRST).state == State.DISABLED
        enabled = {"crypto_key_version": {"name": FIRST, "state": "ENABLED"}}
        client.update_crypto_key_version(request=mask | enabled)
        assert _opened(client, sealed).plaintext == CANARY_BYTES
        client.destroy_crypto_key_version(name=FIRST)
        clock.advance(30 * 86_400)
        assert client.get_crypto_key_version(name=FIRST).state == State.DESTROYED
        assert code(client.restore_crypto_key_version, name=FIRST) == "FAILED_PRECONDITION"


class TestEncryption:
    def test_the_additional_data_is_authenticated(self, client: Any, google_server: Google) -> None:
        """Other data, another key and any changed byte are INVALID_ARGUMENT."""
        google_server.keys.make(KEY)
        google_server.keys.make(f"{RING}/cryptoKeys/other")
        sealed = _sealed(client).ciphertext
        assert _opened(client, sealed).plaintext == CANARY_BYTES
        assert code(_opened, client, sealed, b"contexu") == "INVALID_ARGUMENT"
        assert code(_opened, client, sealed, name=f"{RING}/cryptoKeys/other") == "INVALID_ARGUMENT"
        for position in range(len(sealed)):
            changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
            assert code(_opened, client, changed) == "INVALID_ARGUMENT"
        assert code(_opened, client, b"") == "INVALID_ARGUMENT"

    def test_checksums_go_both_ways(self, client: Any, google_server: Google) -> None:
        """A wrong one is refused; a missing one is not said to be verified."""
        google_server.keys.make(KEY)
        bare = _sealed(client)
        assert not bare.verified_plaintext_crc32c
        assert not bare.verified_additional_authenticated_data_crc32c
        assert bare.ciphertext_crc32c == crc32c(bare.ciphertext)
        request = {
            "name": KEY, "plaintext": b"x", "plaintext_crc32c": crc32c(b"x"),
            "additional_authenticated_data": b"y", "additional_authenticated_data_crc32c": crc32c(b"y"),
        }  # fmt: skip
        checked = client.encrypt(request=request)
        assert checked.verified_plaintext_crc32c
        assert checked.verified_additional_authenticated_data_crc32c
        for field in ("plaintext", "additional_authenticated_data"):
            assert code(client.encrypt, request=request | {field: b"z"}) == "INVALID_ARGUMENT"
        wrong = {"name": KEY, "ciphertext": bare.ciphertext, "ciphertext_crc32c": 1}
        assert code(client.decrypt, request=wrong) == "INVALID_ARGUMENT"

    def test_the_primary_version_encrypts_and_any_decrypts(self, client: Any, google_server: Google) -> None:
        """A new version is not primary until it is made so."""
        google_server.keys.make(KEY)
        old = _sealed(client)
        second = client.create_crypto_key_version(parent=KEY, crypto_key_version={}).name
        assert _sealed(client).name == FIRST
        client.update_crypto_key_primary_version(name=KEY, crypto_key_version_id="2")
        assert (_sealed(client).name, _sealed(client, name=FIRST).name) == (second, FIRST)
        assert not _opened(client, old.ciphertext).used_primary

    @pytest.mark.parametrize(("level", "limit"), [("SOFTWARE", 65_536), ("HSM", 8_192 - 7)])
    def test_sizes_are_limited(self, client: Any, google_server: Google, level: str, limit: int) -> None:
        """64 KiB each; 8 KiB together with an HSM key."""
        google_server.keys.make(KEY, level=level)
        request = {"name": KEY, "additional_authenticated_data": b"context"}
        client.encrypt(request=request | {"plaintext": bytes(limit)})
        assert code(client.encrypt, request=request | {"plaintext": bytes(limit + 1)}) == "INVALID_ARGUMENT"


class TestSignatures:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_digests_are_signed(self, client: Any, google_server: Google, algorithm: str) -> None:
        """And verify under the public key; a digest of another algorithm, or none, is refused."""
        version = google_server.keys.make(KEY, algorithm)
        public = client.get_public_key(name=version)
        assert public.pem_crc32c == crc32c(public.pem.encode())
        key = load_pem_public_key(public.pem.encode())
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        kind = "sha384" if "384" in algorithm else "sha256"
        digest = hashlib.new(kind, b"m").digest()
        request = {"name": version, "digest": {kind: digest}, "digest_crc32c": crc32c(digest)}
        signed = client.asymmetric_sign(request=request)
        assert verified(der, ALGORITHMS[algorithm], signed.signature, b"m")
        assert (signed.name, signed.verified_digest_crc32c) == (version, True)
        assert signed.signature_crc32c == crc32c(signed.signature)
        for wrong in ({"digest": {"sha512": bytes(64)}}, {"digest_crc32c": 1}, {"data": b"m"}):
            assert code(client.asymmetric_sign, request=request | wrong) == "INVALID_ARGUMENT"
        assert code(client.asymmetric_sign, request={"name": version}) == "INVALID_ARGUMENT"
        signed = client.asymmetric_sign(request={"name": version, "data": b"m"})
        assert verified(der, ALGORITHMS[algorithm], signed.signature, b"m")

    def test_ed25519_signs_data_alone(self, client: Any, google_server: Google) -> None:
        """It is pure EdDSA."""
        version = google_server.keys.make(KEY, "EC_SIGN_ED25519")
        request = {"name": version, "data": b"m", "data_crc32c": crc32c(b"m")}
        signed = client.asymmetric_sign(request=request)
        assert signed.verified_data_crc32c
        key: Any = load_pem_public_key(client.get_public_key(name=version).pem.encode())
        key.verify(signed.signature, b"m")
        digest = {"name": version, "digest": {"sha256": bytes(32)}}
        assert code(client.asymmetric_sign, request=digest) == "INVALID_ARGUMENT"

    def test_macs_are_hmac_sha256(self, client: Any, google_server: Google) -> None:
        """Of an imported key; it has no public half, and other keys make no MACs."""
        version = google_server.keys.import_mac(KEY, CANARY_BYTES)
        signed = client.mac_sign(request={"name": version, "data": b"m", "data_crc32c": crc32c(b"m")})
        assert signed.mac == hmac.digest(CANARY_BYTES, b"m", "sha256")
        assert (signed.mac_crc32c, signed.verified_data_crc32c) == (crc32c(signed.mac), True)
        assert code(client.get_public_key, name=version) == "INVALID_ARGUMENT"
        other = google_server.keys.make(f"{RING}/cryptoKeys/other")
        assert code(client.mac_sign, name=other, data=b"m") == "INVALID_ARGUMENT"
        assert code(client.mac_sign, name=KEY, data=b"m") == "INVALID_ARGUMENT"

    def test_each_method_needs_its_permission(self, client: Any, google_server: Google) -> None:
        """The public key another than signing."""
        version = google_server.keys.make(KEY, "EC_SIGN_ED25519")
        google_server.faults.deny("cloudkms.cryptoKeyVersions.useToSign")
        assert code(client.asymmetric_sign, request={"name": version, "data": b"m"}) == "PERMISSION_DENIED"
        assert client.get_public_key(name=version).name == version
        update = {"crypto_key_version": {"name": version}, "update_mask": {"paths": ["state"]}}
        google_server.faults.deny("cloudkms.cryptoKeyVersions.update")
        assert code(client.update_crypto_key_version, request=update) == "PERMISSION_DENIED"
