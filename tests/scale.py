"""Counts: an issue states what the nightly run does; the everyday run does a tenth."""

from __future__ import annotations

import os

from tests.session import note

NIGHTLY = os.environ.get("STRONGROOM_NIGHTLY") == "1"


def scaled(n: int, name: str | None = None, share: int = 10) -> int:
    """How often to repeat now what the nightly run repeats `n` times; the run ends by printing both.

    By day it is one in `share`: a tenth, or less for what no issue counts.
    """
    count = n if NIGHTLY else max(1, n // share)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]
    note("counts", name=name or test.rpartition("::")[2] or "unnamed", nightly=str(n), run=str(count))
    return count
