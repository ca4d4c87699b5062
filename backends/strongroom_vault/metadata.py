"""What KV version 2 tells of a secret without its values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from strongroom.backend import SecretVersion, Stage

_ID = re.compile(r"([1-9][0-9]{0,9})\.([0-9]{4}-[0-9T:.+Z-]{6,40})")
_SECOND = timedelta(seconds=1)


def version_id(number: int, created: str) -> str:
    """``N.<created_time>``: numbers alone restart after a purge, and an id must never repeat."""
    return f"{number}.{created}"


def version_number(text: str) -> int | None:
    """The number in an id of `version_id`'s form; None for anything else."""
    match = _ID.fullmatch(text)
    return int(match[1]) if match else None


def moment(text: object) -> datetime | None:
    """A time of Vault's, in UTC, cut to microseconds."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Version:
    """One version's metadata.

    Attributes:
        number: from 1; starts again after a purge.
        created: as Vault writes it, to the nanosecond.
        deleted: in the bin, or past its ``delete_version_after``.
        destroyed: its data is gone for ever.
    """

    number: int
    created: str
    deleted: bool
    destroyed: bool

    @classmethod
    def of(cls, number: int, facts: Mapping[str, Any], now: datetime) -> Version:
        """Read one version's facts; `now` is the server's own time."""
        deletion = moment(facts.get("deletion_time"))
        # A Date header is cut to whole seconds, so the server's time is up to one second later.
        deleted = deletion is not None and deletion < now + _SECOND
        return cls(number, str(facts.get("created_time", "")), deleted, facts.get("destroyed") is True)

    @property
    def id(self) -> str:
        """What the interface calls it."""
        return version_id(self.number, self.created)

    @property
    def readable(self) -> bool:
        """Whether its value can be read."""
        return not self.deleted and not self.destroyed


@dataclass(frozen=True, slots=True)
class Metadata:
    """A secret's metadata.

    Attributes:
        created: when this life of the name began; a purge ends it.
        versions: those the engine still keeps, oldest first; empty if only metadata was ever written.
        tags: custom_metadata.
    """

    created: str
    versions: tuple[Version, ...]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, data: Mapping[str, Any], now: datetime) -> Metadata | None:
        """Read the answer of ``GET metadata/PATH``; None if it is not one."""
        try:
            versions = [Version.of(int(number), facts, now) for number, facts in data["versions"].items()]
            ordered = tuple(sorted(versions, key=lambda version: version.number))
            return cls(str(data["created_time"]), ordered, dict(data.get("custom_metadata") or {}))
        except (KeyError, ValueError, TypeError, AttributeError):
            return None

    @property
    def newest(self) -> Version | None:
        """The newest version, readable or not."""
        return self.versions[-1] if self.versions else None

    @property
    def current(self) -> Version | None:
        """The newest version, if it can be read."""
        return self.newest if self.newest and self.newest.readable else None

    @property
    def previous(self) -> Version | None:
        """The version right before the newest, if it can be read."""
        before = self.versions[-2] if len(self.versions) > 1 else None
        return before if before and before.readable else None

    @property
    def in_bin(self) -> bool:
        """Whether `restore` would bring it back: the newest version that is not destroyed is deleted."""
        kept = [version for version in self.versions if not version.destroyed]
        return bool(kept) and kept[-1].deleted

    def find(self, id_: str) -> Version | None:
        """The version with this id, in this life of the name."""
        return next((version for version in self.versions if version.id == id_), None)

    def public(self, version: Version) -> SecretVersion:
        """What the interface tells of a version."""
        holds = {Stage.CURRENT: self.current, Stage.PREVIOUS: self.previous}
        stages = frozenset(stage for stage, holder in holds.items() if holder is version)
        return SecretVersion(version.id, moment(version.created), stages)
