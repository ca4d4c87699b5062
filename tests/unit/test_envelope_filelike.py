"""The two file-likes: a writer that never finishes by accident, and a reader that goes anywhere."""

from __future__ import annotations

import array
import csv
import gc
import io
import os
import random
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import DecryptingReader, EncryptingWriter, decrypt
from strongroom.envelope.message import decode_body, decode_header
from strongroom.envelope.sealing import FRAME_LENGTH
from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.chaos.forked import Forked
from tests.scale import scaled
from tests.unit.envelope_support import Author, SignedAuthor, SpyKey, local_key

CONTEXT = {"tenant": "t1"}


def value_of(message: bytes) -> bytes:
    value: bytes = decrypt(message, keys=[local_key()], context=CONTEXT).value
    return value


def writer(sink: Any, **options: Any) -> EncryptingWriter:
    return EncryptingWriter(sink, keys=[local_key()], context=CONTEXT, **options)


def reader(source: Any) -> DecryptingReader:
    return DecryptingReader(
        source if hasattr(source, "read") else io.BytesIO(source), keys=[local_key()], context=CONTEXT
    )


class Unseekable(io.RawIOBase):
    """A pipe."""

    def __init__(self, data: bytes):
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer[:1000])


def assert_cut(sink: io.BytesIO) -> None:
    with pytest.raises(IntegrityError):
        value_of(sink.getvalue())


# Writing.


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("size", [1, 1000, FRAME_LENGTH - 1, FRAME_LENGTH, FRAME_LENGTH * 2 + 1])
def test_writes_of_any_size_make_one_message(size: int, signed: bool) -> None:
    """Frames do not show where one write ended and the next began."""
    data = random.Random(size).randbytes(3000 if size == 1 else 2 * FRAME_LENGTH + 3)
    sink = io.BytesIO()
    with writer(sink, signed=signed) as file:
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            assert file.write(piece) == len(piece)
            assert file.tell() == start + len(piece)
    assert value_of(sink.getvalue()) == data


@pytest.mark.parametrize("length", [0, FRAME_LENGTH, FRAME_LENGTH * 2])
def test_an_exact_multiple_ends_in_a_full_frame(length: int) -> None:
    """As in `encrypt`: the message is no longer than its plaintext needs."""
    sink = io.BytesIO()
    with writer(sink) as file:
        file.write(bytes(length))
    header, position = decode_header(sink.getvalue())
    frames = [frame.head.length for frame in decode_body(sink.getvalue(), position + 16, header)]
    assert frames == ([FRAME_LENGTH] * (length // FRAME_LENGTH) or [0])


def test_any_buffer_is_taken_as_bytes() -> None:
    """Items wider than a byte too; what the caller gave may change afterwards."""
    sink = io.BytesIO()
    numbers = array.array("I", [1, 2, 3])
    changing = bytearray(b"abc")
    with writer(sink) as file:
        assert file.write(numbers) == 12
        file.write(changing)
        changing[:] = b"longer than before"
        file.write(memoryview(b"x-y-z")[::1])
    assert value_of(sink.getvalue()) == numbers.tobytes() + b"abc" + b"x-y-z"


def test_nothing_that_is_no_bytes_is_written() -> None:
    """And the message goes on after the refusal."""
    sink = io.BytesIO()
    with writer(sink) as file:
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError):
                file.write(wrong)
        file.write(b"right")
    assert value_of(sink.getvalue()) == b"right"


def test_the_context_must_be_right_before_anything_is_written() -> None:
    """The sink stays empty, and the KEK is asked once."""
    sink = io.BytesIO()
    with pytest.raises(InvalidRequestError):
        EncryptingWriter(sink, keys=[local_key()], context={"strongroom-name": "x"})
    with pytest.raises(UnavailableError):
        EncryptingWriter(sink, keys=[SpyKey(failure=UnavailableError("down"))], context=CONTEXT)
    assert sink.getvalue() == b""


def fail_inside(sink: io.BytesIO, error: BaseException) -> None:
    with writer(sink) as file:
        file.write(b"value")
        raise error


def leave_by_error(sink: io.BytesIO) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_inside(sink, ZeroDivisionError())


def leave_by_interrupt(sink: io.BytesIO) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_inside(sink, KeyboardInterrupt())


def abandon(sink: io.BytesIO) -> None:
    file = writer(sink)
    file.write(b"value")
    file.abandon()
    file.close()
    assert file.closed


def drop(sink: io.BytesIO) -> None:
    file = writer(sink)
    file.write(b"value")
    with pytest.warns(ResourceWarning, match="cut short"):
        del file


def drop_inside_text(sink: io.BytesIO) -> None:
    file = io.TextIOWrapper(writer(sink))  # type: ignore[type-var]  # it has no name
    file.write("value")
    with pytest.warns(ResourceWarning, match="cut short"):
        del file


def drop_inside_a_buffer(sink: io.BytesIO) -> None:
    file = io.BufferedWriter(writer(sink))
    file.write(b"value")
    with pytest.warns(ResourceWarning, match="cut short"):
        del file


def drop_in_a_cycle(sink: io.BytesIO) -> None:
    cycle = [writer(sink)]
    cycle.append(cycle)  # type: ignore[arg-type]
    del cycle
    with pytest.warns(ResourceWarning, match="cut short"):
        gc.collect()


UNFINISHED = [
    leave_by_error,
    leave_by_interrupt,
    abandon,
    drop,
    drop_inside_text,
    drop_inside_a_buffer,
    drop_in_a_cycle,
]


@pytest.mark.parametrize("way", UNFINISHED, ids=lambda way: way.__name__)
def test_only_closing_finishes_a_message(way: Callable[[io.BytesIO], None]) -> None:
    """Everything else leaves it cut short, so that a part never passes for the whole."""
    sink = io.BytesIO()
    way(sink)
    assert sink.getvalue()
    assert_cut(sink)


def test_closing_twice_is_closing_once_and_then_nothing_can_be_written() -> None:
    """The message has one end."""
    sink = io.BytesIO()
    file = writer(sink)
    file.write(b"value")
    file.close()
    before = sink.getvalue()
    file.close()
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")
    assert sink.getvalue() == before
    assert not sink.closed


@pytest.mark.parametrize("fails_at", range(1, 4))
def test_a_message_whose_sink_failed_is_never_finished(fails_at: int) -> None:
    """What the sink holds has a gap: the error comes out, and closing says so again."""
    calls = 0

    class Failing(io.BytesIO):
        def write(self, data: Any, /) -> int:
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(28, "no space")
            return super().write(data)

    sink = Failing()
    if fails_at == 1:
        with pytest.raises(OSError, match="no space"):
            writer(sink)
        return
    file = writer(sink)
    with pytest.raises(OSError, match="no space") as caught:
        file.write(CANARY_BYTES + bytes(3 * FRAME_LENGTH))
    assert_no_canary_in(caught.value)
    with pytest.raises(InvalidRequestError, match="cut short"):
        file.write(b"more")
    with pytest.raises(InvalidRequestError, match="cut short"):
        file.close()
    assert file.closed
    assert_cut(sink)


def test_a_forked_child_cannot_go_on_with_the_message() -> None:
    """Both would encrypt different bytes under one key and IV; that the child drops its copy is no loss."""
    sink = io.BytesIO()
    file = writer(sink)

    def attempt(say: Callable[[Any], None]) -> None:
        for use in (lambda: file.write(b"child"), file.close):
            try:
                use()
            except InvalidRequestError as error:
                say("refused" if "forked" in str(error) else str(error))

    def drop_here(say: Callable[[Any], None]) -> None:
        with warnings.catch_warnings(record=True) as caught:
            file.__del__()
        say([str(warning.message) for warning in caught])

    for work, told in ((attempt, ["refused", "refused"]), (drop_here, [[]])):
        child = Forked(work)
        assert list(child.rest()) == told
        assert child.wait() == 0
    file.write(b"parent")
    file.close()
    assert value_of(sink.getvalue()) == b"parent"


def test_threads_may_share_a_writer() -> None:
    """Each write stands whole in the message, in some order."""
    sink, lines = io.BytesIO(), 40
    with writer(sink) as file, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: file.write(bytes([number]) * 70_000), range(lines)))
    data = value_of(sink.getvalue())
    pieces = [data[start : start + 70_000] for start in range(0, len(data), 70_000)]
    assert sorted(pieces) == [bytes([number]) * 70_000 for number in range(lines)]


def test_a_writer_is_a_binary_file_to_whoever_wants_one() -> None:
    """A text wrapper, a tar archive."""
    sink = io.BytesIO()
    with writer(sink) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:  # type: ignore[type-var]  # it has no name
        csv.writer(text).writerow(["a", "ü"])
    assert value_of(sink.getvalue()) == "a,ü\r\n".encode()
    sink = io.BytesIO()
    with writer(sink) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    with reader(Unseekable(sink.getvalue())) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        assert tar.getnames() == ["empty"]


# Reading.


def message_of(data: bytes, frame_length: int, *, signed: bool = False) -> bytes:
    author = SignedAuthor(CONTEXT) if signed else Author(context=CONTEXT)
    return author.framed(data, frame_length) if frame_length else author.header() + author.single(data)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("seek"), st.integers(-5, 60), st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
        ),
        st.tuples(st.sampled_from(["read", "readinto"]), st.integers(0, 60)),
        st.tuples(st.sampled_from(["read", "readline", "tell", "readlines"])),
    ),
    max_size=12,
)


def do(file: Any, step: tuple[Any, ...]) -> Any:
    """What the step gives; a refused seek gives its kind of error."""
    name, *arguments = step
    if name == "readinto":
        buffer = bytearray(arguments[0])
        return file.readinto(buffer), bytes(buffer)
    try:
        return getattr(file, name)(*arguments)
    except ValueError:
        return ValueError


class Floored(io.BytesIO):
    """Where BytesIO takes a relative seek to before the start for the start, files refuse."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        origin = {0: 0, 1: self.tell(), 2: len(self.getvalue())}[whence]
        if origin + offset < 0:
            raise ValueError
        return super().seek(offset, whence)


@given(
    data=st.binary(max_size=50).map(lambda data: data.replace(b"\x07", b"\n")),
    frame_length=st.sampled_from([0, 1, 3, 7, 50, 64]),
    signed=st.booleans(),
    steps=STEPS,
)
def test_a_reader_is_a_file_with_the_plaintext(
    data: bytes, frame_length: int, signed: bool, steps: list[tuple[Any, ...]]
) -> None:
    """Whatever is asked of it, in any order, it answers what a file with those bytes would."""
    model = Floored(data)
    message = message_of(data, frame_length or (50 if signed else 0), signed=signed)
    with reader(message) as file:
        for step in steps:
            assert do(file, step) == do(model, step), step


@pytest.mark.parametrize("frame_length", [4096, 70_000, FRAME_LENGTH])
def test_reads_across_frames_and_stretches_are_whole(frame_length: int) -> None:
    """`read(n)` gives n bytes wherever they lie."""
    data = random.Random(frame_length).randbytes(3 * frame_length + 200_000)
    dice = random.Random(3)
    with reader(message_of(data, frame_length)) as file:
        for _ in range(scaled(200)):
            start, length = dice.randrange(len(data) + 10), dice.randrange(300_000)
            file.seek(start)
            assert file.read(length) == data[start : start + length]
        file.seek(0)
        assert file.read() == data
        assert file.read() == b""


def test_only_the_frames_that_are_asked_for_are_read() -> None:
    """Header, final frame, and then the one that holds the place."""

    class Counting(io.BytesIO):
        given = 0

        def readinto(self, buffer: Any, /) -> int:
            count = super().readinto(buffer)
            self.given += count
            return count

    source = Counting(message_of(bytes(50 * 100_000), 100_000))
    with reader(source) as file:
        assert file.seek(-10, os.SEEK_END) == 50 * 100_000 - 10
        assert source.given < 2 * 100_100 + 4096
        file.seek(20 * 100_000 + 5)
        file.read(10)
    assert source.given < 3 * 100_100 + 4096


def test_a_message_may_begin_where_the_source_stands() -> None:
    """In a file that holds something else before it."""
    for signed in (False, True):
        source = io.BytesIO(b"before" + message_of(b"0123456789", 3, signed=signed))
        source.seek(6)
        with reader(source) as file:
            file.seek(-2, os.SEEK_END)
            assert file.read() == b"89"
            file.seek(1)
            assert file.read(3) == b"123"


def test_the_end_is_verified_before_any_length_is_believed() -> None:
    """A message that lost or gained frames is refused at opening, though its first frames are authentic."""
    message = message_of(bytes(100), 10)
    for bad in (message[: -(40 + 10)], message[:-1], message + b"\0", message + message[-50:], message[:-92]):
        with pytest.raises(IntegrityError):
            reader(bad)


def test_a_changed_frame_is_refused_when_it_is_read_and_each_time() -> None:
    """The rest of the message stays readable; nothing of the bad frame ever comes out."""
    message = bytearray(message_of(bytes(range(250)) * 800, 50_000))
    message[-100_000] ^= 1  # in the second of four frames from the end
    with reader(bytes(message)) as file:
        for _ in range(2):
            file.seek(10)
            assert file.read(3) == bytes([10, 11, 12])
            file.seek(120_000)
            with pytest.raises(IntegrityError):
                file.read(10)


def test_a_pipe_that_failed_once_never_seems_to_have_ended() -> None:
    """After the error comes the same error, not the empty bytes that mean the end."""
    message = bytearray(message_of(bytes(300_000), 50_000))
    message[-10] ^= 1
    file = reader(Unseekable(bytes(message)))
    with pytest.raises(IntegrityError):
        file.read()
    for _ in range(2):
        with pytest.raises(IntegrityError):
            file.read(1)
    file.close()


def test_a_pipe_is_read_forwards_only() -> None:
    """And says so, as pipes do."""
    with reader(Unseekable(message_of(b"one\ntwo\n", 3))) as file:
        assert (file.seekable(), file.readable(), file.writable()) == (False, True, False)
        assert file.readline() == b"one\n"
        assert file.tell() == 4
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)
        assert file.peek(1).startswith(b"t")
        assert list(file) == [b"two\n"]


def test_a_line_over_many_frames_is_no_longer_than_asked_for() -> None:
    """Python's own `readline` gives up to twice as much where `peek` shows a frame of it at a time."""
    with reader(Unseekable(message_of(b"abcd\nef\n", 2))) as file:
        assert [file.readline(size) for size in (3, 0, 9, -1, None, 1)] == [
            b"abc",
            b"",
            b"d\n",
            b"ef\n",
            b"",
            b"",
        ]


def test_a_closed_reader_gives_nothing_and_leaves_its_source_open() -> None:
    """As any file."""
    source = io.BytesIO(message_of(b"value", 3))
    file = reader(source)
    file.close()
    file.close()
    for use in (file.read, file.tell, file.peek, file.readline, lambda: file.seek(0)):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert not source.closed


def test_nonsense_places_are_refused() -> None:
    """Before the start, and from nowhere."""
    with reader(message_of(b"value", 3)) as file:
        for arguments in ((-1,), (-6, os.SEEK_END), (0, 7)):
            with pytest.raises(ValueError, match="no such place"):
                file.seek(*arguments)
        assert file.seek(100) == 100
        assert file.read() == b""


def test_the_header_is_told() -> None:
    """Verified context, and the keys that should have opened the message."""
    sink, down = io.BytesIO(), SpyKey("down")
    with EncryptingWriter(sink, keys=[down, local_key()], context=CONTEXT) as file:
        file.write(b"value")
    down.failure = UnavailableError("down")
    sink.seek(0)
    with DecryptingReader(sink, keys=[down, local_key()], context=CONTEXT) as opened:
        assert (dict(opened.context), opened.passed_over) == (CONTEXT, ("down",))


@pytest.mark.parametrize("source", [io.BytesIO, Unseekable], ids=["file", "pipe"])
def test_threads_may_share_a_reader(source: Callable[[bytes], Any]) -> None:
    """Each read is whole and none is given twice."""
    count = 40_000
    data = b"".join(number.to_bytes(4, "big") for number in range(count))
    gate = threading.Barrier(4)
    with reader(source(message_of(data, 4096))) as file:

        def work(_: int) -> list[bytes]:
            gate.wait(60)
            return list(iter(lambda: file.read(400), b""))

        with ThreadPoolExecutor(4) as pool:
            pieces = [piece for found in pool.map(work, range(4)) for piece in found]
    assert sorted(pieces) == [data[start : start + 400] for start in range(0, len(data), 400)]


def test_closing_wipes_what_was_held() -> None:
    """The buffers of both, which may live on in a heap dump."""
    file = reader(message_of(b"value" * 100, 30))
    file.read(100)
    held = file._frames._plain._buffer  # type: ignore[union-attr]
    assert any(held)
    file.close()
    assert not any(held)
    for end in (EncryptingWriter.close, EncryptingWriter.abandon):
        written = writer(io.BytesIO())
        written.write(b"value")
        assert any(written._plain)
        end(written)
        assert not any(written._plain)


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_dropped_reader_is_no_trouble() -> None:
    """There is nothing to finish."""
    with no_warnings():
        file = reader(message_of(b"value", 3))
        assert file.read(1) == b"v"
        del file
        gc.collect()
