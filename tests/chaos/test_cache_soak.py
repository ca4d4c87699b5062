"""Four simulated hours of a service's reads: rotations, outages, denials, missing names; nothing grows."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
import tracemalloc
from contextlib import suppress

import pytest

from strongroom.backend import Backend, Capability, Secret, Stage
from strongroom.cache import Bounds, CachePolicy
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.names import Key
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import refreshed, text

STEP = 10.0
NAMES = [f"app/secret-{number}" for number in range(30)] + ["exchange/key"]
POLICY = CachePolicy(60, 300, size=20, names=(("exchange/**", Bounds(10, 0)),))


class Weather(Backend):
    """A provider that rotates each secret every ten minutes, and is sometimes away, or refuses."""

    capabilities = Capability.BATCH_GET

    def __init__(self, clock: FakeClock, chance: random.Random):
        self._clock, self._chance = clock, chance

    def get(self, key: Key, version: str | Stage) -> Secret:
        minute = int(self._clock.monotonic() // 60)
        if minute % 30 in (10, 11, 12, 13, 14, 15, 16):
            raise UnavailableError("away")
        if self._chance.random() < 0.02:
            raise PermissionDeniedError("not now")
        if str(key).startswith("made-up"):
            raise SecretNotFoundError("no such secret")
        current = str(minute // 10)
        return Secret(str(key), SecretValue(text(current)), current, confirmed_at=self._clock.now())

    def get_many(self, keys: object) -> dict[Key, Secret | SecretStoreError]:
        found: dict[Key, Secret | SecretStoreError] = {}
        for key in keys:  # type: ignore[attr-defined]
            try:
                found[key] = self.get(key, Stage.CURRENT)
            except SecretStoreError as error:
                found[key] = error.with_traceback(None)
        return found


def test_nothing_grows_in_four_hours(caplog: pytest.LogCaptureFixture) -> None:
    """Memory, threads and descriptors at the end are those of the first quarter."""
    caplog.set_level(logging.ERROR, "strongroom.cache")  # what the tests' own handlers would keep, grows
    chance, clock = random.Random(5), FakeClock()
    clock.spread = 0.5
    store = SecretStore(Weather(clock, chance), cache=POLICY, clock=clock)
    steps = int(scaled(4 * 3600) / STEP)
    tracemalloc.start()
    try:
        for _ in range(steps // 4):
            _step(store, clock, chance)
        before = _held()
        for _ in range(steps - steps // 4):
            _step(store, clock, chance)
        after = _held()
    finally:
        tracemalloc.stop()
    assert after["memory"] - before["memory"] < 64 * 1024
    assert (after["threads"], after["descriptors"]) == (before["threads"], before["descriptors"])
    assert len(store._reads.warm) <= POLICY.size


def _step(store: SecretStore, clock: FakeClock, chance: random.Random) -> None:
    for name in chance.choices(NAMES, k=20):
        with suppress(SecretStoreError):
            secret = store.get(name)
            if chance.random() < 0.05:
                store.refresh(name, rejected=secret.version)
    with suppress(SecretStoreError):
        store.get(f"made-up/{chance.randrange(10**9)}")
    with suppress(SecretStoreError):
        store.get_many(chance.sample(NAMES, 5))
    refreshed()
    store._reads.drain_hits()
    clock.advance(STEP)


def _held() -> dict[str, int]:
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    return {
        "memory": tracemalloc.get_traced_memory()[0],
        "threads": threading.active_count(),
        "descriptors": descriptors,
    }
