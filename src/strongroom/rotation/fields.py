"""Secrets that are JSON objects, such as a key's id and what signs: read a field, renew some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue, take

if TYPE_CHECKING:
    from collections.abc import Mapping


def field(value: SecretValue, name: str) -> str:
    """The text of one field.

    Raises:
        InvalidRequestError: the value is no JSON object, or has no such text.
    """
    found = fields(value).get(name)
    if isinstance(found, str) and found:
        return found
    found = None
    raise InvalidRequestError(f"the secret is not JSON with a text {name!r}")


def fields(value: SecretValue) -> Mapping[str, Any]:
    """All fields; none if the value is not a JSON object."""
    try:
        found = value.reveal_json()
    except InvalidRequestError:
        return {}
    return found if isinstance(found, dict) else {}


def is_object(value: SecretValue) -> bool:
    """Whether the value is a JSON object, be it an empty one."""
    try:
        return isinstance(value.reveal_json(), dict)
    except InvalidRequestError:
        return False


def identifier(value: SecretValue | None, name: str) -> str | None:
    """The public part of a secret, such as an access key's id; None if there is none in it."""
    found = fields(value).get(name) if value else None
    return found if isinstance(found, str) and found else None


def renewed(current: SecretValue | None, **new: str | SecretValue) -> SecretValue:
    """A JSON object with these fields, and whatever else stands in the current one."""
    shown = {
        name: text.reveal_text() if isinstance(text, SecretValue) else text for name, text in new.items()
    }
    taken = take({**(fields(current) if current else {}), **shown})
    shown, new = {}, {}  # this frame travels with the error
    if isinstance(taken, InvalidRequestError):
        raise taken
    return taken
