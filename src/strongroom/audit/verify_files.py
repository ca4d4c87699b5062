"""Reading a journal's files for the verifier: by lines, in bounded memory, with no descriptor kept open."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE: Final = 1 << 20
"""Bytes of a line that are looked at; a longer one is no record, and is passed over in pieces."""

_BLOCK: Final = 64 << 10


class Line(NamedTuple):
    """A line as it stands in a file.

    Attributes:
        number: from 1.
        text: without its end; at most a little more than `MAX_LINE` bytes of it.
        whole: False for what stands behind the last line end.
    """

    number: int
    text: bytes
    whole: bool


def lines(path: Path, until: int | None = None) -> Iterator[Line]:
    """The lines of a file, or of its first `until` bytes; none if there is no such regular file.

    Between two blocks the file is closed: a journal may have more chains than a process may have descriptors.

    Raises:
        UnavailableError, PermissionDeniedError: it cannot be read.
    """
    offset, number, rest = 0, 1, b""
    while block := _block(path, offset)[: None if until is None else until - offset]:
        offset += len(block)
        first, *others = block.split(b"\n")
        if len(rest) <= MAX_LINE:
            rest += first
        for other in others:
            yield Line(number, rest, whole=True)
            number, rest = number + 1, other
    if rest:
        yield Line(number, rest, whole=False)


def read_small(path: Path, limit: int = MAX_LINE) -> bytes:
    """A small file, or a little more than `limit` bytes of a larger one; empty if it is no regular file.

    Raises:
        UnavailableError, PermissionDeniedError: it cannot be read.
    """
    found = b""
    while len(found) <= limit and (block := _block(path, len(found))):
        found += block
    return found


def size_of(path: Path) -> int:
    """How many bytes a file has now; none if there is no such regular file.

    Raises:
        UnavailableError, PermissionDeniedError: that cannot be told.
    """
    error: SecretStoreError
    try:
        found = os.stat(path)
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as exc:
        error = _unreadable(path, exc)
    raise error


def names(folder: Path) -> list[str]:
    """What a folder holds, sorted; nothing if there is no such folder.

    Raises:
        UnavailableError, PermissionDeniedError: it cannot be listed.
    """
    error: SecretStoreError
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        error = _unreadable(folder, exc)
    raise error


def _block(path: Path, offset: int) -> bytes:
    error: SecretStoreError
    try:
        # Not blocking: somebody may have put a pipe where a segment was, and opening it would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            return os.pread(descriptor, _BLOCK, offset) if regular else b""
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""
    except OSError as exc:
        error = _unreadable(path, exc)
    raise error


def _unreadable(path: Path, exc: OSError) -> SecretStoreError:
    kind = PermissionDeniedError if isinstance(exc, PermissionError) else UnavailableError
    return kind(
        f"{path.name} cannot be read ({exc.strerror})", hint="verify as a user who may read the journal"
    )
