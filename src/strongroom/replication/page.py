"""The page: what a store keeps of one secret's order beside the secret, where no version can bear it.

A version written by Strongroom bears its record. What cannot stands on the page, in the reserved name space:
the records of versions that something else wrote, the record of a deletion (it outlives the purge), and what
a person has to decide. It is written under compare-and-set only, so that one order is given out once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from strongroom.backend import ABSENT, Stage
from strongroom.errors import IntegrityError, SecretNotFoundError
from strongroom.names import Reserved
from strongroom.value import SecretValue

from .record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.backend import Backend
    from strongroom.names import Name

Place = tuple[int, int]
"""Epoch and sequence: a place in the order."""

BEFORE_ALL: Final[Place] = (0, 0)
"""Below every record."""

KEPT: Final = 4
"""Bindings that a page keeps. Only the newest counts; those before it are for a person who looks."""

_FORMAT: Final = "replication/1"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Two versions that claim one place in the order: nothing is replicated until a person decides.

    Attributes:
        reason: in our own words.
        source: the record at the source.
        replica: the record at the replica.
    """

    reason: str
    source: Record | None
    replica: Record | None


@dataclass(frozen=True, slots=True)
class Page:
    """What a store keeps of one secret's order.

    Attributes:
        floor: the highest place that this page ever gave out, or a replica ever told of.
        bindings: records of versions that bear none that counts, by version id, the newest last.
        tombstone: of the last deletion; what arrives at or below it is late, and is dropped.
        quarantine: what stops the replication of this secret.
        buried: of what the last deletion deleted, for a store that returns and still has it.
    """

    floor: Place = BEFORE_ALL
    bindings: Mapping[str, Record] = field(default_factory=dict)
    tombstone: Record | None = None
    quarantine: Quarantine | None = None
    buried: Record | None = None

    def bound(self, version: str) -> Record | None:
        """The record bound to a version, if nothing was ordered after it since."""
        record = self.bindings.get(version)
        return record if record and record.order >= self.floor else None

    def with_binding(self, version: str, record: Record) -> Page:
        """With one more binding, and the floor at it."""
        others = [(key, held) for key, held in self.bindings.items() if key != version]
        kept = dict([*others, (version, record)][-KEPT:])
        return replace(self, bindings=kept, floor=max(self.floor, record.order))

    def with_tombstone(self, record: Record, buried: Record | None = None) -> Page:
        """With a deletion's record, and the floor at it; a lower one than the page has changes nothing.

        Args:
            record: of the deletion.
            buried: of what it deletes, if that is known.
        """
        if self.tombstone and self.tombstone.order > record.order:
            return self
        floor = max(self.floor, record.order)
        return replace(self, tombstone=record, buried=buried or self.buried, floor=floor)

    @property
    def text(self) -> str:
        """As it is kept: one line of JSON, without what is not there."""
        facts = {
            "strongroom": _FORMAT,
            "floor": list(self.floor),
            "bindings": [[version, record.text] for version, record in self.bindings.items()],
            "tombstone": _text(self.tombstone),
            "quarantine": self.quarantine and _packed(self.quarantine),
            "buried": _text(self.buried),
        }
        return json.dumps({name: fact for name, fact in facts.items() if fact})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a page.

        Raises:
            IntegrityError: it is none of this version. Purged, its order is raised again by the replicas'.
        """
        try:
            return cls._read(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, IntegrityError):
            pass
        raise IntegrityError(
            "the replication page is damaged, or of a later Strongroom", hint="strongroom replica adopt NAME"
        )

    @classmethod
    def _read(cls, facts: Any) -> Self:
        epoch, seq = facts.get("floor", BEFORE_ALL)
        if facts["strongroom"] != _FORMAT or type(epoch) is not int or type(seq) is not int:
            raise TypeError
        bindings = {str(version): Record.parse(text) for version, text in facts.get("bindings", ())}
        held = facts.get("quarantine")
        return cls(
            (epoch, seq),
            bindings,
            _record(facts.get("tombstone")),
            _unpacked(held) if held else None,
            _record(facts.get("buried")),
        )


def page_key(name: Name) -> Reserved:
    """Where a secret's page stands."""
    return Reserved("replication", name)


def read_page(backend: Backend, name: Name) -> tuple[Page, str | None]:
    """A secret's page and its version, to be written over by; an empty page and None where there is none.

    Raises:
        IntegrityError: it is damaged.
        SecretStoreError: as the backend says.
    """
    try:
        found = backend.get(page_key(name), Stage.CURRENT)
    except SecretNotFoundError:
        return Page(), None
    return Page.parse(found.value.reveal_text()), found.version


def write_page(backend: Backend, name: Name, page: Page, if_version: str | None) -> str:
    """Write a secret's page over the version that was read; its new version.

    Raises:
        SecretConflictError: another wrote it first; read it again.
        UnavailableError: with ``performed=None`` if the answer was lost; read it again.
    """
    return backend.put(page_key(name), SecretValue(page.text), if_version or ABSENT).id


def _text(record: Record | None) -> str | None:
    return record.text if record else None


def _record(text: str | None) -> Record | None:
    return Record.parse(text) if text else None


def _packed(held: Quarantine) -> dict[str, str | None]:
    return {"reason": held.reason, "source": _text(held.source), "replica": _text(held.replica)}


def _unpacked(facts: Any) -> Quarantine:
    return Quarantine(str(facts["reason"]), _record(facts["source"]), _record(facts["replica"]))
