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
                fields = _fields(line)
                if fields is None:
                    return self._torn(offset)
                offset += len(line) + 1
                yield offset, fields

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
        return next((fields for line in reversed(lines) if (fields := _fields(line)) is not None), None)

    def end(self) -> int:
        """The place behind the last line."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = file.seek(max(0, size - _TAIL))
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return 0
        while lines and _fields(lines[-1]) is None:
            lines.pop()
        return start + sum(len(line) + 1 for line in lines)

    def append(self, line: bytes, at: int) -> int:
        """Add one line at the end, which must be at `at`; the new end, once it would outlive a power cut.

        One at a time, so that a power cut can damage none but the last.

        Raises:
            IntegrityError: somebody else wrote lines there, or took some away.
            UnavailableError: the disk refused; nothing was added.
        """
        made = not self.path.exists()
        try:
            descriptor = self._files.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)
            try:
                if made:
                    self._files.sync_folder(self.path.parent)
                self._mend(descriptor, at)
                self._write(descriptor, line, at)
            finally:
                os.close(descriptor)
        except OSError as exc:
            failure = UnavailableError(
                f"{self.path} cannot be written", performed=False, hint=os.strerror(exc.errno or 0)
            )
        else:
            return at + len(line)
        raise failure

    def settle(self) -> None:
        """Make durable what is there: who wrote its last line may have died before that.

        Raises:
            UnavailableError: the disk refused.
        """
        try:
            descriptor = self._files.open(self.path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                self._files.sync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as exc:
            hint = os.strerror(exc.errno or 0)
            failure = UnavailableError(f"{self.path} cannot be written", performed=False, hint=hint)
        else:
            return
        raise failure

    def _mend(self, descriptor: int, at: int) -> None:
        """Cut off what a crash tore, and nothing else."""
        size = os.fstat(descriptor).st_size
        if size < at:
            raise self._cut()
        if size > at:
            if _holds_lines(os.pread(descriptor, size - at, at)):
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

    def _torn(self, offset: int) -> None:
        """What a power cut leaves of the last append may hold zeros and line feeds, and no line behind them.

        Raises:
            IntegrityError: there is one, so it is no append's end that is damaged.
        """
        with self.path.open("rb") as file:
            file.seek(offset)
            rest = file.read(_BLOCK + 1)
        if len(rest) > _BLOCK or _holds_lines(rest):
            raise self._damaged()

    def _damaged(self) -> IntegrityError:
        return IntegrityError(f"a line of {self.path} is damaged", hint="see strongroom audit verify")

    def _cut(self) -> IntegrityError:
        hint = "restore it; strongroom audit verify says what is missing"
        return IntegrityError(f"{self.path} is shorter than it was", hint=hint)


def _fields(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _holds_lines(data: bytes) -> bool:
    return any(_fields(line) is not None for line in data.split(b"\n")[:-1])
