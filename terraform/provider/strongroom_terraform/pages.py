"""The page of the provider, made of its schemas, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .blocks import Block, Function, Provider
from .schema import Attribute, Schema, Type

_HEAD = """\
# The blocks of Terraform's provider

What each takes and tells, printed by `terraform-provider-strongroom docs`. How to install it, and what it
keeps secret, is on [its own page](terraform-provider.md).
"""


def page(provider: Provider) -> str:
    """The whole page in Markdown."""
    parts = [_HEAD, "## Provider `strongroom`\n", _schema(provider.schema)]
    parts += _blocks("Resource", provider.resources)
    parts += _blocks("Ephemeral resource", provider.ephemerals)
    parts += _blocks("Data source", provider.data_sources)
    parts += [_function(each) for each in provider.functions]
    return "\n".join(parts)


def _blocks(kind: str, blocks: Iterable[type[Block]]) -> Iterator[str]:
    for block in blocks:
        yield f"## {kind} `{block.name}`\n"
        yield _schema(block.schema)


def _schema(schema: Schema) -> str:
    rows = [
        f"| `{name}` | {_type(each.type)} | {_who(each)} | {each.description} |\n"
        for name, each in schema.attributes.items()
    ]
    return f"{schema.description}\n\n| attribute | type | | |\n| --- | --- | --- | --- |\n{''.join(rows)}"


def _type(type_: Type) -> str:
    return f"{type_.kind} of {_type(type_.element)}" if type_.element else type_.kind


def _who(attribute: Attribute) -> str:
    words = {
        "required": attribute.required,
        "optional": attribute.optional,
        "computed": attribute.computed,
        "write-only": attribute.write_only,
        "sensitive": attribute.sensitive,
        "another makes another object": attribute.replace,
    }
    return ", ".join(word for word, so in words.items() if so)


def _function(function: type[Function]) -> str:
    parameters = [*function.parameters, *([function.variadic] if function.variadic else ())]
    names = [each.name for each in function.parameters]
    names += [f"{function.variadic.name}…"] if function.variadic else []
    rows = [f"| `{each.name}` | {_type(each.type)} | {each.description} |\n" for each in parameters]
    return (
        f"## Function `provider::strongroom::{function.name}({', '.join(names)})`\n\n{function.summary} "
        f"Gives a {_type(function.returns)}.\n\n| argument | type | |\n| --- | --- | --- |\n{''.join(rows)}"
    )
