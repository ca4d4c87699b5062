"""Terraform's values on the wire: its MessagePack and JSON forms, checked against their types.

The encoding is that of Terraform's ``docs/plugin-protocol/object-wire-format.md``: objects are maps, sets are
arrays, a number that is neither an int64 nor exactly a float64 is decimal text, and what is not known yet is
an extension. A message never holds a value: what arrives may be a secret.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

import msgpack

from strongroom.value import SecretValue

from .schema import UNKNOWN, Type, Value

Path = tuple[str | int, ...]

_UNKNOWN_EXTENSIONS: Final = (0, 12)  # plain, and with what is known of it
_UNKNOWN: Final = msgpack.ExtType(0, b"\0")
_LIMIT: Final = 1024
"""Digits of a number; Terraform's own have 512 bits of mantissa, 155 digits."""
_DEPTH: Final = 100


class WireValueError(Exception):
    """Bytes that are not a value of the type, or a value that has no place on the wire.

    Args:
        problem: what is wrong; no value.
        path: where.
    """

    def __init__(self, problem: str, path: Path = ()) -> None:
        super().__init__(problem)
        self.path = path


def decode(type_: Type, packed: bytes, text: bytes = b"") -> Value:
    """The value of a ``DynamicValue``, from whichever of its two forms is there.

    Raises:
        WireValueError: it is not one of this type.
    """
    return _taken(type_, _parsed(packed, text), ())


def upgraded(type_: Type, text: bytes) -> Value:
    """An object from a state file, written under this schema or an earlier one: what is no more is left out.

    Raises:
        WireValueError: it is not one of this type.
    """
    raw = _parsed(b"", text)
    if not isinstance(raw, dict) or type_.fields is None:
        raise WireValueError("an object is expected")
    return _taken(type_, {name: raw[name] for name in raw if name in type_.fields}, ())


def _parsed(packed: bytes, text: bytes) -> Any:
    problem = "it is neither MessagePack nor JSON"
    try:
        if packed:
            return msgpack.unpackb(packed, ext_hook=_extension, strict_map_key=True)
        return json.loads(text, parse_float=Decimal)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException):
        pass  # what it says may hold part of the value
    raise WireValueError(problem)


def _extension(code: int, _data: bytes) -> Any:
    if code in _UNKNOWN_EXTENSIONS:
        return UNKNOWN
    raise ValueError("unknown extension")


def _taken(type_: Type, raw: Any, path: Path) -> Value:
    if raw is None or raw is UNKNOWN:
        return cast("Value", raw)
    return _TAKE[type_.kind](type_, raw, path)


def _string(_type: Type, raw: Any, path: Path) -> Value:
    if isinstance(raw, str):
        return raw
    raise WireValueError("a string is expected", path)


def _bool(_type: Type, raw: Any, path: Path) -> Value:
    if isinstance(raw, bool):
        return raw
    raise WireValueError("true or false is expected", path)


def _number(_type: Type, raw: Any, path: Path) -> Value:
    number = None
    if isinstance(raw, int | float | str | Decimal) and not isinstance(raw, bool):
        with contextlib.suppress(InvalidOperation):
            number = Decimal(raw)
    if number is None or not number.is_finite() or abs(number.adjusted()) > _LIMIT:
        raise WireValueError("a number is expected", path)
    return int(number) if number == number.to_integral_value() else number


def _list(type_: Type, raw: Any, path: Path) -> Value:
    if isinstance(raw, list) and type_.element:
        return [_taken(type_.element, each, (*path, at)) for at, each in enumerate(raw)]
    raise WireValueError("a list is expected", path)


def _map(type_: Type, raw: Any, path: Path) -> Value:
    if isinstance(raw, dict) and type_.element and all(isinstance(key, str) for key in raw):
        return {key: _taken(type_.element, each, (*path, key)) for key, each in raw.items()}
    raise WireValueError("a map is expected", path)


def _object(type_: Type, raw: Any, path: Path) -> Value:
    if not isinstance(raw, dict) or type_.fields is None:
        raise WireValueError("an object is expected", path)
    if set(raw) - set(type_.fields):
        raise WireValueError("it has an attribute that the schema does not name", path)
    return {name: _taken(each, raw.get(name), (*path, name)) for name, each in type_.fields.items()}


def _dynamic(_type: Type, raw: Any, path: Path) -> Value:
    if isinstance(raw, list) and len(raw) == 2 and isinstance(raw[0], bytes):
        return _taken(typed(_parsed(b"", raw[0])), raw[1], path)
    raise WireValueError("a value with its type is expected", path)


_TAKE: Final[dict[str, Callable[[Type, Any, Path], Value]]] = {
    "string": _string,
    "bool": _bool,
    "number": _number,
    "list": _list,
    "set": _list,
    "map": _map,
    "object": _object,
    "dynamic": _dynamic,
}


def typed(written: object, depth: int = 0) -> Type:
    """A type from its JSON, nested 100 deep at most.

    Raises:
        WireValueError: it is none of those that we know.
    """
    if depth > _DEPTH:
        raise WireValueError("it is a type nested too deep")
    if isinstance(written, str) and written in ("string", "bool", "number", "dynamic"):
        return Type(written)
    if isinstance(written, list) and len(written) == 2 and written[0] in ("list", "set", "map"):
        return Type(written[0], typed(written[1], depth + 1))
    if isinstance(written, list) and len(written) == 2 and isinstance(written[1], dict):
        return Type("object", fields={name: typed(each, depth + 1) for name, each in written[1].items()})
    raise WireValueError("it is a type that we do not know")


def encode(type_: Type, value: Value) -> bytes:
    """The MessagePack form. A `SecretValue` is written out: see to it beforehand that it may stand there.

    Raises:
        WireValueError: the value is not one of this type.
    """
    packed: bytes = msgpack.packb(_given(type_, value, ()))
    return packed


def _given(type_: Type, value: Value, path: Path) -> Any:
    if value is None:
        return None
    if value is UNKNOWN:
        return _UNKNOWN
    if isinstance(value, SecretValue):
        value = value.reveal_text()
    return _GIVE[type_.kind](type_, value, path)


def _given_number(_type: Type, value: Value, path: Path) -> Any:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        small = isinstance(value, int) and -(2**63) <= value < 2**63
        return value if small else format(Decimal(value), "f")
    raise WireValueError("a number is expected", path)


def _given_list(type_: Type, value: Value, path: Path) -> Any:
    if isinstance(value, list) and type_.element:
        return [_given(type_.element, each, (*path, at)) for at, each in enumerate(value)]
    raise WireValueError("a list is expected", path)


def _given_map(type_: Type, value: Value, path: Path) -> Any:
    if isinstance(value, dict) and type_.element:
        return {key: _given(type_.element, each, (*path, key)) for key, each in value.items()}
    raise WireValueError("a map is expected", path)


def _given_object(type_: Type, value: Value, path: Path) -> Any:
    if not isinstance(value, dict) or type_.fields is None:
        raise WireValueError("an object is expected", path)
    if set(value) - set(type_.fields):
        raise WireValueError("it has an attribute that the schema does not name", path)
    return {name: _given(each, value.get(name), (*path, name)) for name, each in type_.fields.items()}


def _given_dynamic(_type: Type, value: Value, path: Path) -> Any:
    known = _shape(value, path)
    return [json.dumps(known.json()).encode(), _given(known, value, path)]


def _shape(value: Value, path: Path) -> Type:
    """The type that a value without one has."""
    if isinstance(value, bool):
        return Type("bool")
    if isinstance(value, int | Decimal):
        return Type("number")
    if isinstance(value, str | SecretValue):
        return Type("string")
    if isinstance(value, dict):
        return Type("object", fields={key: _shape(each, (*path, key)) for key, each in value.items()})
    raise WireValueError("a value of this kind has no type of its own", path)


_GIVE: Final[dict[str, Callable[[Type, Any, Path], Any]]] = {
    "string": _string,
    "bool": _bool,
    "number": _given_number,
    "list": _given_list,
    "set": _given_list,
    "map": _given_map,
    "object": _given_object,
    "dynamic": _given_dynamic,
}


def conceal(value: Value) -> Value:
    """The same with every text a `SecretValue`."""
    if isinstance(value, str):
        return SecretValue(value)
    if isinstance(value, list):
        return [conceal(each) for each in value]
    if isinstance(value, dict):
        return {key: conceal(each) for key, each in value.items()}
    return value


def holds(value: Value, what: type) -> bool:
    """Whether a value of this class, `SecretValue` or `Unknown`, stands anywhere in it."""
    if isinstance(value, list):
        return any(holds(each, what) for each in value)
    if isinstance(value, dict):
        return any(holds(each, what) for each in value.values())
    return isinstance(value, what)
