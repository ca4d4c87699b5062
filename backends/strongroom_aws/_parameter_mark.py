"""What a version carries of its making, in its Description: the one text that PutParameter keeps per version.

The user's own description stands before it and is kept. A later writer's version may bear ours too: the
console puts the description it found into its form, and a put without one keeps the last. So a mark counts
only on the oldest version that bears its write id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from strongroom.errors import InvalidRequestError
from strongroom.guarded import Stamp

LENGTH: Final = 1024
"""Characters of a description (the API model, PutParameter: Description)."""

_MARK = re.compile(
    r"(?:^|(?<=[ \n]))\[strongroom (?P<stamp>[0-9a-f.]+)(?: (?P<record>[^\s\]]+))?\]\Z", re.ASCII
)
_RECORD = re.compile(r"[a-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Strongroom's part of a description: the write's stamp, and replication's record."""

    stamp: Stamp
    record: str | None = None


def describe(text: str, mark: Mark) -> str:
    """The user's text with a mark behind it.

    Raises:
        InvalidRequestError: there is no room for the mark. A description is not cut: it is the user's.
    """
    if mark.record is not None and not _RECORD.fullmatch(mark.record):
        raise InvalidRequestError("a record is 1 to 200 of the characters a-z 0-9 . _ -")
    packed = mark.stamp.pack() + (f" {mark.record}" if mark.record else "")
    described = f"{text} [strongroom {packed}]" if text else f"[strongroom {packed}]"
    if len(described) > LENGTH:
        raise InvalidRequestError(
            "the parameter's description leaves no room for Strongroom's mark",
            hint=f"shorten it to {LENGTH - len(described) + len(text)} characters",
        )
    return described


def read(description: str) -> tuple[str, Mark | None]:
    """The user's text, and the mark if there is one."""
    match = _MARK.search(description)
    stamp = Stamp.parse(match["stamp"]) if match else None
    if match is None or stamp is None:
        return description, None
    return description[: match.start()].removesuffix(" "), Mark(stamp, match["record"])
