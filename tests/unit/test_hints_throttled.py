"""A hint whose reads are refused is not forgotten: it is looked again, ever later, until it is answered."""

from __future__ import annotations

import threading

from strongroom.backend import Clock
from strongroom.cache import CachePolicy
from strongroom.hinting import Hints
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend
from tests.unit.core_support import NAME, overwrite


class _Stepping(Clock):
    """Time goes on to the end of each wait of the thread that reads, one wait at a time."""

    def __init__(self) -> None:
        self._passed = 0.0

    def monotonic(self) -> float:
        return self._passed

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        self._passed += seconds or 0.0
        return event.is_set()


def test_a_change_is_met_after_a_provider_that_throttled_for_minutes(backend: FaultyBackend) -> None:
    clock = _Stepping()
    with SecretStore(backend, cache=CachePolicy(fresh=20_000.0), clock=clock) as store:
        old = store.get(NAME).version
        overwrite(backend, "new")
        asked, refusals = backend.calls["get"], 8
        backend.throttle("get", times=refusals)
        hints: Hints = store._hints
        hints.hint(Name.parse(NAME))
        for thread in threading.enumerate():
            if thread.name == "strongroom-hint":
                thread.join(10)
        assert store.get(NAME).version != old
        assert backend.calls["get"] - asked == refusals + 1
        assert clock.monotonic() > 60
