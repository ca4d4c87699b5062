"""What a plan says when a resource has nothing of its own to say."""

from __future__ import annotations

from .blocks import Change
from .schema import UNKNOWN, Attribute, Schema, Value, Values


def proposed(schema: Schema, change: Change) -> Values:
    """What Terraform proposes; computed attributes become UNKNOWN where an apply will tell them anew.

    Terraform's proposal keeps what was computed before. Left so, an update that tells something else ends in
    "Provider produced inconsistent result after apply"; and UNKNOWN where nothing changes would never let a
    second plan be empty.
    """
    planned = dict(change.planned)
    if change.prior is not None and not changed(schema, change):
        return planned
    for name, attribute in schema.attributes.items():
        if attribute.computed and change.config.get(name) is None:
            planned[name] = UNKNOWN
    return planned


def changed(schema: Schema, change: Change) -> bool:
    """Whether the configuration says anything else than stands in state; write-only attributes never do."""
    prior = change.prior or {}
    return any(
        _said(attribute, change.config.get(name)) and change.planned.get(name) != prior.get(name)
        for name, attribute in schema.attributes.items()
    ) or any(change.planned.get(name) != prior.get(name) for name in schema.blocks)


def _said(attribute: Attribute, configured: Value) -> bool:
    return not attribute.write_only and (not attribute.computed or configured is not None)


def replaced(schema: Schema, prior: Values | None, planned: Values) -> list[str]:
    """The attributes that make another object of it."""
    if prior is None:
        return []
    return [
        name
        for name, attribute in schema.attributes.items()
        if attribute.replace and prior.get(name) != planned.get(name)
    ]
