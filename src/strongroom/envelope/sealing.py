"""Writing and reading one message, piece by piece: the one place that writes a header, and that believes one.

`Sealing` and `Opening` know no streams and no files: whoever uses them moves the bytes::

    sealing = Sealing.begin(keys, join(context, bindings))
    write(sealing.prologue)
    for piece in pieces_of(sealing.frame_length):                # all but the last are full
        write(b"".join(sealing.seal(piece, final=is_last)))
    write(sealing.epilogue())

    header, body = read_header(read)
    opening = Opening.begin(header, body, read_exactly(read, TAG_LENGTH), keys, join(context, bindings))
    while not head.final:
        head = read_frame_head(read, header, sequence)
        sealed = read_exactly(read, head.length + TAG_LENGTH)
        opening.feed(head.encoded, sealed)
        write(opening.open(head, sealed))                        # a signed message: hold it back until finish
    opening.finish(read_footer(read, header))
"""

from __future__ import annotations

import hmac
import itertools
import os
from typing import TYPE_CHECKING, Any, Final, Self, final

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context
from strongroom.localkey import aes_gcm

from . import binding, datakeys, gcm
from .message import (
    FINAL_OVERHEAD,
    IV_LENGTH,
    MAX_FRAMES,
    MESSAGE_ID_LENGTH,
    REGULAR_OVERHEAD,
    Header,
    body_length,
    decode_only_frame,
    encode_frame_head,
    encode_header,
    frame_data,
)
from .signing import FOOTER_LENGTH, PUBLIC_KEY, Signing, Verifying
from .suites import COMMITTING, SIGNED, derive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache
    from .message import Buffer, FrameHead
    from .suites import Suite

FRAME_LENGTH: Final = 1 << 20
"""Bytes of plaintext in a frame we write: large enough for the speed of one AES-GCM call, small enough to
stream in constant memory."""

_HEADER_IV: Final = bytes(IV_LENGTH)
_CHANGED: Final = "the message was changed, cut or extended"


def write_header(
    keys: Sequence[KeyWrapper],
    pairs: Mapping[str, str],
    suite: Suite,
    length: int | None = None,
    data_keys: DataKeyCache | None = None,
) -> tuple[bytes, Any, bytes]:
    """Message id, the message key's AES-GCM, and header body with tag. The one place that writes a header.

    The message id is born here and used once: the tag is AES-GCM under a fixed IV, so two headers under one
    message id would give away the authentication key of the message.
    """
    try:
        context = pairs if isinstance(pairs, Context) else Context.of(pairs)
        data_key, wrapped_keys = datakeys.make(keys, context, suite, length, data_keys)
        message_id = os.urandom(MESSAGE_ID_LENGTH)
        message_key, commitment = derive(suite.number, data_key, message_id)
        header = encode_header(
            Header(suite.number, message_id, context, wrapped_keys, FRAME_LENGTH, commitment)
        )
        aead = aes_gcm()[0](message_key)
        return message_id, aead, header + aead.encrypt(_HEADER_IV, b"", header)
    except BaseException:
        data_key = message_key = b""  # this frame travels with the error
        raise


@final
class Sealing:
    """A message being written. Not for several threads at once.

    Attributes:
        prologue: header body and tag, the message's first bytes.
        frame_length: bytes of plaintext in every frame but the final one, which may be shorter or empty.
    """

    __slots__ = (
        "_aead",
        "_finished",
        "_left",
        "_message_id",
        "_process",
        "_sequence",
        "_signing",
        "frame_length",
        "prologue",
    )

    def __init__(
        self, message_id: bytes, aead: Any, prologue: bytes, signing: Signing | None, left: int | None
    ):
        self._message_id, self._aead, self.prologue = message_id, aead, prologue
        self._signing, self._left = signing, left
        self._finished, self.frame_length, self._process = False, FRAME_LENGTH, os.getpid()
        # Atomic under threads that should not meet here: an IV given twice would give away the message key's
        # authentication key.
        self._sequence = itertools.count(1)
        if signing is not None:
            signing.update(prologue)

    @classmethod
    def begin(
        cls,
        keys: Sequence[KeyWrapper],
        pairs: Mapping[str, str],
        *,
        signed: bool = False,
        data_keys: DataKeyCache | None = None,
        length: int | None = None,
    ) -> Self:
        """Ask all `keys` and write the header.

        Args:
            pairs: context and bindings, of `binding.join`.
            signed: suite 0x0578. The public key is put among the pairs before any KEK is asked.
            data_keys: may spare the call to the KEKs, where `length` is known and the message is not signed.
            length: at most so many bytes of plaintext will be sealed.

        Raises:
            InvalidRequestError: a context or wrapped key too long for the format, or no keys or too many.
            UnavailableError, PermissionDeniedError: a KEK could not be used.
        """
        if PUBLIC_KEY in pairs:
            raise InvalidRequestError(f"{PUBLIC_KEY} is set by signing, and by nothing else")
        if not signed:
            return cls(*write_header(keys, pairs, COMMITTING, length, data_keys), None, length)
        signing = Signing()
        pairs = {**pairs, PUBLIC_KEY: signing.public_key}
        return cls(*write_header(keys, pairs, SIGNED), signing, length)

    def message_length(self, length: int) -> int:
        """Bytes of the whole message, if `length` bytes of plaintext are sealed."""
        footer = FOOTER_LENGTH if self._signing is not None else 0
        return len(self.prologue) + body_length(length, self.frame_length) + footer

    def seal(self, piece: Buffer, *, final: bool = False) -> tuple[bytes, bytes]:
        """The next frame, as head and ciphertext with tag.

        Args:
            piece: exactly `frame_length` bytes, or at most so many in the final frame.

        Raises:
            InvalidRequestError: another length, more than was announced, or nothing can come any more.
        """
        try:
            head, iv, additional_data = self._next(len(piece), final=final)
            sealed = self._aead.encrypt(iv, piece, additional_data)
        except BaseException:
            piece = b""  # this frame travels with the error
            raise
        if self._signing is not None:
            self._signing.update(head)
            self._signing.update(sealed)
        return head, sealed

    def seal_into(self, piece: Buffer, out: memoryview, *, final: bool = False) -> int:
        """As `seal`, written to the start of `out`; the frame's length, `FINAL_OVERHEAD` or
        `REGULAR_OVERHEAD` more than the piece's.

        Raises:
            InvalidRequestError: as `seal` does, or `out` is too short.
        """
        try:
            length = len(piece) + (FINAL_OVERHEAD if final else REGULAR_OVERHEAD)
            if len(out) < length:
                raise InvalidRequestError(f"the frame takes {length} bytes, and the buffer has {len(out)}")
            head, iv, additional_data = self._next(len(piece), final=final)
            out[: len(head)] = head
            gcm.encrypt_into(self._aead, iv, piece, additional_data, out[len(head) : length])
        except BaseException:
            piece = b""  # this frame travels with the error
            raise
        if self._signing is not None:
            self._signing.update(out[:length])
        return length

    def epilogue(self) -> bytes:
        """The message's last bytes: the footer if it is signed, else none.

        Raises:
            InvalidRequestError: the final frame has not been sealed.
        """
        if not self._finished:
            raise InvalidRequestError("a message ends with its final frame, which is not sealed yet")
        if self._signing is None:
            return b""
        signature = self._signing.sign()
        return len(signature).to_bytes(2, "big") + signature

    def _next(self, length: int, *, final: bool) -> tuple[bytes, bytes, bytes]:
        """Head, IV and additional data of the next frame; a sequence number given is spent, whatever comes
        of it, since it is the IV."""
        if self._finished:
            raise InvalidRequestError("the message is finished")
        if self._process != os.getpid():  # two processes would seal different bytes under one key and IV
            raise InvalidRequestError("a forked process cannot go on with its parent's message")
        if length > self.frame_length or (length < self.frame_length and not final):
            raise InvalidRequestError(f"a frame takes {self.frame_length} bytes of plaintext, not {length}")
        if self._left is not None:
            self._left -= length
            if self._left < 0:
                raise InvalidRequestError("there is more plaintext than was announced")
        sequence, self._finished = next(self._sequence), final
        if sequence > MAX_FRAMES:
            raise InvalidRequestError("the message is full")
        head, iv = encode_frame_head(sequence, length, final=final)
        return head, iv, frame_data(self._message_id, sequence, length, final=final)


@final
class Opening:
    """A message being read, whose header is verified. Frames may be opened in any order, by any thread; only
    `feed` takes them in order.

    Attributes:
        header: all of it verified.
        passed_over: key ids of configured KEKs that should have opened the message and did not.
    """

    __slots__ = ("_aead", "_verifying", "header", "passed_over")

    def __init__(self, header: Header, aead: Any, passed_over: tuple[str, ...], verifying: Verifying | None):
        self.header, self.passed_over = header, passed_over
        self._aead, self._verifying = aead, verifying

    @classmethod
    def begin(
        cls,
        header: Header,
        body: bytes,
        tag: bytes,
        keys: Sequence[KeyWrapper],
        expected: Mapping[str, str],
        *,
        data_keys: DataKeyCache | None = None,
    ) -> Self:
        """Verify a header: what it says, then under which KEK, then its commitment and tag.

        Args:
            body: the bytes that `header` was read from; `tag` the 16 after them.
            expected: what the context must say, of `binding.join`.

        Raises:
            IntegrityError: the header says something else, was changed, or was made under none of `keys`; or
                a signed message names no public key, or an unsigned one does. No KEK is called unless the
                context agrees.
            UnavailableError, PermissionDeniedError: no KEK that could open the message could be used.
            InvalidRequestError: no keys or too many.
        """
        datakeys.check_count(keys)
        if header.context is not expected:
            binding.check(header.context, expected)
        verifying = _verifying(header)
        data_key, passed_over = datakeys.recover(header, keys, data_keys)
        try:
            aead, failure = _unlock(header, body, tag, data_key)
        finally:
            del data_key  # this frame travels with the error
        if failure is not None:
            raise failure
        if verifying is not None:
            verifying.update(body)
            verifying.update(tag)
        return cls(header, aead, passed_over, verifying)

    @property
    def signed(self) -> bool:
        """Whether a signature follows the last frame: nothing may be believed before `finish`."""
        return self._verifying is not None

    def open_only(self, message: Buffer, position: int) -> bytes | None:
        """All plaintext, if from `position` to its end `message` is one final frame that verifies."""
        frame = decode_only_frame(message, position, self.header)
        if frame is None:
            return None
        iv, sealed, additional_data = frame
        try:
            return self._aead.decrypt(iv, sealed, additional_data)  # type: ignore[no-any-return]
        except aes_gcm()[1]:
            return None

    def open(self, head: FrameHead, sealed: Buffer) -> bytes:
        """The plaintext of one frame, once that frame is verified.

        Args:
            sealed: ciphertext and tag.

        Raises:
            IntegrityError: the frame was changed, stands in another place or message, or is longer than
                `gcm.LONGEST`.
        """
        plaintext = gcm.decrypt(self._aead, head.iv, sealed, head.additional_data)
        if plaintext is None:
            raise IntegrityError(_CHANGED)
        return plaintext

    def open_into(self, head: FrameHead, sealed: Buffer, out: memoryview) -> int:
        """As `open`, written to the start of `out`, which takes `head.length` bytes; that length.

        On failure those bytes of `out` are zero.
        """
        place = out[: head.length]
        if not gcm.decrypt_into(self._aead, head.iv, sealed, head.additional_data, place):
            raise IntegrityError(_CHANGED)
        return head.length

    def feed(self, *parts: Buffer) -> None:
        """Take in bytes after the header's tag, in order: heads and frames, for the signature."""
        if self._verifying is not None:
            for part in parts:
                self._verifying.update(part)

    def finish(self, signature: bytes) -> None:
        """Check the signature, of `decode_footer` or `read_footer`, over all that was fed.

        Raises:
            IntegrityError: it does not verify, or there is one and there should be none.
        """
        if self._verifying is not None:
            self._verifying.verify(signature)
        elif signature:
            raise IntegrityError("bytes follow the end of the message")


def _verifying(header: Header) -> Verifying | None:
    public_key = header.context.get(PUBLIC_KEY)
    if public_key is None and header.suite == COMMITTING.number:
        return None
    if public_key is None or header.suite != SIGNED.number:
        raise IntegrityError(
            "the message's suite and its context do not agree on whether it is signed",
            hint="it was changed to pass for another kind of message",
        )
    return Verifying(public_key)


def _unlock(header: Header, body: bytes, tag: bytes, data_key: bytes) -> tuple[Any, IntegrityError | None]:
    """The message key's AES-GCM, or what is wrong; that is not raised here, where keys are at hand."""
    aead_type, invalid_tag = aes_gcm()
    try:
        message_key, commitment = derive(header.suite, data_key, header.message_id)
        if not hmac.compare_digest(commitment, header.commitment):
            return None, IntegrityError("the message does not commit to its data key")
        aead = aead_type(message_key)
        aead.decrypt(_HEADER_IV, tag, body)
    except invalid_tag:
        return None, IntegrityError(_CHANGED)
    except BaseException:
        data_key = message_key = b""  # this frame travels with the error
        raise
    return aead, None
