"""The two algorithm suites that are written and read, and what they derive from a data key.

Both are of the AWS Encryption SDK
(https://docs.aws.amazon.com/encryption-sdk/latest/developer-guide/algorithms-reference.html): AES-256-GCM,
HKDF-SHA512, key commitment. Every other suite of that format is refused: without commitment a message can
open under two keys, to two plaintexts.
"""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple


class Suite(NamedTuple):
    """One algorithm suite.

    Attributes:
        number: two bytes in the header.
        signed: whether an ECDSA P-384 signature over the whole message stands in a footer.
    """

    number: int
    signed: bool


COMMITTING: Final = Suite(0x0478, signed=False)
"""The default: whoever can open a message could also have written it."""

SIGNED: Final = Suite(0x0578, signed=True)
"""On request: only who held the message's own signing key, which is never kept, could have written it."""

SUITES: Final = {suite.number: suite for suite in (COMMITTING, SIGNED)}

_KEY_INFO: Final = {number: number.to_bytes(2, "big") + b"DERIVEKEY\x01" for number in SUITES}
_COMMITMENT_INFO: Final = b"COMMITKEY\x01"


@functools.cache
def _hmac() -> tuple[Any, Any]:
    """HMAC and SHA-512 of `cryptography`, imported on first use. Its HMAC costs a third less than
    `hmac.digest`, which looks the algorithm up at every call (OpenSSL 3), and half of its HKDF."""
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.hmac import HMAC

    return HMAC, SHA512()


def derive(suite: int, data_key: bytes, message_id: bytes) -> tuple[bytes, bytes]:
    """The message key and the commitment, 32 bytes each, of a message under `data_key`.

    HKDF-SHA512 (RFC 5869) with the message id as salt, and as info suite || ``DERIVEKEY`` or ``COMMITKEY``.
    Each is the start of its expansion's first block, hence the 01 after the info.
    """
    hmac, sha512 = _hmac()
    extract = hmac(message_id, sha512)
    extract.update(data_key)
    key = hmac(extract.finalize(), sha512)
    commitment = key.copy()
    key.update(_KEY_INFO[suite])
    commitment.update(_COMMITMENT_INFO)
    return key.finalize()[:32], commitment.finalize()[:32]
