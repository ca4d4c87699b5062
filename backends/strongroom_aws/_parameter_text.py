"""How a value lies in a parameter, which holds text alone, none of it empty and none with ``{{``.

A text that a parameter can hold stands there as it is, so that every other program reads it. What it cannot
hold is base64 behind a tag::

    strongroom:binary:…   bytes
    strongroom:text:…     a text that is empty, has "{{" in it, or itself begins with "strongroom:"

Any text that begins like a tag is tagged itself: no value can pretend to be another.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from strongroom.errors import IntegrityError
from strongroom.value import Kind, SecretValue, is_utf8

_MARK: Final = "strongroom:"
_TAGS: Final[dict[Kind, str]] = {"binary": f"{_MARK}binary:", "text": f"{_MARK}text:"}
_NESTED = "{{"  # the API model, PutParameter: "You can't include values wrapped in double brackets {{}}"


def encode(value: SecretValue) -> str:
    """The text to store."""
    if _stands(value):
        return value.reveal_text()
    return _TAGS[value.kind] + base64.b64encode(value.reveal()).decode()


def decode(stored: SecretValue) -> SecretValue:
    """The value that a parameter's text stands for; a text without a tag of ours is itself.

    Raises:
        IntegrityError: it is tagged, but what follows is not what the tag says.
    """
    value = _decoded(stored)
    if value is None:
        raise IntegrityError(
            "the parameter is tagged as Strongroom's, but does not hold what the tag says",
            hint="something else wrote or cut it",
        )
    return value


def size(value: SecretValue) -> int:
    """Bytes of the text to store, in UTF-8."""
    length = len(value.reveal())
    return length if _stands(value) else len(_TAGS[value.kind]) + 4 * -(-length // 3)


def _stands(value: SecretValue) -> bool:
    data = value.reveal()
    tagged = data.startswith(_MARK.encode()) or _NESTED.encode() in data
    return value.kind == "text" and bool(data) and not tagged


def _decoded(stored: SecretValue) -> SecretValue | None:
    """None, never an error: its frames would hold the value."""
    text = stored.reveal_text()
    kind = next((kind for kind, tag in _TAGS.items() if text.startswith(tag)), None)
    if kind is None:
        return stored
    try:
        data = base64.b64decode(text.removeprefix(_TAGS[kind]), validate=True)
    except (binascii.Error, ValueError):
        return None
    return SecretValue(data, kind) if kind == "binary" or is_utf8(data) else None
