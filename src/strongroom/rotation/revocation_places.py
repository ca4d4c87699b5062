"""Where a revocation list is kept: a file, or the reserved name space of a store with compare-and-set."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.backend import ABSENT, ANY_CAS, Stage
from strongroom.envelope.atomic import InputFile, atomic_output, attempt
from strongroom.errors import (
    IntegrityError,
    SecretConflictError,
    SecretNotFoundError,
    UnsupportedOperationError,
)
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.backend import Backend

LIMIT: Final = 2**22
"""Bytes of a list that are read at most: some 20,000 revocations."""


class Held(NamedTuple):
    """A signed note as it was read, and what the place calls that very one."""

    note: str
    version: str = ""


class RevocationPlace(ABC):
    """Keeps one signed note."""

    @abstractmethod
    def read(self) -> Held | None:
        """What is there; None if nothing ever was.

        Raises:
            IntegrityError: it is no text, or larger than a list can be.
            SecretStoreError: as the place says.
        """

    @abstractmethod
    def write(self, note: str, over: Held | None) -> None:
        """Put a note there, if what is there is still `over`.

        Raises:
            SecretConflictError: it is not.
            SecretStoreError: as the place says.
        """

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


@final
class FilePlace(RevocationPlace):
    """A file of mode 0644 on a local disk: everybody may read it, and copy it to where it is needed.

    It is replaced whole, under a lock on its folder, which network file systems do not give reliably.

    Args:
        path: of the file; its folder exists.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = os.path.realpath(path)

    def read(self) -> Held | None:
        try:
            with InputFile(self.path) as file:
                data = file.read(LIMIT + 1)
        except SecretNotFoundError:
            return None
        return Held(text_of(data or b""))

    def write(self, note: str, over: Held | None) -> None:
        with self._locked():
            if self.read() != over:
                raise SecretConflictError("another revocation list was put there")
            with atomic_output(self.path, overwrite=True, mode=0o644) as file:
                file.write(note.encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.path.dirname(self.path)
        descriptor = attempt(folder, os.open, folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attempt(folder, fcntl.flock, descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@final
class StorePlace(RevocationPlace):
    """A key of a store's reserved name space, below any encryption: a list is signed, and no secret.

    Args:
        backend: with compare-and-set; this object closes it.
        domain: of the list, a portable name.

    Raises:
        UnsupportedOperationError: the store has no compare-and-set, so that of two revocations at once one
            would be lost.
    """

    def __init__(self, backend: Backend, domain: str):
        if not backend.capabilities & ANY_CAS:
            raise UnsupportedOperationError(
                f"{backend.origin} has no compare-and-set, which a revocation list needs",
                hint="keep it in another store, or in a file",
            )
        self._backend, self._key = backend, Reserved("revocations", Name.parse(domain))

    def read(self) -> Held | None:
        try:
            found = self._backend.get(self._key, Stage.CURRENT)
        except SecretNotFoundError:
            return None
        return Held(text_of(found.value.reveal()), found.version)

    def write(self, note: str, over: Held | None) -> None:
        self._backend.put(self._key, SecretValue(note), over.version if over else ABSENT)

    def close(self) -> None:
        self._backend.close()


def text_of(data: bytes) -> str:
    """What is kept, as text; IntegrityError if it is none, or larger than a list can be."""
    try:
        text = data.decode() if len(data) <= LIMIT else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise IntegrityError("what stands where the revocation list is expected is none")
    return text
