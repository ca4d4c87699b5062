"""Changed, cut, extended or reordered messages give IntegrityError, and nothing of a bad frame to anybody."""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from strongroom.envelope import body, reader
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.message import decode_body, decode_header
from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.localkey import LocalKey
from tests.canary import CANARY_BYTES, assert_no_canary_in, plaintext
from tests.scale import NIGHTLY
from tests.session import note
from tests.unit.envelope_readers import READERS, Opener, Outcome, Pieces, outcome
from tests.unit.envelope_support import Author, SignedAuthor, field, local_key

_CONTEXT = {"for": "tests"}
_VALUE = (CANARY_BYTES * 10)[:300]
_SHORT = 128
_WHOLE = ("decrypt", "decrypt_into", "decrypt_file", "reencrypt", "reencrypt_file")
_OF_PIPES = tuple(name for name in READERS if name.endswith("of a pipe"))


class _Shape(NamedTuple):
    """A message of 300 bytes of plaintext; `ends` is where each of its frames ends."""

    message: bytes
    signed: bool
    keks: tuple[LocalKey, ...]
    frame_length: int
    header_end: int
    ends: tuple[int, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        return self.header_end, *self.ends[:-1]

    @property
    def readers(self) -> list[str]:
        return [name for name in READERS if not (self.signed and name in _OF_PIPES)]

    def opener(self, folder: Path) -> Opener:
        return Opener(self.keks, _CONTEXT, folder, self.frame_length)

    def piece(self, frame: int) -> bytes:
        return _VALUE[frame * self.frame_length : (frame + 1) * self.frame_length]


@functools.cache
def _shape(form: str, kek_count: int, *, signed: bool) -> _Shape:
    keks = tuple([local_key(hashlib.sha256(b"%d" % n).digest(), f"local-{n}") for n in range(kek_count)])
    if form == "one frame":
        message = encrypt(_VALUE, keys=keks, context=_CONTEXT, signed=signed)
    else:
        message = _authored(keks, _SHORT if form == "three frames" else 0, signed=signed)
    header, length = decode_header(message)
    ends = tuple(frame.end for frame in decode_body(message, length + 16, header))
    return _Shape(message, signed, keks, header.frame_length or len(_VALUE), length + 16, ends)


def _authored(keks: tuple[LocalKey, ...], frame_length: int, *, signed: bool) -> bytes:
    author = SignedAuthor(_CONTEXT) if signed else Author(context=_CONTEXT)
    context = decode_header(author.header())[0].context
    wrapped = [kek.wrap(author.data_key, context) for kek in keks]
    edks = [field(edk.provider_id.encode()) + field(edk.key_info) + field(edk.ciphertext) for edk in wrapped]
    body = author.frames(_VALUE, frame_length) if frame_length else author.single(_VALUE)
    message = author.header(frame_length=frame_length, edks=edks) + body
    return message + author.footer(message) if isinstance(author, SignedAuthor) else message


def _intact(shape: _Shape, changed: bytes) -> list[int]:
    """The frames that stand in `changed` where they stood, behind the same header."""
    if changed[: shape.header_end] != shape.message[: shape.header_end]:
        return []
    spans = enumerate(zip(shape.starts, shape.ends, strict=True))
    return [frame for frame, (start, end) in spans if changed[start:end] == shape.message[start:end]]


def _assert_only_verified(shape: _Shape, changed: bytes, name: str, found: Outcome) -> None:
    """What left before the error is true, whole frames, and of frames that nobody touched."""
    if shape.signed or name in _WHOLE:
        assert not found.pieces
        return
    intact = _intact(shape, changed)
    if not name.endswith("anywhere"):  # from the start, up to the first frame that was touched
        intact = [frame for place, frame in enumerate(intact) if place == frame]
        assert found.value in {_VALUE[: frames * shape.frame_length] for frames in range(len(intact) + 1)}
    for offset, data in found.pieces:
        frames, odd = divmod(offset, shape.frame_length)
        assert not odd
        whole = range(frames, frames + -(-len(data) // shape.frame_length))
        assert data == b"".join(map(shape.piece, whole))
        assert set(whole) <= set(intact)


def _assert_refused(shape: _Shape, changed: bytes, name: str, opener: Opener) -> IntegrityError:
    found = outcome(changed, opener, name)
    if found.error is None:
        pytest.fail(f"{name} accepted a changed message")
    assert found.error.__cause__ is found.error.__context__ is None
    _assert_only_verified(shape, changed, name, found)
    return found.error


class _Edit(NamedTuple):
    """What stands from `start` to `end` of a message gives way to `put`."""

    start: int
    end: int
    put: bytes

    def of(self, message: bytes) -> bytes:
        return message[: self.start] + self.put + message[self.end :]


def _flips(message: bytes) -> Iterator[_Edit]:
    for position, byte in enumerate(message):
        yield from (_Edit(position, position + 1, bytes([byte ^ 1 << bit])) for bit in range(8))


def _cuts_and_shifts(message: bytes) -> Iterator[_Edit]:
    for position in range(len(message)):
        yield _Edit(position, len(message), b"")
        yield _Edit(position, position + 1, b"")
    for position in range(len(message) + 1):
        for byte in (0x00, 0xFF, message[position - 1]):
            yield _Edit(position, position, bytes([byte]))


def _moved_frames(shape: _Shape) -> Iterator[_Edit]:
    """Each frame again, left out, or before the one ahead of it; the end again."""
    message, spans = shape.message, [*zip(shape.starts, shape.ends, strict=True)]
    for start, end in spans:
        yield _Edit(end, end, message[start:end])
        yield _Edit(start, end, b"")
    for (start, middle), (_, end) in itertools.pairwise(spans):
        yield _Edit(start, end, message[middle:end] + message[start:middle])
    for start in (0, spans[-1][0], shape.ends[-1]):
        if start < len(message):
            yield _Edit(len(message), len(message), message[start:])


@functools.cache
def _edits(shape: _Shape) -> list[_Edit]:
    message = shape.message
    return [*_flips(message), *_cuts_and_shifts(message), *_moved_frames(shape)]


def _changes(shape: _Shape, *, every: bool = NIGHTLY) -> Iterator[bytes]:
    """All of them by night; by day a fixed choice from all over the message."""
    edits = _edits(shape)
    count = len(edits) if every else len(edits) // 200
    name = "changes of a message of 300 bytes, by each reader"
    note("counts", name=name, nightly=str(len(edits)), run=str(count))
    for edit in edits if every else random.Random(count).sample(edits, count):
        yield edit.of(shape.message)


@pytest.fixture(params=["one frame", "three frames", "non-framed"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[1, 3], ids=["one KEK", "three KEKs"])
def kek_count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[False, True], ids=["0478", "0578"])
def shape(request: pytest.FixtureRequest, form: str, kek_count: int) -> _Shape:
    return _shape(form, kek_count, signed=request.param)


@pytest.fixture
def frame_by_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short frames are handled together; here each is released alone, as long ones are."""
    monkeypatch.setattr(body.Body.stretches, "__defaults__", (1,))
    monkeypatch.setattr(reader, "_TARGET", 1)


@pytest.mark.usefixtures("frame_by_frame")
def test_the_message_itself_opens_frame_by_frame(shape: _Shape, tmp_path: Path) -> None:
    """The control: every reader gives the value, and the streams in pieces of one frame each."""
    plaintext(tmp_path, "what decrypt_file is for")
    for name in shape.readers:
        found = outcome(shape.message, shape.opener(tmp_path), name)
        assert (found.value, found.error) == (_VALUE, None)
        assert len(found.pieces) == (1 if name in _WHOLE else len(shape.ends))


@pytest.mark.parametrize("name", list(READERS))
@pytest.mark.usefixtures("frame_by_frame")
def test_every_change_is_an_integrity_error(shape: _Shape, name: str, tmp_path: Path) -> None:
    """Exhaustive: no bit of a message is unauthenticated, it ends where it ends, and no reader says else."""
    if name not in shape.readers:
        return  # the next test says what these do
    opener = shape.opener(tmp_path)
    by_day_too = name == "decrypt" and shape is _shape("one frame", 1, signed=False)
    for changed in _changes(shape, every=NIGHTLY or by_day_too):
        error = _assert_refused(shape, changed, name, opener)
    assert_no_canary_in(error)


@pytest.mark.parametrize("name", _OF_PIPES)
def test_a_signed_message_from_a_pipe_is_refused_whole(form: str, name: str, tmp_path: Path) -> None:
    """Its signature is last, and what is read once cannot be released after it."""
    shape, pieces = _shape(form, 1, signed=True), Pieces()
    with pytest.raises(InvalidRequestError, match="read twice"):
        READERS[name](shape.message, shape.opener(tmp_path), pieces)
    assert not pieces


@pytest.mark.parametrize("name", list(READERS))
def test_a_message_that_only_seems_to_be_signed_was_changed(form: str, name: str, tmp_path: Path) -> None:
    """One bit of the suite makes the difference; from a pipe too that is no mistake of the caller's."""
    shape = _shape(form, 1, signed=False)
    changed = shape.message[:1] + b"\x05" + shape.message[2:]
    _assert_refused(shape, changed, name, shape.opener(tmp_path))


@pytest.mark.parametrize("key", ["aws-crypto-another", "strongroom-another", ""])
@pytest.mark.parametrize("name", ["reencrypt", "reencrypt_file"])
def test_a_context_key_that_no_message_may_hold_is_not_carried_over(
    key: str, name: str, tmp_path: Path
) -> None:
    """Re-encryption takes the context from the message: what is wrong there is no mistake of the caller's."""
    message = Author(context={key: "x"}).framed(_VALUE, _SHORT)
    assert outcome(message, Opener([local_key()], {}, tmp_path), name).error is not None


def test_short_frames_together_are_as_safe_as_alone(kek_count: int, tmp_path: Path) -> None:
    """Several frames are released at once, and none of them if one is bad."""
    shape = _shape("three frames", kek_count, signed=False)
    for name in shape.readers:
        for changed in _changes(shape):
            _assert_refused(shape, changed, name, shape.opener(tmp_path))


def _assert_decrypt_refuses(message: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        decrypt(message, keys=[local_key()], context=_CONTEXT)
    assert_no_canary_in(caught.value)


def test_reordered_repeated_and_missing_frames_are_an_integrity_error() -> None:
    """Each frame verifies; their order does not."""
    author = Author(context=_CONTEXT)
    header = author.header(frame_length=4)
    one, two, final = author.frame(1, b"aaaa"), author.frame(2, b"bbbb"), author.frame(3, b"cc", final=True)
    assert decrypt(header + one + two + final, keys=[local_key()], context=_CONTEXT).value == b"aaaabbbbcc"
    for frames in (
        two + one + final,
        one + one + final,
        one + final,
        two + final,
        one + two,
        one + two + final[4:],
    ):
        _assert_decrypt_refuses(header + frames)
    _assert_decrypt_refuses(header + author.frame(0, b"aaaa") + one + two + final)


def test_a_final_frame_above_the_frame_length_is_an_integrity_error() -> None:
    """Authentic, but no writer of this format makes one; a full or empty final frame is right."""
    author = Author(context=_CONTEXT)
    header = author.header(frame_length=4)
    _assert_decrypt_refuses(header + author.frame(1, b"aaaaa", final=True))
    for frames, value in (
        (author.frame(1, b"aaaa", final=True), b"aaaa"),
        (author.frame(1, b"aaaa") + author.frame(2, b"", final=True), b"aaaa"),
        (author.frame(1, b"", final=True), b""),
    ):
        assert decrypt(header + frames, keys=[local_key()], context=_CONTEXT).value == value


def test_frames_of_another_message_are_an_integrity_error() -> None:
    """A body moved under another header of the same KEK and context."""
    one, other = Author(context=_CONTEXT), Author(context=_CONTEXT)
    _assert_decrypt_refuses(one.header(frame_length=4) + other.frame(1, b"aa", final=True))
    _assert_decrypt_refuses(one.header() + other.single(b"aa"))


def test_a_header_that_commits_to_another_key_is_an_integrity_error() -> None:
    """Its tags verify under its data key; only the commitment is wrong, and that is checked first."""
    author = Author(context=_CONTEXT)
    message = author.header(commitment=bytes(32)) + author.single(_VALUE)
    with pytest.raises(IntegrityError, match="commit"):
        decrypt(message, keys=[local_key()], context=_CONTEXT)


def test_a_huge_stated_length_allocates_nothing() -> None:
    """A 2^63 byte body and a 4 GiB frame are refused by the bytes that are there."""
    author = Author(context=_CONTEXT)
    _assert_decrypt_refuses(
        author.header() + (1).to_bytes(12, "big") + (2**63).to_bytes(8, "big") + bytes(16)
    )
    _assert_decrypt_refuses(
        author.header(frame_length=2**32 - 1) + (1).to_bytes(4, "big") + bytes(12) + bytes(99)
    )
