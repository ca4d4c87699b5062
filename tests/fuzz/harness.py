"""One fuzz input: opened by every reader, as it is and with its tags put right; they must agree.

Most changes of a message break a tag, and nothing behind that tag is ever reached. So each input is opened a
second time with commitment, tags and signature made anew over whatever it says, by keys that are fixed: what
is then read is authentic, and wrong only in its form.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.envelope.binding import BINDINGS
from strongroom.envelope.cipher import decrypt, decrypt_into
from strongroom.envelope.message import (
    TAG_LENGTH,
    Header,
    decode_footer,
    decode_header,
    encode_header,
    frame_data,
)
from strongroom.envelope.stream import DecryptingReader, decrypt_stream
from strongroom.envelope.survey import survey
from strongroom.errors import IntegrityError
from strongroom.keys import KeyWrapper, WrappedKey
from tests.unit.envelope_readers import Pipe
from tests.unit.envelope_support import derive, encoded_point, field

DATA_KEY = hashlib.sha256(b"the data key of every fuzz input").digest()
_SIGNED = 0x0578
_BLOCK = b"AWSKMSEncryptionClient Single Block"


class AnyKey(KeyWrapper):
    """Opens whatever it is shown to the one data key, so that a changed wrapped key is no dead end."""

    provider_id, key_id, remote = "fuzz", "any", False

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise NotImplementedError

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return DATA_KEY

    def matches(self, wrapped: WrappedKey) -> bool:
        return True


@cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    """The key of every signed input."""
    return ec.derive_private_key(int.from_bytes(DATA_KEY, "big"), ec.SECP384R1())


@cache
def public_key() -> str:
    """What its messages' contexts say of it."""
    return encoded_point(signing_key())


def check(data: bytes) -> None:
    """Raise if a reader raises anything but IntegrityError, or if two readers do not agree."""
    _check(data, tuple(_READERS))


def check_some(data: bytes) -> None:
    """`check` with `decrypt` and two more readers, which the input chooses: three times as many inputs."""
    others = tuple(_READERS)[1:]
    first = zlib.crc32(data) % len(others)
    _check(data, ("decrypt", others[first], others[first - 2]))


def _check(data: bytes, names: Sequence[str]) -> None:
    _check_form(data)
    _check_readers(data, names)
    authentic = repaired(data)
    if authentic is not None and authentic != data:
        _check_readers(authentic, names)


def _check_form(data: bytes) -> None:
    try:
        header, length = decode_header(data)
    except IntegrityError:
        return
    assert encode_header(header) == data[:length], "one meaning has two encodings"


def _check_readers(message: bytes, names: Sequence[str]) -> None:
    expected, found = _expected(message), dict[str, bytes | None]()
    for name in names:
        if not (name.endswith("pipe") and message[1:3] == _SIGNED.to_bytes(2, "big")):
            try:
                found[name] = _READERS[name](message, *expected)
            except IntegrityError:
                found[name] = None
    assert len(set(found.values())) == 1, f"readers disagree: {[*found]} {[*found.values()]}"
    value = found["decrypt"]
    if value is not None:
        assert survey(io.BytesIO(message)).size == len(value)


def _expected(message: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Context and bindings with which `message` is not refused at once."""
    try:
        said = decode_header(message)[0].context
    except IntegrityError:
        return {}, {}
    own = {key: said[key] for key in BINDINGS & said.keys()}
    prefixes = ("strongroom-", "aws-crypto-")
    return {key: said[key] for key in said if key and not key.startswith(prefixes)}, own


def _decrypt(message: bytes, context: Mapping[str, str], bindings: Mapping[str, str]) -> bytes:
    return decrypt(message, keys=_KEYS, context=context, bindings=bindings).value


def _decrypt_into(message: bytes, context: Mapping[str, str], bindings: Mapping[str, str]) -> bytes:
    buffer = bytearray(len(message))
    try:
        length = decrypt_into(message, buffer, keys=_KEYS, context=context, bindings=bindings)
    except IntegrityError:
        assert not any(buffer), "unverified plaintext stays in the caller's buffer"
        raise
    return bytes(buffer[:length])


def _stream(source: io.IOBase, context: Mapping[str, str], bindings: Mapping[str, str]) -> bytes:
    sink = io.BytesIO()
    decrypt_stream(source, sink, keys=_KEYS, context=context, bindings=bindings)
    return sink.getvalue()


def _read(source: io.IOBase, context: Mapping[str, str], bindings: Mapping[str, str]) -> bytes:
    with DecryptingReader(source, keys=_KEYS, context=context, bindings=bindings) as reader:
        return reader.read()


def _read_backwards(message: bytes, context: Mapping[str, str], bindings: Mapping[str, str]) -> bytes:
    source = io.BytesIO(message)
    with DecryptingReader(source, keys=_KEYS, context=context, bindings=bindings) as reader:
        pieces, position = list[bytes](), reader.seek(0, io.SEEK_END)
        while position:
            start = max(0, position - 1 - position // 3)
            reader.seek(start)
            pieces.append(reader.read(position - start))
            position = start
    return b"".join(reversed(pieces))


_KEYS: Sequence[KeyWrapper] = (AnyKey(),)
_READERS: dict[str, Callable[[bytes, Mapping[str, str], Mapping[str, str]], bytes]] = {
    "decrypt": _decrypt,
    "decrypt_into": _decrypt_into,
    "stream": lambda message, *said: _stream(io.BytesIO(message), *said),
    "reader": lambda message, *said: _read(io.BytesIO(message), *said),
    "reader, backwards": _read_backwards,
    "stream of a pipe": lambda message, *said: _stream(Pipe(message), *said),
    "reader of a pipe": lambda message, *said: _read(Pipe(message), *said),
}


def repaired(data: bytes) -> bytes | None:
    """`data` with right commitment, tags and signature, as far as its form can be followed.

    What stands for ciphertext is taken for the plaintext. None if there is no header.
    """
    try:
        header, length = decode_header(data)
    except IntegrityError:
        return None
    message_key, commitment = derive(DATA_KEY, header.message_id, header.suite)
    cipher, body = AESGCM(message_key), encode_header(header._replace(commitment=commitment))
    parts = [body, cipher.encrypt(bytes(12), b"", body)]
    position = length + TAG_LENGTH
    for frame, end in _frames(data, position, header, cipher):
        parts.append(frame)
        position = end
    return _signed(b"".join(parts), data[position:], header)


def _frames(data: bytes, position: int, header: Header, cipher: AESGCM) -> Iterator[tuple[bytes, int]]:
    final = False
    while not final:
        final = not header.frame_length or data[position : position + 4] == b"\xff" * 4
        size = 24 if header.frame_length and final else 20 if final else 16
        head = data[position : position + size]
        iv, additional_data, length = _facts(head, header, final=final)
        start = position + len(head)
        position = start + length + TAG_LENGTH
        if len(head) < size or position > len(data):
            return
        yield head + cipher.encrypt(iv, data[start : start + length], additional_data), position


def _facts(head: bytes, header: Header, *, final: bool) -> tuple[bytes, bytes, int]:
    if not header.frame_length:
        length = int.from_bytes(head[12:20], "big")
        return (
            head[:12],
            header.message_id + _BLOCK + (1).to_bytes(4, "big") + length.to_bytes(8, "big"),
            length,
        )
    at = 4 if final else 0
    length = int.from_bytes(head[20:24], "big") if final else header.frame_length
    number = int.from_bytes(head[at : at + 4], "big")
    return head[at + 4 : at + 16], frame_data(header.message_id, number, length, final=final), length


def _signed(message: bytes, footer: bytes, header: Header) -> bytes:
    if header.suite == _SIGNED:
        try:
            decode_footer(footer, 0, header)
        except IntegrityError:
            return message + footer
        algorithm = ec.ECDSA(hashes.SHA384(), deterministic_signing=True)
        return message + field(signing_key().sign(message, algorithm))
    return message + footer
