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
    footer        of a signed message: length 2 | signature in DER
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context, WrappedKey

from .suites import SIGNED, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer = bytes | bytearray | memoryview

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

REGULAR_OVERHEAD: Final = 32
"""Bytes that a regular frame takes beyond its plaintext: a head of 16 and a tag of 16."""

FINAL_OVERHEAD: Final = 40
"""The same for the final frame, whose head has 24."""

MAX_SIGNATURE_LENGTH: Final = 104
"""Bytes of the longest ECDSA P-384 signature in ASN.1 DER."""

_MAX_FIELD: Final = 0xFFFF
_short: Final = struct.Struct(">H").unpack_from
_put_short: Final = struct.Struct(">H").pack
FIXED: Final = struct.Struct(f">BH{MESSAGE_ID_LENGTH}sH")
"""What a header begins with: version, suite, message id, and the length of the context after it."""

TAIL: Final = struct.Struct(f">BI{COMMITMENT_LENGTH}s")
"""What a header ends with: content type, frame length, commitment."""

REGULAR: Final = struct.Struct(f">I{IV_LENGTH}s")
FINAL: Final = struct.Struct(f">4xI{IV_LENGTH}sI")
SINGLE: Final = struct.Struct(f">{IV_LENGTH}sQ")
"""The heads of a regular frame, of the final one, and of a body without frames."""

_MARKED: Final = struct.Struct(f">4sI{IV_LENGTH}sI")
_IV: Final = struct.Struct(">8xI")
_REGULAR_HEAD: Final = struct.Struct(">I8xI")
_FINAL_HEAD: Final = struct.Struct(">4sI8xII")
_SEQUENCE_AND_LENGTH: Final = struct.Struct(">IQ")
_MAX_HEADER: Final = FIXED.size + TAIL.size + 2 + _MAX_FIELD + MAX_WRAPPED_KEYS * 3 * (2 + _MAX_FIELD)

HEADER_OVERHEAD: Final = FIXED.size + 2 + TAIL.size + TAG_LENGTH
"""Bytes of header body and tag beyond the encoded context and the wrapped data keys."""

_NO_CONTEXT: Final = Context(b"")
_QUICKLY_COPIED: Final = 16_384
_ONE_MIB: Final = 1 << 20
CUT_SHORT: Final = "the message is cut short"
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


class FrameHead(NamedTuple):
    """What stands before a frame's ciphertext.

    Attributes:
        encoded: the head itself.
        length: bytes of plaintext in the frame, and of ciphertext; its tag comes after.
        final: whether the message's plaintext ends with this frame.
    """

    encoded: bytes
    iv: bytes
    length: int
    final: bool
    additional_data: bytes


class Frame(NamedTuple):
    """One frame of a message in memory: `sealed` is ciphertext and tag together, `end` where they end."""

    head: FrameHead
    sealed: memoryview
    end: int


def encode_header(header: Header) -> bytes:
    """The header body.

    Raises:
        InvalidRequestError: a length that the format cannot hold.
    """
    if not 1 <= len(header.wrapped_keys) <= MAX_WRAPPED_KEYS:
        raise InvalidRequestError(f"a message is encrypted under 1 to {MAX_WRAPPED_KEYS} keys")
    try:
        return _encode_header(header)
    except struct.error:
        pass
    raise InvalidRequestError(f"a wrapped data key or its key's name is longer than {_MAX_FIELD} bytes")


def _encode_header(header: Header) -> bytes:
    suite, message_id, context, wrapped_keys, frame_length, commitment = header
    encoded = context.encoded
    parts = [FIXED.pack(_VERSION, suite, message_id, len(encoded)), encoded, _put_short(len(wrapped_keys))]
    for provider_id, key_info, ciphertext in wrapped_keys:
        name = provider_id.encode()
        parts += (_put_short(len(name)), name, _put_short(len(key_info)), key_info)
        parts += (_put_short(len(ciphertext)), ciphertext)
    parts.append(TAIL.pack(_FRAMED if frame_length else _NON_FRAMED, frame_length, commitment))
    return b"".join(parts)


def decode_header(message: Buffer, likely: Context | None = None) -> tuple[Header, int]:
    """The header at the start of `message`, and how many bytes its body takes.

    Args:
        likely: a context that is taken for the header's, without decoding it, where its bytes are the same.

    Raises:
        IntegrityError: not a header of version 2 under a committing suite, cut short, or not in canonical
        form.
    """
    data = message if isinstance(message, bytes) else bytes(message[:_MAX_HEADER])
    try:
        return _decode_header(data, likely)
    except UnicodeDecodeError:
        problem = "the message's header holds text that is not UTF-8"
    except struct.error:
        problem = CUT_SHORT
    raise IntegrityError(problem)


def _decode_header(data: bytes, likely: Context | None) -> tuple[Header, int]:
    # A length that reaches beyond the data is noticed by the next read, which fails; there always is one,
    # since a header ends in a part of fixed size. Fields are read in place: calls for each take 2 us.
    version, suite, message_id, length = FIXED.unpack_from(data)
    if version != _VERSION or suite not in SUITES:
        check_suite(version, suite)
    position = FIXED.size + length
    encoded = data[FIXED.size : position]
    context = likely if likely is not None and likely.encoded == encoded else _decode_context(encoded)
    wrapped_keys, position = _decode_wrapped_keys(data, position)
    content_type, frame_length, commitment = TAIL.unpack_from(data, position)
    if content_type not in (_FRAMED, _NON_FRAMED) or (content_type == _FRAMED) != (frame_length > 0):
        raise IntegrityError("the message's content type and frame length do not agree")
    header = Header(suite, message_id, context, wrapped_keys, frame_length, commitment)
    return header, position + TAIL.size


def check_suite(version: int, suite: int) -> None:
    """Raises IntegrityError for what is no message of ours, or commits to no key."""
    if version != _VERSION:
        raise IntegrityError(
            "not a message of format version 2",
            hint="version 1 has no key commitment and is refused; decode a message in base64 first",
        )
    if suite not in SUITES:
        raise IntegrityError(
            f"algorithm suite 0x{suite:04x} is refused",
            hint="without key commitment a message can open under two keys",
        )


def _decode_context(data: bytes) -> Context:
    if not data:
        return _NO_CONTEXT
    context: dict[str, str] = {}
    (count,), end, previous = _short(data), 2, b""
    for number in range(count):
        start, middle = end + 2, end + 2 + _short(data, end)[0]
        end = middle + 2 + _short(data, middle)[0]
        key = data[start:middle]
        if key <= previous and number:
            raise IntegrityError("the encryption context is not sorted, or holds a key twice")
        context[key.decode()] = data[middle + 2 : end].decode()
        previous = key
    if not count or end != len(data):
        raise IntegrityError("the encryption context does not fill its length")
    return Context(data, context)


def _decode_wrapped_keys(data: bytes, position: int) -> tuple[tuple[WrappedKey, ...], int]:
    count, wrapped_keys, end = check_count(_short(data, position)[0]), [], position + 2
    for _ in range(count):
        start, provider_end = end + 2, end + 2 + _short(data, end)[0]
        info_end = provider_end + 2 + _short(data, provider_end)[0]
        end = info_end + 2 + _short(data, info_end)[0]
        provider_id = data[start:provider_end].decode()
        key_info, ciphertext = data[provider_end + 2 : info_end], data[info_end + 2 : end]
        wrapped_keys.append(WrappedKey(provider_id, key_info, ciphertext))
    return tuple(wrapped_keys), end


def check_count(count: int) -> int:
    """`count` wrapped data keys, or IntegrityError if those are none or too many."""
    if not 1 <= count <= MAX_WRAPPED_KEYS:
        raise IntegrityError(f"the message has {count} wrapped data keys, not 1 to {MAX_WRAPPED_KEYS}")
    return count


def frame_data(message_id: bytes, sequence: int, length: int, *, final: bool) -> bytes:
    """The additional data of a frame of `length` bytes."""
    content = _FINAL_CONTENT if final else _FRAME_CONTENT
    return message_id + content + _SEQUENCE_AND_LENGTH.pack(sequence, length)


def encode_frame_head(sequence: int, length: int, *, final: bool) -> tuple[bytes, bytes]:
    """What stands before a frame's ciphertext, and the frame's IV: its sequence number, so none repeats."""
    if final:
        return _FINAL_HEAD.pack(FINAL_FRAME, sequence, sequence, length), _IV.pack(sequence)
    return _REGULAR_HEAD.pack(sequence, sequence), _IV.pack(sequence)


def body_length(length: int, frame_length: int) -> int:
    """Bytes of all frames for `length` bytes of plaintext; the last one is final, even if it is full."""
    regular = max(length - 1, 0) // frame_length
    return length + regular * REGULAR_OVERHEAD + FINAL_OVERHEAD


def decode_frame_head(data: Buffer, position: int, header: Header, expected: int) -> FrameHead:
    """The head at `position`, of the frame with sequence number `expected`, or of a non-framed body.

    IVs are read, not assumed: uniqueness is the writer's duty.

    Raises:
        IntegrityError: cut short, another sequence number, or a final frame above the frame length.
    """
    try:
        return _decode_frame_head(data, position, header, expected)
    except struct.error:
        pass
    raise IntegrityError(CUT_SHORT)


def _decode_frame_head(data: Buffer, position: int, header: Header, expected: int) -> FrameHead:
    if not header.frame_length:
        iv, length = SINGLE.unpack_from(data, position)
        additional_data = header.message_id + _SINGLE_CONTENT + _SEQUENCE_AND_LENGTH.pack(1, length)
        return FrameHead(bytes(data[position : position + SINGLE.size]), iv, length, True, additional_data)
    final = data[position : position + 4] == FINAL_FRAME
    layout = FINAL if final else REGULAR
    sequence, iv, *stated = layout.unpack_from(data, position)
    (length,) = stated or (header.frame_length,)
    if sequence != expected:
        raise IntegrityError("a frame is missing, repeated or out of order")
    if length > header.frame_length:
        raise IntegrityError("the final frame is longer than the message's frame length")
    encoded = bytes(data[position : position + layout.size])
    additional_data = frame_data(header.message_id, sequence, length, final=final)
    return FrameHead(encoded, iv, length, final, additional_data)


def decode_body(message: Buffer, position: int, header: Header) -> Iterator[Frame]:
    """The frames from `position`, in order; a non-framed body is one frame.

    After the last one comes the very end of `message`, or a footer and then the end.

    Raises:
        IntegrityError: as `decode_frame_head` and `decode_footer` do.
    """
    view, expected, final = memoryview(message), 0, False
    while not final:
        expected += 1
        head = decode_frame_head(view, position, header, expected)
        start, final = position + len(head.encoded), head.final
        position = start + head.length + TAG_LENGTH
        if position > len(view):
            raise IntegrityError(CUT_SHORT)
        yield Frame(head, view[start:position], position)
    decode_footer(view, position, header)


def decode_only_frame(message: Buffer, position: int, header: Header) -> tuple[bytes, Buffer, bytes] | None:
    """IV, ciphertext with tag, and additional data of a body that is one final frame of up to 1 MiB, as most
    secrets' are. None says nothing of any other body: that is for `decode_body` to judge."""
    start = position + FINAL.size
    if start > len(message) or header.suite == SIGNED.number:
        return None
    marker, sequence, iv, length = _MARKED.unpack_from(message, position)
    if marker != FINAL_FRAME or sequence != 1 or length > header.frame_length:
        return None
    if length > _ONE_MIB or start + length + TAG_LENGTH != len(message):
        return None
    sealed = message[start:] if length < _QUICKLY_COPIED else memoryview(message)[start:]
    return iv, sealed, frame_data(header.message_id, 1, length, final=True)


def decode_footer(message: Buffer, position: int, header: Header) -> bytes:
    """The signature after the last frame, which ends at `position`; empty for an unsigned message.

    Raises:
        IntegrityError: no footer in a signed message, a signature longer than any, or bytes after the end.
    """
    end, signature = position, b""
    if header.suite == SIGNED.number:
        end = position + 2 + int.from_bytes(message[position : position + 2], "big")
        signature = bytes(message[position + 2 : min(end, position + 2 + MAX_SIGNATURE_LENGTH)])
        if not signature or len(signature) != end - position - 2:
            raise IntegrityError(CUT_SHORT if end > len(message) else "the signature is empty or too long")
    if end != len(message):
        raise IntegrityError("bytes follow the end of the message")
    return signature
