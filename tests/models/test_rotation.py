"""PROTOCOLS section 6: the right order of claims and hooks holds; each rule left out is seen to matter."""

from __future__ import annotations

import pytest

from tests.models import rotation as r
from tests.models.checker import check
from tests.models.replay import NO_FAULTS, Budget
from tests.models.spaces import explored, faults, nightly

HOLDS = {
    "two workers, pausing anywhere": (2, nightly(4, 2), NO_FAULTS),
    "two workers, of which some crash": (2, nightly(4, 2), faults(2, 0, 0, small=(1, 0, 0))),
    "two workers, lost answers": (2, nightly(3, 2), faults(1, 1, 0, small=(0, 1, 0))),
    "three workers": (nightly(3, 2), nightly(3, 2), NO_FAULTS),
}

BROKEN = {
    "nothing is claimed": (r.ClaimsNothing, 3, NO_FAULTS, r.ACCEPTED),
    "held over any claim": (r.HoldsOverAnyClaim, 3, NO_FAULTS, r.ACCEPTED),
    "every epoch is reclaimed": (r.ReclaimsEveryEpoch, 2, NO_FAULTS, r.ACCEPTED),
    "nothing is swept": (r.NeverSweeps, 2, Budget(crash=1), r.KNOWN),
    "recorded without the epoch": (r.RecordsWithoutEpoch, 2, NO_FAULTS, r.CLOSED_FOR_GOOD),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", HOLDS)
def test_a_rotation_holds(case: str) -> None:
    """Whatever the interleaving, readers have a credential that works, and none is left that nobody knows."""
    workers, most, budget = HOLDS[case]
    report = explored(check(r.system(case, workers, most, budget)))
    assert report.violation is None, report


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_a_rotation_with_a_rule_left_out(case: str) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    kind, most, budget, rule = BROKEN[case]
    violation = explored(check(r.system(case, 2, most, budget, kind))).violation
    assert violation is not None
    assert violation.rule == rule, violation
