"""Messages from stream to stream: any source, any sink, any frame length, and nothing unauthenticated."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from strongroom import decrypt, decrypt_stream, encrypt_stream
from strongroom.envelope import sealing
from strongroom.envelope.atomic import atomic_output
from strongroom.envelope.message import decode_body, decode_header
from strongroom.envelope.sealing import FRAME_LENGTH
from strongroom.envelope.stream import DecryptingReader
from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.scale import NIGHTLY, scaled
from tests.unit.envelope_support import Author, SignedAuthor, SpyKey, local_key

CONTEXT = {"tenant": "t1"}
EDGES = [0, 1, FRAME_LENGTH - 1, FRAME_LENGTH, FRAME_LENGTH + 1, 2 * FRAME_LENGTH, 2 * FRAME_LENGTH + 7]


def pattern(length: int) -> bytes:
    """Bytes that differ from place to place, so that a frame in another's place shows."""
    return random.Random(length).randbytes(length)


def sealed(data: bytes, **options: Any) -> bytes:
    sink = io.BytesIO()
    assert encrypt_stream(io.BytesIO(data), sink, keys=[local_key()], context=CONTEXT, **options) == len(data)
    return sink.getvalue()


def opened(message: bytes, source: Callable[[bytes], Any] = io.BytesIO) -> bytes:
    sink = io.BytesIO()
    found = decrypt_stream(source(message), sink, keys=[local_key()], context=CONTEXT)
    assert found.length == len(sink.getvalue())
    return sink.getvalue()


class Pipe:
    """A source that cannot seek, and gives as few bytes as `dice` says."""

    def __init__(self, data: bytes, dice: random.Random | None = None):
        self._file, self._dice = io.BytesIO(data), dice or random.Random(0)

    def read(self, size: int) -> bytes:
        return self._file.read(
            self._dice.randint(1, max(1, size)) if self._dice.random() < 0.7 else min(size, 3)
        )


class Miser(io.RawIOBase):
    """A sink that takes a part of what it is given."""

    def __init__(self, dice: random.Random):
        self.taken, self._dice = bytearray(), dice

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        count = self._dice.randint(1, len(data))
        self.taken += data[:count]
        return count


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("length", EDGES)
def test_every_length_around_the_frame_length_goes_round(length: int, signed: bool) -> None:
    """A stream's message opens as a whole and as a stream."""
    data = pattern(length)
    message = sealed(data, signed=signed)
    assert decrypt(message, keys=[local_key()], context=CONTEXT).value == data
    assert opened(message) == data


@pytest.mark.parametrize(
    ("length", "frames"),
    [
        (0, [0]),
        (FRAME_LENGTH, [FRAME_LENGTH]),
        (FRAME_LENGTH + 1, [FRAME_LENGTH, 1]),
        (2 * FRAME_LENGTH, [FRAME_LENGTH] * 2),
    ],
)
def test_the_final_frame_holds_what_is_left_and_is_empty_only_in_an_empty_message(
    length: int, frames: list[int]
) -> None:
    """A full frame waits for the byte after it: an exact multiple ends in a full final frame."""
    message = sealed(bytes(length))
    header, position = decode_header(message)
    assert [frame.head.length for frame in decode_body(message, position + 16, header)] == frames


@pytest.mark.parametrize("source", [io.BytesIO, Pipe], ids=["file", "pipe"])
@pytest.mark.parametrize("frame_length", [1, 3, 4096, 100_000, FRAME_LENGTH, FRAME_LENGTH + 5])
def test_messages_with_any_frame_length_open(frame_length: int, source: Callable[[bytes], Any]) -> None:
    """What other writers of the format chose."""
    data = pattern(min(3 * frame_length + frame_length // 2, FRAME_LENGTH * 2 + 9))
    assert opened(Author(context=CONTEXT).framed(data, frame_length), source) == data


@pytest.mark.parametrize("length", [0, 10, FRAME_LENGTH * 2 + 1])
def test_a_non_framed_message_opens(length: int) -> None:
    """It is one frame, of any length, and held until it is verified."""
    author, data = Author(context=CONTEXT), pattern(length)
    assert opened(author.header() + author.single(data), Pipe) == data


def test_a_final_frame_may_be_empty_after_full_ones() -> None:
    """Some writers end an exact multiple so."""
    author = Author(context=CONTEXT)
    message = author.header(frame_length=4) + author.frame(1, b"abcd") + author.frame(2, b"", final=True)
    assert opened(message) == b"abcd"


def test_sources_may_give_and_sinks_may_take_less_than_they_are_asked_for() -> None:
    """Raw files, pipes and sockets do."""
    dice = random.Random(1)
    for number in range(scaled(40)):
        data = pattern(dice.choice([5, 5000, FRAME_LENGTH + dice.randrange(9)]))
        written, plain = Miser(dice), Miser(dice)
        encrypt_stream(Pipe(data, dice), written, keys=[local_key()], context=CONTEXT, signed=number % 7 == 0)
        if number % 7:
            decrypt_stream(Pipe(bytes(written.taken), dice), plain, keys=[local_key()], context=CONTEXT)
            assert plain.taken == data
        assert decrypt(bytes(written.taken), keys=[local_key()], context=CONTEXT).value == data


class Odd:
    """A file whose calls answer what they are told to."""

    def __init__(self, **answers: Any):
        for name, answer in answers.items():
            setattr(self, name, lambda *_, answer=answer: self._give(answer))

    def _give(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer


SOURCES = {
    "text": io.StringIO("x"),
    "nothing to call": object(),
    "non-blocking": Odd(readinto=None),
    "non-blocking, by exception": Odd(readinto=BlockingIOError()),
    "non-blocking read": Odd(read=None),
    "more than asked for": Odd(readinto=1 << 40),
    "less than nothing": Odd(readinto=-1),
    "no number": Odd(readinto="many"),
    "str": Odd(read="text"),
    "read gives too much": Odd(read=bytes(FRAME_LENGTH * 4)),
}
SINKS = {
    "text": io.StringIO(),
    "nothing to call": object(),
    "non-blocking": Odd(write=None),
    "non-blocking, by exception": Odd(write=BlockingIOError()),
    "takes nothing": Odd(write=0),
    "takes more than there is": Odd(write=1 << 40),
    "no number": Odd(write="all"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("work", [encrypt_stream, decrypt_stream])
def test_a_source_that_breaks_the_rules_is_refused(work: Callable[..., Any], source: Any) -> None:
    """Plainly, instead of a message of something else, or a loop for ever."""
    with pytest.raises(InvalidRequestError) as caught:
        work(source, io.BytesIO(), keys=[local_key()], context=CONTEXT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
@pytest.mark.parametrize("work", [encrypt_stream, decrypt_stream])
def test_a_sink_that_breaks_the_rules_is_refused(work: Callable[..., Any], sink: Any) -> None:
    """What it did not take would be missing from the message."""
    with pytest.raises(InvalidRequestError):
        work(io.BytesIO(sealed(b"value")), sink, keys=[local_key()], context=CONTEXT)


def test_an_error_of_the_sink_comes_out_as_it_is_and_carries_no_plaintext() -> None:
    """Neither in the error nor in the frames it came through."""
    message = sealed(CANARY_BYTES)
    for work, source in ((encrypt_stream, CANARY_BYTES), (decrypt_stream, message)):
        with pytest.raises(BrokenPipeError) as caught:
            work(io.BytesIO(source), Odd(write=BrokenPipeError()), keys=[local_key()], context=CONTEXT)
        assert_no_canary_in(caught.value)


def test_an_error_of_the_source_leaves_a_message_that_opens_nowhere() -> None:
    """The final frame is missing."""
    source, sink = io.BytesIO(bytes(3 * FRAME_LENGTH)), io.BytesIO()
    calls = iter([None, None, OSError(5, "failed")])

    class Failing:
        def readinto(self, buffer: memoryview) -> int:
            if (error := next(calls)) is not None:
                raise error
            return source.readinto(buffer)

    with pytest.raises(OSError, match="failed"):
        encrypt_stream(Failing(), sink, keys=[local_key()], context=CONTEXT)
    assert len(sink.getvalue()) > FRAME_LENGTH
    with pytest.raises(IntegrityError):
        opened(sink.getvalue())


def test_plaintext_is_wiped_from_the_buffers_when_the_work_ends() -> None:
    """With success and with an error."""
    views = list[memoryview]()

    class Keeping(io.BytesIO):
        fails = False

        def readinto(self, buffer: Any, /) -> int:
            views.append(buffer)
            return super().readinto(buffer)

        def write(self, data: Any, /) -> int:
            if self.fails:
                raise BrokenPipeError
            views.append(data)
            return super().write(data)

    message = sealed(pattern(100))
    by_stream(io.BytesIO(message), Keeping())
    encrypt_stream(Keeping(pattern(100)), io.BytesIO(), keys=[local_key()], context=CONTEXT)
    source, sink = Keeping(pattern(100)), Keeping()
    sink.fails = True
    with pytest.raises(BrokenPipeError):
        encrypt_stream(source, sink, keys=[local_key()], context=CONTEXT)
    assert len(views) >= 3
    assert not any(any(bytes(view.obj)) for view in views)


def test_progress_tells_the_bytes_of_the_source_that_are_done() -> None:
    """It only grows, and ends at the source's length; both ways, also where a message is read twice."""
    for signed in (False, True):
        data, told = bytes(2 * FRAME_LENGTH + 5), list[int]()
        message = sealed(data, signed=signed, progress=told.append)
        assert told == [FRAME_LENGTH, 2 * FRAME_LENGTH, len(data)]
        told.clear()
        decrypt_stream(
            io.BytesIO(message), io.BytesIO(), keys=[local_key()], context=CONTEXT, progress=told.append
        )
        assert told == sorted(told)
        assert told[-1] == len(message)


def test_an_error_of_progress_stops_the_work() -> None:
    """That is how it is cancelled: the message is cut short."""
    sink = io.BytesIO()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encrypt_stream(
            io.BytesIO(bytes(FRAME_LENGTH * 2)), sink, keys=[local_key()], context=CONTEXT, progress=stop
        )
    with pytest.raises(IntegrityError):
        opened(sink.getvalue())


def test_only_what_is_left_of_the_source_is_read() -> None:
    """From where it stands, as any copy does."""
    data = io.BytesIO(b"skipped" + b"value")
    data.seek(7)
    sink = io.BytesIO(b"before ")
    sink.seek(0, io.SEEK_END)
    encrypt_stream(data, sink, keys=[local_key()], context=CONTEXT)
    for signed in (False, True):
        source = io.BytesIO(b"before " + sealed(b"value", signed=signed))
        source.seek(7)
        plain = io.BytesIO()
        decrypt_stream(source, plain, keys=[local_key()], context=CONTEXT)
        assert plain.getvalue() == b"value"


def test_what_the_message_says_is_returned() -> None:
    """Length, verified context, and the keys that should have opened it and did not."""
    down = SpyKey("down")
    sink = io.BytesIO()
    encrypt_stream(io.BytesIO(b"value"), sink, keys=[down, local_key()], context=CONTEXT)
    down.failure = UnavailableError("down")
    found = decrypt_stream(
        io.BytesIO(sink.getvalue()), io.BytesIO(), keys=[down, local_key()], context=CONTEXT
    )
    assert (found.length, dict(found.context), found.passed_over) == (5, CONTEXT, ("down",))


def test_a_wrong_context_or_key_writes_nothing_and_a_wrong_context_asks_no_key() -> None:
    """As `decrypt` does."""
    spy, sink = SpyKey(), io.BytesIO()
    message = sealed(b"value")
    with pytest.raises(IntegrityError):
        decrypt_stream(io.BytesIO(message), sink, keys=[spy], context={"tenant": "t2"})
    assert spy.calls == []
    with pytest.raises(IntegrityError):
        decrypt_stream(io.BytesIO(message), sink, keys=[local_key(bytes(32), "other")], context=CONTEXT)
    assert sink.getvalue() == b""


def test_a_header_too_many_is_refused_before_the_frame_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence number must not come twice: with it, its IV would."""
    monkeypatch.setattr(sealing, "MAX_FRAMES", 2)
    sealed(bytes(2 * FRAME_LENGTH))
    sink = io.BytesIO()
    with pytest.raises(InvalidRequestError):
        encrypt_stream(io.BytesIO(bytes(2 * FRAME_LENGTH + 1)), sink, keys=[local_key()], context=CONTEXT)
    header, position = decode_header(sink.getvalue())
    assert len(sink.getvalue()) == position + 16 + 2 * (FRAME_LENGTH + 32)
    assert header.frame_length == FRAME_LENGTH


# What a forger, a bad disk or a cut line does to a message.


def frames_of(message: bytes) -> tuple[bytes, list[bytes]]:
    header, position = decode_header(message)
    start, found = position + 16, list[bytes]()
    for frame in decode_body(message, start, header):
        found.append(message[start : frame.end])
        start = frame.end
    return message[: position + 16], found


def damaged(message: bytes) -> Mapping[str, bytes]:
    head, frames = frames_of(message)
    first, second, *rest, last = frames
    ways = {
        "frame missing": [first, *rest, last],
        "frame twice": [first, first, second, *rest, last],
        "frames swapped": [second, first, *rest, last],
        "final frame missing": [first, second, *rest],
        "final frame first": [last],
        "final frame twice": [*frames, last],
        "frame after the end": [*frames, first],
        "a byte after the end": [*frames, b"\0"],
        "a footer after the end": [*frames, b"\0\x01\0"],
    }
    return {name: head + b"".join(parts) for name, parts in ways.items()}


def by_reader(source: Any, released: io.BytesIO) -> None:
    with DecryptingReader(source, keys=[local_key()], context=CONTEXT) as file:
        while piece := file.read(3):
            released.write(piece)


def by_stream(source: Any, released: io.BytesIO) -> None:
    decrypt_stream(source, released, keys=[local_key()], context=CONTEXT)


WAYS = {
    "stream": (by_stream, io.BytesIO),
    "stream of a pipe": (by_stream, Pipe),
    "reader": (by_reader, io.BytesIO),
    "reader of a pipe": (by_reader, Pipe),
}


def assert_refused(message: bytes, data: bytes, way: str, tailor: str = "") -> None:
    work, source = WAYS[way]
    released = io.BytesIO()
    with pytest.raises(IntegrityError):
        work(source(message), released)
    assert data.startswith(released.getvalue()), f"{tailor}: what was released is not what was written"
    assert len(released.getvalue()) < len(data), f"{tailor}: all was released before the end was verified"


@pytest.mark.parametrize("way", WAYS)
def test_frames_cannot_be_dropped_repeated_swapped_or_added(way: str) -> None:
    """The places of all frames are authentic, and so is the end; all is not released before that is seen."""
    for length in (20, 18):
        data = pattern(length)
        message = Author(context=CONTEXT).framed(data, 4)
        for what, bad in damaged(message).items():
            assert_refused(bad, data, way, what)


@pytest.mark.parametrize("way", WAYS)
def test_every_prefix_and_every_changed_byte_is_refused(way: str) -> None:
    """At most whole frames before the damage come out."""
    data = pattern(10)
    message = Author(context=CONTEXT).framed(data, 4)
    dice = random.Random(2)
    for length in range(len(message)):
        assert_refused(message[:length], data, way, f"cut at {length}")
    for place in range(len(message)):
        bad = bytearray(message)
        bad[place] ^= 1 << dice.randrange(8)
        assert_refused(bytes(bad), data, way, f"changed at {place}")


def test_what_comes_out_of_a_damaged_message_are_the_frames_before_the_damage() -> None:
    """Those are authentic; the caller learns by the error that there should be more."""
    data = pattern(3 * FRAME_LENGTH)
    message = bytearray(sealed(data))
    message[-FRAME_LENGTH - 100] ^= 1
    released = io.BytesIO()
    with pytest.raises(IntegrityError):
        by_stream(io.BytesIO(bytes(message)), released)
    assert released.getvalue() == data[:FRAME_LENGTH]


@pytest.mark.parametrize("frame_length", [2**30, 0], ids=["framed", "non-framed"])
@pytest.mark.parametrize("way", WAYS)
def test_a_claimed_length_takes_no_memory(way: str, frame_length: int) -> None:
    """Header or body may say a GiB: memory is for bytes that came, here one and a half MiB."""
    author, came = Author(context=CONTEXT), bytes(FRAME_LENGTH * 3 // 2)
    message = author.header(frame_length=frame_length)
    message += author.frame(1, came) if frame_length else bytes(12) + (2**30).to_bytes(8, "big") + came
    work, source = WAYS[way]
    work(source(sealed(b"")), io.BytesIO())  # what is imported late is not counted
    given = source(message)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            work(given, io.BytesIO())
        assert tracemalloc.get_traced_memory()[1] < 8 * FRAME_LENGTH
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [2**31, 2**36, 2**63, 2**64 - 1])
def test_a_frame_longer_than_the_cipher_takes_is_refused(length: int) -> None:
    """Before any of it is read; an IntegrityError, since anybody can write such a length into a message."""
    author = Author(context=CONTEXT)
    message = author.header() + bytes(12) + length.to_bytes(8, "big") + b"short"
    for work in (by_stream, by_reader):
        with pytest.raises(IntegrityError, match="longer than"):
            work(Pipe(message), io.BytesIO())


# Signed messages: whoever can open a message could change it, but not sign it.


def resealed(data: bytes) -> bytes:
    """A signed message, of which one of its readers has exchanged the last frame for another."""
    author = SignedAuthor(CONTEXT)
    message = author.framed(data, 4)
    head, frames = frames_of(message)
    body = head + b"".join(frames)
    forged = author.frame(len(frames), b"EVIL", final=True)
    return body[: -len(frames[-1])] + forged + message[len(body) :]


def test_nothing_of_a_signed_message_is_written_before_its_signature_is_verified() -> None:
    """Here it is authentic under the data key, and still not what its signer wrote."""
    for work in (by_stream, by_reader):
        released = io.BytesIO()
        with pytest.raises(IntegrityError):
            work(io.BytesIO(resealed(pattern(12))), released)
        assert released.getvalue() == b""


def test_a_signed_message_cannot_be_exchanged_between_its_two_readings() -> None:
    """By one who can open it and write to the source: what was verified is what is written."""

    class Swapped(io.BytesIO):
        readings = 0

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.readings += 1
            if self.readings == 1:
                place = super().tell()
                self.getbuffer()[-len(bad) :] = bad
                super().seek(place)
            return super().seek(offset, whence)

    author = SignedAuthor(CONTEXT)
    message = author.framed(pattern(12), 4)
    head, frames = frames_of(message)
    bad = author.frame(len(frames), b"EVIL", final=True) + message[len(head) + sum(map(len, frames)) :]
    for work in (by_stream, by_reader):
        released = io.BytesIO()
        with pytest.raises(IntegrityError, match="changed while it was read"):
            work(Swapped(message), released)
        assert released.getvalue() == b""


def test_a_signed_message_that_cannot_be_read_twice_is_refused_and_no_key_is_asked() -> None:
    """It would be released before it is verified, or kept in memory."""
    spy, sink = SpyKey(), io.BytesIO()
    encrypt_stream(io.BytesIO(b"value"), sink, keys=[spy], context=CONTEXT, signed=True)
    spy.calls.clear()
    with pytest.raises(InvalidRequestError, match="read twice"):
        decrypt_stream(Pipe(sink.getvalue()), io.BytesIO(), keys=[spy], context=CONTEXT)
    with pytest.raises(InvalidRequestError, match="read twice"):
        DecryptingReader(Pipe(sink.getvalue()), keys=[spy], context=CONTEXT)
    assert spy.calls == []


def test_a_signed_message_from_a_pipe_goes_into_an_atomic_file(tmp_path: Path) -> None:
    """Which is not there before the signature is verified, so one reading is enough."""
    with atomic_output(tmp_path / "good") as sink:
        decrypt_stream(Pipe(sealed(b"value", signed=True)), sink, keys=[local_key()], context=CONTEXT)
    assert (tmp_path / "good").read_bytes() == b"value"
    with pytest.raises(IntegrityError), atomic_output(tmp_path / "bad") as sink:
        decrypt_stream(Pipe(resealed(pattern(12))), sink, keys=[local_key()], context=CONTEXT)
    assert [file.name for file in tmp_path.iterdir()] == ["good"]


# Memory.

ENCRYPT = """
import sys
from pathlib import Path
from strongroom import encrypt_stream
from tests.unit.envelope_support import local_key

class Zeros:
    left = int(sys.argv[1])
    def readinto(self, buffer):
        count = min(len(buffer), self.left)
        self.left -= count
        return count

encrypt_stream(Zeros(), open(1, 'wb', buffering=0), keys=[local_key()], context={"tenant": "t1"})
status = Path('/proc/self/status').read_text()  # getrusage would count what the parent had
print(status.partition('VmHWM:')[2].split()[0], file=sys.stderr)
"""
DECRYPT = """
import sys
from pathlib import Path
from strongroom import decrypt_stream
from tests.unit.envelope_support import local_key

class Discard:
    def write(self, data):
        return len(data)

decrypt_stream(open(0, 'rb', buffering=0), Discard(), keys=[local_key()], context={"tenant": "t1"})
status = Path('/proc/self/status').read_text()  # getrusage would count what the parent had
print(status.partition('VmHWM:')[2].split()[0], file=sys.stderr)
"""


def peaks(length: int) -> tuple[int, int]:
    """KiB of memory at most, of a process that encrypts so many bytes and of one that decrypts them."""
    command = [sys.executable, "-c"]
    writer = subprocess.Popen(
        [*command, ENCRYPT, str(length)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with writer, subprocess.Popen([*command, DECRYPT], stdin=writer.stdout, stderr=subprocess.PIPE) as reader:
        assert writer.stderr
        assert reader.stderr
        return int(writer.stderr.read()), int(reader.stderr.read())


def test_memory_does_not_grow_with_the_message() -> None:
    """At most 6 MiB above an empty message for 64 MiB, and not a MiB more for 4 GiB (nightly)."""
    lengths = [0, 64 << 20] + [4 << 30] * NIGHTLY
    for base, some, *much in zip(*map(peaks, lengths), strict=True):
        assert some - base <= 6 * 1024
        assert all(peak - some <= 1024 for peak in much)


def test_streams_of_several_threads_do_not_meet() -> None:
    """Nothing is shared between two messages."""
    data = [pattern(FRAME_LENGTH + number) for number in range(4)]
    gate = threading.Barrier(4)

    def work(value: bytes) -> bytes:
        gate.wait(60)
        return opened(sealed(value))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, data)) == data
