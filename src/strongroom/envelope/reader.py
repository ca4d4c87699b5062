"""A file to read plaintext from, whose message lies in another: anywhere, without reading what is before."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from strongroom.errors import IntegrityError

from .binding import join
from .body import Body
from .message import FINAL_OVERHEAD, REGULAR_OVERHEAD
from .pipes import is_seekable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache

_TARGET: Final = 1 << 16
"""Bytes of small frames that are read together: one at a time, the system calls would cost more than they."""

_SINGLE_OVERHEAD: Final = 36
"""Bytes that a non-framed body takes beyond its plaintext."""

_NOTHING: Final = memoryview(b"")


@final
class DecryptingReader(io.BufferedIOBase):
    """The plaintext of a message as a binary file, verified before it is seen.

    ::

        with open("dump.enc", "rb") as source, DecryptingReader(source, keys=keys, context=context) as file:
            file.seek(-100, io.SEEK_END)
            tail = file.read()

    Where `source` can seek, so can this: only the frames that are asked for are read and verified, one in
    memory (or some 64 KiB of small ones). How long the plaintext is, is known from the message's length, and
    believed once the final frame has been verified in its place, at opening. A signed message is read whole
    at opening, since nothing of it may be believed before; what is read later must be what was read then.

    Where `source` cannot seek, it is read forwards once, and a signed message is refused. Its end is verified
    when it is reached: whoever stops before has seen authentic bytes of a message that may have been cut.

    Threads may share it: each call is done whole. `source` is not closed, and nobody else may move it.

    Args:
        source: as of `strongroom.encrypt_stream`, before the message, which must end where the source does.
        keys, context, bindings, data_keys: as of `strongroom.decrypt`.

    Attributes:
        context: every pair of the header, verified.
        passed_over: key ids of configured KEKs that should have opened the message and did not.

    Raises:
        IntegrityError: as of `strongroom.decrypt`, at opening or by any read.
        InvalidRequestError: no keys, a reserved key in `context`, a source that is text or non-blocking, or a
            signed message in one that cannot seek.
        UnavailableError, PermissionDeniedError: no KEK that could open the message could be used.
    """

    _frames: _Forwards | _Anywhere | None = None

    def __init__(
        self,
        source: Any,
        *,
        keys: Sequence[KeyWrapper],
        context: Mapping[str, str],
        bindings: Mapping[str, str] | None = None,
        data_keys: DataKeyCache | None = None,
    ):
        expected, self._seekable = join(context, bindings), is_seekable(source)
        start = source.tell() if self._seekable else 0
        body = Body(source)
        if body.signed:
            body.must_be_read_twice(self._seekable)
        body.begin(keys, expected, data_keys)
        self.context: Mapping[str, str] = body.header.context
        self.passed_over = body.opening.passed_over
        self._lock, self._position = threading.RLock(), 0
        self._frames = _Anywhere.over(source, start, body) if self._seekable else _Forwards(body)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """Whether the source is."""
        return self._seekable

    def tell(self) -> int:
        """The offset in the plaintext."""
        with self._lock:
            self._open()
            return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move as any file does; beyond the end there is nothing to read.

        Raises:
            io.UnsupportedOperation: the source cannot seek.
        """
        with self._lock:
            frames = self._open()
            if not isinstance(frames, _Anywhere):
                raise io.UnsupportedOperation("the source of this message cannot seek")
            origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: frames.layout.length}.get(
                whence
            )
            if origin is None or origin + offset < 0:
                raise ValueError("there is no such place to seek")
            self._position = origin + offset
            return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end; all the rest by default."""
        return self._gathered(size, self.read1)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Up to the next newline and with it; at most `size` bytes.

        That of `io.IOBase` compares `size` with each `peek`, not with their sum, and may give more.
        """
        return self._gathered(size, self._line1, until=b"\n")

    def _line1(self, size: int) -> bytes:
        length = self.peek().find(b"\n") + 1 or io.DEFAULT_BUFFER_SIZE
        return self.read1(length if size < 0 else min(size, length))

    def _gathered(self, size: int | None, some: Callable[[int], bytes], until: bytes | None = None) -> bytes:
        parts, left = list[bytes](), -1 if size is None else size
        try:
            with self._lock:
                while left and (part := some(left)):
                    parts.append(part)
                    left -= len(part) if left > 0 else 0
                    if until and part.endswith(until):
                        break
                return parts[0] if len(parts) == 1 else b"".join(parts)
        except BaseException:
            parts, part = [], b""  # this frame travels with the error
            raise

    def read1(self, size: int = -1, /) -> bytes:
        """What is at hand, or the next frame; at most `size` bytes."""
        with self._lock:
            view = self._open().at(self._position)
            data = bytes(view if size < 0 else view[:size])
            self._position += len(data)
            return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer`; less only at the end."""
        with memoryview(buffer) as whole, whole.cast("B") as view, self._lock:
            done, buffer = 0, None  # this frame travels with an error
            while done < len(view) and (count := self._copy(view[done:])):
                done += count
            return done

    def readinto1(self, buffer: Any, /) -> int:
        """As `read1`."""
        with memoryview(buffer) as whole, whole.cast("B") as view, self._lock:
            buffer = None  # this frame travels with an error
            return self._copy(view)

    def peek(self, size: int = 0, /) -> bytes:
        """What is at hand, without going past it."""
        with self._lock:
            return bytes(self._open().at(self._position)[: max(size, io.DEFAULT_BUFFER_SIZE)])

    def close(self) -> None:
        """Wipe what is at hand. Safe to repeat."""
        if self._frames is not None:
            with self._lock:
                self._frames.close()
                self._frames = None
        super().close()

    def _copy(self, view: memoryview) -> int:
        found = self._open().at(self._position)[: len(view)]
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _open(self) -> _Forwards | _Anywhere:
        if self._frames is None:
            raise ValueError("I/O operation on closed file.")
        return self._frames


class _Forwards:
    """The plaintext of a source that cannot seek."""

    def __init__(self, body: Body):
        self._stretches: Iterator[memoryview] = body.stretches()
        self._start, self._held, self._state = 0, _NOTHING, "open"

    def at(self, position: int) -> memoryview:
        """What is there, up to the end of its stretch; nothing at the end of the message."""
        while position >= self._start + len(self._held) and self._state != "ended":
            self._next()
        return self._held[position - self._start :]

    def _next(self) -> None:
        if self._state == "broken":  # a generator that has raised would say next that it has ended
            raise IntegrityError("reading this message has failed before")
        self._state = "broken"
        held = next(self._stretches, None)
        self._state = "ended" if held is None else "open"
        self._start, self._held = self._start + len(self._held), _NOTHING if held is None else held

    def close(self) -> None:
        """Wipe what is held."""
        self._held = _NOTHING
        self._stretches.close()  # type: ignore[attr-defined]  # it is a generator


class _Layout(NamedTuple):
    """Where a message's frames are.

    Attributes:
        frame_length: bytes of plaintext in every frame but the final one.
        frames: how many there are with that.
        last: bytes of plaintext in the final one.
    """

    frame_length: int
    frames: int
    last: int

    @property
    def length(self) -> int:
        """Bytes of plaintext."""
        return (self.frames - 1) * self.frame_length + self.last

    @staticmethod
    def of(frame_length: int, size: int) -> _Layout:
        """That of a body of `size` bytes without a footer; its final frame has yet to prove it."""
        if not frame_length:
            return _Layout(max(size - _SINGLE_OVERHEAD, 0), 1, max(size - _SINGLE_OVERHEAD, 0))
        regular, last = divmod(size - FINAL_OVERHEAD, frame_length + REGULAR_OVERHEAD)
        if regular < 0 or last > frame_length:
            raise IntegrityError("the message was cut or extended")
        return _Layout(frame_length, regular + 1, last)


class _Anywhere:
    """The plaintext of a source that can seek."""

    def __init__(self, source: Any, start: int, body: Body, layout: _Layout, digests: list[bytes] | None):
        self._source, self._body, self._start = source, body, start + body.position
        self.layout, self._digests = layout, digests
        self._together = body.together(_TARGET)
        self._plain, self._index = body.room(self._together * layout.frame_length), -1
        if digests is None:
            self._fetch((layout.frames - 1) // self._together)

    @classmethod
    def over(cls, source: Any, start: int, body: Body) -> _Anywhere:
        """After all of a signed message is verified, or the final frame of another."""
        if body.signed:
            digests = [_digest(stretch) for stretch in body.stretches(_TARGET)]
            frame_length = body.header.frame_length or body.length
            return cls(source, start, body, _Layout(frame_length, body.sequence, body.length), digests)
        size = source.seek(0, os.SEEK_END) - start - body.position
        return cls(source, start, body, _Layout.of(body.header.frame_length, size), None)

    def at(self, position: int) -> memoryview:
        """What is there, up to the end of its stretch; nothing at the end of the message."""
        if position >= self.layout.length:
            return _NOTHING
        index, offset = divmod(position, self._together * self.layout.frame_length)
        if index != self._index:
            self._fetch(index)
        return self._plain.view[offset:]

    def _fetch(self, index: int) -> None:
        first = index * self._together
        self._index, self._plain.filled = -1, 0
        self._source.seek(self._start + first * (self.layout.frame_length + REGULAR_OVERHEAD))
        self._body.restart(first)
        for number in range(first + 1, min(first + self._together, self.layout.frames) + 1):
            self._open(is_last=number == self.layout.frames)
        if self._digests is not None and _digest(self._plain.view) != self._digests[index]:
            raise IntegrityError("the source was changed while it was read")
        self._index = index

    def _open(self, *, is_last: bool) -> None:
        head, frame = self._body.peek()
        if head.final != is_last or (is_last and head.length != self.layout.last):
            raise IntegrityError("the message was cut or extended")
        self._body.open(head, frame, self._plain)

    def close(self) -> None:
        """Wipe what is held."""
        self._plain.wipe()


def _digest(stretch: memoryview) -> bytes:
    return hashlib.blake2b(stretch, digest_size=32).digest()
