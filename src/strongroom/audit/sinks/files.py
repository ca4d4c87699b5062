"""Records as lines of a file, for an agent that ships files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.errors import SecretStoreError, UnavailableError

from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .base import Entry


class FileSink(Sink):
    """Appends to a file (0600) and syncs it; a file moved away by log rotation is begun anew.

    Args:
        path: the file; its folder exists.
        form: how each record is written.
        limit: bytes of one line.
    """

    def __init__(self, path: Path, form: str = "json", *, limit: int | None = None):
        super().__init__(form, limit=limit)
        self._path = path

    def deliver(self, entries: Sequence[Entry]) -> None:
        data = b"".join(text + b"\n" for text in self.all_written(entries))
        problem: SecretStoreError | None = None
        try:
            _append(self._path, data)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            problem = UnavailableError(f"the sink's file cannot be written: {why}")
        if problem:
            raise problem


def _append(path: Path, data: bytes) -> None:
    # A link put there by somebody else would have us write into his choice of file.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        # What a full disk cut short must not become one line with what follows it.
        end = os.lseek(descriptor, 0, os.SEEK_END)
        rest = memoryview(data if not end or os.pread(descriptor, 1, end - 1) == b"\n" else b"\n" + data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
