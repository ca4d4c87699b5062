"""Reads that the cache answers, beside a dict and beside AWS's own caching client; what waits, and for whom.

The peer reads through boto3 from the same double; once warm neither asks it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from strongroom.backend import Clock, Secret, Settings, Stage
from strongroom.cache import CachePolicy
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.names import Key
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from tests.bench.cold_reads import _boto, _printing
from tests.bench.harness import Bar, Row, Run, interleaved

NAME = "db/password"
VALUE = "correct horse battery staple"
PEER = "aws-secretsmanager-caching"
THREADS = 8
SLOW = 0.2
_REGION = "eu-west-1"

Read = Callable[[], object]


@dataclass(frozen=True)
class Readers:
    """The same secret, warm, read by us and by the peer."""

    ours: Read
    peer: Read


def rows() -> Iterator[Row]:
    """Warm reads, alone and by eight threads; a stampede; a refresh from a slow provider."""
    with _warm() as readers:
        yield _beside_a_dict(readers.ours)
        yield _beside_the_peer(readers)
        yield _threads(readers)
    yield _stampede()
    yield _refreshing()


def _beside_a_dict(ours: Read) -> Row:
    values, name = {NAME: VALUE}, NAME
    candidates: dict[str, Run] = {"ours": ours, "dict": lambda: values[name]}
    # Nothing is waited for here: what other processes take of the machine does not count.
    times = interleaved(candidates, 201, 0.002, time.thread_time)
    return Bar(ratio=6.0).row("warm get", times["ours"], times["dict"], "lambda: d[k]")


def _beside_the_peer(readers: Readers) -> Row:
    times = interleaved({"ours": readers.ours, "peer": readers.peer}, 51, 0.005, time.thread_time)
    return Bar(speed=100.0).row("warm get, beside a cache", times["ours"], times["peer"], PEER)


def _threads(readers: Readers) -> Row:
    """Each candidate reads as often as takes about the same time."""
    runs = {"ours": (readers.ours, 100_000), "peer": (readers.peer, 500)}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(7):
        for name, (read, reads) in runs.items():
            samples[name].append(_together([_repeated(read, reads)] * THREADS) / (reads * THREADS))
    times = {name: statistics.median(found) for name, found in samples.items()}
    return Bar(speed=100.0).row(f"warm get, {THREADS} threads", times["ours"], times["peer"], PEER)


def _repeated(read: Read, reads: int) -> Run:
    def run() -> None:
        for _ in range(reads):
            read()

    return run


def _together(runs: list[Run]) -> float:
    """Seconds from the moment all begin until the last has ended."""
    begin = threading.Barrier(len(runs) + 1)

    def run(one: Run) -> None:
        begin.wait()
        one()

    threads = [threading.Thread(target=run, args=(one,)) for one in runs]
    for thread in threads:
        thread.start()
    begin.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


class _Prompt(Clock):
    """Refreshes at 80 % of `fresh`, so that a slow answer comes within it."""

    def chance(self) -> float:
        return 0.0


class _Slow(Layer):
    """A provider that takes its time, and counts."""

    calls = 0

    def get(self, key: Key, version: str | Stage) -> Secret:
        type(self).calls += 1
        time.sleep(SLOW)
        return replace(self.inner.get(key, version), version=str(self.calls))


class _SlowClient:
    """The same for the peer: what it uses of a boto3 client."""

    def __init__(self) -> None:
        self.calls = 0

    def describe_secret(self, SecretId: str) -> dict[str, Any]:  # noqa: N803
        return {"VersionIdsToStages": {self._called(): ["AWSCURRENT"]}}

    def get_secret_value(self, SecretId: str, **wanted: str) -> dict[str, Any]:  # noqa: N803
        self._called()
        return {"SecretString": VALUE, "VersionId": "1"}

    def _called(self) -> str:
        self.calls += 1
        time.sleep(SLOW)
        return "1"


def _slow_store(policy: CachePolicy) -> tuple[SecretStore, _Slow]:
    memory = MemoryBackend()
    slow = _Slow(memory)
    SecretStore(memory).put(NAME, VALUE)
    return SecretStore(slow, cache=policy, clock=_Prompt()), slow


def _slow_peer(seconds: int) -> tuple[Read, _SlowClient]:
    from aws_secretsmanager_caching import SecretCache, SecretCacheConfig

    client = _SlowClient()
    cache = SecretCache(SecretCacheConfig(secret_refresh_interval=seconds), client)
    return (lambda: cache.get_secret_string(NAME)), client


def _stampede() -> Row:
    store, slow = _slow_store(CachePolicy())
    read, client = _slow_peer(3600)
    _Slow.calls = 0
    _together([lambda: store.get(NAME)] * 1000)
    _together([read] * 1000)
    name = "1,000 threads on one cold name"
    return Bar(at_most=1, unit="calls").row(name, slow.calls, client.calls, PEER)


def _refreshing() -> Row:
    """The longest of all reads of a round; each round has a refresh, and the least disturbed round counts.

    One reader: of more each also waits for the interpreter, which has nothing to do with the cache.
    """
    store, _ = _slow_store(CachePolicy(fresh=1.5, stale=0))
    read, _ = _slow_peer(2)
    store.get(NAME), read()
    ours = min(_longest(lambda: store.get(NAME), 1.4) for _ in range(7))
    peer = min(_longest(read, 2.0) for _ in range(3))
    return Bar(at_most=0.001).row("longest read while refreshing", ours, peer, f"{PEER}, {SLOW * 1e3:.0f} ms")


def _longest(read: Read, seconds: float) -> float:
    longest, start = 0.0, time.perf_counter()
    end = start + seconds
    while start < end:
        start = time.perf_counter()
        read()
        longest = max(longest, time.perf_counter() - start)
        time.sleep(0.001)  # who never pauses is paused, by the machine, in the middle of a read
    return longest


@contextmanager
def _warm() -> Iterator[Readers]:
    from aws_secretsmanager_caching import SecretCache

    with _printing("strongroom.testing.aws", url=r"in memory: (\S+)") as server:
        url = f"aws-sm://{_REGION}/bench?endpoint={server['url']}"
        peer = SecretCache(client=_boto("secretsmanager", server["url"]))
        with SecretStore(open_backend(url, Settings())) as store:
            store.put(NAME, VALUE)
            name, native = NAME, f"bench/{NAME}"
            assert store.get(name).value.matches(VALUE)
            assert peer.get_secret_string(native) == VALUE
            yield Readers(lambda: store.get(name), lambda: peer.get_secret_string(native))
