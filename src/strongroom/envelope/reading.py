"""The parts of a message that comes as a stream, each taken when it is needed and nothing beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError

from .message import (
    CUT_SHORT,
    FINAL,
    FINAL_FRAME,
    FIXED,
    MAX_SIGNATURE_LENGTH,
    REGULAR,
    SINGLE,
    TAIL,
    FrameHead,
    Header,
    check_count,
    check_suite,
    decode_footer,
    decode_frame_head,
    decode_header,
)
from .suites import SIGNED

if TYPE_CHECKING:
    from collections.abc import Callable


def read_exactly(read: Callable[[int], bytes], count: int) -> bytes:
    """`count` bytes from `read`, which may give fewer at a time, as a pipe does, and none at its end.

    Raises:
        IntegrityError: the stream ends before.
    """
    data = read(count)
    while len(data) < count:
        more = read(count - len(data))
        if not more:
            raise IntegrityError(CUT_SHORT)
        data += more
    return data


def read_header(read: Callable[[int], bytes]) -> tuple[Header, bytes]:
    """The header at the start of a stream, and its body as it stands there; at most some 3 MiB.

    Args:
        read: as of a binary file. Nothing beyond the header body is taken from it.

    Raises:
        IntegrityError: as `decode_header` does.
    """
    data = bytearray(read_exactly(read, FIXED.size))
    version, suite, _, length = FIXED.unpack(data)
    check_suite(version, suite)  # what is no message is not read any further

    def number() -> int:
        data.extend(read_exactly(read, 2))
        return int.from_bytes(data[-2:], "big")

    data += read_exactly(read, length)
    for _ in range(3 * check_count(number())):
        data += read_exactly(read, number())
    data += read_exactly(read, TAIL.size)
    return decode_header(bytes(data))[0], bytes(data)


def read_frame_head(read: Callable[[int], bytes], header: Header, expected: int) -> FrameHead:
    """The next frame's head from a stream, and nothing beyond it; raises as `decode_frame_head` does."""
    data = read_exactly(read, REGULAR.size if header.frame_length else SINGLE.size)
    if header.frame_length and data.startswith(FINAL_FRAME):
        data += read_exactly(read, FINAL.size - REGULAR.size)
    return decode_frame_head(data, 0, header, expected)


def read_footer(read: Callable[[int], bytes], header: Header) -> bytes:
    """The signature after the last frame, empty for an unsigned message, once the stream has ended there.

    Raises:
        IntegrityError: as `decode_footer` does.
    """
    data = b""
    if header.suite == SIGNED.number:
        data = read_exactly(read, 2)
        data += read_exactly(read, min(int.from_bytes(data, "big"), MAX_SIGNATURE_LENGTH))
    return decode_footer(data + read(1), 0, header)
