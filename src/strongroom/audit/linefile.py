"""A file of JSON lines that only grows: an append is durable when it returns, and a torn tail is no line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, UnavailableError

from .segments import Files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BLOCK: Final = 2**20
_TAIL: Final = 2**16


def compact(fields: Mapping[str, Any]) -> bytes:
    """A line of such a file, ASCII, with its line feed."""
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


class LineFile:
    """One such file; its writers take turns under a lock of their own."""

    def __init__(self, path: Path, files: Files | None = None):
        self.path, self._files = path, files or Files()

    def read(self, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """The lines from a place on, each with the place behind it; what is torn at the end is left out.

        Raises:
            IntegrityError: the file is shorter than that, or a line of it is no JSON object.
        """
        while whole := self._block(offset):
            for line in whole.split(b"\n")[:-1]:
                offset += len(line) + 1
                yield offset, self._fields(line)

    def _block(self, offset: int) -> bytes:
        """Whole lines from there on; the file is open for no longer than that takes."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(offset)
                data = file.read(_BLOCK)
        except FileNotFoundError:
            size, data = 0, b""
        if size < offset:
            raise self._cut()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) == _BLOCK:
            raise self._damaged()
        return whole

    def last(self) -> dict[str, Any] | None:
        """The last whole line, None if there is none."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        return self._fields(lines[-1]) if lines else None

    def end(self) -> int:
        """The place behind the last whole line."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = file.seek(max(0, size - _TAIL))
                return start + file.read().rfind(b"\n") + 1
        except FileNotFoundError:
            return 0

    def append(self, data: bytes, at: int) -> int:
        """Add whole lines at the end, which must be at `at`; the new end, once it would outlive a power cut.

        Raises:
            IntegrityError: somebody else wrote lines there, or took some away.
            UnavailableError: the disk refused; nothing was added.
        """
        made = not self.path.exists()
        try:
            descriptor = self._files.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)
            try:
                self._mend(descriptor, at)
                self._write(descriptor, data, at)
            finally:
                os.close(descriptor)
            if made:
                self._files.sync_folder(self.path.parent)
        except OSError as exc:
            failure = UnavailableError(
                f"{self.path} cannot be written", performed=False, hint=os.strerror(exc.errno or 0)
            )
        else:
            return at + len(data)
        raise failure

    def _mend(self, descriptor: int, at: int) -> None:
        """Cut off the line that a crash tore, and nothing else."""
        size = os.fstat(descriptor).st_size
        if size < at:
            raise self._cut()
        if size > at:
            if b"\n" in os.pread(descriptor, size - at, at):
                raise IntegrityError(f"somebody else writes to {self.path}", hint="stop the other writer")
            self._files.truncate(descriptor, at)

    def _write(self, descriptor: int, data: bytes, at: int) -> None:
        try:
            rest = data
            while rest:
                rest = rest[self._files.write(descriptor, rest) :]
            self._files.sync(descriptor)
        except OSError:
            # After a failed fsync the pages pass for written: they must be written again, not synced again.
            self._files.truncate(descriptor, at)
            raise

    def _fields(self, line: bytes) -> dict[str, Any]:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise self._damaged()
        return fields

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"a line of {self.path} is damaged", hint="see strongroom audit verify")

    def _cut(self) -> IntegrityError:
        hint = "restore it; strongroom audit verify says what is missing"
        return IntegrityError(f"{self.path} is shorter than it was", hint=hint)
