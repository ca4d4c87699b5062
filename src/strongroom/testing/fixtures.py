"""Fixtures for the tests of an application: ``pytest_plugins = ["strongroom.testing.fixtures"]``.

They load on request alone: as a ``pytest11`` entry point they would be imported in every test run of
everybody who installs Strongroom.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore

from .clock import FakeClock
from .faults import FaultyBackend


@pytest.fixture
def store_clock() -> FakeClock:
    """The clock of ``store``: ``store_clock.advance(301)`` makes what it cached need a refresh."""
    return FakeClock()


@pytest.fixture
def faults(store_clock: FakeClock) -> FaultyBackend:
    """What happens between ``store`` and its provider: ``faults.unreachable()``, ``faults.deny()``, ….

    Also ``throttle``, ``delay``, ``timeout``, ``stale``, ``garbage``; ``faults.clear()`` ends it, and
    ``faults.calls`` counts what reached the provider.
    """
    return FaultyBackend(MemoryBackend(clock=store_clock), clock=store_clock)


@pytest.fixture
def store(faults: FaultyBackend, store_clock: FakeClock) -> Iterator[SecretStore]:
    """An empty store in memory, with every capability and the default cache."""
    with SecretStore(faults, clock=store_clock, alias="test") as store:
        yield store
