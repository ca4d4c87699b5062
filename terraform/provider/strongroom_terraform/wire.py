"""Between what our blocks speak and the messages of the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from strongroom.value import SecretValue

from .blocks import Function, Parameter
from .messages import ERROR, NESTINGS, WARNING, new
from .problems import Diagnostic, Path, problem
from .schema import Schema, Type, Unknown, Value, Values
from .values import WireValueError, conceal, decode, encode, holds


def path(steps: Path) -> Any:
    """An attribute's path; a step below an attribute is a map's key or a list's position."""
    first, *rest = steps
    keys = [{"element_key_int" if isinstance(step, int) else "element_key_string": step} for step in rest]
    return new("AttributePath", steps=[new("Step", **key) for key in ({"attribute_name": first}, *keys)])


def diagnostics(those: Iterable[Diagnostic]) -> list[Any]:
    """What to tell."""
    return [
        new(
            "Diagnostic",
            severity=WARNING if one.warning else ERROR,
            summary=one.summary,
            detail=one.detail,
            attribute=path(one.path) if one.path else None,
        )
        for one in those
    ]


def _type(type_: Type) -> bytes:
    return json.dumps(type_.json()).encode()


def _block(schema: Schema) -> Any:
    attributes = [
        new(
            "Attribute",
            name=name,
            type=_type(each.type),
            description=each.description,
            required=each.required,
            optional=each.optional,
            computed=each.computed,
            sensitive=each.sensitive,
            write_only=each.write_only,
        )
        for name, each in schema.attributes.items()
    ]
    nested = [
        new(
            "NestedBlock",
            type_name=name,
            block=_block(each.schema),
            nesting=NESTINGS[each.nesting],
            min_items=each.min_items,
            max_items=each.max_items,
        )
        for name, each in schema.blocks.items()
    ]
    return new("Block", attributes=attributes, block_types=nested, description=schema.description)


def schema_message(schema: Schema) -> Any:
    """A schema as Terraform reads it."""
    return new("Schema", version=schema.version, block=_block(schema))


def _parameter(one: Parameter) -> Any:
    return new("Parameter", name=one.name, type=_type(one.type), description=one.description)


def function_message(function: type[Function]) -> Any:
    """A function's signature."""
    returned = {"return": new("Return", type=_type(function.returns))}
    return new(
        "Function",
        parameters=[_parameter(one) for one in function.parameters],
        variadic_parameter=_parameter(function.variadic) if function.variadic else None,
        summary=function.summary,
        description=function.summary,
        **returned,
    )


def argument(type_: Type, dynamic: Any) -> Value:
    """One argument of a function."""
    return decode(type_, dynamic.msgpack, dynamic.json)


def result(type_: Type, value: Value) -> Any:
    """What a function returns."""
    return new("DynamicValue", msgpack=encode(type_, value))


def values(schema: Schema, dynamic: Any) -> Values | None:
    """The attributes of one block, secret ones as `SecretValue`; None for no object.

    Raises:
        ProblemError: the bytes are not such a block; it names the attribute.
    """
    wrong = None
    try:
        taken = decode(schema.type, dynamic.msgpack, dynamic.json)
    except WireValueError as error:
        wrong = problem(f"Terraform sent a value that the schema does not allow: {error}", *error.path)
    if wrong:
        raise wrong
    return concealed(schema, taken) if isinstance(taken, dict) else None


def concealed(schema: Schema, taken: Values) -> Values:
    """The same with what is secret by the schema as `SecretValue`."""
    hidden = {name: conceal(taken.get(name)) for name in schema.secret}
    below = {
        name: _below(taken.get(name), lambda one, nested=nested: concealed(nested.schema, one))
        for name, nested in schema.blocks.items()
    }
    return {**taken, **hidden, **below}


def _below(value: Value, change: Any) -> Value:
    if isinstance(value, dict):
        changed: Value = change(value)
        return changed
    return [_below(one, change) for one in value] if isinstance(value, list) else value


def stored(schema: Schema, told: Values) -> Values:
    """What may stand in a plan or in state: every attribute, null for every write-only one.

    Raises:
        ProblemError: a value would stand where nothing hides it. It is ours to mend: the block is wrong.
    """
    kept = {name: told.get(name) for name in (*schema.attributes, *schema.blocks)}
    for name, attribute in schema.attributes.items():
        if attribute.write_only:
            kept[name] = None
    for name, nested in schema.blocks.items():
        kept[name] = _below(kept[name], lambda one, nested=nested: stored(nested.schema, one))
    shown = (*(set(schema.attributes) - schema.secret), *(set(told) - set(kept)))
    for name in shown:
        if holds(told.get(name), SecretValue):
            raise problem("the provider was about to show a secret value; please report it", name)
    return kept


def known(told: Values) -> Values:
    """Only what is known: the state of an object that is done in part."""
    return {name: None if holds(value, Unknown) else value for name, value in told.items()}


def dynamic(schema: Schema, told: Values | None) -> Any:
    """One block as bytes.

    Raises:
        ProblemError: it does not fit its schema.
    """
    wrong = None
    try:
        return new("DynamicValue", msgpack=encode(schema.type, told))
    except WireValueError as error:
        wrong = problem(f"the provider made a value that its schema does not allow: {error}", *error.path)
    raise wrong


def timestamp(at: datetime) -> Any:
    """A moment."""
    return new("Timestamp", seconds=int(at.timestamp()), nanos=at.microsecond * 1000)
