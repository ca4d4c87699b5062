"""Fixed vectors, our own, which never change; Project Wycheproof's are in test_wycheproof.py."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.envelope.cipher import decrypt
from strongroom.envelope.suites import SUITES, derive
from strongroom.errors import IntegrityError
from tests.unit.envelope_support import local_key

_ROOT = Path(__file__).parents[2]
_OWN = sorted((_ROOT / "tests" / "vectors").glob("*.txt"))


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


@pytest.mark.parametrize("suite", SUITES)
def test_our_two_derivations_are_hkdf(suite: int) -> None:
    """Message key and commitment equal HKDF-SHA512 of cryptography with the format's infos."""
    infos = (suite.to_bytes(2, "big") + b"DERIVEKEY", b"COMMITKEY")
    for _ in range(50):
        data_key, message_id = os.urandom(32), os.urandom(32)
        assert derive(suite, data_key, message_id) == tuple(
            HKDF(hashes.SHA512(), 32, message_id, info).derive(data_key) for info in infos
        )
