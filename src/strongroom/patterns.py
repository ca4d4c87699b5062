"""Patterns of secret names, as strongroom.toml spells them: what a replica holds, what is revocable."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WILD = r"(\*\*/|\*\*|\*|\?)"
_MEANS: Final = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """What tells whether a name is one of those that any of the patterns means.

    ``**`` stands for anything, slashes among it, and ``**/`` for nothing too: ``**`` means every name,
    ``db/**`` all below ``db``, ``**/key`` each name that ends so. ``*`` stands for anything within a segment,
    ``?`` for one character of it, and all else for itself.
    """
    compiled = [_compiled(pattern) for pattern in patterns]
    return lambda name: any(one.fullmatch(name) for one in compiled)


def prefix_of(patterns: Sequence[str]) -> str:
    """What every name begins with that a pattern means: all that a listing has to be asked for."""
    heads = [re.split(_WILD, pattern, maxsplit=1)[0] for pattern in patterns]
    first, last = min(heads, default=""), max(heads, default="")
    same = next((at for at, char in enumerate(first) if last[at] != char), len(first))
    return first[:same]


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(_WILD, pattern)
    return re.compile("".join(_MEANS.get(part) or re.escape(part) for part in parts))
