"""Reading from any binary file-like and writing to any, however much of the work each call does."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .message import Buffer

_WAIT_UNTIL_FULL: Final = (io.BufferedReader, io.BufferedRandom, io.BufferedRWPair)
_WAITING: Final = "streams need one that waits until it can go on"


@final
class Intake:
    """The bytes of a source in the lengths that are asked for, through one reused buffer.

    Attributes:
        taken: how many bytes have been skipped in all.
    """

    __slots__ = ("_buffer", "_end", "_ended", "_readinto", "_start", "_touched", "taken")

    def __init__(self, source: Any, capacity: int):
        self._readinto = _readinto_of(source)
        self._buffer = memoryview(bytearray(capacity))
        self._start = self._end = self._touched = self.taken = 0
        self._ended = False

    def peek(self, count: int) -> memoryview:
        """The next `count` bytes, fewer only at the end of the source; valid until the next call.

        The buffer grows for them as they arrive, never because somebody claims that they will.
        """
        if self._end - self._start < count:
            self._fill(count)
        return self._buffer[self._start : min(self._start + count, self._end)]

    def skip(self, count: int) -> None:
        """Go past bytes that were peeked at."""
        self._start += count
        self.taken += count

    def take(self, count: int) -> bytes:
        """Both at once, copied."""
        data = bytes(self.peek(count))
        self.skip(len(data))
        return data

    def reserve(self, capacity: int) -> None:
        """Read up to `capacity` bytes at a time from now on."""
        if capacity > len(self._buffer):
            self._move(capacity)

    def restart(self, taken: int) -> None:
        """Forget what was read ahead: the source stands `taken` bytes behind its start now."""
        self._start = self._end = 0
        self._ended, self.taken = False, taken

    def wipe(self) -> None:
        """Zero what was read."""
        self._buffer[: self._touched] = bytes(self._touched)
        self._touched = 0

    def _fill(self, count: int) -> None:
        if self._start + count > len(self._buffer):
            self._move(len(self._buffer))
        while self._end - self._start < count and not self._ended:
            if self._end == len(self._buffer):
                self._move(min(count, 2 * self._end))
            got = self._readinto(self._buffer[self._end :])
            self._ended = not got
            self._end += got
            self._touched = max(self._touched, self._end)

    def _move(self, capacity: int) -> None:
        """What was read ahead to the front of a buffer of `capacity`: this one, or a longer one."""
        rest = self._buffer[self._start : self._end]
        if capacity > len(self._buffer):
            longer = memoryview(bytearray(capacity))
            longer[: len(rest)] = rest
            self.wipe()
            self._buffer = longer
        else:
            self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)
        self._touched = max(self._touched, self._end)


def _readinto_of(source: Any) -> Callable[[memoryview], int]:
    """A call that fills a buffer, in part where that is all the source has yet; 0 means its end."""
    if isinstance(source, io.TextIOBase):
        raise InvalidRequestError("the source is opened as text", hint="open it in mode 'rb'")
    # A BufferedReader's readinto waits until the whole buffer is full, however long a pipe takes for that.
    name = "readinto1" if isinstance(source, _WAIT_UNTIL_FULL) else "readinto"
    call = getattr(source, name, None) or _by_read(source)

    def readinto(buffer: memoryview) -> int:
        count: Any = None
        with contextlib.suppress(BlockingIOError):
            count = call(buffer)
        if count is None:
            raise InvalidRequestError("the source is non-blocking", hint=_WAITING)
        if not isinstance(count, int) or not 0 <= count <= len(buffer):
            raise InvalidRequestError("the source does not say how many bytes it gave")
        return count

    return readinto


def _by_read(source: Any) -> Callable[[memoryview], int | None]:
    if not callable(getattr(source, "read", None)):
        raise InvalidRequestError("the source has neither readinto nor read")

    def readinto(buffer: memoryview) -> int | None:
        data = source.read(len(buffer))
        if data is None:
            return None
        if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) > len(buffer):
            kind = type(data).__name__
            data = b""  # this frame travels with the error
            raise InvalidRequestError(f"the source's read gave no bytes, or more than asked for: {kind}")
        buffer[: len(data)] = data
        return len(data)

    return readinto


def writer_to(sink: Any) -> Callable[[Buffer], None]:
    """A call that writes all of a buffer, which the sink may not keep: it is reused, as `io` allows.

    Raises:
        InvalidRequestError: the sink takes text, or nothing; or its `write` does not say how many bytes it
            took, or is non-blocking and took none.
    """
    if isinstance(sink, io.TextIOBase):
        raise InvalidRequestError("the sink is opened as text", hint="open it in mode 'wb'")
    call = getattr(sink, "write", None)
    if not callable(call):
        raise InvalidRequestError("the sink has no write")

    def write(data: Buffer) -> None:
        view = memoryview(data)
        while view:
            view = view[_write_some(call, view) :]

    return write


def _write_some(call: Callable[[memoryview], Any], view: memoryview) -> int:
    count: Any = None
    with contextlib.suppress(BlockingIOError):
        count = call(view)
    if count is None:
        raise InvalidRequestError(
            "the sink is non-blocking, or does not say how many bytes it took", hint=_WAITING
        )
    if not isinstance(count, int) or not 0 < count <= len(view):
        raise InvalidRequestError("the sink took nothing, or does not say how many bytes it took")
    return count


def is_seekable(file: Any) -> bool:
    """Whether one may `seek` and `tell`."""
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else hasattr(file, "seek") and hasattr(file, "tell")
