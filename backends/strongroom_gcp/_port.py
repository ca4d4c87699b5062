"""What the write protocol needs of Google for one secret, and what it is told.

The protocol (`_judge`, `_intent`) calls nothing else, so that the model in ``tests/models`` runs the same
functions on a provider that it can take apart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from hmac import compare_digest
from typing import Protocol

from strongroom.backend import Absent
from strongroom.value import SecretValue

from ._book import Book, Trace


class Gone(enum.Enum):
    """Why a version that exists cannot be read."""

    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Seen:
    """A secret as it was read.

    Attributes:
        etag: changes with every patch of the secret, and not when a version is added.
        life: when this life of the name began; a name that was purged and created anew has another.
        book: our annotations.
        others: everybody else's annotations.
    """

    etag: str
    life: str
    book: Book
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be written.

    Attributes:
        payload: as it will lie in the version.
        mark: of its kind.
        write_id: new for each write.
        condition: the number that must be current, ABSENT, or None.
        life: the one in which that number was given.
        record: replication's.
    """

    payload: SecretValue
    mark: str
    write_id: str
    condition: int | Absent | None = None
    life: str = ""
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The number that was recorded, and the secret as it is since."""

    number: int
    seen: Seen


class Port(Protocol):
    """Google's calls for one secret.

    Each raises UnavailableError if there was no useful answer, with `performed` None if the call may have
    had, or may yet have, its effect; and other errors of ours if it was refused.
    """

    def look(self) -> Seen | None:
        """The secret, or None. What it tells may be old."""

    def create(self, book: Book) -> Seen | None:
        """Create the secret with this book; None if it exists already."""

    def change(self, seen: Seen, book: Book) -> Seen | None:
        """Put this book in place of the seen one; None if the secret was patched or purged since."""

    def add(self, payload: SecretValue) -> int:
        """Add a version and return its number."""

    def read(self, number: int) -> SecretValue | Gone | None:
        """The payload of a version by its number, as it is now; None if there is no such version."""

    def newest(self) -> int:
        """The number of ``latest``, 0 if there is no version. What it tells may be old."""

    def digest(self, write_id: str, payload: SecretValue) -> str:
        """The keyed digest of a payload under a write id: 32 hexadecimal digits."""

    def new_id(self) -> str:
        """A new write id: 16 hexadecimal digits."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def patience(self) -> int:
        """For how many milliseconds an intent keeps others out."""

    def wait(self, times: int) -> bool:
        """Wait a little for another writer, and say whether to go on; `times` counts from 0."""

    def report(self, numbers: Iterable[int]) -> None:
        """These versions were written by another program."""


def holds(port: Port, trace: Trace | None, payload: SecretValue | Gone | None) -> bool:
    """Whether a payload is the one a trace was taken of."""
    if trace is None or not isinstance(payload, SecretValue):
        return False
    return compare_digest(port.digest(trace.write_id, payload), trace.digest)
