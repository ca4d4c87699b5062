"""How a value stands in Key Vault, which holds text: what it is, is told by its content type.

Text stands as it is, so that every other reader gets it as it was written, and no text can pretend to be
anything else. Bytes stand as base64 under a content type of ours. An empty text stands as an empty text,
which the service takes (https://github.com/james-gould/azure-keyvault-emulator/issues/386).
"""

from __future__ import annotations

import base64
import binascii

from strongroom.errors import IntegrityError
from strongroom.value import SecretValue

BINARY = "application/vnd.strongroom.binary+base64"
"""The content type of bytes. Every other one, foreign or none, means text."""

LARGEST = 25_600
"""Bytes of text in one secret; https://learn.microsoft.com/azure/key-vault/secrets/about-secrets (25 KB)."""

# stages.FRAME_BYTES, as base64: what a companion's frame adds to a value of either kind.
_FRAME = 4 * (1024 // 3 + 1)
LARGEST_ROTATABLE = LARGEST - _FRAME


def encode(value: SecretValue) -> str:
    """The text that is stored."""
    return value.reveal_text() if value.kind == "text" else base64.b64encode(value.reveal()).decode()


def size(value: SecretValue) -> int:
    """Bytes that the text takes."""
    plain = len(value.reveal())
    return plain if value.kind == "text" else (plain + 2) // 3 * 4


def content_type(value: SecretValue, kept: str | None) -> str | None:
    """What is stored beside the value; text keeps the content type that the version before it had."""
    if value.kind == "binary":
        return BINARY
    return None if is_binary(kept) else kept


def is_binary(content: str | None) -> bool:
    """Whether a content type is ours for bytes."""
    return (content or "").strip().lower() == BINARY


def decode(text: str, content: str | None) -> SecretValue:
    """The value that was stored.

    Raises:
        IntegrityError: it stands under our content type and is no base64.
    """
    if not is_binary(content):
        return SecretValue(text)
    try:
        return SecretValue(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):  # its text quotes nothing, but its frame holds the value
        text = ""
    raise IntegrityError("the value stands under Strongroom's content type and is no base64")
