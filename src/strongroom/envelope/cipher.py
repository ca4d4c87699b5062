"""Encrypt and decrypt one value as an AWS Encryption SDK message, version 2, suite 0x0478 or 0x0578.

A fresh data key for each message is wrapped under every KEK; HKDF-SHA512 over the data key and the message id
gives the message key and the commitment, which stands in the header, so that no message opens under two keys.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, final

from strongroom.errors import InvalidRequestError
from strongroom.keys import encode_context

from . import datakeys
from .binding import BINDINGS, join
from .gcm import wipe
from .message import (
    HEADER_OVERHEAD,
    TAG_LENGTH,
    body_length,
    decode_body,
    decode_footer,
    decode_header,
    encode_frame_head,
    frame_data,
)
from .sealing import FRAME_LENGTH, Opening, Sealing, write_header
from .signing import FOOTER_LENGTH, PUBLIC_KEY, PUBLIC_KEY_LENGTH
from .suites import COMMITTING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.keys import Context, KeyWrapper

    from .datakeys import DataKeyCache
    from .message import Buffer

__all__ = [
    "BINDINGS",
    "FRAME_LENGTH",
    "Plaintext",
    "decrypt",
    "decrypt_into",
    "encrypt",
    "encrypt_into",
    "message_length",
]


@final
class Plaintext:
    """A decrypted value, and what its message said and proved.

    Attributes:
        value: the bytes that were encrypted; not in the repr.
        context: every pair of the header, verified.
        passed_over: key ids of configured KEKs that should have opened the message and did not.
    """

    __slots__ = ("context", "passed_over", "value")

    def __init__(self, value: bytes, context: Mapping[str, str], passed_over: tuple[str, ...]):
        self.value = value
        self.context = context
        self.passed_over = passed_over

    def __repr__(self) -> str:
        return "<Plaintext redacted>"


def encrypt(
    value: Buffer,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    signed: bool = False,
    data_keys: DataKeyCache | None = None,
) -> bytes:
    """A message holding `value`, which any one of `keys` opens.

    Args:
        value: of any length; the message is about 250 bytes longer, and 36 more for each further MiB.
        keys: 1 to 16 KEKs; all must answer, any one opens.
        context: authenticated with the value and shown in clear in the message and in providers' logs
            (CloudTrail): identifiers, never secrets. Keys may not begin with ``strongroom-`` or
            ``aws-crypto-``.
        bindings: for Strongroom's own layers only: pairs of `BINDINGS`. They are kept apart from `context` so
            that what an application encrypts can never pass for a value of an encrypted store.
        signed: add an ECDSA P-384 signature (suite 0x0578), so that who can only open messages cannot make
            one; some 0.5 ms and 250 bytes more.
        data_keys: spares calls to remote KEKs, see `DataKeyCache`.

    Raises:
        InvalidRequestError: no keys or too many, a reserved or empty context key, a context over 65,535
            bytes, or a local key that has wrapped all it may.
        UnavailableError, PermissionDeniedError: a KEK could not be used.
    """
    try:
        if not isinstance(value, bytes):
            value = memoryview(value).cast("B")
        if signed or len(value) > FRAME_LENGTH:
            return _encrypt_frames(value, keys, join(context, bindings), signed, data_keys)
        value = bytes(value)
        message_id, aead, prologue = write_header(
            keys, join(context, bindings), COMMITTING, len(value), data_keys
        )
        head, iv = encode_frame_head(1, len(value), final=True)
        additional_data = frame_data(message_id, 1, len(value), final=True)
        return b"".join((prologue, head, aead.encrypt(iv, value, additional_data)))
    except BaseException:
        value = b""  # this frame travels with the error
        raise


def encrypt_into(
    value: Buffer,
    buffer: bytearray | memoryview,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    signed: bool = False,
    data_keys: DataKeyCache | None = None,
) -> int:
    """As `encrypt`, written to the start of `buffer`; the message's length.

    For large values: a buffer that is used again spares the memory's first use, which takes most of the time.

    Args:
        buffer: writable, apart from `value`, and long enough, see `message_length`.

    Raises:
        InvalidRequestError: as `encrypt` does, or the buffer is too short; the error says what it takes.
        UnavailableError, PermissionDeniedError: as `encrypt` does.
    """
    try:
        data, out = memoryview(value).cast("B"), memoryview(buffer).cast("B")
        sealing = Sealing.begin(
            keys, join(context, bindings), signed=signed, data_keys=data_keys, length=len(data)
        )
        needed = sealing.message_length(len(data))
        if len(out) < needed:
            raise InvalidRequestError(f"the message takes {needed} bytes, and the buffer has {len(out)}")
        return _seal_into(data, sealing, out)
    except BaseException:
        value = data = b""  # type: ignore[assignment]  # this frame travels with the error
        raise


def message_length(
    length: int,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    signed: bool = False,
) -> int:
    """At most how many bytes a message for `length` bytes takes; the arguments are those of `encrypt`.

    It is a bound and not the length, since a KEK may record more or less than `KeyWrapper.room` allows for.
    """
    datakeys.check_count(keys)
    pairs = dict(join(context, bindings))
    if signed:
        pairs[PUBLIC_KEY] = "A" * PUBLIC_KEY_LENGTH
    header = HEADER_OVERHEAD + len(encode_context(pairs)) + sum(key.room() for key in keys)
    return header + body_length(length, FRAME_LENGTH) + (FOOTER_LENGTH if signed else 0)


def decrypt(
    message: Buffer,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    data_keys: DataKeyCache | None = None,
) -> Plaintext:
    """The value in `message`, after all of it is verified.

    Args:
        keys: the KEKs that may open it; a message can name no others.
        context: what the caller knows the message must say. Every pair must stand equal in the header, and
            the header may say no more. It has no default: a message of which nothing is expected can be
            swapped for any other under the same KEK.
        bindings: for Strongroom's own layers only, as in `encrypt`. ``strongroom-write-id``, ``-kind`` and
            ``-stage`` (and ``aws-crypto-public-key``) may stand in the header without being expected.
        data_keys: spares calls to remote KEKs, see `DataKeyCache`.

    Raises:
        IntegrityError: the message is not one, was changed, cut or extended, does not say what `context`
            says, or was made under none of `keys`. No KEK is called unless header and context agree.
        UnavailableError, PermissionDeniedError: no KEK that could open the message could be used.
        InvalidRequestError: no keys, or a reserved key in `context`.
    """
    opening, position = _begin(message, keys, join(context, bindings), data_keys)
    value = opening.open_only(message, position)
    if value is None:
        value = _decrypt_frames(message, position, opening)
    return Plaintext(value, opening.header.context, opening.passed_over)


def decrypt_into(
    message: Buffer,
    buffer: bytearray | memoryview,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
    data_keys: DataKeyCache | None = None,
) -> int:
    """As `decrypt`, written to the start of `buffer`; the value's length.

    Whatever fails, what was written is zero again: nothing stays in the buffer of a message that does not
    verify to its end.

    Args:
        buffer: writable, apart from `message`, and at least as long as the value; as long as the message is
            enough.

    Raises:
        InvalidRequestError: as `decrypt` does, or the buffer is too short; the error says what it takes.
        IntegrityError, UnavailableError, PermissionDeniedError: as `decrypt` does.
    """
    opening, position = _begin(message, keys, join(context, bindings), data_keys)
    return _open_into(message, position, opening, memoryview(buffer).cast("B"))


def _begin(
    message: Buffer, keys: Sequence[KeyWrapper], expected: Context, data_keys: DataKeyCache | None
) -> tuple[Opening, int]:
    """The opened header, and where the body begins."""
    datakeys.check_count(keys)  # before the message is looked at
    header, length = decode_header(message, expected)
    position = length + TAG_LENGTH
    body, tag = bytes(message[:length]), bytes(message[length:position])
    return Opening.begin(header, body, tag, keys, expected, data_keys=data_keys), position


def _encrypt_frames(
    value: Buffer,
    keys: Sequence[KeyWrapper],
    pairs: Mapping[str, str],
    signed: bool,
    data_keys: DataKeyCache | None,
) -> bytes:
    try:
        data = memoryview(value).cast("B")
        sealing = Sealing.begin(keys, pairs, signed=signed, data_keys=data_keys, length=len(data))
        whole = BytesIO(bytes(sealing.message_length(len(data))))
        with whole.getbuffer() as out:
            _seal_into(data, sealing, out)
        return whole.getvalue()
    except BaseException:
        value = data = b""  # type: ignore[assignment]  # this frame travels with the error
        raise


def _seal_into(data: memoryview, sealing: Sealing, out: memoryview) -> int:
    end, size = len(sealing.prologue), sealing.frame_length
    out[:end] = sealing.prologue
    last = max(len(data) - 1, 0) // size * size
    try:
        for start in range(0, last + 1, size):
            end += sealing.seal_into(data[start : start + size], out[end:], final=start == last)
    except BaseException:
        data = memoryview(b"")  # this frame travels with the error
        raise
    epilogue = sealing.epilogue()
    out[end : end + len(epilogue)] = epilogue
    return end + len(epilogue)


def _decrypt_frames(message: Buffer, position: int, opening: Opening) -> bytes:
    # BytesIO hands out the very bytes that were filled through its buffer: no copy, and memory used once.
    whole = BytesIO(bytes(len(message) - position))
    with whole.getbuffer() as out:
        length = _open_into(message, position, opening, out)
    whole.truncate(length)
    return whole.getvalue()


def _open_into(message: Buffer, position: int, opening: Opening, out: memoryview) -> int:
    view, end, length = memoryview(message), position, 0
    try:
        for frame in decode_body(message, position, opening.header):
            if length + frame.head.length > len(out):
                raise _too_short(message, position, opening, out)
            length += opening.open_into(frame.head, frame.sealed, out[length:])
            end = frame.end
        opening.feed(view[position:end])
        opening.finish(decode_footer(message, end, opening.header))
    except BaseException:
        wipe(out[:length])
        raise
    return length


def _too_short(message: Buffer, position: int, opening: Opening, out: memoryview) -> InvalidRequestError:
    needed = sum(frame.head.length for frame in decode_body(message, position, opening.header))
    return InvalidRequestError(f"the value takes {needed} bytes, and the buffer has {len(out)}")
