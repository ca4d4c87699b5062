"""Signed messages, suite 0x0578: whoever can only open messages cannot make one."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import PublicFormat

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.message import decode_header
from strongroom.envelope.signing import PUBLIC_KEY, SIGNATURE_LENGTH, Signing, Verifying
from strongroom.errors import IntegrityError
from strongroom.keys import WrappedKey
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.scale import scaled
from tests.unit.envelope_support import Author, SignedAuthor, SpyKey, encoded_point, field, local_key

_CONTEXT = {"for": "tests"}


def _refused(message: bytes, why: str, key: SpyKey | None = None) -> None:
    with pytest.raises(IntegrityError, match=why) as caught:
        decrypt(message, keys=[key or local_key()], context=_CONTEXT)
    assert_no_canary_in(caught.value)


def test_a_signed_message_opens_and_says_its_public_key() -> None:
    """The pair need not be expected; each message has a key of its own."""
    messages = [encrypt(CANARY_BYTES, keys=[local_key()], context=_CONTEXT, signed=True) for _ in range(3)]
    opened = [decrypt(message, keys=[local_key()], context=_CONTEXT) for message in messages]
    assert {plain.value for plain in opened} == {CANARY_BYTES}
    assert len({plain.context[PUBLIC_KEY] for plain in opened}) == 3
    assert {decode_header(message)[0].suite for message in messages} == {0x0578}


def test_the_public_key_is_in_the_context_that_every_kek_authenticates() -> None:
    """Else it could be exchanged together with the signature."""
    contexts: list[Mapping[str, str]] = []

    class Witness(SpyKey):
        def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
            contexts.append(context)
            return super().wrap(data_key, context)

    message = encrypt(b"v", keys=[Witness("a"), Witness("b")], context=_CONTEXT, signed=True)
    said = decode_header(message)[0].context
    assert contexts == [said, said]
    point = base64.b64decode(said[PUBLIC_KEY])
    assert len(point) == 49
    assert point[0] in (2, 3)


def test_who_can_open_a_message_cannot_sign_another() -> None:
    """The attack: with the KEK, other plaintext under the same header; its tags all verify."""
    author = SignedAuthor(_CONTEXT)
    genuine = author.framed(b"pay alice", 64)
    assert decrypt(genuine, keys=[local_key()], context=_CONTEXT).value == b"pay alice"
    forged = author.header(frame_length=64) + author.frame(1, b"pay mallo", final=True)
    footer = genuine[len(forged) :]
    _refused(forged + footer, "signature does not verify")
    other = ec.generate_private_key(ec.SECP384R1())
    _refused(forged + field(other.sign(forged, ec.ECDSA(hashes.SHA384()))), "signature does not verify")


def test_a_signature_over_less_than_all_is_refused() -> None:
    """Header body, header tag and every frame, in order."""
    author = SignedAuthor(_CONTEXT)
    header = author.header(frame_length=4)
    message = header + author.frame(1, b"aaaa") + author.frame(2, b"bb", final=True)
    for signed in (
        b"",
        header,
        message[:-1],
        message[len(header) :],
        message[: len(header) - 16],
        message * 2,
    ):
        _refused(message + author.footer(signed), "signature does not verify")
    assert decrypt(message + author.footer(message), keys=[local_key()], context=_CONTEXT).value == b"aaaabb"


def test_a_signed_message_ends_with_its_signature() -> None:
    """No footer, a cut one, an empty one, a long one, or bytes after it."""
    author = SignedAuthor(_CONTEXT)
    message = author.header(frame_length=64) + author.frame(1, CANARY_BYTES, final=True)
    footer = author.footer(message)
    for wrong in (b"", footer[:1], footer[:2], footer[:-1], b"\x00\x00", b"\x00\x00" + footer[2:]):
        _refused(message + wrong, "cut short|empty|follow")
    _refused(message + footer + b"\x00", "follow")
    _refused(message + field(footer[2:] + b"\x00"), "verify|too long")
    _refused(message + b"\x01" + footer[1:], "cut short|too long")


def test_an_unsigned_message_has_no_public_key_and_no_footer() -> None:
    """Taken off a signed message, the signature would be missed by nobody."""
    signed = SignedAuthor(_CONTEXT)
    pair = {**_CONTEXT, PUBLIC_KEY: encoded_point(signed.private)}
    _refused(Author(context=pair).framed(b"v", 4), "do not agree")
    plain = Author(context=_CONTEXT).framed(b"v", 4)
    _refused(plain + signed.footer(plain), "follow")


def test_a_signed_message_without_a_public_key_is_refused_before_any_key_is_asked() -> None:
    """Nothing could verify it."""
    message = Author(context=_CONTEXT, suite=0x0578).framed(b"v", 4)
    key = SpyKey()
    _refused(message + field(bytes(103)), "do not agree", key)
    assert key.calls == []


_POINT = encoded_point(ec.generate_private_key(ec.SECP384R1()))
_OTHER_FORMS = {
    "nothing": "",
    "no base64": "no base64!",
    "not on the curve": base64.b64encode(b"\x02" + b"\xff" * 48).decode(),  # x is above the field's prime
    "no such form": base64.b64encode(b"\x05" + bytes(48)).decode(),
    "zeros": base64.b64encode(bytes(49)).decode(),
    "the point at infinity": base64.b64encode(b"\x00").decode(),
    "uncompressed": encoded_point(ec.generate_private_key(ec.SECP384R1()), PublicFormat.UncompressedPoint),
    "another curve": encoded_point(ec.generate_private_key(ec.SECP256R1())),
    "a line end": _POINT + "\n",
    "no ASCII": _POINT + "é",
}


@pytest.mark.parametrize("form", _OTHER_FORMS)
def test_a_public_key_in_any_other_form_is_refused_before_any_key_is_asked(form: str) -> None:
    """One encoding for each key: the compressed point of P-384 in base64."""
    author, key = SignedAuthor(_CONTEXT, _OTHER_FORMS[form]), SpyKey()
    _refused(author.framed(b"v", 4), "no point of P-384", key)
    assert key.calls == []


def test_every_signature_of_ours_has_one_length_and_verifies() -> None:
    """DER leaves out leading zeros: of 100 signatures, some would be shorter or longer."""
    for number in range(scaled(1_000)):
        signing = Signing()
        verifying = Verifying(signing.public_key)
        for part in (b"part", b"%d" % number):
            signing.update(part)
            verifying.update(part)
        signature = signing.sign()
        assert len(signature) == SIGNATURE_LENGTH == 103
        verifying.verify(signature)
        with pytest.raises(IntegrityError, match="does not verify"):
            verifying.verify(signature[:-1] + bytes([signature[-1] ^ 1]))


def test_a_signature_verifies_once_and_over_exactly_what_was_taken_in() -> None:
    """A byte more is another message."""
    signing = Signing()
    verifying = Verifying(signing.public_key)
    signing.update(b"abc")
    verifying.update(memoryview(b"abcd"))
    with pytest.raises(IntegrityError, match="does not verify"):
        verifying.verify(signing.sign())
