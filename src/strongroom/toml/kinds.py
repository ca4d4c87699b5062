"""The kinds of values in a strongroom.toml: beside how each is read stands how JSON Schema says the same.

A schema may accept more than the reader, which also sees other entries, the environment and the packages that
are installed; what a schema refuses the reader refuses too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from .credentials import Credential
from .spot import Spot

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_CREDENTIAL: Final = r"^(env://.|file:///|strongroom://.)"

Schema = dict[str, Any]


class Kind:
    """One kind of value.

    Args:
        meaning: one sentence for people, without its full stop.
        default: what is meant where the key is missing; it is given as the file would spell it.
        limits: what the value may be, for people.
    """

    word = "text"
    """What stands there, for people."""

    def __init__(self, meaning: str, default: Any = None, *, limits: str = ""):
        self.meaning, self.default, self.limits = meaning, default, limits

    def read(self, spot: Spot, value: Any) -> Any:
        """What the value means; whoever wrote something else is told so at `spot`."""
        raise NotImplementedError

    def absent(self) -> Any:
        """What a missing key means."""
        return self.default

    def schema(self) -> Schema:
        """The same rule as JSON Schema."""
        raise NotImplementedError


class Text(Kind):
    """A string, of a form where one is given."""

    def __init__(
        self,
        meaning: str,
        default: str = "",
        *,
        form: str = "",
        problem: str = "",
        hint: str | None = None,
        limits: str = "",
    ):
        super().__init__(meaning, default, limits=limits)
        self._form, self._problem, self._hint = form, problem, hint

    def read(self, spot: Spot, value: Any) -> str:
        if not isinstance(value, str) or not value:
            spot.fail("must be a string that is not empty")
        if self._form and not re.fullmatch(self._form, value):
            spot.fail(self._problem, self._hint)
        return value

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1} | ({"pattern": f"^(?:{self._form})$"} if self._form else {})


class Choice(Kind):
    """One of a few words, or of a few numbers."""

    word = ""

    def __init__(self, meaning: str, words: Sequence[str | int], default: str | int | None = None):
        super().__init__(meaning, default, limits=" or ".join(dict.fromkeys(f"`{word}`" for word in words)))
        self._words = tuple(words)

    def read(self, spot: Spot, value: Any) -> Any:
        if not any(type(value) is type(word) and value == word for word in self._words):
            spot.fail(f"is {' or '.join(map(repr, self._words))}")
        return value

    def schema(self) -> Schema:
        return {"enum": list(self._words)}


class Flag(Kind):
    """True or false."""

    word = "true or false"

    def __init__(self, meaning: str):
        super().__init__(meaning, default=False)

    def read(self, spot: Spot, value: Any) -> bool:
        if type(value) is not bool:
            spot.fail("is true or false")
        return value

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Whole(Kind):
    """A whole number between two bounds."""

    word = "whole number"

    def __init__(self, meaning: str, least: int, most: int, default: int | None = None):
        super().__init__(meaning, default, limits=f"{least:,} to {most:,}")
        self._least, self._most = least, most

    def read(self, spot: Spot, value: Any) -> int:
        if type(value) is not int or not self._least <= value <= self._most:
            spot.fail(f"is a whole number from {self._least} to {self._most}")
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


class Days(Kind):
    """A number of days, which may have a fraction."""

    word = "number"

    def __init__(self, meaning: str, most: int, default: int):
        super().__init__(meaning, default, limits=f"0 to {most:,}")
        self._most = most

    def read(self, spot: Spot, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= self._most:
            spot.fail(f"is a number of days from 0 to {self._most}")
        return value

    def schema(self) -> Schema:
        return {"type": "number", "minimum": 0, "maximum": self._most}


class Duration(Kind):
    """A number and a unit, such as ``"30s"``; read as seconds."""

    word = "duration"

    def __init__(
        self, meaning: str, default: str = "", *, nothing: bool = False, most: str = "", limits: str = ""
    ):
        least = "" if nothing else "more than nothing"
        said = " and ".join(filter(None, (least, most and f"at most {most}")))
        super().__init__(meaning, default, limits=limits or said)
        self._nothing, self._most, self._said = nothing, seconds(most) if most else float("inf"), said

    def read(self, spot: Spot, value: Any) -> float:
        if not isinstance(value, str) or not _DURATION.fullmatch(value):
            spot.fail("is a duration", 'write "30s", "5m" or "1h"')
        found = seconds(value)
        if found > self._most or not (found or self._nothing):
            spot.fail(f"is {self._said}")
        return found

    def absent(self) -> float:
        return seconds(self.default) if self.default else 0.0

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{_DURATION.pattern}$"}


def seconds(text: str) -> float:
    """How long ``"30s"`` is."""
    match = _DURATION.fullmatch(text)
    assert match
    return int(match[1]) * _SECONDS[match[2]]


class Texts(Kind):
    """A list of strings that names something."""

    word = "list"

    def __init__(self, meaning: str, what: str):
        super().__init__(meaning, ())
        self._what = what

    def read(self, spot: Spot, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            spot.fail("must be a list of strings")
        if not value:
            spot.fail("names nothing")
        if len(set(value)) < len(value):
            spot.fail(f"names a {self._what} twice")
        return tuple(value)

    def schema(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}


class Secret(Kind):
    """A credential, which never stands in the file itself."""

    word = "reference"

    def read(self, spot: Spot, value: Any) -> Credential:
        if not isinstance(value, str):
            spot.fail("must be a string")
        found = Credential.parse(spot, value)
        if found is None:
            spot.fail(
                "must not stand in the file", "write env://VAR, file:///path or strongroom://ALIAS/NAME"
            )
        return found

    def schema(self) -> Schema:
        return {"type": "string", "pattern": _CREDENTIAL}


class Plain(Kind):
    """What belongs to a credential and is no secret itself: it may stand in the file, or be a reference."""

    def read(self, spot: Spot, value: Any) -> str | Credential:
        if not isinstance(value, str) or not value:
            spot.fail("must be a string that is not empty")
        return Credential.parse(spot, value) or value

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


class OneOrMore(Kind):
    """A string, a list of strings, or a table of strings, for the backend to judge."""

    word = ""

    def __init__(self, meaning: str, limits: str = ""):
        super().__init__(meaning, limits=limits)

    def read(self, spot: Spot, value: Any) -> Any:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in inner):
            spot.fail("must hold strings")
        return value

    def schema(self) -> Schema:
        text: Schema = {"type": "string"}
        several = {"type": "array", "items": text}
        return {"anyOf": [text, several, {"type": "object", "additionalProperties": text}]}


def described(kind: Kind) -> Schema:
    """The schema of a kind, with its meaning and its default."""
    told: Schema = {"description": f"{kind.meaning}."} if kind.meaning else {}
    if kind.default not in (None, "", ()):
        told["default"] = kind.default
    return {**told, **kind.schema()}
