"""Redaction: nothing of a secret shows in a stream, however it is cut and however it is printed."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.redaction import MASK, Redactor, needles_of
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary, holds_canary
from tests.scale import NIGHTLY, scaled


def _redacted(needles: set[bytes], *pieces: bytes) -> bytes:
    redactor = Redactor(needles)
    return b"".join([*map(redactor.feed, pieces), redactor.flush()])


def _by_definition(needles: set[bytes], text: bytes) -> bytes:
    """What a redaction is, written so that it is plainly right: every byte of every occurrence, joined."""
    hidden = [False] * len(text)
    for needle in needles:
        for at in range(len(text) - len(needle) + 1):
            if text[at : at + len(needle)] == needle:
                hidden[at : at + len(needle)] = [True] * len(needle)
    out = bytearray()
    for at, byte in enumerate(text):
        if not hidden[at]:
            out.append(byte)
        elif not (at and hidden[at - 1]):
            out += MASK
    return bytes(out)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[set[bytes], list[bytes]]:
    """Needles and a text in pieces: few letters, so that needles overlap each other and themselves.

    The length of the shortest needle decides how the text is looked through, in words of 1, 2, 4 or 8 bytes.
    """
    text = draw(st.binary(max_size=80).map(lambda raw: bytes(b"aab"[byte % 3] for byte in raw)))
    shortest = draw(st.sampled_from([1, 2, 3, 6, 7, 14, 15]))
    places = st.tuples(st.integers(0, 80), st.integers(shortest, shortest + 6))
    needles = {text[at : at + length] for at, length in draw(st.lists(places, max_size=4))}
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[one:other] for one, other in pairwise([0, *cuts, len(text)])]
    return {needle for needle in needles if len(needle) >= shortest}, pieces


@settings(max_examples=3000 if NIGHTLY else 150, deadline=None)
@given(_cases())
def test_any_cut_gives_what_the_whole_gives(case: tuple[set[bytes], list[bytes]]) -> None:
    """And that is every occurrence, those that overlap too; what is held back is less than a needle."""
    needles, pieces = case
    redactor, out, longest = Redactor(needles), b"", max(map(len, needles), default=1)
    for piece in pieces:
        out += redactor.feed(piece)
        assert redactor.held < longest
    assert out + redactor.flush() == _by_definition(needles, b"".join(pieces))


@settings(max_examples=500 if NIGHTLY else 20, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.binary(max_size=50), st.binary(max_size=50), st.data())
def test_long_needles_are_held_back_as_well(
    needle: bytes, before: bytes, after: bytes, data: st.DataObject
) -> None:
    """Longer than what is looked for at once, byte by byte or cut anywhere."""
    text = before + needle * 2 + after
    cut = data.draw(st.integers(0, len(text)))
    expected = _by_definition({needle}, text)
    assert _redacted({needle}, text[:cut], text[cut:]) == expected
    assert _redacted({needle}, *(text[at : at + 1] for at in range(len(text)))) == expected


def test_what_is_no_beginning_appears_at_once() -> None:
    """A prompt is not held back, nor what could only have begun before it."""
    redactor = Redactor(needles_of(CANARY_BYTES))
    assert redactor.feed(b"Password: ") == b"Password: "
    assert redactor.feed(b"CANARY") == b""
    assert redactor.feed(b" is a bird") == b"CANARY is a bird"


def test_a_mask_that_is_written_is_not_written_again() -> None:
    """A needle that overlaps the one before goes on with its mask, in another piece too."""
    redactor = Redactor({b"abcd", b"cdefgh", b"hij"})
    assert redactor.feed(b"xabcd") == b"x" + MASK
    assert redactor.held == 2
    assert redactor.feed(b"efgh") == b""
    assert redactor.feed(b"ijk") == b"k"
    assert redactor.flush() == b""


def test_without_needles_nothing_changes() -> None:
    """Nor is anything held back."""
    redactor = Redactor([b""])
    assert redactor.feed(b"text") == b"text"
    assert redactor.flush() == b""


PHRASE = f'päss "{CANARY}" \\ 100% <&>'

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": lambda text: json.dumps({"password": text}),
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False),
    "url": lambda text: urllib.parse.quote(text, safe=""),
    "path": urllib.parse.quote,
    "form": lambda text: urllib.parse.urlencode({"password": text}),
    "hexadecimal": lambda text: text.encode().hex(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "basic with a suffix": lambda text: base64.b64encode(f"user1:{text}@host".encode()).decode(),
    "basic of another length": lambda text: base64.b64encode(f"user12:{text}!".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_common_encodings_are_masked(form: str) -> None:
    """In JSON, in URLs, in hexadecimal, in base64 at each alignment."""
    for value in (PHRASE, f"{CANARY}1", f"{CANARY}12", f"{CANARY}\n\ttab"):
        shown = FORMS[form](value).encode()
        out = _redacted(needles_of(value.encode()), b"before ", shown, b" after")
        assert MASK in out
        # What a neighbour shares a digit with, at either end, cannot be known, and tells four bits at most.
        assert len(out) <= len(b"before  after") + len(MASK) + 24
        assert_no_canary(out)


def test_base64_in_lines_is_masked() -> None:
    """As `base64` prints it, and as PEM."""
    value = CANARY_BYTES * 5
    for width in (64, 76):
        digits = base64.b64encode(value)
        lines = [digits[at : at + width] for at in range(0, len(digits), width)]
        out = _redacted(needles_of(value), b"\n".join(lines))
        assert out.replace(MASK, b"").strip(b"=\n") == b""


KEY = f"-----BEGIN KEY-----\n{CANARY}\n{CANARY}=\nab\n-----END KEY-----\n"


def test_the_lines_of_a_value_are_masked_one_by_one() -> None:
    """Indented, reordered, or as a terminal ends them; whole, nothing is left of it at all."""
    needles = needles_of(KEY.encode())
    assert _redacted(needles, KEY.encode()) == MASK
    assert _redacted(needles, KEY.replace("\n", "\r\n").encode()) == MASK
    indented = _redacted(needles, *(f"    {line}\n".encode() for line in KEY.splitlines()))
    assert_no_canary(indented)
    assert b"BEGIN KEY" in indented  # no secret: what every key has


def test_the_texts_in_a_json_value_are_masked() -> None:
    """A program that is given a login prints its password; what is short shows."""
    login = json.dumps({"user": "app", "password": CANARY, "more": [{"token": f"t-{CANARY}"}]})
    out = _redacted(needles_of(login.encode()), f"app {CANARY} t-{CANARY}".encode())
    assert out == b"app " + MASK + b" " + MASK


@pytest.mark.parametrize("value", [b"", b"a", b"abc"])
def test_a_value_too_short_is_not_masked(value: bytes) -> None:
    """The masks would spell it."""
    assert needles_of(value) == set()


@pytest.mark.parametrize(
    "value", [b"\xff\xfe" + CANARY_BYTES, b"{" + CANARY_BYTES, b"[" * 1500, b'{"a": NaN}']
)
def test_whatever_a_value_holds_it_is_masked(value: bytes) -> None:
    """Binary, and what only looks like JSON."""
    assert _redacted(needles_of(value), value) == MASK


def test_a_large_stream_is_masked_in_pieces_of_a_pipe() -> None:
    """With the needles of twenty values."""
    needles = set().union(*(needles_of(f"{CANARY}-{n}".encode()) for n in range(20)))
    redactor, piece = Redactor(needles), b"a line of a log that says CA and no more\n" * 1500
    for _ in range(scaled(50)):
        assert len(redactor.feed(piece + CANARY_BYTES + b"-7")) <= len(piece) + len(MASK) + 40
        assert redactor.held < 200
    assert not holds_canary(redactor.flush())
