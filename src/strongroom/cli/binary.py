"""Bytes in and out of the commands that work on files and streams."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from strongroom.envelope.atomic import InputFile, atomic_output
from strongroom.errors import InvalidRequestError, SecretConflictError, UnavailableError

from .stdin import standard_input


@contextmanager
def source(path: str, *, buffered: bool = False) -> Iterator[BinaryIO]:
    """A file, or stdin if `path` is ``-``; `buffered` for reading little at a time.

    Raises:
        InvalidRequestError: there is no such file, or stdin is a terminal, where nobody types a message.
        PermissionDeniedError, UnavailableError: it cannot be read.
    """
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise InvalidRequestError("stdin is a terminal", hint="name a FILE, or pipe it in")
        with _typed("stdin"), standard_input() as stdin:
            yield io.BufferedReader(stdin) if buffered and isinstance(stdin, io.RawIOBase) else stdin
        return
    file = InputFile(path)
    with io.BufferedReader(file) if buffered else file as stream:
        yield stream


@contextmanager
def sink(path: str | None, *, replace: bool, mode: int) -> Iterator[Any]:
    """A file that appears once the block ends well, or stdout if no path is given.

    Raises:
        SecretConflictError: the file is there already and is not to be replaced.
        SecretStoreError: as `strongroom.envelope.atomic.atomic_output` does.
    """
    if path is None:
        out = Stdout()
        yield out
        out.flush()
        return
    if not replace and os.path.lexists(path) and not os.path.isdir(path):
        raise SecretConflictError(f"{path} is there already", hint="--replace writes over it")
    with atomic_output(path, overwrite=replace, mode=mode) as file:
        yield file


@contextmanager
def _typed(name: str) -> Iterator[None]:
    problem = None
    try:
        yield
    except BrokenPipeError:  # the reader has gone: the program ends as any filter does
        raise
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        raise UnavailableError(f"{name}: {problem.lower()}", performed=None)


class Stdout:
    """Takes bytes to stdout; its errors are typed."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer

    def write(self, data: Any) -> int:
        """As a file's."""
        with _typed("stdout"):
            return self._out.write(data)

    def flush(self) -> None:
        """As a file's."""
        with _typed("stdout"):
            self._out.flush()


class Screen:
    """Takes verified plaintext to a terminal, as long as it is text."""

    def __init__(self, terminal: Any):
        self._terminal = terminal
        self._text = codecs.getincrementaldecoder("utf-8")()

    def write(self, data: Any) -> int:
        """As a file's; raises InvalidRequestError before anything binary is shown."""
        if not self._is_text(bytes(data)):
            raise InvalidRequestError("the plaintext is binary", hint="add -o OUT, or pipe it")
        written: int = self._terminal.write(data)
        return written

    def _is_text(self, data: bytes) -> bool:
        try:
            self._text.decode(data)
        except UnicodeDecodeError:
            return False
        return True


def length_of(file: Any) -> int | None:
    """How many bytes a regular file has; None for a pipe."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file at all, such as a buffer in memory
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
