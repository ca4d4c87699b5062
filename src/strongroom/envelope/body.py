"""A message from a source, stretch by stretch: some frames at a time, verified before they are seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import IntegrityError, InvalidRequestError

from .gcm import LONGEST
from .message import (
    FINAL_OVERHEAD,
    MAX_SIGNATURE_LENGTH,
    REGULAR_OVERHEAD,
    TAG_LENGTH,
    decode_footer,
    decode_frame_head,
)
from .pipes import Intake
from .reading import read_exactly, read_header
from .sealing import FRAME_LENGTH, Opening
from .signing import PUBLIC_KEY
from .suites import SIGNED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache
    from .message import FrameHead

_FIRST_READ: Final = 4096
_HEAD_LENGTH: Final = 24
"""Bytes of the longest head; no frame is shorter."""

_FINAL_EXTRA: Final = FINAL_OVERHEAD - REGULAR_OVERHEAD

_MAX_FRAME_LENGTH: Final = LONGEST - TAG_LENGTH
"""What cryptography deciphers in one call; the format would allow 2^32 - 1, or 2^36 in a non-framed body."""


@final
class Plain:
    """Verified plaintext, in one reused buffer; its repr does not show it.

    Attributes:
        filled: how many bytes there are.
    """

    __slots__ = ("_buffer", "_touched", "filled")

    def __init__(self, capacity: int):
        self._buffer, self._touched, self.filled = memoryview(bytearray(capacity)), 0, 0

    @property
    def view(self) -> memoryview:
        """The bytes, until more are added."""
        return self._buffer[: self.filled]

    def room(self, length: int) -> memoryview:
        """Where the next `length` bytes go."""
        end = self.filled + length
        if end > len(self._buffer):
            longer = memoryview(bytearray(end))
            longer[: self.filled] = self.view
            self.wipe()
            self._buffer = longer
        self._touched = max(self._touched, end)
        return self._buffer[self.filled : end]

    def wipe(self) -> None:
        """Zero all that ever stood here."""
        self._buffer[: self._touched] = bytes(self._touched)
        self._touched = 0


@final
class Body:
    """The message that a source stands before: its header, and then its frames in order.

    Attributes:
        header: not verified before `begin`.
        position: bytes that header and tag take.
        opening: from `begin` on.
        sequence, length: of the frame that was opened last; bytes of its plaintext.
    """

    opening: Opening

    def __init__(self, source: Any):
        self._intake = Intake(source, _FIRST_READ)
        self.header, self._encoded = read_header(self._intake.take)
        self._tag = read_exactly(self._intake.take, TAG_LENGTH)
        self.position = self._intake.taken
        self.sequence = self.length = 0

    @property
    def signed(self) -> bool:
        """Whether nothing may be believed before the very end."""
        return self.header.suite == SIGNED.number

    @property
    def taken(self) -> int:
        """Bytes of the source that are done with."""
        return self._intake.taken

    def begin(
        self, keys: Sequence[KeyWrapper], expected: Mapping[str, str], data_keys: DataKeyCache | None
    ) -> None:
        """Verify the header; raises as `Opening.begin`."""
        self.opening = Opening.begin(
            self.header, self._encoded, self._tag, keys, expected, data_keys=data_keys
        )

    def must_be_read_twice(self, possible: bool) -> None:
        """Return if the source of a signed message can go back: first the signature, then the plaintext."""
        # Without its key a message only seems to be signed: it was changed, which `begin` says.
        if not possible and PUBLIC_KEY in self.header.context:
            raise InvalidRequestError(
                "a signed message is read twice, and this source cannot be", hint="write it to a file first"
            )

    def restart(self, sequence: int = 0) -> None:
        """The source has been moved to the frame after that of number `sequence`."""
        size = self.header.frame_length + REGULAR_OVERHEAD
        self._intake.restart(self.position + sequence * size)
        self.sequence = sequence

    def stretches(self, target: int = FRAME_LENGTH, *, feed: bool = True) -> Iterator[memoryview]:
        """All plaintext in views of one reused buffer, each of whole frames of some `target` bytes.

        Each frame is verified before it is seen, and the end of the message before its last stretch.

        Args:
            feed: take the frames in for the signature, and check that.

        Raises:
            IntegrityError: the message was changed, cut or extended.
        """
        together = self.together(target) * self.header.frame_length
        plain, final = self.room(together), False
        try:
            while not final:
                head, frame = self.peek()
                if plain.filled and plain.filled + head.length > together:
                    yield plain.view
                    plain.filled = 0
                if feed:
                    self.opening.feed(frame)
                self.open(head, frame, plain)
                final = head.final
            self._end(feed=feed)
            yield plain.view
        finally:
            plain.wipe()

    def together(self, target: int) -> int:
        """How many regular frames are about `target` bytes of a message; one at least, and if not framed."""
        length = self.header.frame_length
        return max(1, target // (length + REGULAR_OVERHEAD)) if length else 1

    def room(self, length: int) -> Plain:
        """Buffers for `length` bytes of plaintext; at first for a MiB at most, whatever a header claims."""
        length = min(length, FRAME_LENGTH)
        frames = max(1, length // self.header.frame_length) if self.header.frame_length else 1
        self._intake.reserve(length + frames * REGULAR_OVERHEAD + _FINAL_EXTRA)
        return Plain(length)

    def peek(self) -> tuple[FrameHead, memoryview]:
        """The next frame: its head, and all of it as it stands in the message."""
        head = decode_frame_head(self._intake.peek(_HEAD_LENGTH), 0, self.header, self.sequence + 1)
        if head.length > _MAX_FRAME_LENGTH:
            raise IntegrityError(f"a frame is longer than {_MAX_FRAME_LENGTH} bytes")
        length = len(head.encoded) + head.length + TAG_LENGTH
        frame = self._intake.peek(length)
        if len(frame) < length:
            raise IntegrityError("the message is cut short")
        return head, frame

    def open(self, head: FrameHead, frame: memoryview, plain: Plain) -> None:
        """Add the frame that was peeked at to `plain` once it is verified, and go past it."""
        place = plain.room(head.length)
        plain.filled += self.opening.open_into(head, frame[len(head.encoded) :], place)
        self._intake.skip(len(frame))
        self.sequence, self.length = self.sequence + 1, head.length

    def _end(self, *, feed: bool) -> None:
        rest = self._intake.peek(2 + MAX_SIGNATURE_LENGTH + 1)
        signature = decode_footer(rest, 0, self.header)
        self._intake.skip(len(rest))
        if feed:
            self.opening.finish(signature)
