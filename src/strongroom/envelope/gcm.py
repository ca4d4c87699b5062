"""AES-GCM in place, and what must be done where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .message import Buffer

_ZEROS: Final = bytes(65_536)


def wipe(place: memoryview) -> None:
    """Zero what may be plaintext that did not verify; in pieces, so as to take no memory."""
    for start in range(0, len(place), len(_ZEROS)):
        piece = place[start : start + len(_ZEROS)]
        piece[:] = _ZEROS[: len(piece)]


def encrypt_into(aead: Any, iv: bytes, piece: Buffer, additional_data: bytes, out: memoryview) -> None:
    """AES-GCM into `out`, exactly 16 bytes longer than `piece`; without a copy where cryptography can."""
    if hasattr(aead, "encrypt_into"):
        aead.encrypt_into(iv, piece, additional_data, out)
    else:
        out[:] = aead.encrypt(iv, piece, additional_data)


def decrypt_into(aead: Any, iv: bytes, sealed: Buffer, additional_data: bytes, out: memoryview) -> None:
    """The reverse; `out` is exactly 16 bytes shorter than `sealed`."""
    if hasattr(aead, "decrypt_into"):
        aead.decrypt_into(iv, sealed, additional_data, out)
    else:
        out[:] = aead.decrypt(iv, sealed, additional_data)
