"""The envelope from file to file: its speed beside a plain copy and tink's stream, and its peak of memory.

On the RAM disk where there is room on one, so that it is not the disk that is measured; where that is not so,
its time is not counted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import strongroom
from strongroom.keys import KeyWrapper
from tests.bench import envelope_memory, envelope_peers
from tests.bench.envelope import local_key
from tests.bench.envelope_peers import ASSOCIATED, CONTEXT, MIB
from tests.bench.harness import NO_BAR, Bar, Row, interleaved

ROUNDS = 7
LENGTH = 256 * MIB
LENGTHS = (64 * MIB, 4096 * MIB)
ENCRYPT_BAR = Bar(speed=0.85)
DECRYPT_BAR = Bar(speed=1)
MEMORY_BAR = Bar(over_peer=6 * MIB, unit="B")
OURS, COPY, TINK, BARE = "ours", "a plain copy", "tink's stream", "a copy through AESGCM"


def rows() -> Iterator[Row]:
    """Speed at 256 MiB, then memory at 64 MiB and at 4 GiB."""
    with local_key() as key, _folder(4 * LENGTH) as folder:
        source = folder / "source"
        source.write_bytes(os.urandom(MIB) * (LENGTH // MIB))
        encrypting = interleaved(_encrypting(key, source, folder), ROUNDS)
        yield ENCRYPT_BAR.row("encrypt file, 256 MiB", encrypting[OURS], encrypting[COPY], COPY)
        for peer in (TINK, BARE):
            yield NO_BAR.row("encrypt file, 256 MiB", encrypting[OURS], encrypting[peer], peer)
        decrypting = interleaved(_decrypting(key, source, folder), ROUNDS)
        yield DECRYPT_BAR.row("decrypt file, 256 MiB", decrypting[OURS], decrypting[TINK], TINK)
        yield NO_BAR.row("decrypt file, 256 MiB", decrypting[OURS], decrypting[COPY], COPY)
    for length in LENGTHS:
        with _folder(length) as folder:
            yield from _memory(length, folder)


@contextmanager
def _folder(needed: int) -> Iterator[Path]:
    """On the RAM disk if there are `needed` bytes and as many again."""
    ram = Path("/dev/shm")
    roomy = ram.is_dir() and os.access(ram, os.W_OK) and shutil.disk_usage(ram).free >= 2 * needed
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ram if roomy else None) as folder:
        yield Path(folder)


def _encrypting(key: KeyWrapper, source: Path, folder: Path) -> dict[str, Callable[[], object]]:
    ours, tink, copy = folder / "ours", folder / "tink", folder / "copy"
    return {
        OURS: lambda: strongroom.encrypt_file(source, ours, keys=[key], context=CONTEXT, overwrite=True),
        COPY: lambda: _copy(source, copy),
        TINK: lambda: _tink_encrypt(source, tink),
        BARE: lambda: _copy_through_aes(source, copy),
    }


def _decrypting(key: KeyWrapper, source: Path, folder: Path) -> dict[str, Callable[[], object]]:
    ours, tink, copy = folder / "ours", folder / "tink", folder / "copy"
    strongroom.decrypt_file(ours, copy, keys=[key], context=CONTEXT, overwrite=True)
    assert copy.read_bytes() == source.read_bytes()
    return {
        OURS: lambda: strongroom.decrypt_file(ours, copy, keys=[key], context=CONTEXT, overwrite=True),
        COPY: lambda: _copy(ours, copy),
        TINK: lambda: _tink_decrypt(tink, copy),
    }


def _copy(source: Path, target: Path) -> None:
    """Through a buffer of one frame, as encrypting must; into a file that is new, as ours is."""
    target.unlink(missing_ok=True)
    buffer = memoryview(bytearray(MIB))
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while count := read.readinto(buffer):
            write.write(buffer[:count])


def _copy_through_aes(source: Path, target: Path) -> None:
    """What the machine can do: where AES-GCM is slower than memory, nothing that encrypts is near a copy."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    target.unlink(missing_ok=True)
    bare, buffer, sealed = AESGCM(os.urandom(32)), memoryview(bytearray(MIB)), memoryview(bytearray(MIB + 16))
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while count := read.readinto(buffer):
            bare.encrypt_into(bytes(12), buffer[:count], None, sealed[: count + 16])
            write.write(sealed[: count + 16])


def _tink_encrypt(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    stream = envelope_peers.tink_streaming().new_encrypting_stream(target.open("wb"), ASSOCIATED)
    with source.open("rb") as read, stream as write:
        shutil.copyfileobj(read, write, MIB)


def _tink_decrypt(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    stream = envelope_peers.tink_streaming().new_decrypting_stream(source.open("rb"), ASSOCIATED)
    with stream as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, MIB)


def _memory(length: int, folder: Path) -> Iterator[Row]:
    """Each in a process of its own, which tells its memory before and at the peak."""
    for verb in ("encrypt", "decrypt"):
        argv = [sys.executable, "-m", envelope_memory.__name__, verb, str(folder), str(length)]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
        base, peak = map(int, done.stdout.split())
        yield MEMORY_BAR.row(f"memory to {verb} a file, {length // MIB:,} MiB", peak, base, "before")
