"""Keysets: local KEKs at rest, as JSON in a file that only its owner can read.

The same keyset can stand in the operating system's keyring (`os_keyring`) or under a passphrase
(`passphrase`); all three give the same `LocalKey`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH
from strongroom.localkey import LocalKey, WrapCounter
from strongroom.wrapcount import FileWrapCounter

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

MAX_KEYSET_LENGTH: Final = 65_536
"""Bytes of a keyset read at most; one key takes about 250."""

KIND: Final = "aes-256"
"""The kind of key that `create_key` makes."""

_FORMAT: Final = "strongroom-keyset"
_VERSION: Final = 1
_ALGORITHM: Final = "AES-256-GCM"
_NAMESPACE: Final = "strongroom-local"
_MAX_NAME: Final = 200


@final
class Keyset:
    """One local KEK at rest: 32 random bytes and their name.

    Attributes:
        name: the key's name, random, in clear in every message.
        created: when, UTC, ISO 8601.
    """

    __slots__ = ("_key", "created", "name")

    def __init__(self, name: str, key: bytes, created: str):
        self.name = name
        self.created = created
        self._key = key

    @classmethod
    def generate(cls) -> Keyset:
        """A new random key under a new random name."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(f"local-{os.urandom(8).hex()}", os.urandom(DATA_KEY_LENGTH), created)

    def local_key(self, counter: WrapCounter | None) -> LocalKey:
        """The KEK; without a counter it only unwraps."""
        return LocalKey(self._key, name=self.name, namespace=_NAMESPACE, counter=counter)

    def to_json(self) -> str:
        """The keyset with its key in clear: for a protected place only."""
        key = {
            "name": self.name,
            "algorithm": _ALGORITHM,
            "created": self.created,
            "key": base64.b64encode(self._key).decode(),
        }
        return json.dumps({"format": _FORMAT, "version": _VERSION, "keys": [key]}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Keyset:
        """Read `to_json`; `where` names the place in errors.

        Raises:
            IntegrityError: not a keyset of version 1 with exactly one key.
        """
        keyset, text = cls._parse(text), ""  # this frame travels with the error
        if keyset is None:
            raise corrupt(where)
        return keyset

    @classmethod
    def _parse(cls, text: str | bytes) -> Keyset | None:
        try:
            document = json.loads(text)
            (entry,) = document["keys"]
            key = base64.b64decode(entry["key"], validate=True)
            return cls(entry["name"], key, entry["created"]) if _is_sound(document, entry, key) else None
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
            return None

    def __repr__(self) -> str:
        return f"<Keyset {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keyset cannot be pickled: it would carry the key")


def _is_sound(document: Any, entry: Any, key: bytes) -> bool:
    return (
        (document["format"], document["version"], entry["algorithm"]) == (_FORMAT, _VERSION, _ALGORITHM)
        and isinstance(entry["name"], str)
        and 0 < len(entry["name"].encode()) <= _MAX_NAME
        and isinstance(entry["created"], str)
        and len(key) == DATA_KEY_LENGTH
    )


def corrupt(where: str) -> IntegrityError:
    """The error for a keyset that does not verify."""
    return IntegrityError(
        f"the keyset in {where} is corrupt, or of a newer version",
        hint="restore it from a backup; without it, what was encrypted under it is lost",
    )


@final
class KeysetFile:
    """A keyset in a file of mode 0600, with its wrap counter in ``<path>.<key name>.wraps`` beside it."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).absolute()

    def create(self) -> LocalKey:
        """Make a new keyset; an existing file is never overwritten, since that would lose a key.

        The file appears whole (temporary file in the same directory, fsync, link, fsync of the directory),
        after its counter, so that there is never a key without a count. The counter lies beside the keyset
        and not in the database, because several databases may share one keyset and the bound is the key's.

        Raises:
            SecretConflictError: the file exists.
            InvalidRequestError: its directory does not.
            PermissionDeniedError, UnavailableError: it cannot be written.
        """
        keyset = Keyset.generate()
        counter = self.counter(keyset)
        try:
            counter.create()
            self._publish(keyset)
        except OSError as error:
            counter.path.unlink(missing_ok=True)
            failure = self._failure(error.errno, "written")
        else:
            return keyset.local_key(counter)
        raise failure

    def load(self, counter: WrapCounter | None = None) -> LocalKey:
        """The file's KEK, counting in `counter`, by default the file beside it.

        Raises:
            InvalidRequestError: the file is missing, or others than its owner may read it.
            PermissionDeniedError: this process may not read it, or it belongs to another user.
            IntegrityError: it is corrupt.
            UnavailableError: the disk failed.
        """
        keyset = Keyset.from_json(self._read(), str(self.path))
        return keyset.local_key(counter or self.counter(keyset))

    def counter(self, keyset: Keyset) -> FileWrapCounter:
        """The counter beside the file, of this one key."""
        return FileWrapCounter(self.path.with_name(f"{self.path.name}.{keyset.name}.wraps"))

    def lies_beside(self, other: str | os.PathLike[str]) -> bool:
        """Whether the file is in the directory of `other`, links resolved. A database's keyset may not be:
        one backup, one wrong mode or one stolen disk image would take both the ciphertext and its key."""
        return self.path.parent.resolve() == Path(other).absolute().parent.resolve()

    def _publish(self, keyset: Keyset) -> None:
        import tempfile  # only who makes a key pays for it, not each start of the command line

        # mkstemp makes the file 0600; link, unlike rename, refuses to replace a keyset that came in between.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(keyset.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
        self._make_durable()

    def _make_durable(self) -> None:
        try:
            sync_directory(self.path.parent)
        except OSError:
            self.path.unlink()  # reported as failed, so it must not be there
            raise

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            failure = self._failure(error.errno, "read")
        else:
            return self._read_from(descriptor)
        raise failure

    def _read_from(self, descriptor: int) -> bytes:
        # Checked on the open file, not on its path, so that nothing can be swapped in between.
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_KEYSET_LENGTH:
                raise corrupt(str(self.path))
            self._check_access(status)
            return os.read(descriptor, MAX_KEYSET_LENGTH)
        finally:
            os.close(descriptor)

    def _check_access(self, status: os.stat_result) -> None:
        if status.st_uid != os.geteuid():
            raise PermissionDeniedError(
                f"the keyset {self.path} belongs to another user", hint="run as its owner, or chown it"
            )
        if status.st_mode & 0o077:
            raise InvalidRequestError(
                f"the keyset {self.path} can be read by others than its owner",
                hint=f"chmod 600 {self.path}; if others may have read it, move to a new key",
            )

    def _failure(self, number: int | None, what: str) -> SecretStoreError:
        if number == errno.EEXIST:
            return SecretConflictError(f"the keyset {self.path} exists already", hint="it was not changed")
        if number in (errno.ENOENT, errno.ENOTDIR) and what == "read":
            return InvalidRequestError(
                f"there is no keyset at {self.path}", hint="restore it from a backup, or correct the path"
            )
        if number in (errno.ENOENT, errno.ENOTDIR):
            return InvalidRequestError(f"there is no folder {self.path.parent}", hint="make the folder first")
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return PermissionDeniedError(f"the keyset {self.path} may not be {what} by this user")
        return UnavailableError(f"the keyset {self.path} cannot be {what}", hint=os.strerror(number or 0))


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_key(url: StoreURL, settings: Settings) -> LocalKey:  # noqa: ARG001  (every key scheme opens so)
    """The KEK of a ``local-key:///path/to/keyset.json`` URL; raises as `KeysetFile.load` does."""
    return _file(url).load()


def create_key(url: StoreURL, settings: Settings, kind: str) -> str:  # noqa: ARG001
    """Make the keyset that a ``local-key:`` URL names; return the URL. Raises as `KeysetFile.create` does."""
    if kind != KIND:
        raise InvalidRequestError("a keyset holds no key of this kind", hint=f"kind: {KIND}")
    _file(url).create()
    return url.text


def _file(url: StoreURL) -> KeysetFile:
    if url.host or not url.path.startswith("/"):
        raise InvalidRequestError(
            "a local-key URL names an absolute path", hint="local-key:///path/keyset.json"
        )
    return KeysetFile(url.allow().path)
