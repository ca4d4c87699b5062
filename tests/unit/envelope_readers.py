"""Every way to open a message, behind one face: what it released, and the error that stopped it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from strongroom.envelope.cipher import decrypt, decrypt_into
from strongroom.envelope.files import decrypt_file
from strongroom.envelope.reencrypt import reencrypt, reencrypt_file
from strongroom.envelope.stream import DecryptingReader, decrypt_stream
from strongroom.errors import IntegrityError
from strongroom.keys import KeyWrapper
from tests.unit.envelope_support import local_key

Pieces = list[tuple[int, bytes]]

_ANOTHER = local_key(bytes(32), "another")


class Outcome(NamedTuple):
    """What one reader made of one message.

    Attributes:
        pieces: plaintext that left the product, each with its offset.
        error: what stopped it; None if it read to the end.
    """

    pieces: Pieces
    error: IntegrityError | None

    @property
    def value(self) -> bytes:
        """The pieces one after another, which is what a reader from start to end released."""
        return b"".join(data for _, data in self.pieces)


class Opener(NamedTuple):
    """What every reader is given besides the message; `folder` is a writable one of the reader's own."""

    keys: Sequence[KeyWrapper]
    context: Mapping[str, str]
    folder: Path
    frame_length: int = 1 << 20


class Pipe(io.RawIOBase):
    """A source that only goes forwards, and gives what it likes at a time."""

    def __init__(self, data: bytes, at_most: int = 61):
        self._left, self._at_most = memoryview(data), at_most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), len(self._left), self._at_most)
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


class _Sink(io.RawIOBase):
    """Keeps what it was given, which it may not do with the buffer itself."""

    def __init__(self, pieces: Pieces):
        self._pieces = pieces

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        self._pieces.append((sum(len(piece) for _, piece in self._pieces), bytes(data)))
        return len(data)


def _decrypt(message: bytes, opener: Opener, pieces: Pieces) -> None:
    pieces.append((0, decrypt(message, keys=opener.keys, context=opener.context).value))


def _decrypt_into(message: bytes, opener: Opener, pieces: Pieces) -> None:
    buffer, length = bytearray(b"\xaa" * len(message)), 0
    try:
        length = decrypt_into(message, buffer, keys=opener.keys, context=opener.context)
    finally:
        if set(buffer) - {0x00, 0xAA} or length:  # on failure: zeroed, or never written
            pieces.append((0, bytes(buffer[:length])))


def _reencrypt(message: bytes, opener: Opener, pieces: Pieces) -> None:
    made = reencrypt(message, opens=opener.keys, keys=[_ANOTHER])
    pieces.append((0, decrypt(made, keys=[_ANOTHER], context=opener.context).value))


def _reencrypt_file(message: bytes, opener: Opener, pieces: Pieces) -> None:
    path = opener.folder / "message"
    path.write_bytes(message)
    try:
        reencrypt_file(path, opens=opener.keys, keys=[_ANOTHER])
    finally:
        assert [*opener.folder.iterdir()] == [path]
        now = path.read_bytes()
        if now != message:
            pieces.append((0, decrypt(now, keys=[_ANOTHER], context=opener.context).value))


def _stream(message: bytes, opener: Opener, pieces: Pieces) -> None:
    decrypt_stream(io.BytesIO(message), _Sink(pieces), keys=opener.keys, context=opener.context)


def _pipe(message: bytes, opener: Opener, pieces: Pieces) -> None:
    decrypt_stream(Pipe(message), _Sink(pieces), keys=opener.keys, context=opener.context)


def _reader(message: bytes, opener: Opener, pieces: Pieces) -> None:
    _read_on(DecryptingReader(io.BytesIO(message), keys=opener.keys, context=opener.context), pieces)


def _reader_of_pipe(message: bytes, opener: Opener, pieces: Pieces) -> None:
    _read_on(DecryptingReader(Pipe(message), keys=opener.keys, context=opener.context), pieces)


def _read_on(reader: DecryptingReader, pieces: Pieces) -> None:
    with reader:
        position = 0
        while data := reader.read1():
            pieces.append((position, data))
            position += len(data)


def _anywhere(message: bytes, opener: Opener, pieces: Pieces) -> None:
    """From the last frame to the first; a bad frame does not keep the others from being read."""
    refused: IntegrityError | None = None
    source = io.BytesIO(message)
    with DecryptingReader(source, keys=opener.keys, context=opener.context) as reader:
        length = reader.seek(0, io.SEEK_END)
        for position in reversed(range(0, length, opener.frame_length)):
            reader.seek(position)
            try:
                pieces.append((position, reader.read(min(opener.frame_length, length - position))))
            except IntegrityError as error:
                refused = error
    if refused is not None:
        raise refused
    pieces.reverse()


def _file(message: bytes, opener: Opener, pieces: Pieces) -> None:
    source, target = opener.folder / "message", opener.folder / "plaintext"
    source.write_bytes(message)
    try:
        decrypt_file(source, target, keys=opener.keys, context=opener.context)
    finally:
        for path in opener.folder.iterdir():
            if path != source:
                pieces.append((0, path.read_bytes()))
                path.unlink()


READERS: dict[str, Callable[[bytes, Opener, Pieces], None]] = {
    "decrypt": _decrypt,
    "decrypt_into": _decrypt_into,
    "decrypt_stream": _stream,
    "DecryptingReader": _reader,
    "DecryptingReader, anywhere": _anywhere,
    "decrypt_file": _file,
    "reencrypt": _reencrypt,
    "reencrypt_file": _reencrypt_file,
    "decrypt_stream of a pipe": _pipe,
    "DecryptingReader of a pipe": _reader_of_pipe,
}
"""By name; those of a pipe refuse signed messages as the caller's mistake."""


def outcomes(message: bytes, opener: Opener, names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """What each reader makes of `message`; any error but IntegrityError is raised."""
    for name in names:
        yield name, outcome(message, opener, name)


def outcome(message: bytes, opener: Opener, name: str) -> Outcome:
    """What one reader makes of `message`; any error but IntegrityError is raised."""
    pieces: Pieces = []
    try:
        READERS[name](message, opener, pieces)
    except IntegrityError as error:
        return Outcome(pieces, error)
    return Outcome(pieces, None)
