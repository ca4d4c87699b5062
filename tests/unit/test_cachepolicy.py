"""What a cache policy says, and what it refuses to say."""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.cachepolicy import Bounds, CachePolicy
from strongroom.errors import InvalidRequestError

EXCHANGE, ONE = Bounds(30.0, 0.0), Bounds(1.0, 2.0)


def test_the_defaults() -> None:
    """Five minutes and an hour in all, a second for what is absent, ten thousand names, a look each 30 s."""
    policy = CachePolicy()
    assert (policy.fresh, policy.stale, policy.absent) == (300.0, 3300.0, 1.0)
    assert (policy.size, policy.poll, policy.names) == (10_000, 30.0, ())


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("exchange/kraken/api-key", EXCHANGE),
        ("exchange/one", ONE),
        ("exchange", Bounds(300.0, 3300.0)),
        ("exchanges/kraken", Bounds(300.0, 3300.0)),
        ("db/password", Bounds(300.0, 3300.0)),
    ],
)
def test_the_first_pattern_that_matches_counts(name: str, bounds: Bounds) -> None:
    """A name stands for itself, a prefix for what is below it, and neither for its neighbours."""
    policy = CachePolicy(names=(("exchange/one", ONE), ("exchange/**", EXCHANGE), ("exchange/two", ONE)))
    assert policy.bounds(name) == bounds
    assert policy.bounds("exchange/two") == EXCHANGE


@pytest.mark.parametrize("pattern", ["", "**", "/**", "a*", "a/*/b", "*/**", "a/***"])
def test_a_pattern_is_a_name_or_a_prefix(pattern: str) -> None:
    """Anything cleverer would be read in two ways, and a bound that does not hold is not noticed."""
    with pytest.raises(InvalidRequestError):
        CachePolicy(names=((pattern, EXCHANGE),))


@pytest.mark.parametrize("field", ["fresh", "stale", "absent", "size", "poll", "spread"])
@pytest.mark.parametrize("wrong", [-1, float("inf"), float("nan")])
def test_seconds_and_sizes_are_numbers(field: str, wrong: Any) -> None:
    """Negative, endless and no number; an endless size is refused too: memory is not."""
    with pytest.raises(InvalidRequestError):
        CachePolicy(**{field: wrong})


@pytest.mark.parametrize("field", ["size", "poll"])
def test_a_size_and_a_poll_are_not_nothing(field: str) -> None:
    """No names kept is no cache, and a poll without pause would never end."""
    with pytest.raises(InvalidRequestError):
        CachePolicy(**{field: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [(-1.0, 0.0), (0.0, -1.0), (float("inf"), 0.0), (0.0, float("nan"))])
def test_bounds_of_a_name_are_checked_too(wrong: tuple[float, float]) -> None:
    """As those of all."""
    with pytest.raises(InvalidRequestError):
        Bounds(*wrong)
