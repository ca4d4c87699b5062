"""Fixed vectors, our own, which never change; Project Wycheproof's are in test_wycheproof.py."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.envelope.cipher import decrypt
from strongroom.envelope.suites import SUITES, derive
from strongroom.errors import IntegrityError
from strongroom.localkey import LocalKey
from tests.unit.vector_support import FOLDER, VECTORS, Vector


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_own_vector(vector: Vector) -> None:
    """Each file says what must come of it."""
    key = LocalKey(vector.kek, name=vector.key_name, namespace=vector.namespace)

    def opened() -> bytes:
        return decrypt(vector.message, keys=[key], context=vector.context, bindings=vector.bindings).value

    if vector.plaintext is None:
        with pytest.raises(IntegrityError):
            opened()
    else:
        assert opened() == vector.plaintext


def test_no_vector_is_lost_or_changed() -> None:
    """A new one is added with `sha256sum *.txt *.json > SHA256SUMS`, whose diff shows other changes."""
    listed = dict(line.split("  ")[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    vectors = [path for path in FOLDER.glob("*.*") if path.name != "README.md"]
    assert listed == {path.name: sha256(path.read_bytes()).hexdigest() for path in vectors}


@pytest.mark.parametrize("suite", SUITES)
def test_our_two_derivations_are_hkdf(suite: int) -> None:
    """Message key and commitment equal HKDF-SHA512 of cryptography with the format's infos."""
    infos = (suite.to_bytes(2, "big") + b"DERIVEKEY", b"COMMITKEY")
    for _ in range(50):
        data_key, message_id = os.urandom(32), os.urandom(32)
        assert derive(suite, data_key, message_id) == tuple(
            HKDF(hashes.SHA512(), 32, message_id, info).derive(data_key) for info in infos
        )
