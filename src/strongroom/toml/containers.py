"""The kinds that hold others: tables of keys that are declared, and tables whose keys the file chooses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .kinds import Kind, Schema, described
from .spot import Spot, near

_NOTHING: Final[Mapping[str, Any]] = {}


class Table(Kind):
    """A table of keys, each of its own kind; any other key is refused.

    Args:
        keys: by name.
        needs: groups of keys, of each of which one at least is there; by what is said where it is not.
        either: two keys; exactly one of them is there.
        beside: for a key, those that may stand with it.
        only_with: for a key, the one without which it may not stand.
        off: ``false`` may stand for the table, and is read as False.
    """

    word = "table"

    def __init__(
        self,
        meaning: str,
        keys: Mapping[str, Kind],
        *,
        needs: Mapping[str, Sequence[tuple[str, ...]]] = _NOTHING,
        either: tuple[str, ...] = (),
        beside: Mapping[str, Sequence[str]] = _NOTHING,
        only_with: Mapping[str, str] = _NOTHING,
        off: bool = False,
    ):
        super().__init__(meaning)
        self.keys, self._needs = keys, needs
        self._either, self._beside, self._only_with, self._off = either, beside, only_with, off

    def read(self, spot: Spot, value: Any) -> Any:
        if self._off and value is False:
            return False
        return self.absent_values() | self.given(spot, value)

    def absent_values(self) -> dict[str, Any]:
        """What an empty table means, by key."""
        return {name: kind.absent() for name, kind in self.keys.items()}

    def given(self, spot: Spot, value: Any) -> dict[str, Any]:
        """Those keys alone that are written."""
        if not isinstance(value, dict):
            spot.fail("must be a table")
        for name in value:
            if name not in self.keys:
                (spot / name).fail("there is no such key", self.hint(name))
        self._judge(spot, value)
        return {name: self.keys[name].read(spot / name, inner) for name, inner in value.items()}

    def hint(self, name: str) -> str:
        """What to write instead of a key that is not among these."""
        return near(name, self.keys) if self.keys else "it takes none"

    def _judge(self, spot: Spot, value: Mapping[str, Any]) -> None:
        for lacking, groups in self._needs.items():
            if not all(value.keys() & set(group) for group in groups):
                spot.fail(f"needs {lacking}")
        if self._either and len(value.keys() & set(self._either)) != 1:
            spot.fail(f"needs either {' or '.join(self._either)}")
        for key, allowed in self._beside.items():
            if key in value and (more := sorted(value.keys() - {key, *allowed})):
                (spot / more[0]).fail(f"does not stand with {key}: its members have the rest")
        for key, other in self._only_with.items():
            if key in value and other not in value:
                (spot / key).fail(f"stands with {other} only")

    def schema(self) -> Schema:
        properties = {name: described(kind) for name, kind in self.keys.items()}
        found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        groups = [group for groups in self._needs.values() for group in groups]
        rules: list[Schema] = [{"anyOf": [{"required": [name]} for name in group]} for group in groups]
        if self._either:
            rules.append({"oneOf": [{"required": [name]} for name in self._either]})
        rules += [
            {"if": {"required": [key]}, "then": {"propertyNames": {"enum": sorted({key, *allowed})}}}
            for key, allowed in self._beside.items()
        ]
        if rules:
            found["allOf"] = rules
        if self._only_with:
            found["dependentRequired"] = {key: [other] for key, other in self._only_with.items()}
        return {"anyOf": [{"const": False}, found]} if self._off else found


class Written(Table):
    """A table of which only what is written counts."""

    def read(self, spot: Spot, value: Any) -> Any:
        return self.given(spot, value)


class Entries(Kind):
    """A table whose keys are chosen by whoever writes it: aliases, or patterns of names."""

    word = "table"

    def __init__(self, meaning: str, each: Kind, *, form: str, problem: str):
        super().__init__(meaning)
        self.each, self._form, self._problem = each, form, problem

    def read(self, spot: Spot, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            spot.fail("must be a table")
        for name in value:
            if not re.fullmatch(self._form, name):
                (spot / name).fail(self._problem)
        return {name: self.each.read(spot / name, inner) for name, inner in value.items()}

    def absent(self) -> dict[str, Any]:
        return {}

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self._form})$"},
            "additionalProperties": described(self.each),
        }


class Deferred(Kind):
    """A table that few files have: its keys are loaded for those that do.

    Args:
        load: gives the table.
    """

    word = "table"

    def __init__(self, meaning: str, load: Callable[[], Table]):
        super().__init__(meaning)
        self._load = load

    def read(self, spot: Spot, value: Any) -> Any:
        return self._load().read(spot, value)

    def schema(self) -> Schema:
        return self._load().schema()


class Tables(Kind):
    """A list of tables, each of the same keys."""

    word = "list of tables"

    def __init__(self, meaning: str, each: Table):
        super().__init__(meaning, ())
        self.each = each

    def read(self, spot: Spot, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            spot.fail("must be a list of tables")
        return tuple(self.each.read(spot, one) for one in value)

    def schema(self) -> Schema:
        return {"type": "array", "minItems": 1, "items": described(self.each)}
