"""What the database keeps of one secret beside its values, as a small JSON document."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from strongroom.backend import SecretVersion, Stage
from strongroom.value import Kind

KEEP_VERSIONS: Final = 100
"""How many versions a secret keeps, the newest, current and previous among them; pending is beside them."""
KEEP_ROTATIONS: Final = 200
"""How many finished rotations a secret remembers. A repeat of an older one conflicts all the same, since its
base is not current any more."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Version:
    """One version's metadata; `present` until its value is destroyed."""

    id: str
    created_at: datetime
    kind: Kind
    present: bool = True
    record: str | None = None


@dataclass(slots=True)
class Held:
    """A pending value: whose it is, and the version that must still be current when it is promoted."""

    rotation_id: str
    base: str
    version: Version


@dataclass(slots=True)
class Entry:
    """One secret. `history` holds every version that was ever current, oldest first."""

    created_at: datetime
    id: int | None = None
    history: list[Version] = field(default_factory=list)
    held: Held | None = None
    done: dict[str, str | None] = field(default_factory=dict)  # rotation id -> the version it became, or None
    tags: dict[str, str] = field(default_factory=dict)
    deleted_at: datetime | None = None

    @property
    def current(self) -> Version | None:
        """The newest version, unless it is destroyed."""
        return self.history[-1] if self.history and self.history[-1].present else None

    @property
    def previous(self) -> Version | None:
        """The one before it, unless it is destroyed."""
        return self.history[-2] if len(self.history) > 1 and self.history[-2].present else None

    @property
    def versions(self) -> list[Version]:
        """Every version there is, pending too."""
        return [*self.history, *([self.held.version] if self.held else [])]

    def find(self, version: str | Stage) -> Version | None:
        """A version that can be read, by id or stage; one that is only pending cannot."""
        if version is Stage.CURRENT:
            return self.current
        if version is Stage.PREVIOUS:
            return self.previous
        return next((found for found in self.history if found.id == version and found.present), None)

    def finish(self, rotation_id: str, version: str | None) -> None:
        """Remember what a rotation came to, and forget the oldest beyond `KEEP_ROTATIONS`."""
        self.done[rotation_id] = version
        for oldest in list(self.done)[:-KEEP_ROTATIONS]:
            del self.done[oldest]

    def prune(self) -> list[Version]:
        """Take out the oldest versions beyond `KEEP_VERSIONS`, and return them."""
        pruned = self.history[:-KEEP_VERSIONS]
        self.history = self.history[-KEEP_VERSIONS:]
        return pruned

    def public(self, version: Version) -> SecretVersion:
        """A version as callers see it."""
        holders = {Stage.CURRENT: self.current, Stage.PREVIOUS: self.previous}
        stages = {stage for stage, holder in holders.items() if holder is version}
        if self.held and self.held.version is version:
            stages.add(Stage.PENDING)
        return SecretVersion(version.id, version.created_at, frozenset(stages))

    def to_json(self) -> str:
        """All but the row's id and the time of deletion, which have columns."""
        held = self.held and [self.held.rotation_id, self.held.base, _packed(self.held.version)]
        document = {
            "created": to_number(self.created_at),
            "history": [_packed(version) for version in self.history],
            "held": held,
            "done": self.done,
            "tags": self.tags,
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, row: int, deleted_at: int | None) -> Entry:
        """The reverse."""
        document = json.loads(text)
        return cls(
            from_number(document["created"]),
            row,
            [_unpacked(packed) for packed in document["history"]],
            _unpacked_held(document["held"]),
            document["done"],
            document["tags"],
            None if deleted_at is None else from_number(deleted_at),
        )


def to_number(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_number(number: int) -> datetime:
    """The reverse."""
    return _EPOCH + timedelta(microseconds=number)


def _packed(version: Version) -> list[object]:
    return [version.id, to_number(version.created_at), version.kind, version.present, version.record]


def _unpacked(packed: list[Any]) -> Version:
    identity, created, kind, present, record = packed
    return Version(identity, from_number(created), kind, present, record)


def _unpacked_held(packed: list[Any] | None) -> Held | None:
    return Held(packed[0], packed[1], _unpacked(packed[2])) if packed else None
