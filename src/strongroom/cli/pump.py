"""Carries what CMD writes to where it would have written it, masked on the way."""

from __future__ import annotations

import errno
import os
import select
import threading
from typing import Final, final

from strongroom.redaction import Redactor

_PIECE: Final = 65536
_LAST_WORDS: Final = 200
"""Milliseconds in which more must come once CMD has ended: a terminal is drained by the kernel when it likes,
and what CMD left running in the background may keep the stream open for ever."""


@final
class Pump:
    """One stream of a child, carried by a thread until it ends.

    Args:
        source: descriptor to read, which is closed at the end.
        target: descriptor to write.
    """

    def __init__(self, source: int, target: int, redactor: Redactor):
        self._source, self._target, self._redactor = source, target, redactor
        self._ended, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._run, name="strongroom-redact", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """The child has ended: carry what it has still written, and stop."""
        os.close(self._ending)
        self._thread.join()
        os.close(self._ended)

    def _run(self) -> None:
        try:
            while piece := self._read():
                write_all(self._target, self._redactor.feed(piece))
            write_all(self._target, self._redactor.flush())
        except OSError:  # whoever read our output has gone: as without us, the child learns by SIGPIPE
            pass
        finally:
            os.close(self._source)

    def _read(self) -> bytes:
        if not self._is_ready():
            return b""
        try:
            return os.read(self._source, _PIECE)
        except OSError as error:
            if error.errno == errno.EIO:  # Linux's word for the end of a terminal
                return b""
            raise

    def _is_ready(self) -> bool:
        waiting = select.poll()
        waiting.register(self._source, select.POLLIN)
        waiting.register(self._ended, select.POLLIN)
        if any(fd == self._source for fd, _ in waiting.poll()):
            return True
        waiting.unregister(self._ended)
        return bool(waiting.poll(_LAST_WORDS))


def write_all(target: int, data: bytes) -> None:
    """Write everything, also to a descriptor that somebody made non-blocking.

    Raises:
        OSError: it cannot be written.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(target, select.POLLOUT)
            waiting.poll()
