"""Sealing and Opening: one message piece by piece, in whatever way its bytes travel."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.envelope import cipher, gcm, message, sealing
from strongroom.envelope.binding import join
from strongroom.envelope.cipher import decrypt, decrypt_into, encrypt
from strongroom.envelope.message import (
    FINAL_OVERHEAD,
    MAX_FRAMES,
    REGULAR_OVERHEAD,
    TAG_LENGTH,
    Header,
    body_length,
    decode_frame_head,
    decode_header,
    encode_header,
)
from strongroom.envelope.reading import read_exactly, read_footer, read_frame_head, read_header
from strongroom.envelope.sealing import Opening, Sealing
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context, WrappedKey
from strongroom.localkey import aes_gcm
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.unit.envelope_support import Author, SpyKey, local_key

_CONTEXT = {"for": "tests"}
_SIZE = 10


@pytest.fixture(autouse=True)
def _short_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sealing, cipher):
        monkeypatch.setattr(module, "FRAME_LENGTH", _SIZE)


def _pieces(value: bytes) -> list[tuple[bytes, bool]]:
    starts = range(0, len(value), _SIZE) or range(1)
    return [(value[start : start + _SIZE], start == starts[-1]) for start in starts]


def _sealed(value: bytes, *, signed: bool = False) -> bytes:
    making = Sealing.begin([local_key()], join(_CONTEXT), signed=signed)
    parts = [making.prologue]
    for piece, final in _pieces(value):
        parts += making.seal(piece, final=final)
    return b"".join([*parts, making.epilogue()])


def _sealed_into(value: bytes, *, signed: bool = False) -> bytes:
    making = Sealing.begin([local_key()], join(_CONTEXT), signed=signed)
    out, end = bytearray(making.message_length(len(value))), len(making.prologue)
    out[:end] = making.prologue
    for piece, final in _pieces(value):
        end += making.seal_into(piece, memoryview(out)[end:], final=final)
    out[end:] = making.epilogue()
    return bytes(out)


def _trickle(data: bytes, most: int = 3) -> Callable[[int], bytes]:
    """A pipe: never more than `most` bytes at a time."""
    stream = io.BytesIO(data)
    return lambda count: stream.read(min(count, most))


def _opened(data: bytes) -> bytes:
    read, parts, sequence = _trickle(data), [], 0
    header, body = read_header(read)
    opening = Opening.begin(header, body, read_exactly(read, TAG_LENGTH), [local_key()], join(_CONTEXT))
    while True:
        sequence += 1
        head = read_frame_head(read, header, sequence)
        sealed = read_exactly(read, head.length + TAG_LENGTH)
        opening.feed(head.encoded, sealed)
        out = bytearray(head.length)
        assert opening.open_into(head, sealed, memoryview(out)) == head.length
        assert opening.open(head, sealed) == out
        parts.append(bytes(out))
        if head.final:
            opening.finish(read_footer(read, header))
            return b"".join(parts)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 35])
def test_what_is_sealed_piece_by_piece_opens_piece_by_piece(size: int, signed: bool) -> None:
    """And as a whole: the same format whoever moves the bytes."""
    value = os.urandom(size)
    for made in (_sealed(value, signed=signed), _sealed_into(value, signed=signed)):
        assert _opened(made) == value == decrypt(made, keys=[local_key()], context=_CONTEXT).value
    whole = encrypt(value, keys=[local_key()], context=_CONTEXT, signed=signed)
    assert _opened(whole) == value


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([_sealed, _sealed_into]))
def test_any_value_sealed_in_any_way_opens_in_any_way(
    value: bytes, signed: bool, seal: Callable[..., bytes]
) -> None:
    """Frame by frame from a pipe, whole, and into a buffer."""
    made, buffer = seal(value, signed=signed), bytearray(len(value))
    assert _opened(made) == decrypt(made, keys=[local_key()], context=_CONTEXT).value == value
    assert decrypt_into(made, buffer, keys=[local_key()], context=_CONTEXT) == len(value)
    assert buffer == value


def test_a_message_length_is_told_before_anything_is_sealed() -> None:
    """Of signed messages too, since a signature of ours always has the same length."""
    for signed in (False, True):
        for size in (0, 1, 10, 11, 40):
            making = Sealing.begin([local_key()], join(_CONTEXT), signed=signed)
            head = making.message_length(size) - len(_sealed(bytes(size), signed=signed))
            assert head == 0
    assert body_length(0, 10) == FINAL_OVERHEAD
    assert body_length(21, 10) == 21 + 2 * REGULAR_OVERHEAD + FINAL_OVERHEAD


def test_frames_open_in_any_order() -> None:
    """Random access: a frame's place is in its additional data, not in the reader's state."""
    data = _sealed(b"0123456789" * 3)
    header, length = decode_header(data)
    begin = length + TAG_LENGTH
    opening = Opening.begin(header, data[:length], data[length:begin], [local_key()], join(_CONTEXT))
    second = begin + _SIZE + REGULAR_OVERHEAD
    head = decode_frame_head(data, second, header, 2)
    start = second + len(head.encoded)
    assert opening.open(head, data[start : start + _SIZE + TAG_LENGTH]) == b"0123456789"
    with pytest.raises(IntegrityError, match="out of order"):
        decode_frame_head(data, second, header, 3)


@pytest.mark.parametrize("length", [9, 11])
def test_only_the_final_frame_may_be_shorter_and_none_longer(length: int) -> None:
    """A refused piece spends nothing: the message goes on."""
    making = Sealing.begin([local_key()], join(_CONTEXT))
    for seal in (making.seal, lambda piece: making.seal_into(piece, memoryview(bytearray(99)))):
        with pytest.raises(InvalidRequestError, match="a frame takes 10 bytes"):
            seal(bytes(length))
    making.seal(bytes(10))
    making.seal(bytes(3), final=True)
    making.epilogue()


def test_nothing_comes_after_the_final_frame_and_no_footer_before_it() -> None:
    """A message that was not finished has no end, so it cannot pass for a whole one."""
    making = Sealing.begin([local_key()], join(_CONTEXT), signed=True)
    with pytest.raises(InvalidRequestError, match="not sealed yet"):
        making.epilogue()
    making.seal(b"", final=True)
    with pytest.raises(InvalidRequestError, match="finished"):
        making.seal(b"", final=True)


def test_a_message_is_full_before_a_sequence_number_repeats() -> None:
    """2^32 - 2 frames; the number above marks the final frame."""
    making = Sealing.begin([local_key()], join(_CONTEXT))
    making._sequence = iter(range(MAX_FRAMES, MAX_FRAMES + 2))  # type: ignore[assignment]
    making.seal(bytes(_SIZE))
    with pytest.raises(InvalidRequestError, match="full"):
        making.seal(bytes(_SIZE))


def test_threads_that_misuse_one_sealing_never_repeat_an_iv() -> None:
    """Their frames come in no order, which nobody opens; but no two share an IV."""
    making, barrier = Sealing.begin([local_key()], join(_CONTEXT)), threading.Barrier(8)

    def work(_: int) -> list[bytes]:
        barrier.wait(30)
        return [making.seal(bytes(_SIZE))[0] for _ in range(300)]

    with ThreadPoolExecutor(8) as pool:
        heads = [head for heads in pool.map(work, range(8)) for head in heads]
    assert len(set(heads)) == len(heads) == 2_400


def test_a_buffer_that_is_too_short_is_refused_before_anything_is_written() -> None:
    """And the frame can be sealed into a longer one."""
    making, out = Sealing.begin([local_key()], join(_CONTEXT)), bytearray(3 + FINAL_OVERHEAD)
    with pytest.raises(InvalidRequestError, match="43 bytes, and the buffer has 42"):
        making.seal_into(b"abc", memoryview(out)[1:], final=True)
    assert out == bytes(len(out))
    assert making.seal_into(b"abc", memoryview(out), final=True) == len(out)


def test_a_frame_that_does_not_verify_leaves_zeros() -> None:
    """The cipher decrypts before it verifies; its output is not left to anybody."""
    author = Author(context=_CONTEXT)
    data = author.header(frame_length=99) + author.frame(1, b"plaintext!", final=True)
    header, length = decode_header(data)
    begin = length + TAG_LENGTH
    opening = Opening.begin(header, data[:length], data[length:begin], [local_key()], join(_CONTEXT))
    head = decode_frame_head(data, begin, header, 1)
    sealed = bytearray(data[begin + len(head.encoded) :])
    sealed[-1] ^= 1
    out = bytearray(b"x" * 12)
    with pytest.raises(IntegrityError, match="changed"):
        opening.open_into(head, sealed, memoryview(out))
    assert out == bytes(10) + b"xx"
    with pytest.raises(IntegrityError, match="changed"):
        opening.open(head, sealed)


@pytest.mark.parametrize("value", [b"", b"abc", bytes(35)])
def test_an_older_cryptography_without_ciphers_in_place_gives_the_same(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`encrypt_into` and `decrypt_into` came after the oldest release that is supported."""
    aead_type, invalid_tag = aes_gcm()

    class Old:
        def __init__(self, key: bytes):
            aead = aead_type(key)
            self.encrypt, self.decrypt = aead.encrypt, aead.decrypt

    monkeypatch.setattr(sealing, "aes_gcm", lambda: (Old, invalid_tag))
    made = _sealed_into(value)
    assert _opened(made) == value
    monkeypatch.undo()
    assert decrypt(made, keys=[local_key()], context=_CONTEXT).value == value


def test_a_frame_longer_than_the_cipher_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """cryptography would panic, past `except Exception`; here the limit is lowered to a frame's length."""
    data, keys = _sealed(bytes(12)), [local_key()]
    monkeypatch.setattr(gcm, "LONGEST", _SIZE + TAG_LENGTH)
    assert decrypt(data, keys=keys, context=_CONTEXT).value == bytes(12)
    monkeypatch.setattr(gcm, "LONGEST", _SIZE + TAG_LENGTH - 1)
    buffer = bytearray(12)
    for opens in (
        lambda: _opened(data),
        lambda: decrypt(data, keys=keys, context=_CONTEXT),
        lambda: decrypt_into(data, buffer, keys=keys, context=_CONTEXT),
    ):
        with pytest.raises(IntegrityError, match="a frame is longer than"):
            opens()


def test_wiping_takes_in_all_of_a_place() -> None:
    """Also above the size of one stretch of zeros, and none of its neighbours."""
    data = bytearray(b"x" * 200_001)
    gcm.wipe(memoryview(data)[1:200_000])
    assert data == b"x" + bytes(199_999) + b"x"


@pytest.mark.parametrize("final", [False, True])
def test_no_error_of_sealing_carries_the_plaintext(final: bool) -> None:
    """Neither a refused piece nor one that the cipher fails on."""
    making = Sealing.begin([local_key()], join(_CONTEXT))
    with pytest.raises(InvalidRequestError) as caught:
        making.seal(CANARY_BYTES, final=final)
    assert_no_canary_in(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        making.seal_into(CANARY_BYTES, memoryview(bytearray(1_000)), final=final)
    assert_no_canary_in(caught.value)


def test_no_error_of_writing_a_header_carries_a_data_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the encoder fails after the KEKs have answered."""

    class Leaky(SpyKey):
        def generate_data_key(self, context: object) -> object:  # type: ignore[override]
            return CANARY_BYTES[:32], WrappedKey("p", b"", bytes(70_000))

    with pytest.raises(InvalidRequestError, match="65535") as caught:
        Sealing.begin([Leaky()], join(_CONTEXT))
    assert_no_canary_in(caught.value)


def test_a_public_key_among_the_pairs_is_refused_before_any_key_is_asked() -> None:
    """Only signing sets it."""
    key = SpyKey()
    for signed in (False, True):
        with pytest.raises(InvalidRequestError, match="set by signing"):
            Sealing.begin([key], {"aws-crypto-public-key": "A" * 68}, signed=signed)
    assert key.calls == []


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_headers = st.builds(
    Header,
    st.sampled_from([0x0478, 0x0578]),
    st.binary(min_size=32, max_size=32),
    st.dictionaries(_text, _text, max_size=4).map(Context.of),
    st.lists(
        st.builds(WrappedKey, _text, st.binary(max_size=60), st.binary(max_size=60)), min_size=1, max_size=16
    ).map(tuple),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
)


@given(_headers, st.integers(1, 50))
def test_a_header_is_read_from_a_stream_as_from_memory(header: Header, most: int) -> None:
    """Nothing beyond it is taken from the stream, and every cut is noticed."""
    encoded = encode_header(header)
    stream = io.BytesIO(encoded + b"after")
    assert read_header(lambda count: stream.read(min(count, most))) == (header, encoded)
    assert stream.read() == b"after"
    with pytest.raises(IntegrityError, match="cut short"):
        read_header(_trickle(encoded[:-1]))


def test_a_stream_that_is_no_message_is_read_no_further() -> None:
    """37 bytes tell: version, suite, message id, and how long the context would be."""
    asked: list[int] = []

    def read(count: int) -> bytes:
        asked.append(count)
        return b"\x01" * count

    with pytest.raises(IntegrityError, match="version 2"):
        read_header(read)
    assert asked == [37]


def test_a_header_from_a_stream_takes_bounded_memory() -> None:
    """17 wrapped keys are refused by their count, before any is read."""
    start = encode_header(Header(0x0478, bytes(32), Context(b""), (WrappedKey("", b"", b""),), 1, bytes(32)))
    with pytest.raises(IntegrityError, match="17 wrapped"):
        read_header(_trickle(start[:37] + b"\x00\x11" + bytes(1_000)))


@pytest.mark.parametrize(
    ("footer", "why"),
    [
        (b"", "cut short"),
        (b"\x00", "cut short"),
        (b"\x00\x67" + bytes(102), "cut short"),
        (b"\x00\x67" + bytes(104), "follow"),
        (b"\x00\x00", "empty"),
        (b"\x00\x69" + bytes(105), "too long|follow"),
        (b"\xff\xff" + bytes(65_535), "too long|cut short|follow"),
    ],
)
def test_a_footer_is_exactly_what_stands_at_the_end(footer: bytes, why: str) -> None:
    """In memory and from a stream."""
    header = Header(0x0578, bytes(32), Context(b""), (WrappedKey("", b"", b""),), 1, bytes(32))
    with pytest.raises(IntegrityError, match=why):
        message.decode_footer(footer, 0, header)
    with pytest.raises(IntegrityError, match=f"{why}|cut short"):
        read_footer(_trickle(footer, 500), header)
    unsigned = header._replace(suite=0x0478)
    for data in filter(None, (footer,)):
        with pytest.raises(IntegrityError, match="follow"):
            read_footer(_trickle(data), unsigned)
    assert read_footer(_trickle(b""), unsigned) == b""
    assert read_footer(_trickle(b"\x00\x02ab"), header) == b"ab"
