"""The condition of a Sigma rule: ``selection and not 1 of filter_*``.

Source: the Sigma Rules Specification, "Condition". ``not`` binds before ``and``, and that before ``or``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, final

from strongroom.errors import InvalidRequestError

Fields = Mapping[str, object]
Predicate = Callable[[Fields], bool]

_TOKEN: Final = re.compile(r"[()]|[^\s()]+")
_QUANTIFIERS: Final = {"1": any, "any": any, "all": all}
_WORDS: Final = {"and", "or", "not", "of", "(", ")"}


def compile_condition(condition: str, parts: Mapping[str, Predicate], where: str) -> Predicate:
    """The predicate that a condition makes of a rule's named parts.

    Args:
        condition: its text.
        parts: by the names that stand in the rule's ``detection``.
        where: file and rule, for the error.

    Raises:
        InvalidRequestError: it is no condition, or names a part that is not there.
    """
    return _Parser(_TOKEN.findall(condition), parts, where).whole()


@final
class _Parser:
    def __init__(self, tokens: Sequence[str], parts: Mapping[str, Predicate], where: str):
        self._tokens, self._parts, self._where = list(tokens), parts, where

    def whole(self) -> Predicate:
        found = self._either()
        if self._tokens:
            raise self._error(f"{self._tokens[0]!r} is one word too many")
        return found

    def _either(self) -> Predicate:
        sides = [self._both()]
        while self._taken("or"):
            sides.append(self._both())
        return _joined(any, sides)

    def _both(self) -> Predicate:
        sides = [self._one()]
        while self._taken("and"):
            sides.append(self._one())
        return _joined(all, sides)

    def _one(self) -> Predicate:
        if self._taken("not"):
            inner = self._one()
            return lambda fields: not inner(fields)
        if self._taken("("):
            inner = self._either()
            if not self._taken(")"):
                raise self._error("a parenthesis is not closed")
            return inner
        return self._named()

    def _named(self) -> Predicate:
        word = self._tokens.pop(0) if self._tokens else ""
        if word in _QUANTIFIERS and self._taken("of"):
            return _joined(_QUANTIFIERS[word], self._matching(self._tokens.pop(0) if self._tokens else ""))
        if word in self._parts and word not in _WORDS:
            return self._parts[word]
        raise self._error(f"{word!r} is not a part of the detection" if word else "it ends too early")

    def _matching(self, pattern: str) -> list[Predicate]:
        """`them` leaves out names that begin with an underscore, says the specification."""
        wanted = "[!_]*" if pattern == "them" else pattern
        found = [part for name, part in self._parts.items() if fnmatchcase(name, wanted)]
        if not found:
            raise self._error(f"no part of the detection is named {pattern!r}")
        return found

    def _taken(self, word: str) -> bool:
        there = bool(self._tokens) and self._tokens[0] == word
        if there:
            del self._tokens[0]
        return there

    def _error(self, reason: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self._where}: the condition does not parse: {reason}")


def _joined(how: Callable[[Iterable[bool]], bool], sides: Sequence[Predicate]) -> Predicate:
    return sides[0] if len(sides) == 1 else lambda fields: how(side(fields) for side in sides)
