"""A look that fails before a value is due brings no reads forward: who looked comes back by himself."""

from __future__ import annotations

from strongroom.cache import CachePolicy
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.unit.core_support import NAME, refreshed

POLICY = CachePolicy(fresh=1000.0, stale=1000.0)


def test_a_throttled_look_at_a_fresh_value_is_one_request(backend: FaultyBackend, clock: FakeClock) -> None:
    """Else a fleet whose looks are throttled would read every name again and again, which it need not yet."""
    store = SecretStore(backend, cache=POLICY, clock=clock)
    store.get(NAME)
    asked = backend.calls["get"]
    backend.unreachable("get")
    store._reads.look([Name.parse(NAME)])
    for _ in range(100):
        clock.advance(5)
        assert not store.get(NAME).stale
    assert backend.calls["get"] == asked + 1


def test_a_due_refresh_that_fails_is_tried_again(backend: FaultyBackend, clock: FakeClock) -> None:
    store = SecretStore(backend, cache=POLICY, clock=clock)
    store.get(NAME)
    backend.unreachable("get")
    clock.advance(900)
    store.get(NAME)
    refreshed()
    asked = backend.calls["get"]
    backend.clear()
    clock.advance(30)
    store.get(NAME)
    refreshed()
    assert backend.calls["get"] == asked + 1
