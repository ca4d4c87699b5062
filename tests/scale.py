"""Counts: an issue states what the nightly run does; the everyday run does a tenth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from tests.session import note

T = TypeVar("T")
NIGHTLY = os.environ.get("STRONGROOM_NIGHTLY") == "1"


def scaled(n: int, name: str | None = None, share: int = 10) -> int:
    """How often to repeat now what the nightly run repeats `n` times; the run ends by printing both.

    By day it is one in `share`: a tenth, or less for what no issue counts.
    """
    count = n if NIGHTLY else max(1, n // share)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]
    note("counts", name=name or test.rpartition("::")[2] or "unnamed", nightly=str(n), run=str(count))
    return count


def by_day(name: str, cases: Iterable[T], keep: Callable[[T], bool]) -> list[T]:
    """All cases by night; by day those of which `keep` holds. The run ends by printing how many."""
    whole = list(cases)
    kept = [case for case in whole if NIGHTLY or keep(case)]
    note("counts", name=name, nightly=str(len(whole)), run=str(len(kept)))
    return kept


def stride(n: int, name: str) -> int:
    """How far to go from one place to the next: by night to each, by day to the `n`-th."""
    note("counts", name=name, nightly="each", run="each" if NIGHTLY else f"one in {n}")
    return 1 if NIGHTLY else n
