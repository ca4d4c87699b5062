"""The system's clock."""

from __future__ import annotations

import time

from strongroom.backend import Clock
from strongroom.cache import Cache, CachePolicy
from strongroom.testing.clock import FakeClock


def test_chance_is_a_number_from_0_to_1() -> None:
    """And not always the same."""
    drawn = {Clock().chance() for _ in range(100)}
    assert len(drawn) > 90
    assert all(0 <= number < 1 for number in drawn)


def test_a_cache_asks_the_clock_that_it_was_given() -> None:
    """The system's own function only where nobody injected another."""
    injected = FakeClock()
    asked = [Cache(CachePolicy(), lambda name: None, one).monotonic for one in (Clock(), injected)]  # type: ignore[arg-type, return-value]
    assert asked == [time.monotonic, injected.monotonic]
