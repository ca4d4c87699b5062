"""Google's filter language for lists, as far as Secret Manager documents it.

https://cloud.google.com/secret-manager/docs/filtering and https://google.aip.dev/160: comparisons joined by
AND, OR, NOT (also ``-``) and parentheses. AIP-160: OR binds more tightly than AND.

Whether ``name:x`` searches the whole resource name is not said; here it does, as the field holds it, so that
a caller who does not look at what comes back is found out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from google.cloud import secretmanager_v1 as api

from tests.servers.google_refusal import invalid

Matches = Callable[[Any], bool]
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|<=|>=|!=|[:=<>()]|[^\s:=<>()!"]+)')
_VALUE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s()"]+)')  # a time has colons
_FIELDS = frozenset(api.Secret.meta.fields) | frozenset(api.SecretVersion.meta.fields)


def matcher(text: str) -> Matches:
    """What `text` selects; everything if it is empty.

    Raises:
        Refusal: INVALID_ARGUMENT, if it does not parse.
    """
    if not text.strip():
        return lambda _: True
    parser = _Parser(list(_tokens(text)))
    found = parser.expression()
    if parser.left():
        raise invalid("Invalid filter: unexpected text at its end.")
    return found


def _tokens(text: str) -> Iterator[str]:
    place, token = 0, ""
    while text[place:].strip():
        found = (_VALUE if token in _TESTS else _TOKEN).match(text, place)
        if found is None:
            raise invalid("Invalid filter: unexpected character.")
        place, token = found.end(), found.group(1)
        yield token


class _Parser:
    def __init__(self, tokens: Sequence[str]):
        self._tokens = list(tokens)

    def left(self) -> bool:
        return bool(self._tokens)

    def expression(self) -> Matches:
        parts = [self._alternatives()]
        while self._tokens and self._tokens[0] != ")":
            self._take("AND")  # side by side means AND too
            parts.append(self._alternatives())
        return lambda item: all(part(item) for part in parts)

    def _alternatives(self) -> Matches:
        parts = [self._term()]
        while self._take("OR"):
            parts.append(self._term())
        return lambda item: any(part(item) for part in parts)

    def _term(self) -> Matches:
        if self._take("NOT"):
            negated = self._term()
            return lambda item: not negated(item)
        if self._take("("):
            inner = self.expression()
            if not self._take(")"):
                raise invalid("Invalid filter: a parenthesis is not closed.")
            return inner
        return self._comparison()

    def _comparison(self) -> Matches:
        name = self._next()
        negated, name = name.startswith("-"), name.removeprefix("-")
        if name.split(".")[0] not in _FIELDS:
            raise invalid(f"Invalid filter: unknown field {name[:40]}.")
        operator, wanted = self._next(), _unquoted(self._next())
        found = _comparison(name, operator, wanted)
        return (lambda item: not found(item)) if negated else found

    def _take(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            del self._tokens[0]
            return True
        return False

    def _next(self) -> str:
        if not self._tokens:
            raise invalid("Invalid filter: it ends too early.")
        return self._tokens.pop(0)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token


def _comparison(name: str, operator: str, wanted: str) -> Matches:
    test = _TESTS.get(operator)
    if test is None:
        raise invalid(f"Invalid filter: {operator[:20]!r} is not a comparison.")
    return lambda item: any(test(value, wanted) for value in values(item, name.split(".")))


def values(item: Any, path: Sequence[str]) -> list[Any]:
    """What stands at `path` in a message; a field of a repeated field is looked up in each of its items."""
    found = [item]
    for step in path:
        found = [value for each in found for value in _children(each, step)]
    return found


def _children(item: Any, step: str) -> list[Any]:
    if hasattr(item, "keys"):
        return [item[step]] if step in item else []
    if step not in type(item).meta.fields or step not in item:
        return []
    value = getattr(item, step)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _has(value: Any, wanted: str) -> bool:
    """``:`` is presence with ``*``, a key of a map, or part of a text in any case, ``*`` standing for any."""
    if wanted == "*":
        return True
    if hasattr(value, "keys"):
        return wanted in value
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    return re.search(pattern, _text(value), re.IGNORECASE) is not None


def _text(value: Any) -> str:
    return str(getattr(value, "name", value))


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, str], bool]:
    def compare(value: Any, wanted: str) -> bool:
        if isinstance(value, datetime):
            return test(value, _time(wanted))
        return test(_text(value), wanted)

    return compare


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise invalid("Invalid filter: not a time.") from None


_TESTS: dict[str, Callable[[Any, str], bool]] = {
    ":": _has,
    "=": _ordered(lambda value, wanted: value == wanted),
    "!=": _ordered(lambda value, wanted: value != wanted),
    "<": _ordered(lambda value, wanted: value < wanted),
    "<=": _ordered(lambda value, wanted: value <= wanted),
    ">": _ordered(lambda value, wanted: value > wanted),
    ">=": _ordered(lambda value, wanted: value >= wanted),
}
