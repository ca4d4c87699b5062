"""What a message says of itself, read without a key from end to end: its header, its frames, its size.

Nothing of it is verified. Whoever could write the message could write anything into its header; that the
structure holds together says only that nothing was cut off by accident.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError

from .message import TAG_LENGTH
from .reading import read_exactly, read_footer, read_frame_head, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from .message import Header

START_LENGTH: Final = 4
"""Bytes that tell what a file is."""

_PIECE: Final = 1 << 20
_MESSAGES: Final = (b"\x02\x04\x78", b"\x02\x05\x78")
_IN_BASE64: Final = (b"AgR4", b"AgV4")
_VERSION_1: Final = tuple(
    b"\x01\x80" + suite.to_bytes(2, "big")
    for suite in (0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378)
)
"""Version, type and suite, as the AWS Encryption SDK wrote them by default until its release 2.0:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/algorithms-reference.html."""


class Survey(NamedTuple):
    """What was found.

    Attributes:
        header: as it stands there, unverified.
        frames: how many frames the body has; 0 if it is not framed.
        size: bytes of plaintext that the body says it holds.
    """

    header: Header
    frames: int
    size: int


def is_message(start: bytes) -> bool:
    """Whether what begins with these `START_LENGTH` bytes is a message, or else nothing of the kind.

    Raises:
        IntegrityError: something between the two: a message in base64, or one of the refused version 1.
    """
    if start.startswith(_IN_BASE64):
        raise IntegrityError("this is a message in base64", hint="decode it first: base64 -d")
    if start in _VERSION_1:
        raise IntegrityError(
            "this is a message of format version 1, which is refused: it has no key commitment",
            hint="decrypt it with what wrote it, and encrypt it anew",
        )
    return start.startswith(_MESSAGES)


def survey(source: Any) -> Survey:
    """Read the message that all of `source` is, a binary file; what can be sought over is not read.

    Raises:
        IntegrityError: it is no message of format version 2, or one that was cut short or extended.
    """
    start = source.read(START_LENGTH)
    if not is_message(start):
        raise IntegrityError("this is no message", hint="strongroom encrypt makes one")
    header, _ = read_header(_after(start, source.read))
    read_exactly(source.read, TAG_LENGTH)
    size, frames, final = 0, 0, False
    while not final:
        frames += 1
        head = read_frame_head(source.read, header, frames)
        size, final = size + head.length, head.final
        _skip(source, head.length + TAG_LENGTH)
    read_footer(source.read, header)
    return Survey(header, frames if header.frame_length else 0, size)


def _after(start: bytes, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """`read`, as if `start` had not been taken from it yet."""
    held = bytearray(start)

    def chained(count: int) -> bytes:
        if not held:
            return read(count)
        taken = bytes(held[:count])
        del held[:count]
        return taken

    return chained


def _skip(source: Any, count: int) -> None:
    if source.seekable():
        with suppress(OSError, OverflowError, ValueError):  # beyond what a file can be: reading tells
            source.seek(count - 1, 1)
            count = 1  # beyond the end one can seek, but not read
    while count:
        count -= len(read_exactly(source.read, min(count, _PIECE)))
