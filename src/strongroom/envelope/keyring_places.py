"""Where a keyring is kept: in a file, or in a store that has compare-and-set."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, final

from strongroom.backend import ABSENT, ANY_CAS, Backend, Capability, Clock, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.localkey import MAX_WRAPS, WrapCounter
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue
from strongroom.wrapcount import FileWrapCounter

if TYPE_CHECKING:
    from strongroom.backend import Absent, Secret

T = TypeVar("T")

MAX_LENGTH: Final = 262_144
"""Bytes of a keyring's message read at most; a version takes about 150, a root about 300."""

SETTLES: Final = 10.0
"""Seconds for which a store whose labels lag may still answer with the keyring before the last one."""

_DURABLE: Final = "made durable"
_ATTEMPTS: Final = 12
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0


class Held(NamedTuple):
    """What a place holds.

    Attributes:
        message: the keyring, encrypted.
        version: what tells this message from every other one that was ever there.
    """

    message: bytes
    version: str = ""


class KeyringPlace(ABC):
    """Where one keyring is kept, with the wrap counters of its versions.

    Attributes:
        where: the place's name for people.
        settles: seconds for which a read may still answer with what was there before the last write.
    """

    where: str
    settles: float = 0.0

    @abstractmethod
    def read(self) -> Held:
        """What is there.

        Raises:
            SecretNotFoundError: nothing is.
        """

    @abstractmethod
    def write(self, message: bytes, over: Held | None) -> None:
        """Put `message` in the place of `over`, or where nothing is; whole and durable, or not at all.

        Raises:
            SecretConflictError: something else is there.
            UnavailableError: with ``performed=None`` if it may have happened.
        """

    @abstractmethod
    def create_counter(self, key_name: str) -> None:
        """Make the wrap counter of a new key, durable before this returns."""

    @abstractmethod
    def counter(self, key_name: str) -> WrapCounter:
        """The wrap counter of a key; a missing one is an error when it is used, never a new one."""

    def after_fork(self) -> None:
        """In a forked child: drop sessions and sockets without closing them, the parent still uses them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


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
        self.path = Path(path).absolute()
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

    def counter(self, key_name: str) -> WrapCounter:
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


@final
class StorePlace(KeyringPlace):
    """A key of a store's reserved name space, with each version's counter beside it.

    The message stands in the store as it is, below any encryption of the store's own: a keyring cannot be
    encrypted under itself. Each process that wraps takes a block of 65,536 of a version's 2^31 wraps by one
    write, so that a version lasts for 32,768 starts.

    Args:
        backend: with compare-and-set, CAS or CAS_GUARDED; its errors are Strongroom's, as those of
            ``open_backend`` are. This object closes it.
        name: the keyring's, a portable name.
        clock: injected in tests.

    Raises:
        UnsupportedOperationError: the store has no compare-and-set, so that of two rotations at once one
            would be lost.
        InvalidRequestError: the name is not portable.
    """

    def __init__(self, backend: Backend, name: str, *, clock: Clock | None = None):
        needed = Capability.PUT | Capability.CREATE_ONLY
        if needed not in backend.capabilities or not backend.capabilities & ANY_CAS:
            raise UnsupportedOperationError(
                f"{backend.origin or type(backend).__name__} has no compare-and-set, which a keyring needs",
                hint="keep it in another store, in a file, or configure a coordinator",
            )
        self._backend, self._clock = backend, clock or Clock()
        self._key = Reserved("keyring", Name.parse(name))
        self.where = f"{backend.origin or 'the store'} (keyring {name})"
        self.settles = SETTLES if backend.eventual else 0.0

    def read(self) -> Held:
        try:
            found = self._backend.get(self._key, Stage.CURRENT)
            return Held(found.value.reveal(), found.version)
        except SecretNotFoundError:
            pass
        raise SecretNotFoundError(
            f"there is no keyring in {self.where}", hint="make it with strongroom key create"
        )

    def write(self, message: bytes, over: Held | None) -> None:
        value, limit = SecretValue(message), self._backend.limit(self._key)
        if limit is not None and self._backend.size(value) > limit:
            raise InvalidRequestError(
                f"the keyring takes {self._backend.size(value)} bytes; {self.where} holds {limit}",
                hint="keep it in a file or another store",
            )
        self._backend.put(self._key, value, ABSENT if over is None else over.version)

    def create_counter(self, key_name: str) -> None:
        StoreWrapCounter(self._backend, key_name, self._clock).create()

    def counter(self, key_name: str) -> WrapCounter:
        return StoreWrapCounter(self._backend, key_name, self._clock)

    def after_fork(self) -> None:
        self._backend.after_fork()

    def close(self) -> None:
        self._backend.close()


@final
class StoreWrapCounter:
    """Counts the wraps of one key in a store: the number given out so far, as text, by compare-and-set."""

    def __init__(self, backend: Backend, key_name: str, clock: Clock):
        self._backend, self._clock = backend, clock
        self._key = Reserved("keyring-wraps", Name.parse(key_name))

    def create(self) -> None:
        """Make the counter of a new key. One that is there is not touched."""
        problem: SecretStoreError
        try:
            self._put(0, ABSENT)
            return
        except SecretConflictError as error:
            problem = error
        except UnavailableError as error:
            if error.performed is False:
                raise
            problem = error
        # The name is random: what is there is ours, of a write whose answer was lost.
        found = self._find()
        if found is None or self._count(found) != 0:
            raise problem

    def reserve(self, count: int) -> int:
        """Take the next `count` numbers; see `strongroom.localkey.WrapCounter`.

        Raises:
            IntegrityError: the counter is gone or damaged. It is never made anew, since starting at zero
                would forget every wrap there was.
            UnavailableError: other processes took the block each time.
            PermissionDeniedError: this identity may not write, so the key only unwraps.
        """
        pause = _FIRST_PAUSE
        for _ in range(_ATTEMPTS):
            found = self._read()
            start = self._count(found)
            if start >= MAX_WRAPS or self._taken(start + count, found.version):
                return start
            self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise UnavailableError("the keyring's wrap counter is taken by others each time", hint="repeat it")

    def _taken(self, count: int, over: str) -> bool:
        try:
            self._put(count, over)
        except SecretConflictError:
            return False
        return True

    def _put(self, count: int, over: str | Absent) -> None:
        self._backend.put(self._key, SecretValue(str(count)), over)

    def _read(self) -> Secret:
        found = self._find()
        if found is None:
            raise IntegrityError(
                f"the keyring's wrap counter {self._key.name} is missing",
                hint="rotate the keyring, which makes a new key; reading still works",
            )
        return found

    def _find(self) -> Secret | None:
        try:
            return self._backend.get(self._key, Stage.CURRENT)
        except SecretNotFoundError:
            return None

    def _count(self, found: Secret) -> int:
        text = found.value.reveal()
        if not text.isdigit() or len(text) > len(str(2 * MAX_WRAPS)):
            raise IntegrityError(
                f"the keyring's wrap counter {self._key.name} is damaged",
                hint="rotate the keyring, which makes a new key; reading still works",
            )
        return int(text)


def _sync(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
