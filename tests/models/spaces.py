"""How much of a model's space a run explores: small ones every day, whole ones by night; both print their
counts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from tests.models.checker import Report
from tests.models.replay import Budget
from tests.scale import NIGHTLY, by_day

T = TypeVar("T")
S = TypeVar("S", bound=Hashable)


def faults(crash: int, lost: int, late: int, *, small: tuple[int, int, int]) -> Budget:
    """The fault budget: the nightly run's, or the smaller one of every day."""
    return Budget(crash, lost, late) if NIGHTLY else Budget(*small)


def explored(report: Report[S]) -> Report[S]:
    """The same report, after its counts are printed."""
    print(str(report).splitlines()[0])
    return report


def nightly(whole: T, small: T) -> T:
    """The whole space's part, or the small one's."""
    return whole if NIGHTLY else small


def small(cases: Iterable[str], *large: str) -> list[str]:
    """All cases by night; by day those that are not large, while others show the same rules at work."""
    return by_day("models of a protocol", cases, lambda case: case not in large)
