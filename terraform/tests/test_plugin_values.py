"""Terraform's values on the wire, both ways, and bytes that are none."""

from __future__ import annotations

import json
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.value import SecretValue
from strongroom_terraform.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    STRINGS,
    UNKNOWN,
    Attribute,
    Nested,
    Schema,
    Type,
    Unknown,
    Value,
)
from strongroom_terraform.values import (
    WireValueError,
    conceal,
    decode,
    encode,
    holds,
    typed,
    upgraded,
)
from tests.canary import CANARY, assert_no_canary
from tests.scale import scaled

THING = Type(
    "object", fields={"name": STRING, "size": NUMBER, "on": BOOL, "tags": STRING_MAP, "notes": STRINGS}
)
_NUMBERS = st.integers(-(2**200), 2**200) | st.decimals(
    allow_nan=False, allow_infinity=False, places=20, min_value=-(10**30), max_value=10**30
).map(lambda number: int(number) if number == number.to_integral_value() else number)


def _either(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return values | st.none() | st.just(UNKNOWN)


OBJECTS = st.fixed_dictionaries(
    {
        "name": _either(st.text()),
        "size": _either(_NUMBERS),
        "on": _either(st.booleans()),
        "tags": _either(st.dictionaries(st.text(), _either(st.text()))),
        "notes": _either(st.lists(_either(st.text()))),
    }
)


@settings(max_examples=scaled(2_000, "values of Terraform encoded and decoded"), deadline=None)
@given(OBJECTS)
def test_what_is_encoded_decodes_to_the_same(value: dict[str, Value]) -> None:
    """Null, unknown, numbers of any size, and nesting survive the wire."""
    assert decode(THING, encode(THING, value)) == value


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (1, 1),
        (1.0, 1),
        (1.25, Decimal("1.25")),
        ("0.1", Decimal("0.1")),
        ("1e3", 1000),
        (2**63, 2**63),
        ("340282366920938463463374607431768211456", 2**128),
    ],
)
def test_each_form_of_a_number_is_taken(sent: object, taken: Value) -> None:
    """Terraform sends an integer, a float where that is exact, and decimal text otherwise."""
    found = decode(NUMBER, msgpack.packb(sent))
    assert (found, type(found)) == (taken, type(taken))


@pytest.mark.parametrize("sent", [float("nan"), float("inf"), "1e99999999", "one", True, b"1", [1]])
def test_what_is_no_finite_number_is_refused(sent: object) -> None:
    """Nor one whose digits would fill the memory."""
    with pytest.raises(WireValueError, match="a number is expected"):
        decode(NUMBER, msgpack.packb(sent))


def test_an_unknown_with_refinements_is_unknown() -> None:
    """Terraform 1.6 and later tell what is known of an unknown value, in extension 12."""
    assert decode(STRING, msgpack.packb(msgpack.ExtType(12, msgpack.packb({1: False})))) is UNKNOWN


def test_an_unknown_is_written_as_terraform_reads_it() -> None:
    """fixext 1 of type 0, as the wire format's document says."""
    assert encode(STRING, UNKNOWN) == b"\xd4\x00\x00"


def test_json_is_taken_too() -> None:
    """States are upgraded from JSON; its fractions stay exact."""
    text = json.dumps({"name": "a", "size": 0.1, "on": True, "tags": {"x": "y"}, "notes": ["n"]}).encode()
    taken = decode(THING, b"", text)
    assert taken == {"name": "a", "size": Decimal("0.1"), "on": True, "tags": {"x": "y"}, "notes": ["n"]}


def test_a_dynamic_value_brings_its_type() -> None:
    """What a schema leaves open is told with each value."""
    dynamic = Type("dynamic")
    values: list[Value] = [1, "a", True, {"a": {"b": Decimal("0.5")}}]
    for value in values:
        assert decode(dynamic, encode(dynamic, value)) == value


def test_a_type_nested_too_deep_is_refused() -> None:
    """A dynamic value's type is as hostile as the value."""
    kind = b'["list",' * 900 + b'"string"' + b"]" * 900
    with pytest.raises(WireValueError):
        decode(Type("list", Type("dynamic")), msgpack.packb([[kind, []]] * 2 + [[b"[" * 10_000, 1]]))


def test_a_state_of_an_earlier_schema_is_taken() -> None:
    """What is no more is left out, and what is new is null."""
    assert upgraded(THING, b'{"name": "a", "gone": 1}') == {
        "name": "a",
        "size": None,
        "on": None,
        "tags": None,
        "notes": None,
    }


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"name": 1}, ("name",)),
        ({"on": CANARY}, ("on",)),
        ({"tags": {"team": 1}}, ("tags", "team")),
        ({"tags": [CANARY]}, ("tags",)),
        ({"notes": ["a", 2]}, ("notes", 1)),
        ({"notes": {}}, ("notes",)),
        ({CANARY: 1}, ()),
        (CANARY, ()),
    ],
)
def test_a_value_of_another_type_is_refused_at_its_path(value: object, path: tuple[str | int, ...]) -> None:
    """In both directions, and the message does not repeat it."""
    with pytest.raises(WireValueError) as taken:
        decode(THING, msgpack.packb(value))
    with pytest.raises(WireValueError) as given_:
        encode(THING, value)  # type: ignore[arg-type]
    assert taken.value.path == given_.value.path == path
    assert_no_canary(str(taken.value), str(given_.value))


@settings(max_examples=scaled(20_000, "hostile bytes for a value of Terraform"), deadline=None)
@given(st.binary(max_size=200))
def test_hostile_bytes_are_a_typed_error(packed: bytes) -> None:
    """Whatever comes, it is a value of the type or a `WireValueError`."""
    for type_ in (THING, Type("dynamic")):
        try:
            taken = decode(type_, packed)
        except WireValueError:
            continue
        assert taken is None or taken is UNKNOWN or isinstance(taken, dict | str | int | Decimal | list)


@pytest.mark.parametrize(
    "packed",
    [
        b"\x91" * 100_000,  # nested deeper than any stack
        b"\xdf\xff\xff\xff\xff",  # a map of 2**32 entries that are not there
        b"\xc6\xff\xff\xff\xff",  # as many bytes
        b"\xa4" + CANARY.encode(),  # more than it says
        b"\xa2\xff\xfe",  # no UTF-8
        b"\xd4\x05\x00",  # an extension that nobody defined
        b"\x81\x01\x01",  # a key that is no text
    ],
)
def test_lengths_that_lie_are_refused_at_once(packed: bytes) -> None:
    """Nothing is allocated for what is not there."""
    with pytest.raises(WireValueError) as raised:
        decode(THING, packed)
    assert_no_canary(str(raised.value))


def test_json_nested_too_deep_is_refused() -> None:
    """The parser's own limit is an error of ours."""
    with pytest.raises(WireValueError):
        decode(THING, b"", b"[" * 100_000)


@pytest.mark.parametrize("written", ["integer", ["list"], ["tuple", ["string"]], ["object", ["a"]], 1, {}])
def test_a_type_that_nobody_knows_is_refused(written: object) -> None:
    """A dynamic value could bring any."""
    with pytest.raises(WireValueError):
        typed(written)


def test_a_schema_with_nested_blocks_is_an_object_type() -> None:
    """A single block is an object; a list of blocks a list of objects."""
    inner = Schema("", {"region": Attribute(STRING, "", required=True)})
    schema = Schema(
        "",
        {"name": Attribute(STRING, "")},
        blocks={"replica": Nested(inner, "list"), "policy": Nested(inner, "single")},
    )
    assert schema.type.json() == [
        "object",
        {
            "name": "string",
            "replica": ["list", ["object", {"region": "string"}]],
            "policy": ["object", {"region": "string"}],
        },
    ]
    value: dict[str, Value] = {"name": "a", "replica": [{"region": "r"}], "policy": None}
    assert decode(schema.type, encode(schema.type, value)) == value
    assert typed(schema.type.json()) == schema.type


def test_concealed_text_is_found_wherever_it_stands() -> None:
    """Every text becomes a `SecretValue`, which `holds` sees and `encode` alone writes out."""
    hidden = conceal({"a": ["x", {"b": CANARY}], "n": 1})
    assert_no_canary(repr(hidden))
    assert holds(hidden, SecretValue)
    assert not holds(hidden, Unknown)
    assert holds([{"a": UNKNOWN}], Unknown)
    assert encode(STRING, SecretValue("x")) == encode(STRING, "x")
