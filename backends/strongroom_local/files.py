"""FileBackend: a folder with a file for each secret, read-only, ``file:///run/secrets``."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from strongroom.backend import Backend, Capability, Secret, SecretInfo, Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import Key, Name, StoreURL, path_key
from strongroom.value import SecretValue, is_utf8

from .faults import os_error

LIMIT: Final = 1 << 20
"""Bytes of a file at most; Kubernetes allows a Secret 1 MiB."""

_ATTEMPTS: Final = 10
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _Read(NamedTuple):
    value: SecretValue
    version: str


class FileBackend(Backend):
    """Files as Kubernetes, Docker and systemd mount them: name ``db/password`` is the file ``db/password``.

    The value is the file's bytes as they are, a final newline too; text if they are UTF-8. Links are
    followed within the folder, never out of it. A read sees one file whole: a mount that is swapped beneath
    it (Kubernetes' ``..data``), or a file that is being written, is read again. There is one version,
    current; its id comes from the file's time and inode, never from its content, which it would be a
    fingerprint of.
    Files and folders whose name begins with a dot are no secrets.
    """

    scheme = "file"
    capabilities = Capability.LIST

    def __init__(self, folder: Path, settings: Settings | None = None):
        self._folder = folder
        self._settings = settings or Settings()
        self.origin = f"file://{folder}"

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Take the folder from ``file:///path``; it is looked for when a secret is.

        Raises:
            InvalidRequestError: not an absolute path.
        """
        url.allow()
        if url.host or not url.path.startswith("/"):
            raise InvalidRequestError("a file store is an absolute path", hint="write file:///path/to/folder")
        return cls(Path(url.path), settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """By the operating system's number."""
        return os_error(exc) if isinstance(exc, OSError) else None

    def get(self, key: Key, version: str | Stage) -> Secret:
        _check_name(key)
        found = self._read(key) if isinstance(key, Name) else None
        if found is None:
            self._check_folder()
        if found is None or version not in (found.version, Stage.CURRENT):
            raise SecretNotFoundError("no such file, or no such version")
        stage = version if isinstance(version, Stage) else None
        now = self._settings.clock.now()
        return Secret(str(key), found.value, found.version, stage, self.origin, confirmed_at=now)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        self._check_folder()
        root = _real(self._folder)
        for path in sorted(_files(root)):
            key = path_key(str(path.relative_to(root)), mode=self._settings.names)
            if isinstance(key, Name) and key.text.startswith(prefix) and _leads_inside(root, path):
                yield SecretInfo(key)

    def locate(self, key: Key) -> str:
        return str(self._folder / str(key))

    def limit(self, key: Key) -> int | None:
        return LIMIT

    def _check_folder(self) -> None:
        if not self._folder.is_dir():
            raise InvalidRequestError(
                f"there is no folder {self._folder}", hint="correct the URL, or mount the secrets there"
            )

    def _read(self, name: Name) -> _Read | None:
        for _ in range(_ATTEMPTS):
            root = _real(self._folder)
            mounted = _mounted(root)
            path = _resolved(root, root / name.text)
            if path is not None and (found := _read_once(root, path)) is not None:
                return found
            if path is None and _mounted(root) == mounted:
                return None
        raise UnavailableError("the file changes faster than it can be read", hint="try again")


def _check_name(key: Key) -> None:
    if any(segment.startswith(".") for segment in str(key).split("/")):
        raise InvalidRequestError("a name that begins with a dot is no secret's")


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _resolved(root: Path, path: Path) -> Path | None:
    """Where links lead, or None if to nothing.

    Raises:
        InvalidRequestError: out of the folder.
    """
    real = _real(path)
    if not real.is_relative_to(root):
        raise InvalidRequestError("the file is a link that leads out of the folder")
    return real if real.is_file() else None


def _leads_inside(root: Path, path: Path) -> bool:
    return _real(path).is_relative_to(root) and path.is_file()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, it takes links in a circle


def _mounted(root: Path) -> str | None:
    """Where Kubernetes' ``..data`` leads: what is missing is so only if that did not change meanwhile."""
    try:
        return os.readlink(root / "..data")
    except OSError:
        return None


def _read_once(root: Path, path: Path) -> _Read | None:
    """The file's content, or None if it was swapped or written meanwhile."""
    try:
        descriptor = _open(root, path)
    except OSError as error:
        if error.errno not in _MISSING:
            raise
        return None
    try:
        return _read_stable(descriptor)
    finally:
        os.close(descriptor)


def _open(root: Path, path: Path) -> int:
    # Folder by folder, without links: the path was resolved, and a link that came in since is an escape.
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    *folders, name = path.relative_to(root).parts
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _read_stable(descriptor: int) -> _Read | None:
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        return None
    if before.st_size > LIMIT:
        raise InvalidRequestError(f"the file is longer than {LIMIT} bytes")
    data = os.read(descriptor, LIMIT + 1)
    after = os.fstat(descriptor)
    same = _identity(before) == _identity(after) and len(data) == after.st_size
    return _Read(_value(data), f"{after.st_mtime_ns:x}-{after.st_ino:x}") if same else None


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _value(data: bytes) -> SecretValue:
    return SecretValue(data, "text" if is_utf8(data) else "binary")
