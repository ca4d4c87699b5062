"""From records to the events that rules see: flat fields, one event for each secret and operation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from .spans import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

READS: Final = frozenset({"get", "get_many", "prefetch", "refresh", "pending.get"})
"""Operations whose answer holds a value."""

WRITES: Final = frozenset({"put", "rollback", "pending.promote", "reencrypt"})
"""Operations after which another version is current: the one their outcome names."""

_HEAD: Final = frozenset({"v", "seq", "prev", "mono", "reads"})
_BIGGEST: Final = 1 << 63
_SKIPPED: Final = frozenset({"detection", "chain", "adopt", "segment"})


@final
@dataclass(slots=True)
class Event:
    """What a rule is asked about.

    Attributes:
        time: nanoseconds since 1970.
        record: id of the record that tells it.
        fields: of the record, those of its actor as ``actor.uid`` and so on, and what the engine adds.
    """

    time: int
    record: str
    fields: dict[str, Any]

    def text(self, field: str) -> str:
        """A field's value as text; empty if there is none."""
        value = self.fields.get(field)
        return "" if value is None else str(value)


def key_of(*parts: str) -> str:
    """One text for several, from which no other parts give the same, whatever a name holds."""
    return json.dumps(parts)


def events_of(record_id: str, record: Mapping[str, Any], now: int) -> Iterator[Event]:
    """The events of a record. Without a readable time it is of now: no record hides behind its time."""
    time = parse_time(str(record.get("time", "")))
    time = now if time is None else time
    if str(record.get("kind")) in _SKIPPED:
        return
    fields = dict(_flat(record))
    if record.get("kind") != "reads":
        yield Event(time, record_id, fields)
        return
    answered = {**fields, "kind": "event", "phase": "outcome", "op": "get", "outcome": "ok", "cached": True}
    for name, version, count in _reads(record.get("reads")):
        yield Event(time, record_id, {**answered, "name": name, "version": version or None, "count": count})


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a rule may ask for. The journal is read unverified: whatever it holds, nothing here stumbles."""
    for key, value in record.items():
        if isinstance(value, dict):
            inner = ((f"{key}.{name}", item) for name, item in value.items() if name != "sealed")
            yield from (pair for pair in inner if _is_plain(pair[1]))
        elif key not in _HEAD and _is_plain(value):
            yield key, value


def _is_plain(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < _BIGGEST)


def _reads(given: object) -> Iterator[list[Any]]:
    for one in given if isinstance(given, list) else ():
        if isinstance(one, list) and [type(item) for item in one] == [str, str, int] and _is_plain(one[2]):
            yield one
