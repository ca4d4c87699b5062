"""A keyring in a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar, final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.wrapcount import FileWrapCounter

from .keyring_places import Held, KeyCounter, KeyringPlace

T = TypeVar("T")

MAX_LENGTH: Final = 262_144
"""Bytes of a keyring's message read at most; a version takes about 150, a root about 300."""

_DURABLE: Final = "made durable"


@final
class FilePlace(KeyringPlace):
    """A file of mode 0600 on a local disk, with each version's counter in ``<path>.<version>.wraps`` beside
    it.

    The file is replaced whole (temporary file, fsync, rename, fsync of the folder) while its folder is locked
    with ``flock``, which network file systems do not give reliably.

    Args:
        path: of the file; its folder exists.
    """

    def __init__(self, path: str | os.PathLike[str]):
        # Behind links: replacing a link would leave the file that others read as it was.
        self.path = Path(os.path.realpath(path))
        self.where = str(self.path)

    def read(self) -> Held:
        return Held(self._translated("read", self._read))

    def write(self, message: bytes, over: Held | None) -> None:
        self._translated("written", lambda: self._write(message, over))
        self._translated(_DURABLE, lambda: _sync(self.path.parent))

    def create_counter(self, key_name: str) -> None:
        def create() -> None:
            self._counter(key_name).create()
            _sync(self.path.parent)

        self._translated("written", create)

    def counter(self, key_name: str) -> KeyCounter:
        return self._counter(key_name)

    def _counter(self, key_name: str) -> FileWrapCounter:
        return FileWrapCounter(self.path.with_name(f"{self.path.name}.{key_name.rpartition('/')[2]}.wraps"))

    def _read(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Checked on the open file, not on its path, so that nothing can be swapped in between.
            self._check(os.fstat(descriptor))
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(MAX_LENGTH)
        finally:
            os.close(descriptor)

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_LENGTH:
            raise IntegrityError(f"{self.path} is no keyring", hint="correct the path, or restore the file")
        if status.st_uid not in (0, os.geteuid()):
            raise PermissionDeniedError(
                f"the keyring {self.path} belongs to another user", hint="run as its owner, or chown it"
            )
        if status.st_mode & 0o022:  # it is encrypted: who reads it learns nothing, who writes can put it back
            raise InvalidRequestError(
                f"the keyring {self.path} can be written by others than its owner",
                hint=f"chmod 600 {self.path}",
            )

    def _write(self, message: bytes, over: Held | None) -> None:
        with self._locked():
            mode = 0o600
            if over is not None:
                if self._read() != over.message:
                    raise self._conflict()
                mode = stat.S_IMODE(self.path.stat().st_mode)
            self._publish(message, mode, os.link if over is None else os.replace)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder, since the file itself is another one after each write."""
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # A child forked meanwhile holds this descriptor too: closing ours alone would leave it locked.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _publish(self, message: bytes, mode: int, put: Callable[[Path, Path], None]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.new")
        temporary.unlink(missing_ok=True)  # of a writer that was killed; nobody else writes under the lock
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(message)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            put(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _translated(self, what: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            number = error.errno
        raise self._failure(number, what)

    def _failure(self, number: int | None, what: str) -> SecretStoreError:
        if number == errno.EEXIST:
            return self._conflict()
        if number in (errno.ENOENT, errno.ENOTDIR) and what == "written" and not self.path.parent.is_dir():
            return InvalidRequestError(f"there is no folder {self.path.parent}", hint="make the folder first")
        if number in (errno.ENOENT, errno.ENOTDIR):
            return SecretNotFoundError(
                f"there is no keyring at {self.path}",
                hint="make it with strongroom key create, restore it, or correct the path",
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return PermissionDeniedError(f"the keyring {self.path} may not be {what} by this user")
        if number in (errno.ELOOP, errno.EISDIR):
            return InvalidRequestError(f"{self.path} is no file", hint="correct the path")
        return UnavailableError(
            f"the keyring {self.path} cannot be {what}",
            hint=os.strerror(number or 0),
            performed=what == _DURABLE,
        )

    def _conflict(self) -> SecretConflictError:
        return SecretConflictError(
            f"there is another keyring at {self.path}", hint="it was not changed; look at it, then repeat"
        )


def _sync(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
