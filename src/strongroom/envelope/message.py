"""Bytes <-> header of the AWS Encryption SDK message format, version 2. Pure: no I/O and no cryptography.

The format is published:
https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/message-format.html. The decoder is strict,
because whatever it accepts and does not check is a place for a forger to stand: one encoding for each
header, every length checked against what is there before anything is copied.

::

    header body   02 | suite 2 | message id 32 | context | EDK count 2, EDKs
                  | content type 1 | frame length 4 | commitment 32
    header tag    16, AES-GCM of nothing, IV 0, additional data = header body
    regular frame sequence number 4 | IV 12 | ciphertext, frame length | tag 16
    final frame   ffffffff | sequence number 4 | IV 12 | length 4 | ciphertext | tag 16
    non-framed    IV 12 | length 8 | ciphertext | tag 16
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context, WrappedKey

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview

SUITE_COMMITTING: Final = 0x0478
"""AES-256-GCM, HKDF-SHA512, key commitment."""

SUITE_SIGNED: Final = 0x0578
"""The same with an ECDSA P-384 signature in a footer."""

MAX_WRAPPED_KEYS: Final = 16
"""EDKs in one header. The format allows 65,535; each may cost a call to a KMS, so a message must not
choose."""

MESSAGE_ID_LENGTH: Final = 32
COMMITMENT_LENGTH: Final = 32
TAG_LENGTH: Final = 16
IV_LENGTH: Final = 12
FINAL_FRAME: Final = b"\xff\xff\xff\xff"
MAX_FRAMES: Final = 2**32 - 2
"""The highest sequence number: 2^32 - 1 marks the final frame."""

_MAX_FIELD: Final = 0xFFFF
_short: Final = struct.Struct(">H").unpack_from
_FIXED: Final = struct.Struct(f">BH{MESSAGE_ID_LENGTH}s")
_TAIL: Final = struct.Struct(f">BI{COMMITMENT_LENGTH}s")
_REGULAR: Final = struct.Struct(f">I{IV_LENGTH}s")
_FINAL: Final = struct.Struct(f">4xI{IV_LENGTH}sI")
_SINGLE: Final = struct.Struct(f">{IV_LENGTH}sQ")
_SEQUENCE_AND_LENGTH: Final = struct.Struct(">IQ")
_MAX_HEADER: Final = _FIXED.size + _TAIL.size + 4 + _MAX_FIELD + MAX_WRAPPED_KEYS * 3 * (2 + _MAX_FIELD)

_CUT_SHORT: Final = "the message is cut short"
_VERSION: Final = 2
_FRAMED: Final = 2
_NON_FRAMED: Final = 1
_FRAME_CONTENT: Final = b"AWSKMSEncryptionClient Frame"
_FINAL_CONTENT: Final = b"AWSKMSEncryptionClient Final Frame"
_SINGLE_CONTENT: Final = b"AWSKMSEncryptionClient Single Block"


class Header(NamedTuple):
    """What a header says; none of it may be believed before its commitment and tag are verified.

    Attributes:
        frame_length: bytes of plaintext in a regular frame; 0 for a non-framed body.
        commitment: what the data key must derive under `message_id`.
    """

    suite: int
    message_id: bytes
    context: Context
    wrapped_keys: tuple[WrappedKey, ...]
    frame_length: int
    commitment: bytes


class Frame(NamedTuple):
    """One piece of a body: `sealed` is ciphertext and tag together."""

    iv: bytes
    sealed: memoryview
    additional_data: bytes


def encode_header(header: Header) -> bytes:
    """The header body.

    Raises:
        InvalidRequestError: a length that the format cannot hold.
    """
    context = header.context.encoded
    if not 1 <= len(header.wrapped_keys) <= MAX_WRAPPED_KEYS:
        raise InvalidRequestError(f"a message is encrypted under 1 to {MAX_WRAPPED_KEYS} keys")
    content_type = _FRAMED if header.frame_length else _NON_FRAMED
    parts = [_FIXED.pack(_VERSION, header.suite, header.message_id), len(context).to_bytes(2, "big"), context]
    parts.append(len(header.wrapped_keys).to_bytes(2, "big"))
    for provider_id, key_info, ciphertext in header.wrapped_keys:
        for field in (provider_id.encode(), key_info, ciphertext):
            parts += (_field_length(field), field)
    parts.append(_TAIL.pack(content_type, header.frame_length, header.commitment))
    return b"".join(parts)


def _field_length(field: bytes) -> bytes:
    if len(field) > _MAX_FIELD:
        raise InvalidRequestError(f"a wrapped data key or its key's name is longer than {_MAX_FIELD} bytes")
    return len(field).to_bytes(2, "big")


def decode_header(message: Buffer) -> tuple[Header, int]:
    """The header at the start of `message`, and how many bytes its body takes.

    Raises:
        IntegrityError: not a header of version 2 under a committing suite, cut short, or not in canonical
        form.
    """
    data = message if isinstance(message, bytes) else bytes(message[:_MAX_HEADER])
    try:
        return _decode_header(data)
    except UnicodeDecodeError:
        problem = "the message's header holds text that is not UTF-8"
    except struct.error:
        problem = _CUT_SHORT
    raise IntegrityError(problem)


def _decode_header(data: bytes) -> tuple[Header, int]:
    version, suite, message_id = _FIXED.unpack_from(data)
    _check_suite(version, suite)
    context, position = _field(data, _FIXED.size)
    wrapped_keys, position = _decode_wrapped_keys(data, position)
    content_type, frame_length, commitment = _TAIL.unpack_from(data, position)
    if content_type not in (_FRAMED, _NON_FRAMED) or (content_type == _FRAMED) != (frame_length > 0):
        raise IntegrityError("the message's content type and frame length do not agree")
    header = Header(suite, message_id, _decode_context(context), wrapped_keys, frame_length, commitment)
    return header, position + _TAIL.size


def _field(data: bytes, position: int) -> tuple[bytes, int]:
    """The bytes after a two-byte length, and where they end. A length that reaches beyond the data is noticed
    by the next read, which fails; there always is one, since a header ends in a part of fixed size."""
    start = position + 2
    end = start + _short(data, position)[0]
    return data[start:end], end


def _check_suite(version: int, suite: int) -> None:
    if version != _VERSION:
        raise IntegrityError(
            "not a message of format version 2",
            hint="version 1 has no key commitment and is refused; decode a message in base64 first",
        )
    if suite not in (SUITE_COMMITTING, SUITE_SIGNED):
        raise IntegrityError(
            f"algorithm suite 0x{suite:04x} is refused",
            hint="without key commitment a message can open under two keys",
        )


def _decode_context(data: bytes) -> Context:
    context = Context(data)
    if not data:
        return context
    (count,), position, previous = _short(data), 2, None
    for _ in range(count):
        key, position = _field(data, position)
        value, position = _field(data, position)
        if previous is not None and key <= previous:
            raise IntegrityError("the encryption context is not sorted, or holds a key twice")
        context[key.decode()] = value.decode()
        previous = key
    if not count or position != len(data):
        raise IntegrityError("the encryption context does not fill its length")
    return context


def _decode_wrapped_keys(data: bytes, position: int) -> tuple[tuple[WrappedKey, ...], int]:
    (count,), wrapped_keys = _short(data, position), []
    position += 2
    if not 1 <= count <= MAX_WRAPPED_KEYS:
        raise IntegrityError(f"the message has {count} wrapped data keys, not 1 to {MAX_WRAPPED_KEYS}")
    for _ in range(count):
        provider_id, position = _field(data, position)
        key_info, position = _field(data, position)
        ciphertext, position = _field(data, position)
        wrapped_keys.append(WrappedKey(provider_id.decode(), key_info, ciphertext))
    return tuple(wrapped_keys), position


def frame_data(message_id: bytes, sequence: int, length: int, *, final: bool) -> bytes:
    """The additional data of a frame of `length` bytes."""
    content = _FINAL_CONTENT if final else _FRAME_CONTENT
    return message_id + content + _SEQUENCE_AND_LENGTH.pack(sequence, length)


def decode_body(message: Buffer, position: int, header: Header) -> Iterator[Frame]:
    """The frames from `position` to the very end of `message`, in order; a non-framed body is one frame.

    Their IVs are read, not assumed: uniqueness is the writer's duty.

    Raises:
        IntegrityError: cut short, extended, out of order, or a final frame above the frame length.
    """
    return (_decode_frames if header.frame_length else _decode_single)(memoryview(message), position, header)


def _decode_frames(view: memoryview, position: int, header: Header) -> Iterator[Frame]:
    expected, final = 0, False
    while not final:
        expected += 1
        final = bytes(view[position : position + 4]) == FINAL_FRAME
        layout = _FINAL if final else _REGULAR
        start = position + layout.size
        if start > len(view):
            raise IntegrityError(_CUT_SHORT)
        sequence, iv, *stated = layout.unpack_from(view, position)
        (length,) = stated or (header.frame_length,)
        position = start + length + TAG_LENGTH
        if sequence != expected:
            raise IntegrityError("a frame is missing, repeated or out of order")
        if length > header.frame_length:
            raise IntegrityError("the final frame is longer than the message's frame length")
        if position > len(view):
            raise IntegrityError(_CUT_SHORT)
        additional_data = frame_data(header.message_id, sequence, length, final=final)
        yield Frame(iv, view[start:position], additional_data)
    _check_end(view, position)


def _decode_single(view: memoryview, position: int, header: Header) -> Iterator[Frame]:
    start = position + _SINGLE.size
    if start > len(view):
        raise IntegrityError(_CUT_SHORT)
    iv, length = _SINGLE.unpack_from(view, position)
    end = start + length + TAG_LENGTH
    if end > len(view):
        raise IntegrityError(_CUT_SHORT)
    yield Frame(
        iv, view[start:end], header.message_id + _SINGLE_CONTENT + _SEQUENCE_AND_LENGTH.pack(1, length)
    )
    _check_end(view, end)


def _check_end(view: memoryview, position: int) -> None:
    if position != len(view):
        raise IntegrityError("bytes follow the end of the message")
