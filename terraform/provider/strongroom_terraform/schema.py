"""What a resource, data source, ephemeral resource or function takes and tells, in Terraform's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import TypeAlias

from strongroom.value import SecretValue


class Unknown(Enum):
    """What Terraform will know at apply only."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown.UNKNOWN

Value: TypeAlias = (
    "str | bool | int | Decimal | SecretValue | Unknown | list[Value] | dict[str, Value] | None"
)
"""A whole number is an int; what is write-only or sensitive is a SecretValue."""
Values: TypeAlias = dict[str, Value]
"""The attributes of one block by their names; each is there, None where nothing is said."""


@dataclass(frozen=True, slots=True)
class Type:
    """A type of Terraform's, as its JSON writes it: ``"string"``, ``["map", "string"]`` or ``["object", …]``.

    Attributes:
        kind: string, number, bool, list, set, map, object, or dynamic (its JSON travels with each value).
        element: of a list, set or map.
        fields: of an object.
    """

    kind: str
    element: Type | None = None
    fields: Mapping[str, Type] | None = None

    def json(self) -> object:
        """As it stands in a schema."""
        if self.fields is not None:
            return [self.kind, {name: each.json() for name, each in self.fields.items()}]
        return [self.kind, self.element.json()] if self.element else self.kind


STRING, NUMBER, BOOL = Type("string"), Type("number"), Type("bool")
STRINGS, STRING_MAP = Type("list", STRING), Type("map", STRING)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: what it means, and who sets it.

    Attributes:
        type: Terraform's.
        description: one or two sentences; the page of the provider is made of them.
        required: the configuration must say it.
        optional: the configuration may say it.
        computed: the provider tells it, where the configuration may not or does not.
        sensitive: Terraform hides it in what it prints. It stands in state all the same, unless the block is
            ephemeral: so no resource or data source has a value under a sensitive attribute.
        write_only: read from the configuration at plan and apply; never in a plan file, never in state.
        replace: another value makes another object.
    """

    type: Type
    description: str
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    write_only: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Nested:
    """A block within a block; none of ours has one, the schema stand-ins of tests do.

    Attributes:
        schema: of each.
        nesting: single, list or set.
        min_items: 0 for any number.
        max_items: 0 for any number.
    """

    schema: Schema
    nesting: str
    min_items: int = 0
    max_items: int = 0


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes of one block.

    Attributes:
        description: what the block is for, in one or two sentences.
        attributes: by name.
        version: raised when a state written under an older one must be upgraded.
        blocks: nested ones by name; their values stand beside the attributes.
    """

    description: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    version: int = 0
    blocks: Mapping[str, Nested] = field(default_factory=dict)

    @property
    def secret(self) -> frozenset[str]:
        """The attributes whose values travel as `SecretValue`."""
        return frozenset(n for n, a in self.attributes.items() if a.write_only or a.sensitive)

    @property
    def type(self) -> Type:
        """The object type of one such block."""
        fields = {name: each.type for name, each in self.attributes.items()}
        for name, nested in self.blocks.items():
            one = nested.schema.type
            fields[name] = one if nested.nesting == "single" else Type(nested.nesting, one)
        return Type("object", fields=fields)
