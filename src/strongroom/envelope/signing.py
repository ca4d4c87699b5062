"""The signature of a message under suite 0x0578: ECDSA P-384 over SHA-384, by a key made for that message.

The public key stands in the encryption context, so that every KEK authenticates it; the private key is
dropped when the message is finished. So one who can only open messages cannot make another that opens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError

if TYPE_CHECKING:
    from .message import Buffer

PUBLIC_KEY: Final = "aws-crypto-public-key"
"""The context pair that holds the public key: its compressed point (SEC 1, section 2.3.3) in base64."""

SIGNATURE_LENGTH: Final = 103
"""Bytes of every signature we write, in ASN.1 DER. The AWS Encryption SDK writes this length too, so that a
message's length is known before it is signed; another writer's may be a byte longer, or a few shorter."""

FOOTER_LENGTH: Final = 2 + SIGNATURE_LENGTH
"""Bytes of every footer we write."""

PUBLIC_KEY_LENGTH: Final = 68
"""Characters of every public key: 49 bytes in base64."""

_POINT_LENGTH: Final = 49
_ORDER: Final = (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF << 192) + (
    0xC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
)


class Signing:
    """Signs one message, whose bytes it takes in order.

    Attributes:
        public_key: the value of `PUBLIC_KEY` in the message's context.
    """

    __slots__ = ("_hash", "_key", "public_key")

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._hash = hashlib.sha384()
        self._key = ec.generate_private_key(ec.SECP384R1())
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self.public_key = base64.b64encode(point).decode()

    def update(self, data: Buffer) -> None:
        """Take in the next bytes of header body, header tag or frames."""
        self._hash.update(data)

    def sign(self) -> bytes:
        """The signature over all that was taken in: `SIGNATURE_LENGTH` bytes of DER."""
        digest, algorithm = self._hash.digest(), _prehashed()
        while True:
            signature = self._key.sign(digest, algorithm)
            for candidate in (signature, _with_other_s(signature)):
                if len(candidate) == SIGNATURE_LENGTH:
                    return candidate


class Verifying:
    """Checks the signature of one message, whose bytes it takes in order.

    Args:
        public_key: the value of `PUBLIC_KEY` in the message's context.

    Raises:
        IntegrityError: that is no compressed point of P-384 in base64.
    """

    __slots__ = ("_hash", "_key")

    def __init__(self, public_key: str):
        self._hash = hashlib.sha384()
        self._key = _load(public_key)
        if self._key is None:
            raise IntegrityError("the public key in the message's context is no point of P-384")

    def update(self, data: Buffer) -> None:
        """Take in the next bytes of header body, header tag or frames."""
        self._hash.update(data)

    def verify(self, signature: bytes) -> None:
        """Return if `signature` is one over exactly what was taken in.

        Raises:
            IntegrityError: it is not.
        """
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, self._hash.digest(), _prehashed())
        except InvalidSignature:
            pass
        else:
            return
        raise IntegrityError(
            "the message's signature does not verify",
            hint="the message was changed, or somebody who can open messages wrote it",
        )


def _load(public_key: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        point = base64.b64decode(public_key, validate=True)
        # Canonical base64 of the compressed form alone: one encoding for each key.
        if len(point) == _POINT_LENGTH and base64.b64encode(point) == public_key.encode():
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    except (ValueError, binascii.Error):
        pass
    return None


def _prehashed() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA384

    return ec.ECDSA(Prehashed(SHA384()))


def _with_other_s(signature: bytes) -> bytes:
    """The other of the two signatures that both verify; its s nearly always has the other topmost bit, and so
    its DER is a byte shorter or longer."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, _ORDER - s)
