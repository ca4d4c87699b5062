"""Masks secrets in a stream of bytes, however it is cut into pieces.

What is masked is the union of all places at which a needle stands, so that nothing is left of two that
overlap. Between two pieces only those bytes are held back that may be the beginning of a needle: a prompt
appears at once, and memory is bounded by the longest needle.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from itertools import product
from sys import byteorder
from typing import Any, Final, Literal, final
from urllib.parse import quote, quote_plus

MASK: Final = b"<redacted>"
SHORTEST: Final = 4
"""Bytes; a shorter value is not masked: it would be everywhere, and the masks would spell it."""
_SHORTEST_PART: Final = 8
"""Bytes of a line, of a part of a JSON value, and of a value whose encodings are looked for."""
_WORDS: Final[dict[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Formats of `memoryview.cast` for words of so many bytes."""
_LINES_OF_BASE64: Final = (64, 76)
"""Digits in a line of PEM (RFC 7468), and of MIME (RFC 2045) and the command `base64`."""
_DEEPEST: Final = 20


@final
class Needles(frozenset[bytes]):
    """What is to be masked, which shows none of it."""

    def __repr__(self) -> str:
        return f"<{len(self)} needles>"


@final
class Redactor:
    """Masks needles in a stream.

    Args:
        needles: what to mask; empty ones are left out.
    """

    def __init__(self, needles: Iterable[bytes]):
        ordered = sorted({needle for needle in needles if needle}, key=lambda one: (-len(one), one))
        shortest = len(ordered[-1]) if ordered else 1
        self._width = width = max(width for width in _WORDS if 2 * width - 1 <= shortest)
        self._by_head: dict[bytes, list[bytes]] = {}  # each with its longest needle first
        for needle in ordered:
            self._by_head.setdefault(needle[:width], []).append(needle)
        # A needle so long holds a whole aligned word of the text, which begins at one of its first bytes.
        self._offsets: dict[int, set[int]] = {}
        for needle, at in product(ordered, range(width)):
            self._offsets.setdefault(int.from_bytes(needle[at : at + width], byteorder), set()).add(at)
        self._words = frozenset(self._offsets)
        self._starts = {needle[:length] for needle in ordered for length in range(1, 2 * width - 1)}
        self._held = b""
        self._covered: int | None = None  # bytes of `_held` that a mask already written stands for

    @property
    def held(self) -> int:
        """How many bytes wait for what comes after them: always fewer than the longest needle has."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the stream; what can be written of it and of what was held back."""
        return self._advance(self._held + data, final=False)

    def flush(self) -> bytes:
        """The stream has ended: what was held back is no needle."""
        return self._advance(self._held, final=True)

    def _advance(self, text: bytes, *, final: bool) -> bytes:
        spans, end = self._found(text)
        end = len(text) if final else end
        written: list[bytes] = []
        at = self._covered or 0
        joined = self._covered is not None  # a mask ends at `at`, so that one which begins there is the same
        for start, stop in spans:
            if start >= end:
                break
            if start > at:
                written.append(text[at:start])
                joined = False
            if not joined:
                written.append(MASK)
            at, joined = max(at, stop), True
        if at < end:
            written.append(text[at:end])
            at, joined = end, False
        self._held, self._covered = text[end:], at - end if joined else None
        return b"".join(written)

    def _found(self, text: bytes) -> tuple[list[tuple[int, int]], int]:
        """Where needles stand, in order, the longest at each place; and from where on one may have begun."""
        spans, hold = [], len(text)
        for at in self._candidates(text):
            for needle in self._by_head.get(text[at : at + self._width], ()):
                if text.startswith(needle, at):
                    spans.append((at, at + len(needle)))
                    break
                if len(text) - at < len(needle) and needle.startswith(text[at:]):
                    hold = min(hold, at)
        for at in range(max(0, len(text) - 2 * self._width + 2), hold):
            if text[at:] in self._starts:
                return spans, at
        return spans, hold

    def _candidates(self, text: bytes) -> list[int]:
        """Where needles may begin of which a whole word can be seen.

        The words of the text are looked up in one set, by code written in C: that takes as long for a
        thousand needles as for one, where an expression of alternatives tries one after the other.
        """
        width = self._width
        whole = len(text) // width * width
        if not whole:
            return []
        seen = self._words.intersection(memoryview(text)[:whole].cast(_WORDS[width]))
        places = ((at, word) for word in seen for at in _places(text, word.to_bytes(width, byteorder)))
        return sorted({at - offset for at, word in places for offset in self._offsets[word] if at >= offset})


def _places(text: bytes, part: bytes) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def needles_of(value: bytes) -> set[bytes]:
    """What to look for so that a value does not show: itself, and how programs commonly print it.

    Its lines and, where it is JSON, the texts in it are values of their own, if they have 8 bytes or more. Of
    those so long also the escapes of JSON and of URLs, hexadecimal digits, and base64 of both alphabets, in
    lines or not, where the value may stand in the middle of what is encoded (RFC 7617's ``user:password``).
    """
    if len(value) < SHORTEST:
        return set()
    needles = {value, value.replace(b"\n", b"\r\n")}  # as a terminal shows the end of a line
    for part in {value, *_lines(value), *_texts(value)}:
        needles.add(part)
        if len(part) >= _SHORTEST_PART:
            needles |= _encoded(part)
    return needles


def _lines(value: bytes) -> Iterator[bytes]:
    lines = [line.strip() for line in value.splitlines()]
    # What stands around a PEM block is no secret, and each has it.
    return (line for line in lines if len(line) >= _SHORTEST_PART and not line.startswith(b"-----"))


def _texts(value: bytes) -> Iterator[bytes]:
    if value[:1] not in b"{[":
        return
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return
    yield from _leaves(document, 0)


def _leaves(node: Any, depth: int) -> Iterator[bytes]:
    if isinstance(node, str):
        text = node.encode(errors="replace")
        if len(text) >= _SHORTEST_PART:
            yield text
    elif isinstance(node, (dict, list)) and depth < _DEEPEST:
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _leaves(inner, depth + 1)


def _encoded(value: bytes) -> set[bytes]:
    forms = {value.hex().encode(), value.hex().upper().encode()}
    forms |= {one(value).encode() for one in (quote, quote_plus, _quoted_wholly)}
    for base in _base64(value):
        forms |= {base, base.translate(_URL_SAFE)}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return forms
    return forms | {json.dumps(text, ensure_ascii=plain)[1:-1].encode() for plain in (True, False)}


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def _quoted_wholly(value: bytes) -> str:
    return quote(value, safe="")


def _base64(value: bytes) -> Iterator[bytes]:
    """What base64 makes of the value behind 0, 1 or 2 bytes of something else, and before anything."""
    for before in range(3):
        digits = b64encode(bytes(before) + value).rstrip(b"=")
        # A digit has six bits: where some of them are a neighbour's, it is not known.
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        yield digits[first:last]
        yield digits[first:]
    digits = b64encode(value).rstrip(b"=")
    for width in _LINES_OF_BASE64:
        if len(digits) > width:
            lines = (digits[at : at + width] for at in range(0, len(digits), width))
            yield from (line for line in lines if len(line) >= _SHORTEST_PART)
