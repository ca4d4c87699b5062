"""Marks: what is another object once a store has changed, found out without asking the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCAL: Final = "local"
_FILES: Final = ("", "-wal")


def file_mark(origin: str) -> Callable[[], object] | None:
    """The mark of an embedded store, whichever process writes it; None for any other store.

    A commit of SQLite writes the database or the log beside it (https://sqlite.org/walformat.html).

    Args:
        origin: of the backend, ``local:///path`` for an embedded one.
    """
    parts = urlsplit(origin)
    if parts.scheme != _LOCAL:
        return None
    path = parts.path
    return lambda: tuple(_state(path + suffix) for suffix in _FILES)


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:  # the log is not there before the first write, and a store that fails says so itself
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
