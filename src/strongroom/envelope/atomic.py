"""Files whose errors are typed: one to read, and one that appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Path = str | os.PathLike[str]

PRIVATE: Final = 0o600
"""The mode of an output that nobody said otherwise of: its owner reads and writes it."""

TEMPORARY_PREFIX: Final = ".strongroom-"
TEMPORARY_SUFFIX: Final = ".tmp"
"""What is not whole yet is named ``.strongroom-<16 hex digits>.tmp``: short, so that a target's name may be
as long as the file system allows."""

_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_CALLER: Final = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO)
_NO_NAMELESS_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
_NO_HARD_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)

_Result = TypeVar("_Result")


def attempt(path: str, call: Callable[..., _Result], *arguments: Any, **options: Any) -> _Result:
    """What `call` returns; its OSError as the error that `failure` makes of it."""
    try:
        return call(*arguments, **options)
    except OSError as error:
        translated = failure(error, path)
        arguments = ()  # this frame travels with the error, and may hold what was to be written
    raise translated


def failure(error: OSError, path: str) -> SecretStoreError:
    """What the file system said about `path`, as one of our errors, on one line."""
    number = error.errno or 0
    line = f"{path!r}: {os.strerror(number).lower()}"
    if number == errno.ENOENT:
        return SecretNotFoundError(line, hint="look at its path")
    if number == errno.EEXIST:
        return SecretConflictError(f"{path!r} is there already", hint="it was not changed")
    if number in _DENIED:
        return PermissionDeniedError(line)
    return InvalidRequestError(line) if number in _CALLER else UnavailableError(line)


def _text(path: Path) -> str:
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise InvalidRequestError(f"{text!r} is no path")
    return text


@final
class InputFile(io.FileIO):
    """A file to read, whose errors are typed and name it.

    Raises:
        SecretNotFoundError: it does not exist.
        InvalidRequestError: it is a folder.
        PermissionDeniedError: this process may not read it.
        UnavailableError: the disk failed.
    """

    def __init__(self, path: Path):
        self.path = _text(path)
        attempt(self.path, super().__init__, self.path, "rb")

    def readinto(self, buffer: Any, /) -> int | None:
        """As of `io.RawIOBase`."""
        return attempt(self.path, super().readinto, buffer)

    @property
    def permissions(self) -> int:
        """Those of a regular file; `PRIVATE` for a pipe or a device, whose own mean something else."""
        status = self._status()
        return stat.S_IMODE(status.st_mode) & 0o777 if stat.S_ISREG(status.st_mode) else PRIVATE

    @property
    def size(self) -> int | None:
        """Bytes of a regular file; None for a pipe or a device."""
        status = self._status()
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _status(self) -> os.stat_result:
        return attempt(self.path, os.fstat, self.fileno())

    def is_file(self, path: Path) -> bool:
        """Whether `path` is this very file, by whatever name."""
        try:
            other = attempt(_text(path), os.stat, path)
        except SecretNotFoundError:
            return False
        return os.path.samestat(other, self._status())


@contextlib.contextmanager
def atomic_output(path: Path, *, overwrite: bool = False, mode: int = PRIVATE) -> Iterator[AtomicFile]:
    """A file to write in, which is at `path` once the block has ended without an error, and not before.

    It is written beside its target, 0600 until it is whole, then synchronised with the disk, given `mode`,
    and linked or renamed into place; the folder is synchronised after it. Where the file system has files
    without a name (Linux's ``O_TMPFILE``), a process that is killed leaves nothing; else, and for the instant
    in which an old file is replaced, it can leave ``.strongroom-<16 hex digits>.tmp``, which can be removed.

    Args:
        overwrite: replace a regular file. Its owner, links and extended attributes are those of a new file.
            Without it nothing is ever replaced, not even what came to `path` in between.
        mode: permission bits; the umask does not apply.

    Raises:
        SecretConflictError: `path` exists and is not to be overwritten.
        SecretNotFoundError: its folder does not exist.
        InvalidRequestError: it is a folder, a symbolic link or a device.
        PermissionDeniedError: the folder may not be written, or is read-only.
        UnavailableError: the disk is full or failed. With `performed` not False the file may be in place.
    """
    file = AtomicFile(path, overwrite=overwrite)
    try:
        yield file
        file.publish(mode)
    finally:
        file.discard()


@final
class AtomicFile(io.FileIO):
    """What `atomic_output` gives."""

    def __init__(self, path: Path, *, overwrite: bool):
        self.path, self._overwrite = _text(path), overwrite
        parent, self._name = os.path.split(self.path)
        self._temporary: str | None = None
        self._folder = attempt(self.path, os.open, parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._check_target()
            super().__init__(attempt(self.path, self._create), "wb")
        except BaseException:
            self._remove()
            raise

    def write(self, data: Any, /) -> int | None:  # type: ignore[override]  # None: would block
        """As of `io.RawIOBase`."""
        try:
            return attempt(self.path, super().write, data)
        except BaseException:
            data = None  # this frame travels with the error
            raise

    def publish(self, mode: int) -> None:
        """Make it durable, then give it its name, then make that durable."""
        attempt(self.path, os.fchmod, self.fileno(), mode)
        attempt(self.path, os.fsync, self.fileno())
        placed = False
        try:
            attempt(self.path, self._replace if self._overwrite else self._appear)
            placed = True
            attempt(self.path, os.fsync, self._folder)
        except SecretStoreError as error:
            # In place it may still be gone after a power cut; and a disk that fails may have done its work.
            if placed or isinstance(error, UnavailableError):
                error.performed = None
            raise

    def discard(self) -> None:
        """Close it; what has not been published is gone. Safe to repeat."""
        try:
            with contextlib.suppress(OSError):  # what counts has been synchronised
                self.close()
        finally:
            self._remove()

    def _check_target(self) -> None:
        status = attempt(self.path, self._status)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode) or not self._name:
            raise InvalidRequestError(f"{self.path!r} is a folder", hint="name the file to write in it")
        if not self._overwrite:
            raise SecretConflictError(f"{self.path!r} is there already", hint="overwrite replaces a file")
        if stat.S_ISLNK(status.st_mode):
            raise InvalidRequestError(
                f"{self.path!r} is a symbolic link", hint="name the file that it points to"
            )
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequestError(f"{self.path!r} is not a regular file")

    def _status(self) -> os.stat_result | None:
        try:
            return os.stat(self._name or ".", dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _create(self) -> int:
        nameless = getattr(os, "O_TMPFILE", 0)  # Linux only
        if nameless and os.path.isdir("/proc/self/fd"):  # by which such a file is given its name
            try:
                return os.open(".", nameless | os.O_WRONLY | os.O_CLOEXEC, PRIVATE, dir_fd=self._folder)
            except OSError as error:
                if error.errno not in _NO_NAMELESS_FILES:
                    raise
        self._temporary = _temporary_name()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        return os.open(self._temporary, flags, PRIVATE, dir_fd=self._folder)

    def _appear(self) -> None:
        """Take the target's name unless somebody has it: link, unlike rename, never replaces."""
        try:
            self._link(self._name)
        except OSError as error:
            if self._temporary is None or error.errno not in _NO_HARD_LINKS:
                raise
        else:
            return self._remove_temporary()
        return self._appear_without_links()

    def _appear_without_links(self) -> None:
        """On FAT and its like: hold the name with an empty file, then replace that."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        holder = os.open(self._name, flags, PRIVATE, dir_fd=self._folder)
        try:
            os.close(holder)
            self._rename()
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
            raise

    def _replace(self) -> None:
        if self._temporary is None:
            name = _temporary_name()
            self._link(name)
            self._temporary = name
        self._rename()

    def _link(self, name: str) -> None:
        source = self._temporary or f"/proc/self/fd/{self.fileno()}"
        # With a folder given, Python calls linkat, which follows the link in /proc; link() would not.
        os.link(source, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=True)

    def _rename(self) -> None:
        assert self._temporary is not None
        os.replace(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._temporary = None

    def _remove(self) -> None:
        if self._folder >= 0:
            self._remove_temporary()
            folder, self._folder = self._folder, -1
            with contextlib.suppress(OSError):  # nothing is written through it
                os.close(folder)

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            with contextlib.suppress(OSError):  # the target is what counts, and the name says what this is
                os.unlink(self._temporary, dir_fd=self._folder)
            self._temporary = None


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"
