"""The wrap counter of a local key, as a file beside its keyset or keyring."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final, final

from .errors import IntegrityError, PermissionDeniedError, SecretStoreError, UnavailableError
from .localkey import FIRST_BLOCK, MAX_WRAPS, WRAP_BLOCK

if TYPE_CHECKING:
    from pathlib import Path

_READ_ONLY: Final = (errno.EACCES, errno.EPERM, errno.EROFS)

_SIZES: Final = [FIRST_BLOCK << power for power in range(20) if FIRST_BLOCK << power <= WRAP_BLOCK]
_LETTERS: Final = dict(zip(b"abcdefghij", _SIZES[:-1], strict=True))
_WHOLE: Final = b"."


@final
class FileWrapCounter:
    """Counts in a file of one byte for each block taken so far, which says how large the block is.

    ``a`` is a block of `FIRST_BLOCK`, ``b`` of twice as many and so on; a full stop, and whatever else a
    failing disk may leave there, is one of `WRAP_BLOCK`. A block is taken by appending its byte under an
    exclusive lock and making it durable before it is used, so that there is no torn state: after a crash the
    byte is there (the block is lost) or not (it was never used). The file is made with its key and never
    again: a counter that is gone is an error, since starting anew at zero would forget every wrap there was.
    """

    def __init__(self, path: Path):
        self.path = path

    def create(self) -> None:
        """Make the empty counter of a new key."""
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def reserve(self, count: int) -> int:
        """Take a block of `count` wraps, rounded up; see `strongroom.localkey.WrapCounter`.

        Raises:
            IntegrityError: the file is missing.
            PermissionDeniedError: the file is read-only for this process.
            UnavailableError: the disk is full or failed.
        """
        try:
            return self._reserve(_marks(count))
        except OSError as error:
            failure = self._failure(error.errno)
        raise failure

    def taken(self) -> int:
        """How many numbers were given out. Raises as `reserve`, but asks for no right to write."""
        try:
            return _counted(self.path.read_bytes())
        except OSError as error:
            failure = self._failure(error.errno)
        raise failure

    def _reserve(self, marks: bytes) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            start = _counted(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
            if start < MAX_WRAPS:
                os.write(descriptor, marks)
                os.fsync(descriptor)
            return start
        finally:
            # A child forked meanwhile holds this descriptor too: closing ours alone would leave the lock
            # taken until that child ends, and the child itself may be waiting for it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _failure(self, number: int | None) -> SecretStoreError:
        if number == errno.ENOENT:
            return IntegrityError(
                f"the wrap counter {self.path} is missing",
                hint="restore it with its key, or make a new key; reading still works",
            )
        if number in _READ_ONLY:
            return PermissionDeniedError(
                f"the wrap counter {self.path} cannot be written, so its key only reads",
                hint="grant this user write access to the file",
            )
        return UnavailableError(
            f"the wrap counter {self.path} cannot be made durable", hint=os.strerror(number or 0)
        )


def _marks(count: int) -> bytes:
    for letter, size in _LETTERS.items():
        if count <= size:
            return bytes((letter,))
    return _WHOLE * -(-count // WRAP_BLOCK)


def _counted(marks: bytes) -> int:
    """Whatever is no letter counts as a whole block: too many wraps are safe, too few are not."""
    small = {letter: marks.count(letter) for letter in _LETTERS}
    whole = len(marks) - sum(small.values())
    return whole * WRAP_BLOCK + sum(number * _LETTERS[letter] for letter, number in small.items())
