"""The Azure double's keys keep the service's rules, as the public SDK's clients see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.rest import HttpRequest
from azure.keyvault.keys import JsonWebKey
from azure.keyvault.keys.crypto import KeyWrapAlgorithm, SignatureAlgorithm
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from tests.servers import azure
from tests.servers.azure_crypto import decoded, encoded
from tests.unit.azure_support import refused


@pytest.fixture
def keys(azure_server: azure.Vault) -> Iterator[Any]:
    with azure_server.key_client(retry_total=0) as client:
        yield client


@pytest.mark.parametrize("size", [2048, 3072])
def test_rsa_keys_wrap_and_sign(keys: Any, azure_server: azure.Vault, size: int) -> None:
    """With RSA-OAEP-256, which the SDK does on its own side, RS256 and PS256."""
    key = keys.create_rsa_key("kek", size=size)
    assert len(key.key.n) == size // 8
    crypto = azure_server.crypto_client(key.id)
    wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"k" * 64)
    assert crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key == b"k" * 64
    assert (azure_server.calls["keys.wrapkey"], azure_server.calls["keys.unwrapkey"]) == (0, 1)
    for algorithm in (SignatureAlgorithm.rs256, SignatureAlgorithm.ps256):
        signature = crypto.sign(algorithm, b"d" * 32).signature
        assert crypto.verify(algorithm, b"d" * 32, signature).is_valid
        assert not crypto.verify(algorithm, b"e" * 32, signature).is_valid


@pytest.mark.parametrize(("curve", "algorithm"), [("P-256", "ES256"), ("P-256K", "ES256K")])
def test_each_curve_signs_with_its_own_algorithm(
    keys: Any, azure_server: azure.Vault, curve: str, algorithm: str
) -> None:
    """The signature is r || s, 64 bytes; the SDK verifies it with the public key."""
    key = keys.create_ec_key("signer", curve=curve)
    crypto = azure_server.crypto_client(key.id)
    signature = crypto.sign(SignatureAlgorithm(algorithm), b"d" * 32).signature
    assert len(signature) == 64
    assert crypto.verify(SignatureAlgorithm(algorithm), b"d" * 32, signature).is_valid
    other = "ES256K" if algorithm == "ES256" else "ES256"
    assert (
        raw(keys, "/keys/signer/sign", alg=other, value="ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ")[0]
        == 400
    )
    assert raw(keys, "/keys/signer/sign", alg=algorithm, value="ZGRk")[0] == 400


def raw(keys: Any, path: str, **body: str) -> tuple[int, Any]:
    """Status and body of a request the SDK would answer itself."""
    answer = keys.send_request(HttpRequest("POST", path, json=body))
    return answer.status_code, answer.json()


def test_symmetric_keys_are_for_managed_hsms_only(keys: Any, azure_server: azure.Vault) -> None:
    """Which in turn have no software keys; A256KW takes a 256-bit key and nothing of it is released."""
    assert refused(lambda: keys.create_oct_key("kek", size=256, hardware_protected=True))[0] == 400
    azure_server.keys.managed_hsm = True
    assert refused(lambda: keys.create_rsa_key("rsa"))[0] == 400
    material = os.urandom(32)
    key = keys.import_key("kek", JsonWebKey(kty="oct-HSM", k=material, key_ops=["wrapKey", "unwrapKey"]))
    assert key.key.k is None
    data = encoded(b"k" * 64)
    status, answer = raw(keys, "/keys/kek/wrapkey", alg="A256KW", value=data)
    assert (status, aes_key_unwrap(material, decoded(answer["value"]))) == (200, b"k" * 64)
    assert raw(keys, "/keys/kek/unwrapkey", alg="A256KW", value=answer["value"])[1]["value"] == data
    for algorithm, value in (("A128KW", data), ("A256KW", encoded(b"k" * 7)), ("RSA-OAEP-256", data)):
        assert raw(keys, "/keys/kek/wrapkey", alg=algorithm, value=value)[0] == 400


def test_the_answer_names_the_version_that_was_used(keys: Any) -> None:
    """Without a version it is the newest; an older one opens only what it wrapped itself."""
    first = keys.create_rsa_key("kek")
    second = keys.rotate_key("kek")
    status, answer = raw(keys, "/keys/kek/wrapkey", alg="RSA-OAEP-256", value="a2tr")
    assert (status, answer["kid"]) == (200, second.id)
    old = f"/keys/kek/{first.properties.version}/unwrapkey"
    assert raw(keys, old, alg="RSA-OAEP-256", value=answer["value"])[0] == 400
    opened = raw(keys, "/keys/kek/unwrapkey", alg="RSA-OAEP-256", value=answer["value"])
    assert opened == (200, {"kid": second.id, "value": "a2tr"})


def test_a_disabled_key_does_nothing(keys: Any) -> None:
    """Nor can it be read."""
    keys.create_rsa_key("kek")
    keys.update_key_properties("kek", enabled=False)
    assert refused(lambda: keys.get_key("kek")) == (403, "Forbidden", "KeyDisabled")
    status, answer = raw(keys, "/keys/kek/wrapkey", alg="RSA-OAEP-256", value="a2tr")
    assert (status, answer["error"]["innererror"]["code"]) == (403, "KeyDisabled")


def test_an_expired_key_only_opens_and_verifies(keys: Any) -> None:
    """What was wrapped before it expired can still be recovered."""
    keys.create_rsa_key("kek")
    _, wrapped = raw(keys, "/keys/kek/wrapkey", alg="RSA-OAEP-256", value="a2tr")
    keys.update_key_properties("kek", expires_on=datetime.now(UTC) - timedelta(days=1))
    status, answer = raw(keys, "/keys/kek/wrapkey", alg="RSA-OAEP-256", value="a2tr")
    assert (status, answer["error"]["innererror"]["code"]) == (403, "KeyExpired")
    assert raw(keys, "/keys/kek/unwrapkey", alg="RSA-OAEP-256", value=wrapped["value"])[0] == 200


def test_a_key_does_what_its_operations_allow(keys: Any) -> None:
    """And no more."""
    keys.create_rsa_key("kek", key_operations=["wrapKey", "unwrapKey"])
    status, answer = raw(keys, "/keys/kek/sign", alg="RS256", value="a2tr")
    assert (status, answer["error"]["innererror"]["code"]) == (403, "KeyOperationForbidden")


def test_keys_are_soft_deleted_too(keys: Any) -> None:
    """With all their versions."""
    key = keys.create_ec_key("signer", curve="P-256")
    poller = keys.begin_delete_key("signer", _polling_interval=0)
    poller.wait()
    assert refused(lambda: keys.create_ec_key("signer"))[2] == "ObjectIsDeletedButRecoverable"
    keys.begin_recover_deleted_key("signer", _polling_interval=0).wait()
    assert keys.get_key("signer").id == key.id
    assert [each.version for each in keys.list_properties_of_key_versions("signer")] == [
        key.properties.version
    ]
