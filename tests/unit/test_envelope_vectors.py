"""Fixed vectors: our own, which never change, and Project Wycheproof's for the primitives."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.envelope.cipher import decrypt
from strongroom.envelope.suites import derive
from strongroom.errors import IntegrityError
from strongroom.localkey import aes_gcm
from tests.unit.envelope_support import local_key

_ROOT = Path(__file__).parents[2]
_OWN = sorted((_ROOT / "tests" / "vectors").glob("*.txt"))
_WYCHEPROOF = _ROOT.parent / "shared" / "vectors" / "wycheproof"


@pytest.mark.parametrize("path", _OWN, ids=lambda path: path.stem)
def test_own_vector(path: Path) -> None:
    """Each file says what must come of it."""
    head, _, body = path.read_text().partition("\n\n")
    says = dict(line.split(": ", 1) for line in head.splitlines())
    key = local_key(bytes.fromhex(says["kek"]), says["key-name"])
    expected = {"context": json.loads(says["context"]), "bindings": json.loads(says.get("bindings", "{}"))}
    message = base64.b64decode(body)
    if says["expect"] == "success":
        assert decrypt(message, keys=[key], **expected).value.hex() == says.get("plaintext", "").strip()
    else:
        assert says["expect"] == "integrity failure"
        with pytest.raises(IntegrityError):
            decrypt(message, keys=[key], **expected)


def test_the_own_vectors_are_all_there() -> None:
    """None is lost; a new one raises the number."""
    assert len(_OWN) == 25


def _wycheproof(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    path = _WYCHEPROOF / name
    if not path.exists():
        pytest.skip(f"Project Wycheproof's {name} is not in ../shared/vectors beside this clone")
    for group in json.loads(path.read_text())["testGroups"]:
        yield from ((group, test) for test in group["tests"])


def test_wycheproof_aes_gcm() -> None:
    """AES-256-GCM as messages and local keys use it: 96-bit IV, 128-bit tag."""
    aead, invalid_tag = aes_gcm()
    ran = 0
    for group, test in _wycheproof("aes_gcm_test.json"):
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        key, iv, aad, plain, sealed, tag = (
            bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        if test["result"] == "valid":
            assert aead(key).encrypt(iv, plain, aad) == sealed + tag
            assert aead(key).decrypt(iv, sealed + tag, aad) == plain
        else:
            with pytest.raises(invalid_tag):
                aead(key).decrypt(iv, sealed + tag, aad)
        ran += 1
    assert ran >= 60


def test_wycheproof_hmac_sha512() -> None:
    """`hmac.digest`, of which our HKDF is made."""
    ran = 0
    for group, test in _wycheproof("hmac_sha512_test.json"):
        tag = hmac.digest(bytes.fromhex(test["key"]), bytes.fromhex(test["msg"]), "sha512")
        same = tag[: group["tagSize"] // 8].hex() == test["tag"]
        assert same == (test["result"] == "valid")
        ran += 1
    assert ran >= 170


def test_wycheproof_hkdf_sha512() -> None:
    """HKDF-SHA512 of cryptography, the reference for our own below."""
    ran = 0
    for _, test in _wycheproof("hkdf_sha512_test.json"):
        if test["result"] == "valid":
            salt, info, secret = (bytes.fromhex(test[name]) for name in ("salt", "info", "ikm"))
            derived = HKDF(hashes.SHA512(), test["size"], salt or None, info).derive(secret)
            assert derived.hex() == test["okm"]
            ran += 1
    assert ran >= 80


def test_our_hkdf_is_hkdf() -> None:
    """The two one-block derivations equal HKDF-SHA512 with the format's infos."""
    for _ in range(50):
        data_key, message_id = os.urandom(32), os.urandom(32)
        derived = [
            HKDF(hashes.SHA512(), 32, message_id, info).derive(data_key)
            for info in (b"\x04\x78DERIVEKEY", b"COMMITKEY")
        ]
        assert list(derive(0x0478, data_key, message_id)) == derived
