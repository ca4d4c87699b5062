"""Makes the corpus: one small message for each thing that a reader has to tell apart, named by what it shows.

Run ``python -m tests.fuzz.seeds`` after a change here. What fuzzing finds is kept beside these, under a name
of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from strongroom.keys import encode_context
from tests.fuzz.harness import DATA_KEY, public_key, repaired
from tests.unit.envelope_support import Author, field, pairs

CORPUS = Path(__file__).parent / "corpus"
_VALUE = bytes(range(40))


class _Author(Author):
    """Writes the same bytes every time."""

    def __init__(self, context: bytes | Mapping[str, str] = b"", *, suite: int = 0x0478):
        self.context = context if isinstance(context, bytes) else encode_context(context)
        self.suite, self.data_key = suite, DATA_KEY
        self.message_id = hashlib.sha256(b"the message id").digest()
        self.edk = field(b"fuzz") + field(b"any") + field(b"wrapped")


def _signed(context: Mapping[str, str] | None = None) -> _Author:
    return _Author({**(context or {}), "aws-crypto-public-key": public_key()}, suite=0x0578)


def _with_footer(message: bytes) -> bytes:
    """The signature itself is made by `repaired`, over what stands before it."""
    made = repaired(message + field(bytes(103)))
    assert made is not None
    return made


def seeds() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every seed."""
    yield from _well_formed()
    yield from _signed_ones()
    yield from _malformed_headers()
    yield from _malformed_bodies()


def _well_formed() -> Iterator[tuple[str, bytes]]:
    author = _Author({"for": "fuzzing"})
    yield "one-frame", author.framed(_VALUE, 64)
    yield "three-frames", author.framed(_VALUE, 16)
    yield "final-frame-full", author.framed(_VALUE, 20)
    header = author.header(frame_length=40)
    yield "final-frame-empty", header + author.frame(1, _VALUE) + author.frame(2, b"", final=True)
    yield "frames-of-one-byte", author.framed(_VALUE[:9], 1)
    yield "empty-value", author.framed(b"", 16)
    yield "non-framed", author.header() + author.single(_VALUE)
    yield "non-framed-empty", author.header() + author.single(b"")
    yield "frame-length-highest", author.framed(_VALUE, 2**32 - 1)
    iv = b"any IV at 12"
    yield "iv-not-the-number", author.header(frame_length=64) + author.frame(1, _VALUE, final=True, iv=iv)
    yield (
        "three-wrapped-keys",
        author.header(frame_length=64, edks=[author.edk] * 3) + author.frame(1, _VALUE, final=True),
    )
    yield "no-context", _Author().framed(_VALUE, 64)
    yield (
        "context-in-utf-8",
        _Author({"für": "Überprüfung", "\U0001f511": "b", "\uff21": "a"}).framed(b"v", 8),
    )
    bound = {"strongroom-domain": "d", "strongroom-name": "n", "strongroom-write-id": "w", "a": "1"}
    yield "bindings", _Author(bound).framed(b"v", 8)


def _signed_ones() -> Iterator[tuple[str, bytes]]:
    author = _signed({"for": "fuzzing"})
    yield "signed-one-frame", _with_footer(author.framed(_VALUE, 64))
    yield "signed-three-frames", _with_footer(author.framed(_VALUE, 16))
    yield "signed-non-framed", _with_footer(author.header() + author.single(_VALUE))
    yield "signed-empty", _with_footer(author.framed(b"", 16))
    yield "signed-without-footer", author.framed(_VALUE, 64)
    yield "signed-footer-empty", author.framed(_VALUE, 64) + field(b"")
    yield "signed-footer-too-long", author.framed(_VALUE, 64) + field(bytes(105))
    yield "signed-by-no-key", _with_footer(_Author(suite=0x0578).framed(_VALUE, 64))
    said = {"aws-crypto-public-key": "A" * 68}
    yield "signed-by-no-point", _with_footer(_Author(said, suite=0x0578).framed(_VALUE, 64))
    yield "unsigned-with-a-public-key", _Author({"aws-crypto-public-key": public_key()}).framed(_VALUE, 64)


def _malformed_headers() -> Iterator[tuple[str, bytes]]:
    author = _Author()
    body = author.single(b"")
    yield "nothing", b""
    yield "version-1", author.header(version=1) + body
    yield "suite-without-commitment", b"\x02\x01\x78" + author.header()[3:] + body
    yield "no-wrapped-key", author.header(edks=[]) + body
    yield "seventeen-wrapped-keys", author.header(edks=[author.edk] * 17) + body
    yield "wrapped-key-beyond-the-end", author.header(edks=[b"\xff\xff"]) + body
    yield "provider-not-utf-8", author.header(edks=[field(b"\xff") + field(b"") + field(b"")]) + body
    yield "content-type-3", author.header(content_type=3, frame_length=5) + body
    yield "framed-of-length-0", author.header(content_type=2) + body
    for name, context in {
        "unsorted": pairs((b"b", b"1"), (b"a", b"2")),
        "key-twice": pairs((b"a", b"1"), (b"a", b"2")),
        "not-utf-8": pairs((b"a", b"\xff")),
        "longer-than-its-pairs": pairs((b"a", b"1")) + b"\x00",
        "of-no-pairs": b"\x00\x00",
        "pair-beyond-the-end": b"\x00\x01\x00\x09a\x00\x00",
        "empty-key": pairs((b"", b"1")),
    }.items():
        yield f"context-{name}", _Author(context).header() + body
    yield "header-cut", author.header()[:60]
    yield "header-alone", author.header()


def _malformed_bodies() -> Iterator[tuple[str, bytes]]:
    author = _Author()
    header = author.header(frame_length=8)
    one, two, final = (author.frame(n, b"12345678", final=n == 3) for n in (1, 2, 3))
    yield "frames-swapped", header + two + one + final
    yield "frame-missing", header + one + final
    yield "frame-twice", header + one + one + two + final
    yield "no-final-frame", header + one + two
    yield "frame-0", header + author.frame(0, b"12345678") + one + two + final
    yield "final-frame-above-the-length", header + author.frame(1, b"123456789", final=True)
    yield "byte-after-the-end", header + one + two + final + b"\x00"
    yield "message-after-the-end", (header + one + two + final) * 2
    yield "non-framed-of-2-to-the-63", author.header() + bytes(12) + (2**63).to_bytes(8, "big") + bytes(16)
    huge = author.header(frame_length=2**32 - 1)
    yield "frame-of-4-gib-not-there", huge + (1).to_bytes(4, "big") + bytes(12) + bytes(99)
    yield "frame-cut-in-its-head", header + one + two[:10]


def main() -> None:
    """Write the seeds."""
    CORPUS.mkdir(exist_ok=True)
    for name, message in seeds():
        (CORPUS / name).write_bytes(message)


if __name__ == "__main__":
    main()
