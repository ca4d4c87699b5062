"""What ``get`` takes: a name, or ``strongroom://ALIAS/NAME[?version=ID][#/json/pointer]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from strongroom.errors import InvalidRequestError

SCHEME: Final = "strongroom://"
_SHAPE: Final = "a reference reads strongroom://ALIAS/NAME[?version=ID][#/json/pointer]"


@dataclass(frozen=True, slots=True)
class Reference:
    """One value somewhere.

    Attributes:
        alias: the configured store, or None for the one that `--store` names.
        name: the secret's name.
        version: a version id, or None for what is current.
        pointer: an RFC 6901 JSON pointer into the value; None for the whole value.
    """

    name: str
    alias: str | None = None
    version: str | None = None
    pointer: str | None = None


def parse(text: str) -> Reference:
    """Read a name or a reference.

    Raises:
        InvalidRequestError: malformed, or an option other than ``version``.
    """
    if not text.startswith(SCHEME):
        return Reference(text)
    body, mark, pointer = text.removeprefix(SCHEME).partition("#")
    path, _, query = body.partition("?")
    alias, _, name = path.partition("/")
    if not alias or not name or (pointer and not pointer.startswith("/")):
        raise InvalidRequestError("this is not a reference", hint=_SHAPE)
    return Reference(name, alias, _version(query), pointer if mark else None)


def _version(query: str) -> str | None:
    if not query:
        return None
    key, _, version = query.partition("=")
    if key != "version" or not version or "&" in version:
        raise InvalidRequestError("a reference has the one option 'version'", hint=_SHAPE)
    return version
