"""The engine as shipped under the checker: what PROTOCOLS section 6 promises, kept by the code that runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.models import engine as e
from tests.models.checker import check
from tests.models.replay import NO_FAULTS, Budget, Program
from tests.models.spaces import explored, faults, nightly

LIMIT = 1_000_000
"""States after which a search is cut off: what lies beyond is not shown to hold, and the report says so."""
TWO = {"ann": e.worker(2), "ben": e.worker(2)}

HOLDS: Mapping[str, tuple[Mapping[str, Program], int, Budget]] = {
    "a worker that is killed, and loses answers": (
        {"worker": e.worker(nightly(4, 1))},
        nightly(4, 1),
        faults(2, 1, 0, small=(0, 0, 0)),
    ),
    "a worker, and somebody who puts a value": (
        {"worker": e.worker(nightly(3, 2)), "writer": e.writer},
        nightly(3, 2),
        faults(1, 0, 0, small=(0, 0, 0)),
    ),
}
AT_NIGHT: Mapping[str, tuple[Mapping[str, Program], int, Budget]] = {
    "two workers, pausing anywhere": (TWO, 2, NO_FAULTS),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", nightly([*HOLDS, *AT_NIGHT], [*HOLDS]))
def test_the_engine_holds(case: str) -> None:
    """Whatever the interleaving: readers have what works, and nothing is left that nobody knows."""
    programs, most, budget = {**HOLDS, **AT_NIGHT}[case]
    report = explored(check(e.system(case, programs, most, budget), LIMIT))
    assert report.violation is None, report


NATIVE: Mapping[str, tuple[Mapping[str, Program], int, Budget]] = {
    "native, a worker that is killed, and loses answers": (
        {"worker": e.worker(nightly(4, 2), native=True)},
        nightly(4, 2),
        faults(2, 1, 0, small=(0, 0, 0)),
    ),
    "native, two workers, pausing anywhere": (
        {"ann": e.worker(2, native=True), "ben": e.worker(2, native=True)},
        2,
        NO_FAULTS,
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", nightly([*NATIVE], [*NATIVE][:1]))
def test_the_engine_holds_where_the_provider_keeps_pending_values(case: str) -> None:
    """There is nothing to claim there: whose value was first is held, and the other's is taken back."""
    programs, most, budget = NATIVE[case]
    report = explored(check(e.system(case, programs, most, budget, native=True), LIMIT))
    assert report.violation is None, report


def test_the_checker_catches_an_engine_that_forgets_what_it_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that crashed after it made a credential: without `reclaim` that stays for ever."""
    monkeypatch.setattr(e.PortRotator, "reclaim", lambda rotator, r: ())
    budget = Budget(crash=1)
    violation = explored(check(e.system("forgets", {"worker": e.worker(2)}, 2, budget))).violation
    assert violation is not None
    assert violation.rule == e.KNOWN, violation
