"""The envelope in memory: small values, and 64 MiB, beside the libraries that do the like.

All candidates of a size are called in every round, so that no row's ratio depends on when it ran, and
the time is that of the thread's own work. The key is a keyset file's, whose wraps are counted durably.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import strongroom
from strongroom.keys import KeyWrapper
from strongroom.registry import create_key
from tests.bench import envelope_peers as peers
from tests.bench.envelope_peers import CONTEXT, MIB, SDK_BEST, SDK_DEFAULT, TINK, Peer
from tests.bench.harness import NO_BAR, Bar, Row, interleaved

ROUNDS = 51
BIG_ROUNDS = 7
SECONDS = 0.01
BIG = 64 * MIB
OURS = "ours"
ENCRYPT_BARS = {SDK_BEST: Bar(speed=6), SDK_DEFAULT: Bar(speed=45), TINK: Bar(ratio=1.8)}
DECRYPT_BARS = {SDK_BEST: Bar(speed=6), SDK_DEFAULT: Bar(speed=45), TINK: Bar(ratio=3)}
BIG_BARS = {SDK_BEST: Bar(speed=2.3), TINK: Bar(speed=2.3)}
REUSED_BAR = Bar(ratio=1.25)


def rows() -> Iterator[Row]:
    """1 KiB both ways, then 64 MiB to new bytes both ways and through a buffer."""
    with local_key() as key:
        ours = Peer(
            lambda value: strongroom.encrypt(value, keys=[key], context=CONTEXT),
            lambda message: strongroom.decrypt(message, keys=[key], context=CONTEXT).value,
        )
        yield from _small({OURS: ours, **peers.aws_sdk(), **peers.tink_envelope(), **peers.small()})
        yield from _big({OURS: ours, **peers.aws_sdk(), **peers.tink_envelope()})
        yield _reused(key)


@contextmanager
def local_key() -> Iterator[KeyWrapper]:
    """A new keyset file's key."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"local-key://{Path(folder).resolve()}/keyset.json"
        create_key(url, None, "aes-256")
        key = strongroom.key(url)
        yield key
        key.close()


def _small(candidates: Mapping[str, Peer]) -> Iterator[Row]:
    value = os.urandom(1024)
    encrypting = interleaved(_encrypting(candidates, value), ROUNDS, SECONDS, time.thread_time)
    yield from _beside("encrypt 1 KiB", encrypting, ENCRYPT_BARS)
    decrypting = interleaved(_decrypting(candidates, value), ROUNDS, SECONDS, time.thread_time)
    yield from _beside("decrypt 1 KiB", decrypting, DECRYPT_BARS)


def _big(candidates: Mapping[str, Peer]) -> Iterator[Row]:
    value, chosen = os.urandom(BIG), {name: candidates[name] for name in (OURS, *BIG_BARS)}
    encrypting = interleaved(_encrypting(chosen, value), BIG_ROUNDS, clock=time.thread_time)
    yield from _beside("encrypt 64 MiB", encrypting, BIG_BARS)
    decrypting = interleaved(_decrypting(chosen, value), BIG_ROUNDS, clock=time.thread_time)
    yield from _beside("decrypt 64 MiB", decrypting, BIG_BARS)


def _reused(key: KeyWrapper) -> Row:
    """Into one buffer again and again: what new bytes cost is the machine's new pages, not encryption."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    value, bare = os.urandom(BIG), AESGCM(os.urandom(32))
    buffer, sealed = bytearray(BIG + MIB), bytearray(BIG + 16)
    times = interleaved(
        {
            OURS: lambda: strongroom.encrypt_into(value, buffer, keys=[key], context=CONTEXT),
            "AESGCM": lambda: bare.encrypt_into(bytes(12), value, b"", sealed),
        },
        2 * BIG_ROUNDS,
        clock=time.thread_time,
    )
    return REUSED_BAR.row("encrypt_into 64 MiB", times[OURS], times["AESGCM"], "AESGCM.encrypt_into")


def _encrypting(candidates: Mapping[str, Peer], value: bytes) -> dict[str, Callable[[], object]]:
    return {name: lambda peer=peer: peer.encrypt(value) for name, peer in candidates.items()}  # type: ignore[misc]


def _decrypting(candidates: Mapping[str, Peer], value: bytes) -> dict[str, Callable[[], object]]:
    messages = {name: peer.encrypt(value) for name, peer in candidates.items()}
    for name, peer in candidates.items():
        assert peer.decrypt(messages[name]) == value, f"{name} does not open what it wrote"
    return {name: lambda name=name: candidates[name].decrypt(messages[name]) for name in candidates}  # type: ignore[misc]


def _beside(what: str, times: Mapping[str, float], bars: Mapping[str, Bar]) -> Iterator[Row]:
    for name, seconds in times.items():
        if name != OURS:
            yield bars.get(name, NO_BAR).row(what, times[OURS], seconds, name)
