"""What GetParameterHistory tells of a parameter: its versions, without their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any

from strongroom.guarded import Head, Stamp

from ._parameter_mark import Mark, read

_ID = re.compile(r"([1-9][0-9]{0,17})\.([1-9][0-9]{0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """One version; `kept` are the fields that the next PutParameter must repeat so that they stay."""

    number: int
    modified: datetime
    text: str
    mark: Mark | None
    tier: str
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """The public version id."""
        return version_id(self.number, self.modified)

    @property
    def record(self) -> str | None:
        """Replication's record, written with this very version."""
        return self.mark.record if self.mark else None

    @property
    def bears_its_own_mark(self) -> bool:
        """Whether this entry alone shows that its mark, if there is one, was written with it.

        It does if it follows right after the version that the mark names; otherwise the history tells.
        """
        before = self.mark.stamp.before if self.mark else None
        return self.mark is None or self.number == (number_of(before or "") or 0) + 1

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Version:
        """An entry of the history, or of a listing, which tells the newest version's."""
        text, mark = read(entry.get("Description", ""))
        kept = [("KeyId", entry.get("KeyId")), ("AllowedPattern", entry.get("AllowedPattern"))]
        kept.append(("DataType", entry.get("DataType") if entry.get("DataType") != "text" else None))
        given = tuple((name, value) for name, value in kept if value)
        return cls(
            entry["Version"], entry["LastModifiedDate"], text, mark, entry.get("Tier", "Standard"), given
        )


def version_id(number: int, modified: datetime) -> str:
    """The public id. Numbers start at 1 in each life of a name, so it also says when the version was made.

    A name can be taken again only 30 seconds after its deletion (the API model, DeleteParameter), so that no
    number has the same millisecond twice.
    """
    return f"{number}.{round(modified.timestamp() * 1000)}"


def number_of(id_: str) -> int | None:
    """The number within a version id; None for what no answer ever held."""
    match = _ID.fullmatch(id_)
    return int(match[1]) if match else None


def is_older(one: str, other: str) -> bool:
    """Whether a version came before another one in the same life of a name."""
    numbers = number_of(one) or 0, number_of(other) or 0
    return numbers[0] < numbers[1] and made_at(one) <= made_at(other)


def made_at(id_: str) -> datetime:
    """When the version of this id was made."""
    return datetime.fromtimestamp(int(id_.partition(".")[2]) / 1000, UTC)


def in_order(entries: Sequence[dict[str, Any]]) -> list[Version]:
    """The versions, newest first, each mark on the version that it was written with."""
    versions: list[Version] = []
    seen: set[str] = set()
    for version in sorted(map(Version.of, entries), key=lambda version: version.number):
        write_id = version.mark.stamp.write_id if version.mark else ""
        versions.append(replace(version, mark=None) if write_id in seen else version)
        seen |= {write_id} if write_id else set()
    return versions[::-1]


def heads(versions: Sequence[Version]) -> list[Head]:
    """The same for the guard. Without a fence the numbers are the order: two such writers may have seen the
    same version, and both wrote."""
    return [_head(version, before) for version, before in zip_longest(versions, versions[1:])]


def _head(version: Version, before: Version | None) -> Head:
    if version.mark is None:
        return Head(version.id)
    stamp = version.mark.stamp
    if not stamp.fence:
        stamp = Stamp(before.id if before else None, 0, stamp.write_id)
    return Head(version.id, stamp)
