"""Text that neither ends a line, nor drives a terminal, nor turns around what stands beside it."""

from __future__ import annotations

import re
from typing import Final

_LOOKS_ESCAPED: Final = re.compile(r"\\(?=u[0-9a-f]{4})")


def visible(text: str, keep: str = "") -> str:
    """The text with every character that is not printable as ``\\uXXXX``, in UTF-16 as JSON writes it.

    So are the control characters, line and paragraph separators, directional marks and overrides, blanks that
    look like a space, and what has no meaning yet. A backslash that would look like the beginning of such an
    escape is written as ``\\u005c``, so that no two texts look the same and each can be had back.

    Args:
        keep: characters that the caller makes harmless in its own way.
    """
    if text.isprintable() and "\\u" not in text:
        return text
    text = _LOOKS_ESCAPED.sub(r"\\u005c", text)
    return "".join(char if char.isprintable() or char in keep else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
