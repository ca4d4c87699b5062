"""Anchors: where a checkpoint goes so that the journal's writer cannot take it back.

What an anchor holds bounds what can be changed unnoticed: nothing up to the last checkpoint it has. Each
origin has a name space of its own in it, and each checkpoint a name that says its size.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, final
from urllib.parse import quote

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)

from .head import Checkpoint
from .https import endpoint, post
from .linefile import LineFile
from .turn import turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUFFIX: Final = ".note"
_STRAYS: Final = 16
"""Files of a folder that are looked at for a checkpoint: somebody may have put others among them."""

_TYPE: Final = "text/plain; charset=utf-8"


class Export(ABC):
    """One anchor.

    Attributes:
        name: what status and errors call it; it holds no credential.
    """

    name: str

    @abstractmethod
    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        """Keep the checkpoint. To put it again is no error.

        Args:
            journal: the folder of the journal, for an anchor that asks for a proof.

        Raises:
            IntegrityError: the anchor has another tree of this origin and size: one of them is a forgery.
            UnavailableError: it does not answer.
            SecretStoreError: as it says.
        """

    def above(self, origin: str, size: int) -> Checkpoint | None:
        """Some checkpoint of this origin that the anchor has and that covers more than `size` records.

        None if there is none, or the anchor does not say.

        Raises: as `put`.
        """

    def after_fork(self) -> None:
        """In a forked child: drop what the parent uses, without closing it."""

    def close(self) -> None:
        """Release what is held."""


class ObjectStore(Protocol):
    """A bucket, as `ObjectExport` needs it."""

    name: str

    def create(self, key: str, data: bytes, content_type: str) -> None:
        """Write a new object; SecretConflictError if there is one of that name."""

    def read(self, key: str) -> bytes:
        """The object's bytes."""

    def following(self, key: str) -> str | None:
        """The name of an object in the same folder that sorts after this one."""

    def after_fork(self) -> None:
        """Drop connections."""

    def close(self) -> None:
        """Close connections."""


def object_name(checkpoint: Checkpoint) -> str:
    """What a checkpoint is called in an anchor: by its origin, and so that names sort as sizes do."""
    return f"{folder_name(checkpoint.origin)}/{_file_name(checkpoint.size)}"


def _file_name(size: int) -> str:
    return f"{size:020d}{SUFFIX}"


def folder_name(origin: str) -> str:
    """One path segment for each origin: letters, digits, dot and dash as they are, other bytes as ``_2F``."""
    quoted = quote(origin, safe="").replace("_", "%5F").replace("~", "%7E")
    return (quoted if origin.strip(".") else quoted.replace(".", "%2E")).replace("%", "_")


@final
class LazyExport(Export):
    """An anchor that is opened when it is first needed: a program that ends before pays for no SDK."""

    def __init__(self, name: str, opened: Callable[[], Export]):
        self.name, self._open = name, opened
        self._inner: Export | None = None

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        self._opened().put(checkpoint, journal)

    def above(self, origin: str, size: int) -> Checkpoint | None:
        return self._opened().above(origin, size)

    def after_fork(self) -> None:
        if self._inner is not None:
            self._inner.after_fork()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def _opened(self) -> Export:
        if self._inner is None:
            self._inner = self._open()
        return self._inner


@final
class FileExport(Export):
    """A file elsewhere, one JSON line for each checkpoint, like ``checkpoints.jsonl``."""

    def __init__(self, path: Path):
        self.path, self.name = path, f"file://{path}"

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        _outside(self.path, journal)
        file = LineFile(self.path)
        with turn(self.path.with_name(f".{self.path.name}.lock")) as mine:
            if not mine:
                raise UnavailableError("another process writes to the anchor")
            there = self.above("", -1)
            if there is not None:
                _compare(there, checkpoint)
            if there is None or there.note != checkpoint.note:
                file.append(checkpoint.line(), file.end())

    def above(self, origin: str, size: int) -> Checkpoint | None:
        last = LineFile(self.path).last()
        there = _read(partial(Checkpoint.of, last)) if last else None
        return there if there and there.size > size and origin in ("", there.origin) else None


@final
class FolderExport(Export):
    """A folder elsewhere, one file for each checkpoint, in a folder for each origin."""

    def __init__(self, path: Path):
        self.path, self.name = path, f"file://{path}/"

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        _outside(self.path, journal)
        target = self.path / object_name(checkpoint)
        try:
            target.parent.mkdir(mode=0o755, exist_ok=True)
            there = None if _create(target, checkpoint.note.encode()) else target.read_bytes()
        except OSError as exc:
            failure = _failure(self.path, exc)
        else:
            if there is not None:
                _compare(_parsed(there, checkpoint.origin), checkpoint)
            return
        raise failure

    def above(self, origin: str, size: int) -> Checkpoint | None:
        try:
            folder = self.path / folder_name(origin)
            above = [name for name in os.listdir(folder) if name.endswith(SUFFIX) and name > _file_name(size)]
            found = (_parsed((folder / name).read_bytes(), origin) for name in nlargest(_STRAYS, above))
            return next((each for each in found if each), None)
        except FileNotFoundError:
            return None
        except OSError as exc:
            failure = _failure(self.path, exc)
        raise failure


@final
class ObjectExport(Export):
    """An object for each checkpoint, written only where there is none: Object Lock keeps it so."""

    def __init__(self, store: ObjectStore):
        self._store, self.name = store, store.name
        self.after_fork, self.close = store.after_fork, store.close  # type: ignore[method-assign]

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        key = object_name(checkpoint)
        if not self._created(key, checkpoint):
            _compare(_parsed(self._store.read(key), checkpoint.origin), checkpoint)

    def above(self, origin: str, size: int) -> Checkpoint | None:
        with suppress(PermissionDeniedError):  # who may not list can still write
            key = self._store.following(f"{folder_name(origin)}/{_file_name(size)}")
            return _parsed(self._store.read(key), origin) if key else None
        return None

    def _created(self, key: str, checkpoint: Checkpoint) -> bool:
        try:
            self._store.create(key, checkpoint.note.encode(), _TYPE)
        except SecretConflictError:
            return False
        return True


@final
class HttpsExport(Export):
    """A receiver of checkpoints over HTTPS: POST to a URL, or PUT below one that ends with a slash.

    Args:
        headers: sent with each request; called for each, so that a token need not be kept in clear.
        ca: PEM file of the authorities to trust instead of the system's.
        timeout: seconds for one request.
        private: whether the receiver may have an address that is not public.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        ca: str | None = None,
        timeout: float = 10.0,
        private: bool = False,
    ):
        endpoint(url)
        self._url, self.name = url, url.partition("?")[0]
        self._headers, self._ca, self._timeout, self._private = headers, ca, timeout, private

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        below = self._url.endswith("/")
        status, _ = post(
            self._url + quote(object_name(checkpoint)) if below else self._url,
            checkpoint.note.encode(),
            {"Content-Type": _TYPE, **self._headers()},
            ca=self._ca,
            timeout=self._timeout,
            method="PUT" if below else "POST",
            private=self._private,
        )
        accept(status, "the anchor")


def accept(status: int, who: str) -> None:
    """Nothing, for an HTTP status of success.

    Raises:
        PermissionDeniedError, UnavailableError: what the status says.
    """
    if 200 <= status < 300:
        return
    if status in (401, 403):
        raise PermissionDeniedError(f"{who} refused us (HTTP {status})", hint="check its credentials")
    raise UnavailableError(f"{who} did not take the checkpoint (HTTP {status})")


def _create(target: Path, data: bytes) -> bool:
    """Whether the file is new, whole and durable; False if there is one."""
    draft = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.link(draft, target)  # unlike a rename it never replaces what is there
    except FileExistsError:
        return False
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
    for folder in (target.parent, target.parent.parent):
        _sync(folder)
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _outside(path: Path, journal: Path) -> None:
    if path.resolve().is_relative_to(journal.resolve()):
        raise InvalidRequestError("an anchor inside the journal anchors nothing", hint="put it elsewhere")


def _parsed(data: bytes, origin: str) -> Checkpoint | None:
    """The checkpoint that an anchor has; what somebody else put there is no word on ours."""
    found = _read(partial(Checkpoint.parse, data.decode(errors="replace")))
    return found if found and found.origin == origin else None


def _read(parse: Callable[[], Checkpoint]) -> Checkpoint | None:
    try:
        return parse()
    except IntegrityError:
        return None


def _compare(there: Checkpoint | None, ours: Checkpoint) -> None:
    """Two trees of one origin and size are one tree."""
    if there is None:
        raise UnavailableError("the anchor has something else under the checkpoint's name", hint="remove it")
    if (there.origin, there.size) == (ours.origin, ours.size) and there.root != ours.root:
        raise IntegrityError(
            f"the anchor has another tree of {ours.size} records: one of the two is a forgery",
            hint="keep both notes: together they prove it",
        )


def _failure(path: Path, exc: OSError) -> SecretStoreError:
    if isinstance(exc, PermissionError):
        return PermissionDeniedError(f"the anchor {path} may not be written by this user")
    return UnavailableError(f"the anchor {path} cannot be written", hint=os.strerror(exc.errno or 0))
