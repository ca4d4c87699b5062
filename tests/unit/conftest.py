"""What the tests of a store's reads begin with: a provider that keeps one secret, and a clock."""

from __future__ import annotations

import pytest

from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.unit.core_support import memory, overwrite


@pytest.fixture
def clock() -> FakeClock:
    """The time, which a test lets pass."""
    return FakeClock()


@pytest.fixture
def backend(clock: FakeClock) -> FaultyBackend:
    """In memory, with a first version of `NAME`."""
    backend = memory(clock=clock)
    overwrite(backend.inner, "first")
    return backend
