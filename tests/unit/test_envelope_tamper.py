"""Changed, cut, extended or reordered messages give IntegrityError and nothing of the plaintext."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import IntegrityError
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.unit.envelope_support import Author, local_key

_CONTEXT = {"for": "tests"}
_VALUE = CANARY_BYTES


def _messages() -> Iterator[tuple[str, bytes]]:
    yield "one frame", encrypt(_VALUE, keys=[local_key()], context=_CONTEXT)
    yield "many frames", Author(context=_CONTEXT).framed(_VALUE, 7)
    author = Author(context=_CONTEXT)
    yield "non-framed", author.header() + author.single(_VALUE)


@pytest.fixture(params=["one frame", "many frames", "non-framed"])
def message(request: pytest.FixtureRequest) -> bytes:
    return dict(_messages())[request.param]


def _assert_refused(message: bytes) -> None:
    try:
        decrypt(message, keys=[local_key()], context=_CONTEXT)
    except IntegrityError as error:
        caught = error
    else:
        pytest.fail("a changed message was accepted")
    assert caught.__cause__ is caught.__context__ is None
    assert_no_canary_in(caught)


def test_the_message_itself_opens(message: bytes) -> None:
    """The control."""
    assert decrypt(message, keys=[local_key()], context=_CONTEXT).value == _VALUE


def test_every_flipped_bit_is_an_integrity_error(message: bytes) -> None:
    """Exhaustive: no bit of a message is unauthenticated."""
    for position in range(len(message)):
        for bit in range(8):
            changed = bytearray(message)
            changed[position] ^= 1 << bit
            _assert_refused(bytes(changed))


def test_every_prefix_is_an_integrity_error(message: bytes) -> None:
    """Exhaustive: a message cut anywhere is refused, between frames too."""
    for length in range(len(message)):
        _assert_refused(message[:length])


def test_bytes_after_the_end_are_an_integrity_error(message: bytes) -> None:
    """One byte, another message, or the message's own frames again."""
    for extra in (b"\x00", b"\xff" * 4, message):
        _assert_refused(message + extra)


def test_reordered_repeated_and_missing_frames_are_an_integrity_error() -> None:
    """Each frame verifies; their order does not."""
    author = Author(context=_CONTEXT)
    header = author.header(frame_length=4)
    one, two, final = author.frame(1, b"aaaa"), author.frame(2, b"bbbb"), author.frame(3, b"cc", final=True)
    assert decrypt(header + one + two + final, keys=[local_key()], context=_CONTEXT).value == b"aaaabbbbcc"
    for body in (
        two + one + final,
        one + one + final,
        one + final,
        two + final,
        one + two,
        one + two + final[4:],
    ):
        _assert_refused(header + body)
    _assert_refused(header + author.frame(0, b"aaaa") + one + two + final)


def test_a_final_frame_above_the_frame_length_is_an_integrity_error() -> None:
    """Authentic, but no writer of this format makes one; a full or empty final frame is right."""
    author = Author(context=_CONTEXT)
    header = author.header(frame_length=4)
    _assert_refused(header + author.frame(1, b"aaaaa", final=True))
    for frames, value in (
        (author.frame(1, b"aaaa", final=True), b"aaaa"),
        (author.frame(1, b"aaaa") + author.frame(2, b"", final=True), b"aaaa"),
        (author.frame(1, b"", final=True), b""),
    ):
        assert decrypt(header + frames, keys=[local_key()], context=_CONTEXT).value == value


def test_frames_of_another_message_are_an_integrity_error() -> None:
    """A body moved under another header of the same KEK and context."""
    one, other = Author(context=_CONTEXT), Author(context=_CONTEXT)
    _assert_refused(one.header(frame_length=4) + other.frame(1, b"aa", final=True))
    _assert_refused(one.header() + other.single(b"aa"))


def test_a_header_that_commits_to_another_key_is_an_integrity_error() -> None:
    """Its tags verify under its data key; only the commitment is wrong, and that is checked first."""
    author = Author(context=_CONTEXT)
    message = author.header(commitment=bytes(32)) + author.single(_VALUE)
    with pytest.raises(IntegrityError, match="commit"):
        decrypt(message, keys=[local_key()], context=_CONTEXT)


def test_a_huge_stated_length_allocates_nothing() -> None:
    """A 2^63 byte body and a 4 GiB frame are refused by the bytes that are there."""
    author = Author(context=_CONTEXT)
    _assert_refused(author.header() + (1).to_bytes(12, "big") + (2**63).to_bytes(8, "big") + bytes(16))
    _assert_refused(author.header(frame_length=2**32 - 1) + (1).to_bytes(4, "big") + bytes(12) + bytes(99))
