"""The search identifiers of a Sigma rule: fields, modifiers and values, made a predicate over an event.

Source: the Sigma Rules Specification, "Detection", and its appendix on modifiers. What this engine does not
know (keywords without a field, encodings, placeholders) is refused when the rule is read: a rule that never
matches, and does not say so, is worse than none.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from ipaddress import ip_address, ip_network
from typing import Final

from strongroom.errors import InvalidRequestError

from .conditions import Fields, Predicate

Test = Callable[[object], bool]

_ORDER: Final = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_AFFIXES: Final = {"contains": ("*", "*"), "startswith": ("", "*"), "endswith": ("*", "")}
_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
_ESCAPED: Final = re.compile(r"\\[\\*?]|[*?]|[^\\*?]+|\\", re.DOTALL)
_SPECIAL: Final = re.compile(r"[*?\\]")
MODIFIERS: Final = frozenset({"all", "cased", "cidr", "exists", "neq", "re", *_ORDER, *_AFFIXES, *_FLAGS})
"""The modifiers this engine knows."""


def compile_part(part: object, where: str) -> Predicate:
    """The predicate of one search identifier: a mapping (all of it) or a list of mappings (one of them).

    Raises:
        InvalidRequestError: it is something else, or uses what this engine does not know.
    """
    if isinstance(part, dict):
        tests = [_field(str(name), value, where) for name, value in part.items()]
        return lambda fields: all(test(fields) for test in tests)
    if isinstance(part, list) and part and all(isinstance(one, dict) for one in part):
        choices = [compile_part(one, where) for one in part]
        return lambda fields: any(choice(fields) for choice in choices)
    raise InvalidRequestError(
        f"{where}: a search identifier is a mapping of fields, or a list of such mappings"
    )


def _field(spelled: str, value: object, where: str) -> Predicate:
    name, *modifiers = spelled.split("|")
    unknown = [modifier for modifier in modifiers if modifier not in MODIFIERS]
    if unknown or not name:
        raise InvalidRequestError(f"{where}: {spelled!r} uses what this engine does not know")
    if "exists" in modifiers:
        return lambda fields: (fields.get(name) is not None) == bool(value)
    values = value if isinstance(value, list) else [value]
    if not modifiers and all(isinstance(one, str) and not _SPECIAL.search(one) for one in values):
        return _one_of(name, frozenset(str(one).lower() for one in values))
    tests = [_test(one, modifiers, f"{where}: {spelled}") for one in values]
    join = all if "all" in modifiers else any
    wanted = "neq" not in modifiers
    return lambda fields: join(_any_of(test, fields, name) for test in tests) == wanted


def _one_of(name: str, wanted: frozenset[str]) -> Predicate:
    """What most rules ask, without an expression for each value."""

    def test(fields: Fields) -> bool:
        value = fields.get(name)
        if isinstance(value, str):
            return value.lower() in wanted
        found = value if isinstance(value, (list, tuple)) else [value]
        return any(
            str(one).lower() in wanted for one in found if one is not None and not isinstance(one, bool)
        )

    return test


def _any_of(test: Test, fields: Fields, name: str) -> bool:
    """A field that holds several values matches by any of them."""
    value = fields.get(name)
    return any(map(test, value)) if isinstance(value, (list, tuple)) else test(value)


def _test(wanted: object, modifiers: Sequence[str], where: str) -> Test:
    order = next((_ORDER[modifier] for modifier in modifiers if modifier in _ORDER), None)
    if order:
        return _ordered(order, wanted, where)
    if "re" in modifiers:
        return _expression(str(wanted), modifiers, where)
    if "cidr" in modifiers:
        return _network(str(wanted), where)
    if wanted is None:
        return lambda value: value is None
    if isinstance(wanted, bool):
        return lambda value: value is wanted
    return _text(str(wanted), modifiers)


def _ordered(order: Callable[[float, float], bool], wanted: object, where: str) -> Test:
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        raise InvalidRequestError(f"{where} needs a number")
    return lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and order(value, wanted)
    )


def _expression(wanted: str, modifiers: Sequence[str], where: str) -> Test:
    flags = reduce(operator.or_, (_FLAGS[one] for one in modifiers if one in _FLAGS), re.NOFLAG)
    try:
        pattern = re.compile(wanted, flags)
    except re.error:
        pattern = None
    if pattern is None:
        raise InvalidRequestError(f"{where} is no regular expression")
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


def _network(wanted: str, where: str) -> Test:
    try:
        network = ip_network(wanted, strict=False)
    except ValueError:
        network = None
    if network is None:
        raise InvalidRequestError(f"{where} is no network")

    def within(value: object) -> bool:
        try:
            return ip_address(str(value)) in network
        except ValueError:
            return False

    return within


def _text(wanted: str, modifiers: Sequence[str]) -> Test:
    """Case counts only with `cased`; a number is compared by its text: ``20`` and ``"20"`` are one."""
    before, after = next((_AFFIXES[one] for one in modifiers if one in _AFFIXES), ("", ""))
    flags = re.DOTALL | (re.NOFLAG if "cased" in modifiers else re.IGNORECASE)
    pattern = re.compile("".join(_pieces(before + wanted + after)), flags)
    return lambda value: (
        value is not None and not isinstance(value, bool) and pattern.fullmatch(str(value)) is not None
    )


def _pieces(wanted: str) -> Iterator[str]:
    """Star and question mark are wildcards, unless a backslash stands before them."""
    for piece in _ESCAPED.findall(wanted):
        wildcard = {"*": ".*", "?": "."}.get(piece)
        escaped = len(piece) == 2 and piece[0] == "\\" and piece[1] in "\\*?"
        yield wildcard or re.escape(piece[1] if escaped else piece)
