"""What holds for every value, context, frame length, split into writes and sequence of reads."""

from __future__ import annotations

import io
import itertools
import random
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from strongroom.envelope import cipher, sealing, stream, writer
from strongroom.envelope.cipher import decrypt, encrypt, encrypt_into, message_length
from strongroom.envelope.message import decode_header, encode_header
from strongroom.envelope.stream import DecryptingReader, EncryptingWriter, encrypt_stream
from strongroom.errors import IntegrityError
from tests.fuzz import harness, mutation
from tests.scale import NIGHTLY, scaled
from tests.unit.envelope_readers import READERS, Opener, Pipe, outcome
from tests.unit.envelope_support import Author, SignedAuthor, local_key

_KEKS = [local_key(bytes([n]) * 32, f"local-{n}") for n in range(3)]
_IN_MEMORY = [name for name in READERS if "file" not in name]
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_contexts = st.dictionaries(
    _text.filter(lambda key: key and not key.startswith(("strongroom-", "aws-crypto-"))), _text, max_size=4
)

_some = settings(max_examples=scaled(250, "examples of each property of messages"))


@contextmanager
def _short_frames(length: int) -> Iterator[None]:
    """The product writes frames of `length` bytes, so that a few bytes are many frames."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (cipher, sealing, stream, writer):
            patch.setattr(module, "FRAME_LENGTH", length)
        yield


def _encrypt(value: bytes, pieces: Sequence[bytes], **options: Any) -> bytes:
    return encrypt(value, **options)


def _encrypt_into(value: bytes, pieces: Sequence[bytes], **options: Any) -> bytes:
    buffer = bytearray(message_length(len(value), **options))
    return bytes(buffer[: encrypt_into(value, buffer, **options)])


def _write(value: bytes, pieces: Sequence[bytes], **options: Any) -> bytes:
    sink, total = io.BytesIO(), 0
    with EncryptingWriter(sink, **options) as file:
        for number, piece in enumerate(pieces):
            kind = (bytes, bytearray, memoryview)[number % 3]
            assert file.write(kind(piece)) == len(piece)
            total += len(piece)
            assert file.tell() == total
    return sink.getvalue()


def _stream(value: bytes, pieces: Sequence[bytes], **options: Any) -> bytes:
    sink = io.BytesIO()
    assert encrypt_stream(Pipe(value, 1 + len(pieces)), sink, **options) == len(value)
    return sink.getvalue()


_WRITERS: dict[str, Callable[..., bytes]] = {
    "encrypt": _encrypt,
    "encrypt_into": _encrypt_into,
    "EncryptingWriter": _write,
    "encrypt_stream": _stream,
}


@pytest.mark.parametrize("name", list(_WRITERS))
@given(
    st.lists(st.binary(max_size=40), max_size=6),
    _contexts,
    st.integers(1, 50),
    st.integers(1, 3),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@_some
def test_every_reader_gives_what_any_writer_took(
    name: str,
    pieces: list[bytes],
    context: Mapping[str, str],
    frame_length: int,
    kek_count: int,
    signed: bool,
    dice: random.Random,
) -> None:
    """Any value in any split, any context, any frame length; any one of the KEKs opens it, in any reader."""
    value = b"".join(pieces)
    with _short_frames(frame_length):
        message = _WRITERS[name](value, pieces, keys=_KEKS[:kek_count], context=context, signed=signed)
    assert decode_header(message)[0].frame_length == frame_length
    opener = Opener([dice.choice(_KEKS[:kek_count])], context, Path(), frame_length)
    for reader in _IN_MEMORY:
        if not (signed and reader.endswith("pipe")):
            found = outcome(message, opener, reader)
            assert (found.value, found.error) == (value, None), reader


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50), st.booleans())
@_some
def test_every_writer_makes_messages_of_one_length(
    pieces: list[bytes], frame_length: int, signed: bool
) -> None:
    """How a value came does not show; its length does, as in any message."""
    value, lengths = b"".join(pieces), set[int]()
    with _short_frames(frame_length):
        for write in _WRITERS.values():
            lengths.add(len(write(value, pieces, keys=_KEKS[:1], context={}, signed=signed)))
        assert len(lengths) == 1
        assert max(lengths) <= message_length(len(value), keys=_KEKS[:1], context={}, signed=signed)


class ReaderMachine(RuleBasedStateMachine):
    """A DecryptingReader beside a BytesIO that holds the plaintext."""

    @initialize(
        value=st.binary(max_size=300),
        frame_length=st.integers(0, 60),
        signed=st.booleans(),
        together=st.sampled_from([1, 50, 1 << 16]),
        before=st.binary(max_size=5),
    )
    def open(self, value: bytes, frame_length: int, signed: bool, together: int, before: bytes) -> None:
        author = SignedAuthor() if signed else Author()
        if frame_length:
            message = author.framed(value, frame_length)
        else:
            message = author.header() + author.single(value)
            message += author.footer(message) if isinstance(author, SignedAuthor) else b""
        source = io.BytesIO(before + message)
        source.seek(len(before))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("strongroom.envelope.reader._TARGET", together)
        self.reader = DecryptingReader(source, keys=[local_key()], context={})
        self.model, self.length = io.BytesIO(value), len(value)

    @rule(offset=st.integers(-10, 320), whence=st.sampled_from([0, 1, 2]))
    def seek(self, offset: int, whence: int) -> None:
        origin = (0, self.model.tell(), self.length)[whence]
        if origin + offset < 0:
            with pytest.raises(ValueError, match="no such place"):
                self.reader.seek(offset, whence)
        else:
            assert self.reader.seek(offset, whence) == self.model.seek(origin + offset)

    @rule(size=st.none() | st.integers(-1, 120))
    def read(self, size: int | None) -> None:
        assert self.reader.read(size) == self.model.read(size)

    @rule(size=st.integers(-1, 120))
    def read1(self, size: int) -> None:
        """May give less, but nothing only at the end."""
        position = self.model.tell()
        found, rest = self.reader.read1(size), self.model.read(size)
        assert rest.startswith(found)
        assert bool(found) == bool(rest)
        self.model.seek(position + len(found))

    @rule(size=st.integers(0, 120), some=st.booleans())
    def readinto(self, size: int, some: bool) -> None:
        position, buffer = self.model.tell(), bytearray(size)
        count = self.reader.readinto1(buffer) if some else self.reader.readinto(buffer)
        rest = self.model.read(size)
        assert count == len(rest) or (some and 0 < count < len(rest))
        assert buffer == rest[:count] + bytes(size - count)
        self.model.seek(position + count)

    @rule()
    def peek(self) -> None:
        position = self.model.tell()
        found, rest = self.reader.peek(), self.model.read()
        assert rest.startswith(found)
        assert bool(found) == bool(rest)
        self.model.seek(position)

    @rule(limit=st.integers(-1, 40))
    def readline(self, limit: int) -> None:
        assert self.reader.readline(limit) == self.model.readline(limit)

    @rule()
    def iterate(self) -> None:
        assert [*self.reader] == [*self.model]

    @precondition(lambda self: hasattr(self, "reader"))
    @invariant()
    def both_are_at_one_place(self) -> None:
        assert self.reader.tell() == self.model.tell()

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
            self.patch.undo()


TestReaderMachine = ReaderMachine.TestCase
TestReaderMachine.settings = settings(
    max_examples=500 if NIGHTLY else 10, stateful_step_count=30, deadline=None
)


def _fields(message: bytes) -> dict[str, tuple[int, int]]:
    """Where each number of a header stands, and how many bytes it has."""
    header, length = decode_header(message)
    position, context = 37, header.context.encoded
    fields = {"version": (0, 1), "suite": (1, 2), "context length": (35, 2)}
    if context:
        fields |= {"pair count": (37, 2), "key length": (39, 2)}
    position += len(context)
    fields["wrapped-key count"] = (position, 2)
    position += 2
    for number, wrapped in enumerate(header.wrapped_keys):
        for name, part in zip(wrapped._fields, wrapped, strict=True):
            fields[f"{name} length {number}"] = (position, 2)
            position += 2 + len(part)
    return fields | {"content type": (length - 37, 1), "frame length": (length - 36, 4)}


_AUTHOR = Author()
_FORMS = {
    "framed": Author(context={"a": "1", "b": "2"}).framed(bytes(50), 20),
    "non-framed": _AUTHOR.header() + _AUTHOR.single(bytes(50)),
    "signed": SignedAuthor({"a": "1"}).framed(bytes(50), 20),
}
_CONTEXTS = {"framed": {"a": "1", "b": "2"}, "non-framed": {}, "signed": {"a": "1"}}


def _refusals(message: bytes, form: str) -> None:
    opener = Opener([local_key()], _CONTEXTS[form], Path(), 20)
    for name in _IN_MEMORY:
        if not (form == "signed" and name.endswith("pipe")):
            assert outcome(message, opener, name).error is not None, name


@pytest.mark.parametrize("form", list(_FORMS))
@given(st.data())
@_some
def test_another_number_in_a_header_is_an_integrity_error(form: str, data: st.DataObject) -> None:
    """Version, suite, every length and count, content type and frame length: none means something else."""
    message = _FORMS[form]
    at, size = data.draw(st.sampled_from(sorted(_fields(message).values())))
    was = int.from_bytes(message[at : at + size], "big")
    most = 256**size - 1
    near = st.integers(-3, 3).map(lambda step: (was + step) % (most + 1))
    number = data.draw(near | st.sampled_from([0, 1, most, most // 2 + 1]) | st.integers(0, most))
    if number != was:
        _refusals(message[:at] + number.to_bytes(size, "big") + message[at + size :], form)


def test_pairs_and_wrapped_keys_in_another_order_are_an_integrity_error() -> None:
    """Each is authentic where it stood; AWS's SDK too knows one order of pairs only."""
    context = {"a": "1", "b": "2", "c": "3"}
    message = encrypt(b"v", keys=_KEKS, context=context)
    header, length = decode_header(message)
    opener, rest = Opener(_KEKS, context, Path(), 1 << 20), message[length:]
    changed = [
        encode_header(header._replace(wrapped_keys=made)) + rest
        for made in itertools.permutations(header.wrapped_keys)
        if made != header.wrapped_keys
    ]
    start, pair = 39, 6
    parts = [message[start + n * pair : start + (n + 1) * pair] for n in range(3)]
    orders = [order for order in itertools.permutations(parts) if [*order] != parts]
    changed += [message[:start] + b"".join(order) + message[start + 3 * pair :] for order in orders]
    assert len(changed) == 10
    for name in _IN_MEMORY:
        for made in changed:
            assert outcome(made, opener, name).error is not None


@pytest.mark.parametrize("form", list(_FORMS))
@given(st.randoms(use_true_random=False))
@_some
def test_a_field_changed_with_its_lengths_put_right_is_an_integrity_error(
    form: str, dice: random.Random
) -> None:
    """Pairs and wrapped keys added, dropped, doubled; other frames: well formed, and not authentic."""
    message = _FORMS[form]
    changed = mutation.changed(message, dice, lambda part: _edited(part, dice))
    if changed is not None and changed != message:
        _refusals(changed, form) if changed[:3] == message[:3] else _refused_by_decrypt(changed)


@pytest.mark.parametrize("form", list(_FORMS))
@given(st.randoms(use_true_random=False))
@_some
def test_an_authentic_message_of_another_form_is_read_by_all_alike(form: str, dice: random.Random) -> None:
    """The same changes with every tag made anew over them: all readers open the message, or none does."""
    message = _FORMS[form]
    harness.check(mutation.changed(message, dice, lambda part: _edited(part, dice)) or message)


def _edited(part: bytes, dice: random.Random) -> bytes:
    at, put = dice.randint(0, len(part)), dice.randbytes(dice.randrange(4))
    return part[:at] + put + part[at + dice.randrange(3) :]


def _refused_by_decrypt(message: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypt(message, keys=[local_key()], context={})


def _peak(work: Callable[[], object]) -> int:
    """Bytes allocated at most by `work`, beyond what there was."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


_STREAM_BUFFERS = 4 << 20
"""Bytes: a reader of streams has a buffer for ciphertext and one for plaintext, of a frame of 1 MiB each."""


@pytest.mark.parametrize("name", _IN_MEMORY)
def test_a_claimed_length_allocates_no_more_than_what_was_sent(name: str) -> None:
    """Each number of a header at its highest, and those of frame, body and footer; the message is short."""
    author, signed = Author(), SignedAuthor()
    message, huge = _FORMS["framed"], author.header(frame_length=2**32 - 1)
    claims = [
        *(message[:at] + b"\xff" * size + message[at + size :] for at, size in _fields(message).values()),
        huge + (1).to_bytes(4, "big") + bytes(500),
        huge + b"\xff" * 4 + (1).to_bytes(4, "big") + bytes(12) + b"\xff" * 4,
        author.header() + bytes(12) + (2**63).to_bytes(8, "big") + bytes(500),
        author.header() + bytes(12) + b"\xff" * 8 + bytes(500),
        signed.header(frame_length=8) + signed.frame(1, b"v", final=True) + b"\xff\xff" + bytes(50),
    ]
    opener = Opener([local_key()], {}, Path(), 20)
    bound = 4096 if name.startswith(("decrypt", "reencrypt")) and "stream" not in name else _STREAM_BUFFERS
    for claim in claims[: -1 if name.endswith("pipe") else None]:
        outcome(claim, opener, name)  # imports and caches
        assert _peak(partial(outcome, claim, opener, name)) < bound + 16 * len(claim)


@pytest.mark.parametrize("name", _IN_MEMORY)
@pytest.mark.parametrize("frame_length", [0, 1, 300, 1 << 20, 2**32 - 1])
def test_a_small_message_takes_little_memory_in_any_reader(name: str, frame_length: int) -> None:
    """Whatever its frames: a buffer is as long as what a reader takes at a time, not as a header says."""
    author = Author()
    body = author.frames(bytes(300), frame_length) if frame_length else author.single(bytes(300))
    message, opener = author.header(frame_length=frame_length) + body, Opener([local_key()], {}, Path(), 300)
    outcome(message, opener, name)
    assert _peak(lambda: outcome(message, opener, name)) < _STREAM_BUFFERS + 16 * len(message)
