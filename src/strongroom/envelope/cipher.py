"""Encrypt and decrypt one value as an AWS Encryption SDK message, version 2, suite 0x0478 or 0x0578.

A fresh data key for each message is wrapped under every KEK; HKDF-SHA512 over the data key and the message id
gives the message key and the commitment, which stands in the header, so that no message opens under two keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from . import datakeys
from .binding import BINDINGS, join
from .message import TAG_LENGTH, decode_body, decode_footer, decode_header
from .sealing import FRAME_LENGTH, Opening, Sealing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.keys import KeyWrapper

    from .datakeys import DataKeyCache
    from .message import Buffer

__all__ = ["BINDINGS", "FRAME_LENGTH", "Plaintext", "decrypt", "encrypt"]


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
        keys: 1 to 16 KEKs; all must answer.
        context: authenticated with the value and shown in clear in the message and in providers' logs
            (CloudTrail): identifiers, never secrets. Keys may not begin with ``strongroom-`` or
            ``aws-crypto-``.
        bindings: for Strongroom's own layers only: pairs of `BINDINGS`. They are kept apart from `context` so
            that what an application encrypts can never pass for a value of an encrypted store.

    Raises:
        InvalidRequestError: no keys or too many, a reserved or empty context key, a context over 65,535
            bytes, or a local key that has wrapped all it may.
        UnavailableError, PermissionDeniedError: a KEK could not be used.
    """
    try:
        sealing = Sealing.begin(
            keys, join(context, bindings), signed=signed, data_keys=data_keys, length=len(value)
        )
        return b"".join((sealing.prologue, *_frames(value, sealing), sealing.epilogue()))
    except BaseException:
        value = b""  # this frame travels with the error
        raise


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

    Raises:
        IntegrityError: the message is not one, was changed, cut or extended, does not say what `context`
            says, or was made under none of `keys`. No KEK is called unless header and context agree.
        UnavailableError, PermissionDeniedError: no KEK that could open the message could be used.
        InvalidRequestError: no keys, or a reserved key in `context`.
    """
    expected = join(context, bindings)
    datakeys.check_count(keys)
    header, length = decode_header(message)
    body, tag = bytes(message[:length]), bytes(message[length : length + TAG_LENGTH])
    opening = Opening.begin(header, body, tag, keys, expected, data_keys=data_keys)
    value = _open(message, length + TAG_LENGTH, opening)
    return Plaintext(value, header.context, opening.passed_over)


def _frames(value: Buffer, sealing: Sealing) -> list[bytes]:
    parts, view, size = list[bytes](), memoryview(value), sealing.frame_length
    if len(value) <= size:
        return [*sealing.seal(value, final=True)]
    last = (len(view) - 1) // size * size
    for start in range(0, last, size):
        parts += sealing.seal(view[start : start + size])
    parts += sealing.seal(view[last:], final=True)
    return parts


def _open(message: Buffer, position: int, opening: Opening) -> bytes:
    frames, view, end = list[bytes](), memoryview(message), position
    try:
        for frame in decode_body(message, position, opening.header):
            frames.append(opening.open(frame.head, _piece(frame.sealed)))
            end = frame.end
        opening.feed(view[position:end])
        opening.finish(decode_footer(message, end, opening.header))
        return frames[0] if len(frames) == 1 else b"".join(frames)
    except BaseException:
        frames = []  # this frame travels with the error
        raise


def _piece(view: memoryview) -> bytes | memoryview:
    # cryptography takes 5 us longer over a memoryview than over bytes: below 16 KiB a copy is cheaper.
    return bytes(view) if len(view) < 16_384 else view
