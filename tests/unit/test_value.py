"""SecretValue: nothing prints it, nothing serialises it, no error carries it."""

from __future__ import annotations

import collections
import copy
import dataclasses
import io
import json
import logging
import operator
import pickle
import pprint
import string
import sys
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Secret
from strongroom.errors import InvalidRequestError
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.value import SecretValue, is_utf8, take
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary, assert_no_canary_in, holds_canary

SECRET = SecretValue(CANARY)


class _Templated(string.Template):
    pass


def _logged(value: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s"))
    record = logging.makeLogRecord({"msg": "took %s %r", "args": (value, value), "extra": value})
    handler.handle(record)
    return stream.getvalue()


SHOWN: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda value: f"{value} {value!r} {value!s:>80} {value:x^90}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031  (the old way is what is shown)
    "format method": "{0} {0!r}".format,
    "template": lambda value: _Templated("$v").substitute(v=value),
    "pprint": pprint.pformat,
    "in a list": lambda value: repr([value, (value,), {"v": value}]),
    "in a Secret": lambda value: repr(Secret("db/x", value, "1")),
    "asdict": lambda value: repr(dataclasses.asdict(Secret("db/x", value, "1"))),
    "astuple": lambda value: repr(dataclasses.astuple(Secret("db/x", value, "1"))),
    "logging": _logged,
    "exception": lambda value: "".join(traceback.format_exception(ValueError(value))),
    "dir": lambda value: repr(dir(value)),
    "json with default=str": lambda value: json.dumps({"v": value}, default=str),
}


@pytest.mark.parametrize("way", SHOWN)
def test_no_way_of_showing_an_object_shows_the_value(way: str) -> None:
    """Whatever prints by accident prints a placeholder."""
    shown = SHOWN[way](SECRET)
    assert shown
    assert_no_canary(shown)


@pytest.mark.parametrize("way", SHOWN)
def test_what_is_shown_is_the_same_for_every_value(way: str) -> None:
    """Not even the length, which narrows a password down, nor the kind."""
    assert SHOWN[way](SECRET) == SHOWN[way](SecretValue(b"x")) == SHOWN[way](SecretValue(""))


REFUSED: dict[str, Callable[[Any], object]] = {
    "json": json.dumps,
    **{f"pickle {n}": partial(pickle.dumps, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
    "pickle in a Secret": lambda value: pickle.dumps(Secret("db/x", value, "1")),
    "vars": vars,
    "__dict__": operator.attrgetter("__dict__"),
    "__getstate__": lambda value: value.__getstate__(),
    "__reduce__": lambda value: value.__reduce__(),
    "bytes": bytes,
    "bytes percent": lambda value: b"%s" % value,
    "len": len,
    "iter": iter,
    "index": lambda value: value[0],
    "in": lambda value: CANARY in value,
    "concatenation": lambda value: "" + value,
    "join": lambda value: "".join([value]),
    "hash": hash,
    "set": lambda value: {value},
    "dict key": lambda value: {value: 1},
    "Counter": lambda value: collections.Counter([value]),
    "memoryview": memoryview,
    "int": int,
    "ordering": lambda value: value < value,  # noqa: PLR0124
    "open": open,
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_would_serialise_or_measure_a_value_is_refused_without_it(way: str) -> None:
    """A hash is a fingerprint, an order is an oracle, a pickle is the value."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        REFUSED[way](SECRET)
    assert_no_canary_in(caught.value)


def test_all_values_take_the_same_room() -> None:
    """`sys.getsizeof`, which memory profilers print, tells no length."""
    assert sys.getsizeof(SECRET) == sys.getsizeof(SecretValue(b"x"))


def test_copies_are_the_value_itself() -> None:
    """A deepcopy of settings makes no second copy of the bytes in memory."""
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy({"deep": [SECRET]})["deep"][0] is SECRET
    assert dataclasses.replace(Secret("db/x", SECRET, "1"), stale=True).value is SECRET


def test_a_subclass_cannot_undo_any_of_it() -> None:
    """SecretValue is final, at run time too."""
    with pytest.raises(TypeError, match="final"):
        type("Loud", (SecretValue,), {"__repr__": lambda self: self.reveal_text()})


def test_values_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that stops at the first difference tells how much of a guess is right."""
    calls: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        calls.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert SecretValue(CANARY_BYTES) == SECRET
    assert SecretValue(b"other") != SECRET
    assert SECRET.matches(CANARY)
    assert not SECRET.matches(b"")
    assert len(calls) == 4


def test_a_value_never_equals_the_bare_text_but_matches_it() -> None:
    """`secret == "guess"` would be an invitation to compare in plain sight; `matches` is the way."""
    assert SECRET != CANARY
    assert CANARY_BYTES != SECRET
    assert SECRET.matches(CANARY)
    assert SECRET.matches(CANARY_BYTES)
    assert SECRET.matches(SecretValue(CANARY_BYTES))
    assert not SECRET.matches(CANARY + "\udcff")


def test_the_kind_is_what_was_given_unless_it_is_stated() -> None:
    """Text from str, binary from bytes."""
    assert SecretValue("a").kind == "text"
    assert SecretValue(b"a").kind == SecretValue(bytearray(b"a")).kind == "binary"
    assert SecretValue(b"a", "text").kind == "text"


def test_a_value_keeps_no_window_into_the_callers_buffer() -> None:
    """A caller who wipes his bytearray must not wipe the secret, nor change it later."""
    buffer = bytearray(b"abc")
    value = SecretValue(memoryview(buffer))
    buffer[:] = b"xyz"
    assert value.reveal() == b"abc"


class _Hostile:
    def __repr__(self) -> str:
        return CANARY


def _nested(depth: int) -> dict[str, Any]:
    inner: Any = CANARY
    for _ in range(depth):
        inner = [inner]
    return {"deep": inner}


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {"value": CANARY}
    circle["self"] = circle
    return circle


BAD: dict[str, Any] = {
    "lone surrogate": f"{CANARY}\ud800",
    "lone low surrogate": f"\udfff{CANARY}",
    "number": 12345,
    "none": None,
    "list": [CANARY],
    "set": {CANARY},
    "object with a telling repr": _Hostile(),
    "mapping with bytes": {"password": CANARY_BYTES},
    "mapping with a set": {"password": {CANARY}},
    "mapping with an object": {"password": _Hostile(), "other": CANARY},
    "mapping with nan": {"password": CANARY, "n": float("nan")},
    "mapping with infinity": {"password": CANARY, "n": float("inf")},
    "mapping with a decimal": {"password": CANARY, "n": Decimal(1)},
    "mapping with a tuple key": {(CANARY,): 1},
    "mapping with a surrogate": {"password": f"{CANARY}\udc00"},
    "mapping that holds itself": _circle(),
    "mapping of a hundred thousand levels": _nested(100_000),
    "mapping with a SecretValue": {"password": SECRET, "other": CANARY},
}


def _store() -> SecretStore:
    return SecretStore(MemoryBackend())


def _put(value: Any) -> None:
    with _store() as store:
        store.put("db/password", value)


def _put_pending(value: Any) -> None:
    with _store() as store:
        base = store.put("db/password", "base")
        pending = store.pending("db/password", "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11")
        pending.put(value, base_version=base.id)


TAKERS = {"of": SecretValue.of, "store.put": _put, "pending.put": _put_pending}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_value_is_refused_and_no_part_of_the_error_holds_it(taker: str, bad: str) -> None:
    """json quotes what it refuses, and UnicodeEncodeError carries the text: neither may travel."""
    with pytest.raises(InvalidRequestError) as caught:
        TAKERS[taker](BAD[bad])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert_no_canary_in(caught.value)


def test_what_is_taken_or_refused_is_returned_never_raised() -> None:
    """A raised error would carry the frames in between, with the raw value among their locals."""
    problem = take(f"{CANARY}\ud800")
    assert isinstance(problem, InvalidRequestError)
    assert problem.__traceback__ is None
    assert take(SECRET) is SECRET


@pytest.mark.parametrize("data", [b"\xff" + CANARY_BYTES, f"{CANARY}\ud800"])
def test_text_that_is_no_utf8_is_refused_without_it(data: Any) -> None:
    """The constructor's own errors hold nothing either."""
    with pytest.raises(InvalidRequestError) as caught:
        SecretValue(data, "text")
    assert_no_canary_in(caught.value)


def test_binary_is_not_revealed_as_text_and_the_error_holds_none_of_it() -> None:
    """UnicodeDecodeError's `object` is the whole value."""
    value = SecretValue(b"\xff" + CANARY_BYTES)
    with pytest.raises(InvalidRequestError) as caught:
        value.reveal_text()
    assert_no_canary_in(caught.value)
    assert "reveal()" in str(caught.value)


DOCUMENT = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
    "01": 9,
    "~1": 10,
}
# RFC 6901 section 5, and then the cases that tell implementations apart.
POINTERS: list[tuple[str, Any]] = [
    ("", DOCUMENT),
    ("/foo", ["bar", "baz"]),
    ("/foo/0", "bar"),
    ("/", 0),
    ("/a~1b", 1),
    ("/c%d", 2),
    ("/e^f", 3),
    ("/g|h", 4),
    ("/i\\j", 5),
    ('/k"l', 6),
    ("/ ", 7),
    ("/m~0n", 8),
    ("/01", 9),
    ("/~01", 10),
    ("/foo/1", "baz"),
]


@pytest.mark.parametrize(("pointer", "found"), POINTERS)
def test_a_pointer_reads_as_rfc_6901_says(pointer: str, found: Any) -> None:
    """`~01` is `~1` and not `/`: the order of unescaping matters."""
    assert SecretValue.of(DOCUMENT).reveal_json(pointer) == found


LEADS_NOWHERE = [
    *("/nothing", "/foo/2", "/foo/-", "/foo/-1", "/foo/00", "/foo/01", "/foo/ 0", "/foo/0/x", "/foo/+1"),
    *("/foo/1e0", "/foo/\u0661", "/foo/" + "9" * 5000, "foo", "foo/0", "#/foo", "/m~n", "/m~2n", "/a~"),
]


@pytest.mark.parametrize("pointer", LEADS_NOWHERE)
def test_a_pointer_to_nothing_is_an_error_without_the_document(pointer: str) -> None:
    """An index is ASCII digits without leading zeros; `-` names what does not exist yet."""
    value = SecretValue.of({**DOCUMENT, "foo": [CANARY, CANARY], "password": CANARY})
    with pytest.raises(InvalidRequestError) as caught:
        value.reveal_json(pointer)
    assert_no_canary_in(caught.value)


NOT_JSON = [
    f"{CANARY}".encode(),
    f'{{"password": "{CANARY}"'.encode(),
    b"\xff\xfe" + CANARY_BYTES,
    b"[" * 100_000 + CANARY_BYTES,
    b"9" * 10_000,
    b"",
]


@pytest.mark.parametrize("data", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_no_json_is_an_error_without_it(data: bytes) -> None:
    """JSONDecodeError's `doc` is the value; deep nesting and huge numbers are errors of ours, not crashes."""
    with pytest.raises(InvalidRequestError, match="not JSON") as caught:
        SecretValue(data).reveal_json("/password")
    assert_no_canary_in(caught.value)


def test_reveal_json_parses_any_text_not_only_what_was_a_mapping() -> None:
    """Strings written by another tool are as good."""
    assert SecretValue(f'"{CANARY}"').reveal_json() == CANARY
    assert SecretValue(b"[1]").reveal_json("/0") == 1
    assert SecretValue("null").reveal_json() is None


@given(st.text() | st.binary())
def test_what_goes_in_comes_out(data: str | bytes) -> None:
    """Text and bytes round trip, whatever their content."""
    raw = data.encode() if isinstance(data, str) else data
    value = SecretValue.of(data)
    assert value.reveal() == raw
    assert value.matches(data)
    assert SecretValue(raw) == value
    assert is_utf8(raw) or value.kind == "binary"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _leaves(document: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    yield pointer, document
    parts = dict(enumerate(document)) if isinstance(document, list) else document
    for part, inner in parts.items() if isinstance(parts, dict) else ():
        escaped = str(part).replace("~", "~0").replace("/", "~1")
        yield from _leaves(inner, f"{pointer}/{escaped}")


@given(st.dictionaries(st.text(), _json, max_size=5))
def test_every_part_of_a_mapping_is_found_by_its_pointer(document: dict[str, Any]) -> None:
    """A mapping round trips as JSON, and each part of it has exactly the pointer RFC 6901 gives it."""
    value = SecretValue.of(document)
    assert value.kind == "text"
    for pointer, part in _leaves(document):
        assert value.reveal_json(pointer) == part


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_values_are_equal_exactly_if_their_bytes_are(one: bytes, other: bytes) -> None:
    """Constant time does not change the answer."""
    assert (SecretValue(one) == SecretValue(other)) is (one == other)


def test_the_canary_would_be_found() -> None:
    """These tests can fail: the same search finds the value where it is revealed."""
    assert holds_canary(SECRET.reveal_text())
