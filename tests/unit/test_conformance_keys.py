"""The suites of key services fail on the mistakes they are there for: each of these keys has one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from strongroom.errors import IntegrityError, PermissionDeniedError, UnavailableError
from strongroom.keys import KeyWrapper, Signer, WrappedKey, low_s, raw_signature
from strongroom.localkey import LocalKey
from strongroom.testing import KeyWrapperConformance, SignerConformance
from strongroom.testing.conformance_key_base import CONTEXT
from tests.conformance.support import KEY_BYTES, Counter, SignerSuite


class _Right(KeyWrapper):
    """Right in everything that a subclass leaves alone."""

    provider_id = "acme"

    def __init__(self, key_id: str = "one", key: bytes = KEY_BYTES):
        self.key_id = key_id
        self._local = LocalKey(key, name="inner", counter=Counter())

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        inner = self._local.wrap(data_key, context)
        return self.wrapped(inner.key_info[-12:] + inner.ciphertext)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        if len(wrapped.ciphertext) != 60:
            raise IntegrityError("wrong length")
        info = self._local.wrap(bytes(32), {}).key_info[:-12] + wrapped.ciphertext[:12]
        return self._local.unwrap(WrappedKey("strongroom-local", info, wrapped.ciphertext[12:]), context)


class _Contextless(_Right):
    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return super().wrap(data_key, {})

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return super().unwrap(wrapped, {})


class _ContextByName(_Right):
    """Binds the names of the pairs, and not what they say."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return super().wrap(data_key, dict.fromkeys(context, ""))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return super().unwrap(wrapped, dict.fromkeys(context, ""))


class _Cutting(_Right):
    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return super().unwrap(wrapped._replace(ciphertext=wrapped.ciphertext[:60]), context)


class _Raw(_Right):
    """Lets its library's exception out."""

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        if len(wrapped.ciphertext) != 60:
            raise ValueError("the SDK says")
        return super().unwrap(wrapped, context)


class _Gullible(_Right):
    def matches(self, wrapped: WrappedKey) -> bool:
        return True


class _Repeating(_Right):
    def generate_data_key(self, context: Mapping[str, str]) -> Any:
        made = super().generate_data_key(context)
        return made._replace(plaintext=KEY_BYTES, wrapped=self.wrap(KEY_BYTES, context))


class _Talkative(_Right):
    last = b""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self.last = data_key
        return super().wrap(data_key, context)

    def __repr__(self) -> str:
        return f"{super().__repr__()} {self.last!r}"


class _Leaking(_Right):
    """Its error's frame holds the data key."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise UnavailableError("down")


_SUITE = KeyWrapperConformance()
_KEY_CASES: dict[str, tuple[type[_Right], Callable[[KeyWrapper], object]]] = {
    "context ignored": (_Contextless, lambda key: _SUITE.test_another_context_is_refused(key, {})),
    "context by name": (
        _ContextByName,
        lambda key: _SUITE.test_another_context_is_refused(key, {**CONTEXT, "name": "other"}),
    ),
    "more bytes taken": (
        _Cutting,
        lambda key: _SUITE.test_a_ciphertext_of_another_length_is_refused(key, lambda c: c + b"\0"),
    ),
    "foreign exception": (
        _Raw,
        lambda key: _SUITE.test_a_ciphertext_of_another_length_is_refused(key, lambda c: c[:-1]),
    ),
    "matches all": (_Gullible, _SUITE.test_identifiers_changed_anywhere_are_refused),
    "same data key": (_Repeating, _SUITE.test_every_generated_key_is_another),
    "key in repr": (_Talkative, _SUITE.test_nothing_that_is_returned_shows_a_key),
    "key in a frame": (
        _Leaking,
        lambda key: _SUITE.test_no_error_shows_a_key(_Right(), key, _Right()),
    ),
    "wrong error": (
        _Leaking,
        lambda key: _SUITE._fails(_Right(), key, "wrap", PermissionDeniedError),
    ),
}


@pytest.mark.parametrize(("kind", "case"), _KEY_CASES.values(), ids=_KEY_CASES)
def test_a_careless_kek_fails(kind: type[_Right], case: Callable[[KeyWrapper], object]) -> None:
    """In the very case that is about its mistake."""
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, UnavailableError)):
        case(kind())


class _LocalSigner(Signer):
    """A signing key in this process; right in everything that a subclass leaves alone."""

    provider_id = "acme"

    def __init__(self, algorithm: str = "ES256K", key_id: str = "one"):
        self.algorithm, self.key_id = algorithm, key_id
        self._key: Any = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if algorithm == "PS256"
            else ec.generate_private_key(ec.SECP256K1())
        )

    def sign_digest(self, digest: bytes) -> bytes:
        return self.finish(self._key.sign(self.check_digest(digest), *self.arguments()))

    def arguments(self) -> tuple[Any, ...]:
        digest = utils.Prehashed(hashes.SHA256())
        return (
            (padding.PSS(padding.MGF1(hashes.SHA256()), 32), digest) if self._rsa() else (ec.ECDSA(digest),)
        )

    def finish(self, signature: bytes) -> bytes:
        return signature if self._rsa() else low_s(signature)

    def public_key(self) -> bytes | None:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return bytes(self._key.public_key().public_bytes(serialization.Encoding.DER, form))

    def _rsa(self) -> bool:
        return self.algorithm == "PS256"


class _EitherS(_LocalSigner):
    def finish(self, signature: bytes) -> bytes:
        return signature


class _RawForm(_LocalSigner):
    def finish(self, signature: bytes) -> bytes:
        return raw_signature(super().finish(signature))


class _LongSalt(_LocalSigner):
    def arguments(self) -> tuple[Any, ...]:
        return padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH), utils.Prehashed(
            hashes.SHA256()
        )


class _HashedTwice(_LocalSigner):
    def sign_digest(self, digest: bytes) -> bytes:
        return super().sign_digest(hashlib.sha256(digest).digest())


class _Careless(_LocalSigner):
    def check_digest(self, digest: bytes) -> bytes:
        return digest.ljust(32, b"\0")[:32]


class _PointOnly(_LocalSigner):
    """Gives the bare point, not SubjectPublicKeyInfo."""

    def public_key(self) -> bytes | None:
        form = serialization.PublicFormat.UncompressedPoint
        return bytes(self._key.public_key().public_bytes(serialization.Encoding.X962, form))


class _ES256K(SignerConformance):
    algorithm = "ES256K"

    def count(self, nightly: int) -> int:
        return nightly


class _PS256(SignerConformance):
    algorithm = "PS256"


_SIGNER_CASES: dict[str, tuple[Callable[[], Signer], Callable[[Signer], object]]] = {
    "either s": (_EitherS, lambda key: _ES256K().test_ecdsa_signatures_are_der(key)),
    "raw form": (_RawForm, lambda key: _ES256K().test_a_signature_verifies(key, b"m")),
    "long salt": (
        lambda: _LongSalt("PS256"),
        lambda key: _PS256().test_a_signature_verifies(key, b"m"),
    ),
    "hashed twice": (_HashedTwice, lambda key: _ES256K().test_a_digest_is_signed_as_it_is(key)),
    "any length": (_Careless, lambda key: _ES256K().test_a_digest_of_another_length_is_refused(key, 31)),
    "bare point": (_PointOnly, lambda key: _ES256K().test_the_public_key_is_der(key)),
}


@pytest.mark.parametrize(("make", "case"), _SIGNER_CASES.values(), ids=_SIGNER_CASES)
def test_a_careless_signer_fails(make: Callable[[], Signer], case: Callable[[Signer], object]) -> None:
    """In the very case that is about its mistake."""
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        case(make())


class TestRightSigner(SignerSuite):
    """The control: without a mistake the whole suite passes."""

    algorithm = "ES256K"

    @pytest.fixture
    def signer(self) -> Signer:
        return _LocalSigner()

    @pytest.fixture
    def other(self) -> Signer:
        return _LocalSigner(key_id="two")


class TestRightWrapper(KeyWrapperConformance):
    """The control, with the doubles that the suite gives where a key has no real ones."""

    @pytest.fixture
    def wrapper(self) -> KeyWrapper:
        return _Right()

    @pytest.fixture
    def other(self) -> KeyWrapper:
        return _Right("two", KEY_BYTES[::-1])


def test_a_case_that_is_skipped_or_removed_is_lost() -> None:
    """Only xfail with a reason excuses one, as in the backends' suite."""

    class Removing(TestRightWrapper):
        test_another_key_opens_nothing = None  # type: ignore[assignment]

    class Skipping(TestRightSigner):
        pytestmark = pytest.mark.skip(reason="later")

    for suite in (Removing, Skipping):
        with pytest.raises(AssertionError):
            suite().test_no_case_is_lost()
