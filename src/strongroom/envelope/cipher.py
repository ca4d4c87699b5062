"""Encrypt and decrypt one value as an AWS Encryption SDK message, version 2, suite 0x0478.

A fresh data key for each message is wrapped under every KEK; HKDF-SHA512 over the data key and the message id
gives the message key and the commitment, which stands in the header, so that no message opens under two keys.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH, Context
from strongroom.localkey import aes_gcm

from .message import (
    FINAL_FRAME,
    IV_LENGTH,
    MAX_WRAPPED_KEYS,
    MESSAGE_ID_LENGTH,
    SUITE_COMMITTING,
    TAG_LENGTH,
    Header,
    decode_body,
    decode_header,
    encode_header,
    frame_data,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.keys import KeyWrapper, WrappedKey

    from .message import Buffer

FRAME_LENGTH: Final = 1 << 20
"""Bytes of plaintext in a frame we write: large enough for the speed of one AES-GCM call, small enough to
stream in constant memory."""

BINDINGS: Final = frozenset(f"strongroom-{name}" for name in ("domain", "name", "write-id", "kind", "stage"))
"""The pairs under Strongroom's own prefix, which its encrypted layer sets."""

_NOT_EXPECTED: Final = frozenset(
    ("strongroom-write-id", "strongroom-kind", "strongroom-stage", "aws-crypto-public-key")
)
_RESERVED_PREFIXES: Final = ("strongroom-", "aws-crypto-")
_HEADER_IV: Final = bytes(IV_LENGTH)


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
        pairs = Context.of(_join(context, bindings))
        data_key, wrapped_keys = _wrap(keys, pairs)
        message_id, aead, header, tag = _write_header(data_key, wrapped_keys, pairs)
        return b"".join((header, tag, *_write_frames(value, aead, message_id)))
    except BaseException:
        value = data_key = b""  # this frame travels with the error
        raise


def decrypt(
    message: Buffer,
    *,
    keys: Sequence[KeyWrapper],
    context: Mapping[str, str],
    bindings: Mapping[str, str] | None = None,
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
    expected = _join(context, bindings)
    _check_count(keys)
    header, length = decode_header(message)
    _check_suite(header)
    _check_context(header.context, expected)
    value, passed_over, failure = _open(message, header, length, keys)
    if failure is not None:
        raise failure
    return Plaintext(value, header.context, passed_over)


def _join(context: Mapping[str, str], bindings: Mapping[str, str] | None) -> Mapping[str, str]:
    for key in context:
        if not key or key.startswith(_RESERVED_PREFIXES):
            raise InvalidRequestError(
                f"the context key {key!r} is reserved" if key else "a context key is empty",
                hint="keys may not begin with strongroom- or aws-crypto-",
            )
    if not bindings:
        return context
    if not bindings.keys() <= BINDINGS:
        raise InvalidRequestError("a binding is none of Strongroom's own", hint=", ".join(sorted(BINDINGS)))
    return {**context, **bindings}


def _check_count(keys: Sequence[KeyWrapper]) -> None:
    if not 1 <= len(keys) <= MAX_WRAPPED_KEYS:
        raise InvalidRequestError(f"a message takes 1 to {MAX_WRAPPED_KEYS} keys, not {len(keys)}")


def _wrap(keys: Sequence[KeyWrapper], context: Mapping[str, str]) -> tuple[bytes, tuple[WrappedKey, ...]]:
    _check_count(keys)
    data_key, first = keys[0].generate_data_key(context)
    return data_key, (first, *(key.wrap(data_key, context) for key in keys[1:]))


def _write_header(
    data_key: bytes, wrapped_keys: tuple[WrappedKey, ...], context: Context
) -> tuple[bytes, Any, bytes, bytes]:
    """Message id, the message key's AES-GCM, header body and tag. The one place that writes a header.

    The message id is born here and used once: the tag is AES-GCM under a fixed IV, so two headers under one
    message id would give away the authentication key of the message.
    """
    message_id = os.urandom(MESSAGE_ID_LENGTH)
    message_key, commitment = _derive(data_key, message_id)
    said = Header(SUITE_COMMITTING, message_id, context, wrapped_keys, FRAME_LENGTH, commitment)
    header = encode_header(said)
    aead = aes_gcm()[0](message_key)
    return message_id, aead, header, aead.encrypt(_HEADER_IV, b"", header)


def _write_frames(value: Buffer, aead: Any, message_id: bytes) -> list[bytes]:
    parts, sequence, last = list[bytes](), 1, value
    if len(value) > FRAME_LENGTH:
        view = memoryview(value)
        for start in range(0, len(value) - FRAME_LENGTH, FRAME_LENGTH):
            iv, sequence = sequence.to_bytes(IV_LENGTH, "big"), sequence + 1
            additional_data = frame_data(message_id, sequence - 1, FRAME_LENGTH, final=False)
            parts += (iv[-4:], iv, aead.encrypt(iv, view[start : start + FRAME_LENGTH], additional_data))
        last = view[(sequence - 1) * FRAME_LENGTH :]
    iv, length = sequence.to_bytes(IV_LENGTH, "big"), len(last)
    sealed = aead.encrypt(iv, last, frame_data(message_id, sequence, length, final=True))
    parts += (FINAL_FRAME, iv[-4:], iv, length.to_bytes(4, "big"), sealed)
    return parts


def _piece(view: memoryview) -> bytes | memoryview:
    # cryptography takes 5 us longer over a memoryview than over bytes: below 16 KiB a copy is cheaper.
    return bytes(view) if len(view) < 16_384 else view


def _check_suite(header: Header) -> None:
    if header.suite != SUITE_COMMITTING:
        raise IntegrityError(
            f"algorithm suite 0x{header.suite:04x} is refused", hint="signed messages are not supported yet"
        )


def _check_context(context: Mapping[str, str], expected: Mapping[str, str]) -> None:
    if not expected.items() <= context.items():
        key = next(key for key, value in sorted(expected.items()) if context.get(key) != value)
        raise IntegrityError(
            f"the message's context does not say what is expected of {key!r}",
            hint="it was written for another purpose, or put in this place by somebody else",
        )
    if len(context) > len(expected) and (more := context.keys() - expected.keys() - _NOT_EXPECTED):
        raise IntegrityError(
            f"the message's context says more than is expected: {', '.join(map(repr, sorted(more)[:8]))}",
            hint="name every pair that the message was encrypted with",
        )


def _open(
    message: Buffer, header: Header, length: int, keys: Sequence[KeyWrapper]
) -> tuple[bytes, tuple[str, ...], SecretStoreError | None]:
    """Nothing in here raises, so that neither the data key nor plaintext travels in an error's frames."""
    data_key, failures = _unwrap(header, keys)
    passed_over = tuple(key_id for key_id, _ in failures)
    if data_key is None:
        return b"", passed_over, _worst(header, [error for _, error in failures])
    message_key, commitment = _derive(data_key, header.message_id)
    if not hmac.compare_digest(commitment, header.commitment):
        return b"", passed_over, IntegrityError("the message does not commit to its data key")
    value = _read(message, header, length, message_key)
    if value is None:
        return b"", passed_over, IntegrityError("the message was changed, cut or extended")
    return value, passed_over, None


def _unwrap(
    header: Header, keys: Sequence[KeyWrapper]
) -> tuple[bytes | None, list[tuple[str, SecretStoreError]]]:
    failures = list[tuple[str, SecretStoreError]]()
    for wrapped in header.wrapped_keys:
        for key in keys:
            if key.matches(wrapped):
                try:
                    data_key = key.unwrap(wrapped, header.context)
                except (IntegrityError, PermissionDeniedError, UnavailableError) as error:
                    failures.append((key.key_id, error))
                    continue
                if len(data_key) == DATA_KEY_LENGTH:
                    return data_key, failures
                failures.append(
                    (key.key_id, IntegrityError(f"{key.key_id} gave no data key of {DATA_KEY_LENGTH} bytes"))
                )
    return None, failures


def _worst(header: Header, errors: Sequence[SecretStoreError]) -> SecretStoreError:
    """Unavailable first, since a retry may open the message; then denied, since a grant may."""
    for kind in (UnavailableError, PermissionDeniedError, IntegrityError):
        for error in errors:
            if isinstance(error, kind):
                return error
    made_under = ", ".join(sorted({repr(wrapped.provider_id) for wrapped in header.wrapped_keys}))
    return IntegrityError(
        "none of the configured keys made this message", hint=f"it was encrypted under keys of {made_under}"
    )


def _derive(data_key: bytes, message_id: bytes) -> tuple[bytes, bytes]:
    """The message key and the commitment: HKDF-SHA512 (RFC 5869) with the message id as salt. Each is the
    start of its expansion's first block, hence the 01 after the info (suite || DERIVEKEY, and COMMITKEY)."""
    secret = hmac.digest(message_id, data_key, "sha512")
    message_key = hmac.digest(secret, b"\x04\x78DERIVEKEY\x01", "sha512")[:32]
    return message_key, hmac.digest(secret, b"COMMITKEY\x01", "sha512")[:32]


def _read(message: Buffer, header: Header, length: int, message_key: bytes) -> bytes | None:
    """All plaintext, once the header and every frame are verified; else None."""
    aead_type, invalid_tag = aes_gcm()
    aead, body = aead_type(message_key), length + TAG_LENGTH
    try:
        aead.decrypt(_HEADER_IV, bytes(message[length:body]), bytes(message[:length]))
        frames = [
            aead.decrypt(iv, _piece(sealed), additional_data)
            for iv, sealed, additional_data in decode_body(message, body, header)
        ]
    except (invalid_tag, IntegrityError):
        return None
    return frames[0] if len(frames) == 1 else b"".join(frames)
