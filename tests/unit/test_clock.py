"""The system's clock."""

from __future__ import annotations

import time

import pytest

from strongroom import clock
from strongroom.backend import Clock
from strongroom.cache import Cache, CachePolicy
from strongroom.clock import elapsed
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
    assert asked == [elapsed, injected.monotonic]


def test_the_time_of_a_suspended_machine_counts() -> None:
    """By Linux's clock since the start, which goes on then."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= Clock().monotonic() <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("system", ["without the clock", "that refuses it"])
def test_a_system_without_such_a_clock_has_the_other(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel may not have it, and a sandbox may refuse it."""
    if system == "without the clock":
        monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    else:
        monkeypatch.setattr(time, "CLOCK_BOOTTIME", 1 << 20)
    assert clock._elapsed() is time.monotonic
