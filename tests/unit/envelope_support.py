"""For the envelope's tests: a counter in memory, and a writer that breaks any rule it is told to break."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.envelope.message import frame_data
from strongroom.errors import SecretStoreError
from strongroom.keys import KeyWrapper, WrappedKey, encode_context
from strongroom.localkey import LocalKey

KEK = bytes(range(32))


class MemoryCounter:
    """Counts in memory; keeps what it was asked."""

    def __init__(self, start: int = 0):
        self.next = start
        self.asked: list[int] = []

    def reserve(self, count: int) -> int:
        start, self.next = self.next, self.next + count
        self.asked.append(count)
        return start


def local_key(key: bytes = KEK, name: str = "local-1", start: int = 0) -> LocalKey:
    return LocalKey(key, name=name, counter=MemoryCounter(start))


class SpyKey(KeyWrapper):
    """A KEK that records every call; `failure` is what its calls raise."""

    provider_id = "spy"

    def __init__(self, key_id: str = "spy-1", failure: SecretStoreError | None = None, *, length: int = 32):
        self.key_id = key_id
        self.failure = failure
        self.length = length
        self.calls: list[str] = []

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self._called("wrap")
        return self.wrapped(bytes(byte ^ 0x5A for byte in data_key))

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        self._called("unwrap")
        return bytes(byte ^ 0x5A for byte in wrapped.ciphertext)[: self.length]

    def _called(self, method: str) -> None:
        self.calls.append(method)
        if self.failure is not None:
            raise self.failure


def derive(data_key: bytes, message_id: bytes, suite: int = 0x0478) -> tuple[bytes, bytes]:
    """Message key and commitment, written from the specification and not from the product."""
    secret = hmac.digest(message_id, data_key, "sha512")
    expand = lambda info: hmac.digest(secret, info + b"\x01", "sha512")[:32]  # noqa: E731
    return expand(suite.to_bytes(2, "big") + b"DERIVEKEY"), expand(b"COMMITKEY")


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    """An encoded context in exactly this order, with whatever bytes it is given."""
    return len(items).to_bytes(2, "big") + b"".join(field(key) + field(value) for key, value in items)


class Author:
    """Writes messages that are authentic in every tag, and malformed wherever an argument says so."""

    def __init__(
        self,
        kek: bytes = KEK,
        name: str = "local-1",
        context: bytes | Mapping[str, str] = b"",
        *,
        suite: int = 0x0478,
    ):
        self.suite = suite
        self.context = context if isinstance(context, bytes) else encode_context(context)
        self.data_key, self.message_id, iv = os.urandom(32), os.urandom(32), os.urandom(12)
        info = name.encode() + b"\x00\x00\x00\x80\x00\x00\x00\x0c" + iv
        wrapped = AESGCM(kek).encrypt(iv, self.data_key, self.context)
        self.edk = field(b"strongroom-local") + field(info) + field(wrapped)

    def header(
        self,
        *,
        frame_length: int = 0,
        version: int = 2,
        suite: int | None = None,
        edks: Sequence[bytes] | None = None,
        content_type: int | None = None,
        commitment: bytes | None = None,
    ) -> bytes:
        suite = self.suite if suite is None else suite
        message_key, right = derive(self.data_key, self.message_id, suite)
        edks = [self.edk] if edks is None else edks
        kind = content_type if content_type is not None else (2 if frame_length else 1)
        body = bytes([version]) + suite.to_bytes(2, "big") + self.message_id + field(self.context)
        body += len(edks).to_bytes(2, "big") + b"".join(edks) + bytes([kind])
        body += frame_length.to_bytes(4, "big") + (right if commitment is None else commitment)
        return body + AESGCM(message_key).encrypt(bytes(12), b"", body)

    def frame(self, sequence: int, piece: bytes, *, final: bool = False, iv: bytes | None = None) -> bytes:
        iv = sequence.to_bytes(12, "big") if iv is None else iv
        key, number = derive(self.data_key, self.message_id, self.suite)[0], sequence.to_bytes(4, "big")
        sealed = AESGCM(key).encrypt(
            iv, piece, frame_data(self.message_id, sequence, len(piece), final=final)
        )
        if final:
            return b"\xff" * 4 + number + iv + len(piece).to_bytes(4, "big") + sealed
        return number + iv + sealed

    def single(self, value: bytes) -> bytes:
        key, iv = derive(self.data_key, self.message_id, self.suite)[0], (1).to_bytes(12, "big")
        length = len(value).to_bytes(8, "big")
        content = b"AWSKMSEncryptionClient Single Block"
        sealed = AESGCM(key).encrypt(iv, value, self.message_id + content + b"\x00\x00\x00\x01" + length)
        return iv + length + sealed

    def frames(self, value: bytes, frame_length: int) -> bytes:
        pieces = [value[at : at + frame_length] for at in range(0, len(value), frame_length)] or [b""]
        frames = [
            self.frame(number, piece, final=number == len(pieces))
            for number, piece in enumerate(pieces, start=1)
        ]
        return b"".join(frames)

    def framed(self, value: bytes, frame_length: int) -> bytes:
        return self.header(frame_length=frame_length) + self.frames(value, frame_length)


class SignedAuthor(Author):
    """The same under suite 0x0578; `public_key` is what the context says in place of the right key."""

    def __init__(self, context: Mapping[str, str] | None = None, public_key: str | None = None):
        self.private = ec.generate_private_key(ec.SECP384R1())
        said = encoded_point(self.private) if public_key is None else public_key
        super().__init__(context={**(context or {}), "aws-crypto-public-key": said}, suite=0x0578)

    def footer(self, signed: bytes) -> bytes:
        return field(self.private.sign(signed, ec.ECDSA(hashes.SHA384())))

    def framed(self, value: bytes, frame_length: int) -> bytes:
        message = super().framed(value, frame_length)
        return message + self.footer(message)


def encoded_point(key: ec.EllipticCurvePrivateKey, form: PublicFormat = PublicFormat.CompressedPoint) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.X962, form)).decode()
