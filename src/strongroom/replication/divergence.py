"""The divergence report: writes that a returning source had acknowledged, and the new source never saw.

They cannot be merged, since nobody knows which of the two a person meant, and must not be lost, since
somebody was told that they were done. So each is kept in the new source's reserved name space, under its
encryption, before anything is written over it, until a person has read it and says that it may go.
"""

from __future__ import annotations

import contextlib
import json
import string
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, final

from strongroom.backend import ABSENT, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.names import Name, Reserved
from strongroom.value import SecretValue

from .record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.backend import Backend, SecretVersion
    from strongroom.value import Kind

T = TypeVar("T")
KIND: Final = "divergence"
INDEX: Final = "divergence-index"
ROOM: Final = len(string.ascii_lowercase)
"""How many writes of one name are kept: a reserved kind has letters only, and one key holds one write, so
that a value at the provider's limit has a key to itself."""

_NO_VALUE: Final = SecretValue("")
_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Divergence:
    """One write that only the returning source had.

    Attributes:
        name: the secret's.
        record: its place in the order of the old source.
        origin: the alias of the store that had it.
        version: its id there; empty for a deletion.
        deleted: the write was a deletion; there is no value.
        written_at: when the old source wrote it, if its provider tells.
        found_at: when it was found and kept.
    """

    name: str
    record: Record
    origin: str
    version: str
    deleted: bool
    written_at: datetime | None
    found_at: datetime


class _Held(NamedTuple):
    """One key of the report as it was read: its version, and what it keeps unless a person let that go."""

    version: str
    divergence: Divergence | None
    value: SecretValue


@final
class DivergenceReport:
    """Keeps, lists and lets go.

    Args:
        backend: the new source with its Encrypted layer. It has compare-and-set, and is its owner's to close.
    """

    def __init__(self, backend: Backend):
        self._backend = backend.writer

    def keep(self, found: Divergence, value: SecretValue | None) -> bool:
        """Keep a write; False if it was kept before. Once this returns, its store may be written over.

        Raises:
            InvalidRequestError: it does not fit, or `ROOM` writes of that name wait already.
            SecretConflictError: others wrote the report at each attempt; repeat it.
        """
        framed = _framed(found, value or _NO_VALUE)
        self._check_size(found.name, framed)
        new = _tried(lambda: self._keep(found, framed))
        # Listed afterwards: who stops in between comes back, since nothing was written over yet.
        _tried(lambda: self._list(found.name))
        return new

    def names(self) -> tuple[str, ...]:
        """The names that have a write in the report, sorted. One read, if there are few."""
        return tuple(sorted(name for _, page in self._pages() if page for name in page[1]))

    def of(self, name: str) -> tuple[Divergence, ...]:
        """The writes of a name, the newest first; never a value."""
        found = (held.divergence for _, held in self._slots(name) if held)
        return tuple(sorted(filter(None, found), key=lambda one: one.record.order, reverse=True))

    def value(self, name: str, write_id: str | None = None) -> SecretValue:
        """The value of a write; of the newest that has one, if none is named.

        Raises:
            SecretNotFoundError: no such write is in the report, or it was a deletion.
        """
        kept = {
            held.divergence.record.write_id: held for _, held in self._slots(name) if held and held.divergence
        }
        told = [one.record.write_id for one in self.of(name) if not one.deleted]
        wanted = write_id or next(iter(told), "")
        if wanted in told and wanted in kept:
            return kept[wanted].value
        raise SecretNotFoundError("the divergence report has no such value", name=name)

    def discard(self, name: str) -> int:
        """Let the writes of a name go, and destroy their values where the provider can; how many."""
        gone = 0
        for key, held in list(self._slots(name)):
            if held and held.divergence:
                self._backend.put(key, _EMPTY, held.version)
                self._backend.retire(key, held.version)
                gone += 1
        _tried(lambda: self._unlist(name))
        if self.of(name):  # another write was kept meanwhile
            _tried(lambda: self._list(name))
        return gone

    def _keep(self, found: Divergence, framed: SecretValue) -> bool:
        slots = list(self._slots(found.name))
        if any(held and held.divergence and held.divergence.record == found.record for _, held in slots):
            return False
        free = next(((key, held) for key, held in slots if not (held and held.divergence)), None)
        if free is None:
            problem = f"{ROOM} writes of this name wait in the divergence report"
            raise InvalidRequestError(problem, name=found.name, hint="read them and let them go first")
        self._put(*free, framed)
        return True

    def _put(self, key: Reserved, held: _Held | None, framed: SecretValue) -> SecretVersion:
        return self._backend.put(key, framed, held.version if held else ABSENT)

    def _slots(self, name: str) -> Iterator[tuple[Reserved, _Held | None]]:
        """The keys of a name, up to the first that was never written."""
        for letter in string.ascii_lowercase:
            key = Reserved(f"{KIND}-{letter}" if letter != "a" else KIND, Name(name))
            held = self._read(key)
            yield key, held
            if held is None:
                return

    def _read(self, key: Reserved) -> _Held | None:
        try:
            secret = self._backend.get(key, Stage.CURRENT)
        except SecretNotFoundError:
            return None
        return _Held(secret.version, *_split(secret.value))

    def _check_size(self, name: str, framed: SecretValue) -> None:
        key = Reserved(KIND, Name(name))
        limit = self._backend.limit(key)
        if limit is not None and self._backend.size(framed) > limit:
            raise InvalidRequestError(
                "the old source's value does not fit into the divergence report",
                name=name,
                hint="nothing was written over it: take it from the old source by hand, and purge it there",
            )

    def _list(self, name: str) -> None:
        for key, page in self._pages():
            version, listed = page or (None, [])
            if name in listed:
                return
            wanted, limit = _packed([*listed, name]), self._backend.limit(key)
            if page is None or limit is None or self._backend.size(wanted) <= limit:
                self._backend.put(key, wanted, version or ABSENT)
                return
        raise InvalidRequestError("the divergence report is full", hint="read it and let names go first")

    def _unlist(self, name: str) -> None:
        for key, page in self._pages():
            if page and name in page[1]:
                self._backend.put(key, _packed([one for one in page[1] if one != name]), page[0])

    def _pages(self) -> Iterator[tuple[Reserved, tuple[str, list[str]] | None]]:
        """The index: names in as many keys as they need, up to the first that was never written."""
        for letter in string.ascii_lowercase:
            key = Reserved(INDEX, Name(letter))
            try:
                secret = self._backend.get(key, Stage.CURRENT)
            except SecretNotFoundError:
                yield key, None
                return
            yield key, (secret.version, _names(secret.value))


def _tried(call: Callable[[], T]) -> T:
    """Try again where others wrote at the same time; a last time without catching."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(SecretConflictError):
            return call()
    return call()


def _framed(found: Divergence, value: SecretValue) -> SecretValue:
    """A line of JSON, so that a person can read it, then the value; as a companion has it."""
    facts = {
        "strongroom": "divergence",
        "name": found.name,
        "record": found.record.text,
        "origin": found.origin,
        "version": found.version,
        "deleted": found.deleted,
        "written": found.written_at.isoformat() if found.written_at else None,
        "found": found.found_at.isoformat(),
        "kind": value.kind,
    }
    return SecretValue(json.dumps(facts).encode() + b"\n" + value.reveal(), value.kind)


def _split(framed: SecretValue) -> tuple[Divergence | None, SecretValue]:
    line, _, rest = framed.reveal().partition(b"\n")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, SecretStoreError):
        found, kind = _parsed(json.loads(line))
        return found, SecretValue(rest, kind)
    line = rest = b""  # another tool's value may be a secret too
    raise IntegrityError("the divergence report holds something else", hint="damaged, or another tool's")


def _parsed(facts: Any) -> tuple[Divergence | None, Kind]:
    if facts["kind"] not in ("text", "binary") or facts["strongroom"] not in ("divergence", "let-go"):
        raise TypeError
    if facts["strongroom"] == "let-go":
        return None, facts["kind"]
    told = [facts[fact] for fact in ("name", "origin", "version")]
    if not all(isinstance(text, str) for text in told) or type(facts["deleted"]) is not bool:
        raise TypeError
    written = facts["written"]
    return Divergence(
        facts["name"],
        Record.parse(facts["record"]),
        facts["origin"],
        facts["version"],
        facts["deleted"],
        datetime.fromisoformat(written) if written is not None else None,
        datetime.fromisoformat(facts["found"]),
    ), facts["kind"]


def _packed(names: list[str]) -> SecretValue:
    return SecretValue(json.dumps(sorted(names)))


def _names(value: SecretValue) -> list[str]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(value.reveal())
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return found
    raise IntegrityError("the index of the divergence report is damaged")


_EMPTY: Final = SecretValue(json.dumps({"strongroom": "let-go", "kind": "text"}) + "\n")
