"""Every way to write and to read a message, against AWS's SDKs: files, streams, buffers, seeking."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders, models
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk import EncryptionSDKClient

from strongroom.envelope.cipher import decrypt, encrypt, encrypt_into, message_length
from strongroom.envelope.files import encrypt_file
from strongroom.envelope.reencrypt import reencrypt
from strongroom.envelope.stream import EncryptingWriter, encrypt_stream
from strongroom.errors import IntegrityError
from tests.integration.interop_support import JavaScriptSDK, Peer, PythonSDK, Raw
from tests.servers.node import Node
from tests.unit.envelope_readers import READERS, Opener, Pieces
from tests.unit.envelope_support import KEK, local_key

MIB = 1 << 20
KEY = Raw("local-1", KEK)
CONTEXT = {"tenant": "acme"}

Write = Callable[[bytes, bool, Path], bytes]


@pytest.fixture(scope="module")
def peers(node_sdk: Node) -> dict[str, Peer]:
    return {"python": PythonSDK(), "javascript": JavaScriptSDK(node_sdk)}


def _into(value: bytes, signed: bool, _: Path) -> bytes:
    keys = [local_key()]
    buffer = bytearray(message_length(len(value), keys=keys, context=CONTEXT, signed=signed))
    return bytes(buffer[: encrypt_into(value, buffer, keys=keys, context=CONTEXT, signed=signed)])


def _stream(value: bytes, signed: bool, _: Path) -> bytes:
    sink = io.BytesIO()
    encrypt_stream(io.BytesIO(value), sink, keys=[local_key()], context=CONTEXT, signed=signed)
    return sink.getvalue()


def _writer(value: bytes, signed: bool, _: Path) -> bytes:
    sink = io.BytesIO()
    with EncryptingWriter(sink, keys=[local_key()], context=CONTEXT, signed=signed) as writer:
        for at in range(0, len(value), 300_007):
            writer.write(value[at : at + 300_007])
    return sink.getvalue()


def _file(value: bytes, signed: bool, folder: Path) -> bytes:
    source, target = folder / "value", folder / "message"
    source.write_bytes(value)
    encrypt_file(source, target, keys=[local_key()], context=CONTEXT, signed=signed, overwrite=True)
    return target.read_bytes()


def _reencrypted(value: bytes, signed: bool, _: Path) -> bytes:
    old = local_key(bytes(32), "old")
    message = encrypt(value, keys=[old], context=CONTEXT, signed=not signed)
    return reencrypt(message, opens=[old], keys=[local_key()], signed=signed)


WRITERS: Mapping[str, Write] = {
    "encrypt_into": _into,
    "encrypt_stream": _stream,
    "EncryptingWriter": _writer,
    "encrypt_file": _file,
    "reencrypt": _reencrypted,
}


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("writer", WRITERS)
def test_aws_reads_whatever_way_we_write(
    peers: dict[str, Peer], tmp_path: Path, writer: str, signed: bool
) -> None:
    """No plaintext, a full frame, and one byte more."""
    for size in (0, MIB, MIB + 1):
        value = os.urandom(size)
        message = WRITERS[writer](value, signed, tmp_path)
        for peer in peers.values():
            read, said = peer.decrypt(message, [KEY])
            assert (read == value, said["tenant"]) == (True, "acme")


class Written(NamedTuple):
    """What an SDK wrote."""

    value: bytes
    frame: int
    message: bytes


@pytest.fixture(scope="module")
def written(peers: dict[str, Peer]) -> dict[bool, list[Written]]:
    """In short frames; JavaScript ends with an empty one where the others are full, Python does not."""

    def write(peer: str, frame: int, size: int, *, signed: bool) -> Written:
        value = os.urandom(size)
        return Written(value, frame, peers[peer].encrypt(value, [KEY], CONTEXT, frame, signed=signed))

    return {
        signed: [
            write(peer, frame, size, signed=signed)
            for peer, frame in (("python", 128), ("javascript", 128), ("javascript", 5))
            for size in (0, 1, 128, 1_280, 1_281)
        ]
        for signed in (False, True)
    }


_OF_SIGNED = [(reader, True) for reader in READERS if not reader.endswith("of a pipe")]  # which refuse them


@pytest.mark.parametrize(("reader", "signed"), [*((reader, False) for reader in READERS), *_OF_SIGNED])
def test_whatever_way_we_read_aws_writes(
    written: dict[bool, list[Written]], tmp_path: Path, reader: str, signed: bool
) -> None:
    """From nothing to many frames, the last one full, short or empty."""
    for n, (value, frame, message) in enumerate(written[signed]):
        pieces, folder = Pieces(), tmp_path / str(n)
        folder.mkdir()
        READERS[reader](message, Opener([local_key()], CONTEXT, folder, frame), pieces)
        assert b"".join(data for _, data in pieces) == value


def test_a_context_that_is_not_in_the_header_is_refused() -> None:
    """AWS can authenticate pairs without writing them (its required encryption context): the header does not
    say then what it was written for, and we open nothing of which we cannot know that."""
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    keyring = PythonSDK().keyring([KEY])
    manager = providers.create_required_encryption_context_cmm(
        models.CreateRequiredEncryptionContextCMMInput(
            required_encryption_context_keys=["tenant"],
            underlying_cmm=providers.create_default_cryptographic_materials_manager(
                models.CreateDefaultCryptographicMaterialsManagerInput(keyring=keyring)
            ),
        )
    )
    client = EncryptionSDKClient()
    message, _ = client.encrypt(source=b"v", materials_manager=manager, encryption_context=CONTEXT)
    read, _ = client.decrypt(source=message, materials_manager=manager, encryption_context=CONTEXT)
    assert read == b"v"
    for context in (CONTEXT, {}):
        with pytest.raises(IntegrityError):
            decrypt(message, keys=[local_key()], context=context)
