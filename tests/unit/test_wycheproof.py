"""Project Wycheproof's vectors against the primitives as the product uses them, through its own code wherever
it adds any.

They are read from the folder that WYCHEPROOF names, else from ../shared/vectors/wycheproof beside this clone,
and never copied: https://github.com/C2SP/wycheproof, folder testvectors_v1.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.envelope.gcm import decrypt_into, encrypt_into
from strongroom.envelope.signing import Verifying
from strongroom.errors import IntegrityError
from strongroom.keys import low_s, raw_signature
from strongroom.localkey import aes_gcm

FOLDER = Path(os.environ.get("WYCHEPROOF") or Path(__file__).parents[3] / "shared/vectors/wycheproof")
if not FOLDER.is_dir():
    pytest.skip(
        "Project Wycheproof's vectors are neither in ../shared/vectors nor where WYCHEPROOF says",
        allow_module_level=True,
    )

Group = dict[str, Any]
Test = dict[str, Any]


def _vectors(name: str) -> Iterator[tuple[Group, Test]]:
    for group in json.loads((FOLDER / f"{name}_test.json").read_text())["testGroups"]:
        yield from ((group, test) for test in group["tests"])


def _run(name: str, least: int, check: Callable[[Group, Test], bool | None]) -> None:
    """Every vector gives what the file says; `check` tells what it gives, or None if it is not for us."""
    wrong, ran = [], Counter[str]()
    for group, test in _vectors(name):
        passed = check(group, test)
        if passed is not None:
            ran[test["result"]] += 1
            if passed != (test["result"] == "valid"):
                wrong.append(f"{test['tcId']}: {test['comment']} is {test['result']}")
    assert not wrong
    assert ran.total() >= least
    assert ran["valid"]


def _bytes(test: Test, *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(test[name]) for name in names)


def _is_ours(group: Group) -> bool:
    return (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)


def test_aes_gcm() -> None:
    """AES-256-GCM as frames and local keys use it: 96-bit IV, 128-bit tag."""
    aead, invalid_tag = aes_gcm()

    def check(group: Group, test: Test) -> bool | None:
        if not _is_ours(group):
            return None
        key, iv, aad, plain, sealed, tag = _bytes(test, "key", "iv", "aad", "msg", "ct", "tag")
        try:
            opened = aead(key).decrypt(iv, sealed + tag, aad)
        except invalid_tag:
            return False
        return bool(opened == plain and aead(key).encrypt(iv, plain, aad) == sealed + tag)

    _run("aes_gcm", 60, check)


def test_aes_gcm_into_buffers() -> None:
    """The same through reused buffers, as streams use it."""
    aead, invalid_tag = aes_gcm()

    def check(group: Group, test: Test) -> bool | None:
        if not _is_ours(group):
            return None
        key, iv, aad, plain, sealed, tag = _bytes(test, "key", "iv", "aad", "msg", "ct", "tag")
        cipher, opened, closed = aead(key), bytearray(len(plain)), bytearray(len(sealed) + 16)
        try:
            decrypt_into(cipher, iv, sealed + tag, aad, memoryview(opened))
        except invalid_tag:
            return False
        encrypt_into(cipher, iv, plain, aad, memoryview(closed))
        return opened == plain and closed == sealed + tag

    _run("aes_gcm", 60, check)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_hmac(algorithm: str) -> None:
    """SHA-512 is of what our HKDF is made; SHA-256 tells values apart that must not be compared in clear."""

    def check(group: Group, test: Test) -> bool:
        key, message = _bytes(test, "key", "msg")
        tags = {hmac.new(key, message, algorithm).digest(), hmac.digest(key, message, algorithm)}
        computed = HMAC(key, {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[algorithm])
        computed.update(message)
        (tag,) = tags | {computed.finalize()}
        return bool(tag[: group["tagSize"] // 8].hex() == test["tag"])

    _run(f"hmac_{algorithm}", 170, check)


def test_hkdf_sha512() -> None:
    """cryptography's, which is the reference for ours in test_envelope_vectors.py."""

    def check(_: Group, test: Test) -> bool:
        secret, salt, info = _bytes(test, "ikm", "salt", "info")
        try:
            derived = HKDF(hashes.SHA512(), test["size"], salt or None, info).derive(secret)
        except ValueError:  # more than 255 blocks
            return False
        return bool(derived.hex() == test["okm"])

    _run("hkdf_sha512", 80, check)


def _public_key(group: Group, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    point = bytes.fromhex(group["publicKey"]["uncompressed"])
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)


def test_signatures_of_messages() -> None:
    """ECDSA P-384 with SHA-384 in strict DER, through the reader of signed messages."""

    def check(group: Group, test: Test) -> bool:
        point = _public_key(group, ec.SECP384R1()).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        verifying = Verifying(base64.b64encode(point).decode())
        message, signature = _bytes(test, "msg", "sig")
        verifying.update(message)
        try:
            verifying.verify(signature)
        except IntegrityError:
            return False
        return True

    _run("ecdsa_secp384r1_sha384", 500, check)


@pytest.mark.parametrize(
    ("name", "curve"),
    [("secp256r1", ec.SECP256R1()), ("secp256k1", ec.SECP256K1())],
    ids=["P-256", "secp256k1"],
)
def test_forms_of_signatures(name: str, curve: ec.EllipticCurve) -> None:
    """What signers give in r || s, and with the lower of two s, is the signature that it was."""

    def check(group: Group, test: Test) -> bool | None:
        if test["result"] != "valid":
            return None  # signers answer; nobody gives us signatures to verify on these curves
        message, signature = _bytes(test, "msg", "sig")
        raw = raw_signature(signature)
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        forms = [encode_dss_signature(r, s)] + [low_s(signature)] * (name == "secp256k1")
        for form in forms:
            _public_key(group, curve).verify(form, message, ec.ECDSA(hashes.SHA256()))
        return len(raw) == 64

    _run(f"ecdsa_{name}_sha256", 160, check)
