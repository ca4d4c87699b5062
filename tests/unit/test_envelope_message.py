"""The header codec: one encoding for each header, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.envelope.cipher import decrypt
from strongroom.envelope.message import (
    Header,
    decode_body,
    decode_header,
    decode_only_frame,
    encode_frame_head,
    encode_header,
)
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context, WrappedKey, encode_context
from tests.unit.envelope_support import Author, local_key, pairs

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_field = st.binary(max_size=60)
_headers = st.builds(
    Header,
    st.sampled_from([0x0478, 0x0578]),
    st.binary(min_size=32, max_size=32),
    st.dictionaries(_text, _text, max_size=4).map(Context.of),
    st.lists(st.builds(WrappedKey, _text, _field, _field), min_size=1, max_size=16).map(tuple),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
)


@given(_headers, st.binary(max_size=40))
def test_a_header_reads_back_as_it_was_written(header: Header, after: bytes) -> None:
    """Decoding is the inverse of encoding, and takes the header's bytes and no more."""
    encoded = encode_header(header)
    assert decode_header(encoded + after) == (header, len(encoded))
    assert decode_header(memoryview(encoded + after))[0].context.encoded == header.context.encoded


@given(_headers, st.data())
def test_a_changed_header_is_refused_or_has_another_meaning(header: Header, data: st.DataObject) -> None:
    """Whatever the decoder accepts is the one encoding of what it read, so nothing hides in a header."""
    encoded = bytearray(encode_header(header))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    _assert_canonical(bytes(encoded))


@given(st.binary(max_size=400))
def test_random_bytes_are_an_integrity_error(data: bytes) -> None:
    """No input makes the decoder raise anything else."""
    _assert_canonical(data)
    _assert_canonical(b"\x02\x04\x78" + data)


def _assert_canonical(data: bytes) -> None:
    try:
        header, length = decode_header(data)
    except IntegrityError:
        return
    assert encode_header(header) == data[:length]


@given(st.binary(max_size=200), st.integers(0, 64))
def test_random_frames_are_an_integrity_error_or_fit_the_message(body: bytes, frame_length: int) -> None:
    """The body's structure never reaches beyond the message, and never leaves bytes over."""
    header = Header(0x0478, bytes(32), Context(b""), (WrappedKey("p", b"", b""),), frame_length, bytes(32))
    try:
        sealed = sum(len(frame.sealed) for frame in decode_body(body, 0, header))
    except IntegrityError:
        return
    assert sealed < len(body)


@given(st.data(), st.integers(0, 40), st.sampled_from([0x0478, 0x0578]))
def test_the_short_way_to_a_body_of_one_frame_sees_what_the_long_way_sees(
    data: st.DataObject, length: int, suite: int
) -> None:
    """It takes nothing that the long way refuses, and whatever it leaves is the long way's to judge."""
    header = Header(suite, bytes(32), Context(b""), (WrappedKey("p", b"", b""),), 30, bytes(32))
    encoded = bytearray(encode_frame_head(1, length, final=True)[0] + bytes(length + 16))
    if data.draw(st.booleans()):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(encoded[: data.draw(st.integers(0, len(encoded)))] if data.draw(st.booleans()) else encoded)
    found = decode_only_frame(body, 0, header)
    try:
        frames = list(decode_body(body, 0, header))
    except IntegrityError:
        assert found is None
        return
    (frame,) = frames
    assert found == (frame.head.iv, frame.sealed, frame.head.additional_data)


def test_a_context_is_sorted_by_the_bytes_of_its_keys() -> None:
    """UTF-8 order and UTF-16 order differ above U+FFFF; the format's is UTF-8."""
    assert encode_context({"\U0001f511": "b", "\uff21": "a"}) == pairs(
        ("\uff21".encode(), b"a"), ("\U0001f511".encode(), b"b")
    )
    assert encode_context({}) == b""


@pytest.mark.parametrize(
    ("context", "why"),
    [
        ({"k": "v" * 65_536}, "65535"),
        ({"k" * 40_000: "v" * 40_000}, "65535"),
        ({"k": "\ud800"}, "UTF-8"),
    ],
)
def test_a_context_the_format_cannot_hold_is_the_callers_fault(context: dict[str, str], why: str) -> None:
    """Refused before anything is encrypted."""
    with pytest.raises(InvalidRequestError, match=why):
        encode_context(context)


def test_the_largest_context_is_written_and_read() -> None:
    """65,535 bytes, and not one more."""
    context = Context.of({"k": "v" * (65_535 - 2 - 3 - 2)})
    header = Header(0x0478, bytes(32), context, (WrappedKey("p", b"", b""),), 1, bytes(32))
    assert len(context.encoded) == 65_535
    assert decode_header(encode_header(header))[0].context == context


@pytest.mark.parametrize("count", [0, 17])
def test_a_header_is_not_written_under_no_key_or_too_many(count: int) -> None:
    """1 to 16 wrapped data keys."""
    header = Header(0x0478, bytes(32), Context(b""), (WrappedKey("p", b"", b""),) * count, 1, bytes(32))
    with pytest.raises(InvalidRequestError, match="1 to 16"):
        encode_header(header)


def test_a_wrapped_key_over_two_bytes_of_length_is_not_written() -> None:
    """A provider's oversized answer becomes an error, not a header that says something else."""
    header = Header(0x0478, bytes(32), Context(b""), (WrappedKey("p", b"", bytes(65_536)),), 1, bytes(32))
    with pytest.raises(InvalidRequestError, match="65535"):
        encode_header(header)


def _refused(message: bytes, context: dict[str, str] | None = None) -> str:
    with pytest.raises(IntegrityError) as caught:
        decrypt(message, keys=[local_key()], context=context or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("context", "why"),
    [
        (pairs((b"b", b"1"), (b"a", b"2")), "sorted"),
        (pairs((b"a", b"1"), (b"a", b"2")), "twice"),
        (pairs((b"a", b"\xff")), "UTF-8"),
        (pairs((b"\xc0\xaf", b"1")), "UTF-8"),
        (pairs((b"a", b"1")) + b"\x00", "fill its length"),
        (b"\x00\x00", "fill its length"),
        (b"\x00", "cut short"),
        (b"\x00\x01\x00\x09a\x00\x00", "cut short"),
    ],
)
def test_an_authentic_context_in_another_form_is_refused(context: bytes, why: str) -> None:
    """Every tag of these messages verifies; only their form is wrong."""
    author = Author(context=context)
    assert why in _refused(author.header() + author.single(b"value"))


def test_the_author_of_these_tests_writes_messages_that_open() -> None:
    """The control: without the malformation, the same writer's messages are read."""
    author = Author(context={"a": "1"})
    for message in (author.framed(b"value", 2), author.header() + author.single(b"value")):
        assert decrypt(message, keys=[local_key()], context={"a": "1"}).value == b"value"


def test_version_1_and_suites_without_commitment_are_refused() -> None:
    """A message that does not commit to its key can open to two plaintexts."""
    author = Author()
    assert "version 2" in _refused(author.header(version=1) + author.single(b""))
    for suite in (0x0014, 0x0046, 0x0078, 0x0114, 0x0178, 0x0214, 0x0346, 0x0378, 0x0000, 0xFFFF):
        assert f"0x{suite:04x}" in _refused(author.header(suite=suite) + author.single(b""))


def test_a_signed_message_is_refused_and_says_why() -> None:
    """Suite 0x0578 is known, and not read without checking its signature."""
    author = Author()
    assert "signed" in _refused(author.header(suite=0x0578) + author.single(b""))


def test_a_message_cannot_choose_how_many_keys_are_tried() -> None:
    """17 wrapped data keys are refused; 16 are read."""
    author = Author()
    assert "17 wrapped" in _refused(author.header(edks=[author.edk] * 17) + author.single(b""))
    assert "0 wrapped" in _refused(author.header(edks=[]) + author.single(b""))
    sixteen = author.header(edks=[author.edk] * 16) + author.single(b"value")
    assert decrypt(sixteen, keys=[local_key()], context={}).value == b"value"


@pytest.mark.parametrize(("content_type", "frame_length"), [(2, 0), (1, 5), (0, 0), (3, 5)])
def test_content_type_and_frame_length_must_agree(content_type: int, frame_length: int) -> None:
    """Framed with a length, or non-framed without one."""
    author = Author()
    header = author.header(content_type=content_type, frame_length=frame_length)
    assert "do not agree" in _refused(header + author.single(b""))


def test_a_base64_message_says_what_to_do() -> None:
    """The commonest mistake has a hint."""
    assert "base64" in _refused(b"AgR4" + b"A" * 200)
