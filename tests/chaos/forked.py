"""Functions that run in a process of their own, and answer through a pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Say = Callable[[Any], None]


class Forked:
    """A forked child that runs ``work(say)``; what it says is acknowledged in the order it was said."""

    def __init__(self, work: Callable[[Say], None]):
        self._reader, writer = os.pipe()
        self._buffer = b""
        self.pid = os.fork()
        if not self.pid:
            os.close(self._reader)
            _run(work, writer)
        os.close(writer)

    def hear(self, seconds: float = 60) -> Any:
        """The next thing it says; None if it ended, or said nothing in that time."""
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], seconds)
            chunk = os.read(self._reader, 1 << 16) if ready else b""
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def rest(self) -> Iterator[Any]:
        """What else it says until it ends."""
        while (said := self.hear()) is not None:
            yield said

    def kill(self) -> None:
        """End it at once, as a power cut ends a program."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._reader)
        return code


def _run(work: Callable[[Say], None], writer: int) -> None:
    code = 1
    try:
        work(lambda said: _write(writer, said))
        code = 0
    except BaseException:  # the child must never return into the test run
        traceback.print_exc()
    finally:
        os._exit(code)


def _write(writer: int, said: Any) -> None:
    os.write(writer, json.dumps(said).encode() + b"\n")


@contextmanager
def forked(*works: Callable[[Say], None]) -> Iterator[list[Forked]]:
    """Run each in its own process; at the end of the block all must end well by themselves."""
    children = [Forked(work) for work in works]
    try:
        yield children
    except BaseException:
        for child in children:
            child.kill()
            child.wait()
        raise
    assert [child.wait() for child in children] == [0] * len(children)
