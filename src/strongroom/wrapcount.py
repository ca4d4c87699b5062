"""The wrap counter of a local key, as a file beside its keyset or keyring."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final, final

from .errors import IntegrityError, PermissionDeniedError, SecretStoreError, UnavailableError
from .localkey import MAX_WRAPS, WRAP_BLOCK

if TYPE_CHECKING:
    from pathlib import Path

_READ_ONLY: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


@final
class FileWrapCounter:
    """Counts in a file whose length is the number of blocks of `WRAP_BLOCK` taken so far.

    A block is taken by appending one byte under an exclusive lock and making it durable before it is used,
    so that there is no torn state: after a crash the byte is there (the block is lost) or not (it was never
    used). The file ends at 32,768 bytes, where the key is spent. It is made with its key and never again:
    a counter that is gone is an error, since starting anew at zero would forget every wrap there was.
    """

    def __init__(self, path: Path):
        self.path = path

    def create(self) -> None:
        """Make the empty counter of a new key."""
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))

    def reserve(self, count: int) -> int:
        """Take blocks for `count` wraps; see `strongroom.localkey.WrapCounter`.

        Raises:
            IntegrityError: the file is missing.
            PermissionDeniedError: the file is read-only for this process.
            UnavailableError: the disk is full or failed.
        """
        try:
            return self._reserve(-(-count // WRAP_BLOCK))
        except OSError as error:
            failure = self._failure(error.errno)
        raise failure

    def taken(self) -> int:
        """How many numbers were given out. Raises as `reserve`, but asks for no right to write."""
        try:
            return self.path.stat().st_size * WRAP_BLOCK
        except OSError as error:
            failure = self._failure(error.errno)
        raise failure

    def _reserve(self, blocks: int) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            start = os.fstat(descriptor).st_size * WRAP_BLOCK
            if start < MAX_WRAPS:
                os.write(descriptor, b"." * blocks)
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
