"""One segment of a chain on disk: lines are appended, and believed durable only when they are."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

SUFFIX: Final = ".jsonl"
_SPOILED: Final = ".spoiled"
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class Files:
    """What the journal asks of the disk; tests put one in its place that fails, or forgets in a power cut."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor, closed in programs started from here; what it creates is for this user alone."""
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write what fits, and say how much that was."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Return when the file's data, and its size, would outlive a power cut."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file off after so many bytes."""
        os.ftruncate(descriptor, size)

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder would outlive a power cut."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Segment:
    """The file a chain is appending to, made if `size` is 0 and it does not exist.

    Args:
        whole: False if the file may hold more than `size` bytes; they are cut off before anything is added.

    Attributes:
        size: bytes of it that are durable.
        spoiled: the disk failed to make some of it durable, so that nothing may follow it but its end.
    """

    def __init__(self, path: Path, files: Files, size: int = 0, *, whole: bool = True):
        self.path, self.size, self.spoiled = path, size, sound_bytes(path) is not None
        self._files, self._whole = files, whole
        self._descriptor = files.open(path, _APPEND | (0 if size else os.O_CREAT))

    def append(self, data: bytes) -> None:
        """Append and return when it is durable; after an error what is beyond `size` is unknown.

        The next call then begins by cutting that off. What could not be synced is written again, never only
        synced again: after a failed fsync Linux takes the pages for clean, and the next fsync succeeds
        without them (https://lwn.net/Articles/752063/).
        """
        if not self._whole:
            self._reopen()
        self._whole = False
        marked = self.spoiled
        rest = memoryview(data)
        while rest:
            rest = rest[self._files.write(self._descriptor, bytes(rest)) :]
        self._sync()
        self.size += len(data)
        self._whole = True
        if marked:
            _mark(self.path).unlink(missing_ok=True)

    def missing(self) -> int | None:
        """Bytes that somebody else took away (0: added), None if nobody touched the file since our last."""
        try:
            here, there = os.fstat(self._descriptor), os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return self.size
        if (here.st_ino, here.st_dev) != (there.st_ino, there.st_dev):
            return self.size
        if here.st_size == self.size or (here.st_size > self.size and not self._whole):
            return None
        return max(0, self.size - here.st_size)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _sync(self) -> None:
        try:
            self._files.sync(self._descriptor)
        except OSError:
            self.spoiled = True
            with contextlib.suppress(OSError):  # for who comes after a crash of ours
                _mark(self.path).write_bytes(b"%d" % self.size)
            raise

    def _reopen(self) -> None:
        """Through a new descriptor: the old one may still owe us an error of the past."""
        descriptor = self._files.open(self.path, _APPEND)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._files.truncate(descriptor, self.size)


def sound_bytes(path: Path) -> int | None:
    """Bytes of a segment that are durable, where its writer could not make all so and died; None: all may be.

    Linux shows what it failed to write until the power goes, and syncs without error meanwhile: nobody may
    go on from there, or sign it.
    """
    try:
        size = _mark(path).read_bytes()
    except FileNotFoundError:
        return None
    return int(size) if size.isdigit() else 0


def _mark(path: Path) -> Path:
    return path.with_suffix(_SPOILED)


def segment_name(number: int) -> str:
    """The name of a chain's segment; they count from 1."""
    return f"{number:08d}{SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that a chain's folder holds, in order."""
    names = (name.removesuffix(SUFFIX) for name in os.listdir(folder) if name.endswith(SUFFIX))
    return sorted(int(name) for name in names if len(name) == 8 and name.isascii() and name.isdigit())
