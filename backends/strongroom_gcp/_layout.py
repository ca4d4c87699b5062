"""How a value lies in a version's payload: as it is, so that every other client reads it too.

What the payload alone does not tell is guessed: text if it is valid UTF-8, else binary. Google takes no empty
payload ("Field [payload] is required"), so an empty value is written as one newline, which shells strip.
Where a guess is wrong, a mark in the secret's annotations says what the version is.
"""

from __future__ import annotations

from typing import Final

from strongroom.value import SecretValue

LIMIT: Final = 65_536
"""Bytes in a payload: SecretPayload.data, "Must be no larger than 64KiB"."""

EMPTY: Final = b"\n"
"""What stands for an empty value."""

TEXT: Final = "t"
BINARY: Final = "b"
EMPTY_BINARY: Final = "n"
MARKS: Final = frozenset({TEXT, BINARY, EMPTY_BINARY})
"""What a mark may say; an empty text needs none."""


def encode(value: SecretValue) -> tuple[SecretValue, str]:
    """The payload for a value, and the mark that it needs or an empty string."""
    if value.matches(b""):
        return SecretValue(EMPTY), "" if value.kind == "text" else EMPTY_BINARY
    payload = SecretValue(value.reveal())
    guess = decode(payload, "")
    if guess.kind == value.kind and guess == value:
        return payload, ""
    return payload, TEXT if value.kind == "text" else BINARY


def decode(payload: SecretValue, mark: str) -> SecretValue:
    """The value in a payload. A mark that cannot be true of it, since something else wrote it, is no mark."""
    data = payload.reveal()
    if data == EMPTY and mark in ("", EMPTY_BINARY):
        return SecretValue(b"" if mark else "")
    if mark == BINARY or not _is_text(data):
        return SecretValue(data)
    return SecretValue(data, "text")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
