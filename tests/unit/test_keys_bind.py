"""Data keys bound by digest, and the two forms of an ECDSA signature, against `cryptography`."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import IntegrityError, InvalidRequestError, UnsupportedOperationError
from strongroom.keys import (
    Signer,
    bind,
    der_signature,
    encode_context,
    low_s,
    raw_signature,
    unbind,
)

contexts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4)
data_keys = st.binary(min_size=32, max_size=32)
ORDER = 2**256 - 432420386565659656852420866394968145599  # SEC 2, secp256k1
CURVES: dict[int, ec.EllipticCurve] = {32: ec.SECP256R1(), 48: ec.SECP384R1()}


@given(data_keys, contexts)
def test_a_bound_data_key_is_64_bytes_and_is_unbound_in_its_context(
    data_key: bytes, context: dict[str, str]
) -> None:
    """The form that other readers rely on: data key, then SHA-256 of the encoded context."""
    bound = bind(data_key, context)
    assert bound == data_key + hashlib.sha256(encode_context(context)).digest()
    assert len(bound) == 64
    assert unbind(bound, context) == data_key


@given(data_keys, contexts, contexts)
def test_another_context_is_told(data_key: bytes, context: dict[str, str], other: dict[str, str]) -> None:
    """Another secret's wrapped key does not open this one's message ▲."""
    if context != other:
        with pytest.raises(IntegrityError):
            unbind(bind(data_key, context), other)


@given(data_keys, st.integers(32, 63), st.integers(1, 255))
def test_a_changed_digest_is_told(data_key: bytes, at: int, change: int) -> None:
    """Each of its bytes counts."""
    bound = bytearray(bind(data_key, {"a": "b"}))
    bound[at] ^= change
    with pytest.raises(IntegrityError):
        unbind(bytes(bound), {"a": "b"})


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 65, 96])
def test_anything_but_64_bytes_is_told(length: int) -> None:
    """A module that pads or cuts is found out."""
    bound = (bind(bytes(32), {}) * 2)[:length]
    with pytest.raises(IntegrityError):
        unbind(bound, {})


@pytest.mark.parametrize("size", CURVES)
def test_a_signature_verifies_in_either_form(size: int) -> None:
    """Through r || s and back it is the same signature, zeros in front included."""
    key = ec.generate_private_key(CURVES[size])
    for number in range(60):  # about one r or s in 128 begins with a zero byte
        message = number.to_bytes(2, "big")
        der = key.sign(message, ec.ECDSA(hashes.SHA256()))
        raw = raw_signature(der, size)
        assert len(raw) == 2 * size
        assert der_signature(raw) == der
    key.public_key().verify(der_signature(raw), message, ec.ECDSA(hashes.SHA256()))


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_the_forms_are_each_others_inverse(r: int, s: int) -> None:
    """Whatever the numbers."""
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert der_signature(raw) == encode_dss_signature(r, s)
    assert raw_signature(encode_dss_signature(r, s)) == raw


def test_of_the_two_s_the_low_one_is_given_and_verifies() -> None:
    """BIP 62 and EIP-2 refuse the high one; it is the same signature otherwise."""
    key = ec.generate_private_key(ec.SECP256K1())
    halves = set()
    for number in range(40):
        message = bytes([number])
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(signature)
        halves.add(s > ORDER // 2)
        for form in (signature, encode_dss_signature(r, ORDER - s)):
            low = low_s(form)
            assert decode_dss_signature(low) == (r, min(s, ORDER - s))
            assert low_s(low) == low
            key.public_key().verify(low, message, ec.ECDSA(hashes.SHA256()))
    assert halves == {True, False}


class Local(Signer):
    """Signs with a key of `cryptography`; keeps the digests it was asked to sign."""

    key_id, provider_id = "local", "test"

    def __init__(self, algorithm: str):
        self.algorithm = algorithm
        self.digests: list[bytes] = []

    def sign_digest(self, digest: bytes) -> bytes:
        self.digests.append(self.check_digest(digest))
        return b"signed"

    def public_key(self) -> bytes | None:
        return None


@pytest.mark.parametrize(
    ("algorithm", "made"),
    [
        ("ES256", hashlib.sha256), ("ES256K", hashlib.sha256), ("PS256", hashlib.sha256),
        ("RS256", hashlib.sha256), ("ES384", hashlib.sha384),
    ],
)  # fmt: skip
def test_a_message_is_hashed_as_the_algorithm_says(algorithm: str, made: Any) -> None:
    """RFC 7518 and RFC 8812; a digest made elsewhere is taken as it is, if it is as long."""
    signer = Local(algorithm)
    signer.sign(b"message")
    assert signer.digests == [made(b"message").digest()]
    for wrong in (b"", b"x", bytes(len(signer.digests[0]) + 1), bytes(20)):
        with pytest.raises(InvalidRequestError, match=algorithm):
            signer.sign_digest(wrong)


@pytest.mark.parametrize("algorithm", ["Ed25519", "HS256"])
def test_what_signs_messages_signs_no_digest(algorithm: str) -> None:
    """Their hash is a part of them."""
    with pytest.raises(UnsupportedOperationError, match="signs messages"):
        Local(algorithm).sign_digest(bytes(32))


def test_a_forged_signature_does_not_pass_by_its_form() -> None:
    """The helpers change the form only."""
    key = ec.generate_private_key(ec.SECP256R1())
    raw = bytearray(raw_signature(key.sign(b"m", ec.ECDSA(hashes.SHA256()))))
    raw[-1] ^= 1
    with pytest.raises(InvalidSignature):
        key.public_key().verify(der_signature(bytes(raw)), b"m", ec.ECDSA(hashes.SHA256()))
