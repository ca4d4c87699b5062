"""Reading stdin so that an interrupt ends it, whenever it comes."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final


@contextmanager
def standard_input() -> Iterator[Any]:
    """The bytes of stdin, which is open; an interrupt ends even a read that nothing arrives for.

    A signal that comes just before the system call of a read does not end it: the interpreter notes it and
    acts on it once the call is over, which for a pipe may be never. (1 in 200 interrupts, before this.)
    """
    stream = sys.stdin.buffer
    if not _may_wait(stream):
        yield stream
        return
    noted, note = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    try:
        yield _Arriving(stream.fileno(), noted)
    finally:
        signal.set_wakeup_fd(before)
        os.close(note)
        os.close(noted)


def _may_wait(stream: Any) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # not a file at all, such as a buffer in memory
        return False


@final
class _Arriving(io.RawIOBase):
    """Reads of a pipe that begin when there is something to read.

    Args:
        descriptor: what is read; not closed.
        noted: readable once a signal has been noted.
    """

    def __init__(self, descriptor: int, noted: int):
        self._descriptor, self._noted = descriptor, noted
        self._poll = select.poll()
        for watched in (descriptor, noted):
            self._poll.register(watched, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: Any) -> int:
        while all(watched == self._noted for watched, _ in self._poll.poll()):
            with contextlib.suppress(BlockingIOError):
                os.read(self._noted, 512)  # its handler has run, and did not end the program
        return os.readv(self._descriptor, [buffer])
