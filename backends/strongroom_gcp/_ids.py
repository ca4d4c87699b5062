"""A version's id: its number, and when the secret was created, since numbers start again after a purge."""

from __future__ import annotations

import re
from typing import Final

from strongroom.backend import Absent

_ID: Final = re.compile(r"([1-9]\d{0,17})(?:\.(\d{10,20}))?")


def version_id(number: int, life: str) -> str:
    """The id; without the life, where it cannot be told, it is no ``if_version``."""
    return f"{number}.{life}" if life else str(number)


def number_and_life(id_: str) -> tuple[int, str] | None:
    """What an id holds; None if it is none."""
    found = _ID.fullmatch(id_)
    return (int(found[1]), found[2] or "") if found else None


def condition_of(if_version: str | Absent | None) -> tuple[int | Absent | None, str]:
    """The number and life that must be current. What no answer can have held matches nothing: 0 is none."""
    if not isinstance(if_version, str):
        return if_version, ""
    return number_and_life(if_version) or (0, "")
