"""AES-GCM, in place where that is possible, and what must be done where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError
from strongroom.localkey import aes_gcm

if TYPE_CHECKING:
    from .message import Buffer

LONGEST: Final = 2**31 - 1
"""Bytes of ciphertext and tag that cryptography takes in one call. Above them it panics (50.0), which no
``except Exception`` stops; messages of another writer, without frames or with long ones, may have more."""

_ZEROS: Final = bytes(65_536)


def encrypt_into(aead: Any, iv: bytes, piece: Buffer, additional_data: bytes, out: memoryview) -> None:
    """Encrypt into `out`, exactly 16 bytes longer than `piece`; without a copy where cryptography can."""
    if hasattr(aead, "encrypt_into"):
        aead.encrypt_into(iv, piece, additional_data, out)
    else:
        out[:] = aead.encrypt(iv, piece, additional_data)


def decrypt(aead: Any, iv: bytes, sealed: Buffer, additional_data: bytes) -> bytes | None:
    """The plaintext, or None if the tag does not verify.

    Raises:
        IntegrityError: above `LONGEST`.
    """
    _check_length(sealed)
    try:
        return aead.decrypt(iv, sealed, additional_data)  # type: ignore[no-any-return]
    except aes_gcm()[1]:
        return None


def decrypt_into(aead: Any, iv: bytes, sealed: Buffer, additional_data: bytes, out: memoryview) -> bool:
    """Decrypt into `out`, exactly 16 bytes shorter than `sealed`; whether the tag verifies.

    If not, or on an error, `out` is zero: a cipher in place has decrypted before it has verified.

    Raises:
        IntegrityError: above `LONGEST`.
    """
    _check_length(sealed)
    verified = False
    try:
        if hasattr(aead, "decrypt_into"):
            aead.decrypt_into(iv, sealed, additional_data, out)
        else:
            out[:] = aead.decrypt(iv, sealed, additional_data)
        verified = True
    except aes_gcm()[1]:
        pass
    finally:
        if not verified:
            wipe(out)
    return verified


def _check_length(sealed: Buffer) -> None:
    if len(sealed) > LONGEST:
        raise IntegrityError(
            f"a frame is longer than {LONGEST - 16} bytes, the most that can be decrypted at a time",
            hint="its writer must use shorter frames",
        )


def wipe(place: memoryview) -> None:
    """Zero what may be plaintext that did not verify; in pieces, so as to take no memory."""
    for start in range(0, len(place), len(_ZEROS)):
        piece = place[start : start + len(_ZEROS)]
        piece[:] = _ZEROS[: len(piece)]
