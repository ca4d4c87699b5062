"""Portable names, prefixes and keys for properties: all of the grammar, from one cheap draw each.

A name is made of the bytes of one `st.binary`: ten thousand of them cost a tenth of what lists of words do,
and what fails still shrinks towards "a".
"""

from __future__ import annotations

from hypothesis import strategies as st

from strongroom.names import NAME_UNITS, PREFIX_UNITS, Companion, Key, Name, Reserved

# Written from DESIGN section 4, not from the product.
WIDTHS = {"/": 2, ".": 3, "_": 4}
_LETTERS = "ab0z9"
_SIGNS = "/._-"


def units(text: str) -> int:
    """What a name takes of its limit."""
    return sum(WIDTHS.get(char, 1) for char in text)


def _portable(drawn: bytes, limit: int) -> str:
    """A byte below 160 is a letter, one above it a sign, or a letter where no sign may stand."""
    text, left = "", limit
    for byte in drawn:
        wanted = _SIGNS[byte % 4] if byte >= 160 and text and text[-1] not in _SIGNS else _LETTERS[byte % 5]
        left -= WIDTHS.get(wanted, 1)
        if left < 0:
            break
        text += wanted
    return text.rstrip(_SIGNS) or "a"


def texts(limit: int = NAME_UNITS) -> st.SearchStrategy[str]:
    """Names of the grammar, of at most `limit` units."""
    return st.binary(max_size=limit).map(lambda drawn: _portable(drawn, limit))


NAMES = texts().map(Name)
PREFIXES = st.just("") | texts(PREFIX_UNITS)
_KINDS = ("", "companion", "lease", "ledger", "digest-key")


def _key(kind: str, text: str) -> Key:
    if not kind:
        return Name(text)
    return Companion(Name(text)) if kind == "companion" else Reserved(kind, Name(text))


def letters(alphabet: str, longest: int) -> st.SearchStrategy[str]:
    """Any text of these letters."""
    return st.binary(max_size=longest).map(lambda drawn: "".join(alphabet[b % len(alphabet)] for b in drawn))


def keys(names: st.SearchStrategy[str]) -> st.SearchStrategy[Key]:
    """The names themselves, their companions and reserved keys."""
    return st.builds(_key, st.sampled_from(_KINDS), names)


KEYS = keys(texts())
