"""The conformance suite of signing keys; `conformance_keys` exports it beside the KEKs'."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import Signer, der_signature, low_s, raw_signature

from .conformance import lost_cases
from .conformance_key_base import error_of, in_child
from .conformance_safety import at_once

MESSAGES = (b"", b"m", b"GET /api/v3/account?timestamp=1" * 9, bytes(5_000), b"\xff" * 70_000)
"""Among them more than the 4,096 bytes that AWS KMS takes, and more than the 64 KiB that Google takes."""

_DIGESTS = {"ES256": 32, "ES384": 48, "ES256K": 32, "PS256": 32, "RS256": 32}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES256K": "secp256k1"}
_KINDS = {**_CURVES, "Ed25519": "Ed25519PublicKey", "PS256": "RSAPublicKey", "RS256": "RSAPublicKey"}
_LENGTHS = {"Ed25519": 64, "HS256": 32}
_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


class _Broken(Signer):
    """A signing key whose provider answers with one error only."""

    def __init__(self, like: Signer, error: type[SecretStoreError]):
        self.key_id, self.provider_id, self.algorithm = like.key_id, like.provider_id, like.algorithm
        self._error = error

    def sign(self, message: bytes) -> bytes:
        raise self._error("broken")

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        raise self._error("broken")

    def public_key(self) -> bytes | None:
        raise self._error("broken")


class SignerHarness:
    """Fixtures and facts of a signing key; a subclass gives `signer` and `other`.

    Attributes:
        algorithm: what the key must say that it is for.
        lengths: of the messages that the provider signs; others are InvalidRequestError before any request.
    """

    algorithm: ClassVar[str] = "ES256"
    lengths: ClassVar[range] = range(sys.maxsize)

    @pytest.fixture
    def signer(self) -> Signer:
        """The key under test."""
        raise NotImplementedError("give a fixture `signer` that returns an open Signer")

    @pytest.fixture
    def other(self) -> Signer:
        """Another key of the same provider and algorithm."""
        raise NotImplementedError("give a fixture `other` that returns another key of the same algorithm")

    @pytest.fixture
    def disposable(self, signer: Signer) -> Signer:
        """The key for cases that close it; give another object where `signer` is shared."""
        return signer

    @pytest.fixture
    def refused(self, signer: Signer) -> Signer:
        """The same key, seen by an identity that may not use it; override it with a real one."""
        return _Broken(signer, PermissionDeniedError)

    @pytest.fixture
    def unreachable(self, signer: Signer) -> Signer:
        """The same key, told its algorithm, where nobody answers; override it with a real one."""
        return _Broken(signer, UnavailableError)

    @pytest.fixture
    def known(self) -> tuple[Signer, bytes] | None:
        """An HS256 key whose bytes are known, and those bytes, where the provider imports keys."""
        return None

    def count(self, nightly: int) -> int:
        """How often to repeat what a nightly run repeats so often."""
        return max(1, nightly // 10)

    def verified(self, signer: Signer, signature: bytes, message: bytes) -> bool:
        """Whether anybody who has the public key accepts the signature (HS256: whoever can sign)."""
        if self.algorithm == "HS256":
            return hmac.compare_digest(signer.sign(message), signature)
        return verified(signer.public_key() or b"", self.algorithm, signature, message)


class Signatures(SignerHarness):
    """Signatures are what everybody else's verifier expects."""

    @pytest.mark.parametrize("message", MESSAGES, ids=len)
    def test_a_signature_verifies(self, signer: Signer, message: bytes) -> None:
        """With the public key alone and `cryptography`; for no other message, and unchanged only."""
        if len(message) not in self.lengths:
            with pytest.raises(InvalidRequestError):
                signer.sign(message)
            return
        signature = signer.sign(message)
        assert self.verified(signer, signature, message)
        assert not self.verified(signer, signature, message + b"\0")
        assert not self.verified(signer, signature[:-1] + bytes([signature[-1] ^ 1]), message)

    def test_another_key_signs_otherwise(self, signer: Signer, other: Signer) -> None:
        """What one key signed does not verify under the other."""
        assert not self.verified(other, signer.sign(b"message"), b"message")
        assert signer.key_id != other.key_id

    def test_the_public_key_is_der(self, signer: Signer) -> None:
        """SubjectPublicKeyInfo in DER, as X.509 has it, of the algorithm's kind; none for HS256."""
        found = signer.public_key()
        assert signer.public_key() == found
        if self.algorithm == "HS256":
            assert found is None
        else:
            assert _kind(found or b"") == _KINDS[self.algorithm]

    def test_the_key_says_what_it_is(self, signer: Signer) -> None:
        """Its algorithm is one of those named, and its id stands in its repr."""
        assert signer.algorithm == self.algorithm
        assert signer.algorithm in Signer.ALGORITHMS
        assert signer.key_id in repr(signer)
        assert signer.provider_id in repr(signer)

    def test_ecdsa_signatures_are_der(self, signer: Signer) -> None:
        """ASN.1 DER that is the same when decoded and encoded again; ES256K with the low s, always."""
        if self.algorithm not in _CURVES:
            assert len(signer.sign(b"m")) == (_LENGTHS.get(self.algorithm) or _modulus(signer))
            return
        size = _DIGESTS[self.algorithm]
        for number in range(self.count(300)):
            signature = signer.sign(b"%d" % number)
            raw = raw_signature(signature, size)
            assert (len(raw), der_signature(raw)) == (2 * size, signature)
            if self.algorithm == "ES256K":
                assert low_s(signature) == signature
                assert int.from_bytes(raw[size:], "big") <= _HALF_ORDER

    def test_a_known_key_gives_the_known_mac(self, known: tuple[Signer, bytes] | None) -> None:
        """HS256 is HMAC-SHA256 and nothing else, and the repr does not show the key."""
        if known is not None:
            signer, key = known
            for message in (message for message in MESSAGES if len(message) in self.lengths):
                assert signer.sign(message) == hmac.digest(key, message, "sha256")
            assert repr(key)[2:-1] not in repr(signer)


class Digests(SignerHarness):
    """Digests made elsewhere are signed as they are, where the algorithm takes digests."""

    def test_a_digest_is_signed_as_it_is(self, signer: Signer) -> None:
        """A message's digest gives a signature of the message; any 32 bytes can be one (Keccak-256)."""
        if self.algorithm not in _DIGESTS:
            with pytest.raises(UnsupportedOperationError):
                signer.sign_digest(bytes(32))
            return
        digest = hashlib.new("sha384" if self.algorithm == "ES384" else "sha256", b"message").digest()
        assert self.verified(signer, signer.sign_digest(digest), b"message")
        foreign = os.urandom(len(digest))
        assert not self.verified(signer, signer.sign_digest(foreign), b"message")

    @pytest.mark.parametrize("length", [0, 1, 20, 31, 33, 64, 5_000])
    def test_a_digest_of_another_length_is_refused(self, unreachable: Signer, length: int) -> None:
        """InvalidRequestError (Unsupported without digests) before any request: nobody answers here."""
        kind = InvalidRequestError if self.algorithm in _DIGESTS else UnsupportedOperationError
        with pytest.raises(kind):
            unreachable.sign_digest(bytes(length))


class Refusals(SignerHarness):
    """Each error means one thing with every provider."""

    def test_who_may_not_use_the_key_is_denied(self, refused: Signer) -> None:
        """PermissionDeniedError, with one line that says where."""
        error = self._failure(refused, PermissionDeniedError)
        assert "\n" not in str(error)

    def test_no_answer_is_unavailable(self, unreachable: Signer) -> None:
        """UnavailableError, which may pass and did nothing; without the SDK's exception."""
        error = self._failure(unreachable, UnavailableError)
        assert error.retryable
        assert error.performed is False
        assert error.__context__ is None

    def _failure(self, signer: Signer, kind: type[SecretStoreError]) -> SecretStoreError:
        calls: list[Callable[[], Any]] = [partial(signer.sign, b"message")]
        if self.algorithm in _DIGESTS:
            calls.append(partial(signer.sign_digest, bytes(_DIGESTS[self.algorithm])))
        errors = [error_of(call) for call in calls]
        assert [type(error) for error in errors] == [kind] * len(calls)
        assert errors[0] is not None
        return errors[0]


class Sharing(SignerHarness):
    """Any number of threads, and children, may use a key."""

    def test_eight_threads_share_a_key(self, signer: Signer) -> None:
        """Each gets a signature of its own message."""
        calls = [partial(self._signs, signer, number, self.count(50)) for number in range(8)]
        assert at_once(calls) == [True] * 8

    def test_coroutines_share_a_key(self, signer: Signer) -> None:
        """In the threads of an event loop."""

        async def run() -> list[bool]:
            threads = (asyncio.to_thread(self._signs, signer, number, 1) for number in range(8))
            return await asyncio.gather(*threads)

        assert asyncio.run(run()) == [True] * 8

    def test_a_forked_child_makes_its_own_sessions(self, signer: Signer) -> None:
        """Child and parent both go on, whatever the parent had open."""
        assert self._signs(signer, 0, 1)
        assert in_child(signer, lambda: self._signs(signer, 1, 1))
        assert self._signs(signer, 2, 1)

    def test_closing_twice_is_harmless(self, disposable: Signer) -> None:
        """Whoever still uses a closed key gets a typed error or an answer, never the SDK's exception."""
        disposable.sign(b"message")
        for _ in range(2):
            disposable.close()
        with contextlib.suppress(SecretStoreError):
            disposable.sign(b"message")

    def _signs(self, signer: Signer, number: int, times: int) -> bool:
        messages = [b"%d/%d" % (number, time) for time in range(times)]
        return all(self.verified(signer, signer.sign(message), message) for message in messages)


SIGNER_AREAS: tuple[type, ...] = (Signatures, Digests, Refusals, Sharing)


class SignerConformance(Signatures, Digests, Refusals, Sharing):
    """Every case for a signing key. Subclass it as ``Test…`` and give the fixtures `signer` and `other`."""

    def test_no_case_is_lost(self) -> None:
        """A standard case may be overridden only as xfail with a reason, and never skipped or removed."""
        assert lost_cases(type(self), SIGNER_AREAS) == []


def verified(public_key: bytes, algorithm: str, signature: bytes, message: bytes) -> bool:
    """Whether `cryptography` accepts a signature, given the public key as SubjectPublicKeyInfo in DER."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key: Any = load_der_public_key(public_key)
    try:
        key.verify(signature, message, *_arguments(algorithm))
    except InvalidSignature:
        return False
    return True


def _arguments(algorithm: str) -> tuple[Any, ...]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    sha256 = hashes.SHA256()
    if algorithm == "PS256":  # RFC 7518 section 3.5: the salt is as long as the hash
        return padding.PSS(padding.MGF1(sha256), sha256.digest_size), sha256
    if algorithm == "RS256":
        return padding.PKCS1v15(), sha256
    if algorithm == "Ed25519":
        return ()
    return (ec.ECDSA(hashes.SHA384() if algorithm == "ES384" else sha256),)


def _kind(public_key: bytes) -> str:
    """The name of the curve or of the key's type; encoded again the key must be the same DER."""
    from cryptography.hazmat.primitives import serialization

    key: Any = serialization.load_der_public_key(public_key)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    assert key.public_bytes(serialization.Encoding.DER, form) == public_key
    return str(key.curve.name) if hasattr(key, "curve") else type(key).__name__


def _modulus(signer: Signer) -> int:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key: Any = load_der_public_key(signer.public_key() or b"")
    return int(key.key_size) // 8
