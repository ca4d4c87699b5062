"""Which records are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Selection:
    """What a record must be to be taken; what is empty asks for nothing.

    Attributes:
        since: not before this time, as records tell it.
        until: before this time.
        operations: of one of these, by name or shell pattern (``pending.*``); accounted reads are ``get``.
        names: of a secret of such a name or shell pattern; of accounted reads one is enough.
        actors: by one of these subjects, by their ``uid``.
    """

    since: str = ""
    until: str = ""
    operations: Sequence[str] = ()
    names: Sequence[str] = ()
    actors: Sequence[str] = ()

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether the record is one of those asked for."""
        time: str = record["time"]
        if time < self.since or (self.until and time >= self.until):
            return False
        if self.actors and record.get("actor", {}).get("uid") not in self.actors:
            return False
        return _any(self.operations, _operations(record)) and _any(self.names, _names(record))


def _any(patterns: Sequence[str], texts: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)


def _operations(record: Mapping[str, Any]) -> list[str]:
    return ["get"] if record["kind"] == "reads" else [record["op"]] if "op" in record else []


def _names(record: Mapping[str, Any]) -> list[str]:
    return [name for name, _, _ in record.get("reads", ())] + ([record["name"]] if "name" in record else [])
