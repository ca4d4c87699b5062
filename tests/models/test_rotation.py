"""PROTOCOLS section 6: the right order of claims and hooks holds; each rule left out is seen to matter."""

from __future__ import annotations

import pytest

from tests.models import rotation as r
from tests.models import slot
from tests.models.checker import check
from tests.models.replay import NO_FAULTS, Budget
from tests.models.spaces import explored, faults, nightly

HOLDS = {
    "two workers, of which some crash": (2, nightly(4, 2), faults(2, 0, 0, small=(1, 0, 0))),
    "two workers, lost answers": (2, 3, Budget(1, 1, 0)),
    "three workers": (3, 3, NO_FAULTS),
}
BY_DAY = ["two workers, of which some crash"]

BROKEN = {
    "nothing is claimed": (r.ClaimsNothing, 3, NO_FAULTS, r.ACCEPTED),
    "held over any claim": (r.HoldsOverAnyClaim, 3, NO_FAULTS, r.ACCEPTED),
    "every epoch is reclaimed": (r.ReclaimsEveryEpoch, 2, NO_FAULTS, r.ACCEPTED),
    "nothing is swept": (r.NeverSweeps, 2, Budget(crash=1), r.KNOWN),
    "recorded without the epoch": (r.RecordsWithoutEpoch, 2, NO_FAULTS, r.CLOSED_FOR_GOOD),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", nightly([*HOLDS], BY_DAY))
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


ONE_SLOT = {
    "one slot, and the next rotation": (
        {"ann": slot.worker(0), "ben": slot.worker(0), "next": slot.worker(1)},
        faults(1, 1, 0, small=(0, 0, 0)),
    ),
    "one slot, and an abort": (
        {"ann": slot.worker(0), "ben": slot.worker(0), "person": slot.aborter},
        faults(1, 1, 0, small=(0, 0, 0)),
    ),
}

ONE_SLOT_BROKEN = {
    "the next rotation begins at once": {
        "ann": slot.worker(0),
        "ben": slot.worker(0),
        "next": slot.worker(1, slot.BeginsAtOnce),
    },
    "an abort sets back at once": {
        "ann": slot.worker(0, slot.EndsAtOnce),
        "ben": slot.worker(0, slot.EndsAtOnce),
        "person": slot.aborter,
    },
    "an abort forgets the promote that is on its way": {
        "ann": slot.worker(0, slot.EndsUnfenced),
        "ben": slot.worker(0, slot.EndsUnfenced),
        "person": slot.aborter,
    },
    "who takes over makes another value": {
        "ann": slot.worker(0, slot.MakesAnother),
        "ben": slot.worker(0, slot.MakesAnother),
    },
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", ONE_SLOT)
def test_a_rotation_of_one_slot_holds(case: str) -> None:
    """Whatever a paused worker sets late, the target ends on what is current."""
    programs, budget = ONE_SLOT[case]
    report = explored(check(slot.system(case, programs, budget)))
    assert report.violation is None, report


@pytest.mark.parametrize("case", ONE_SLOT_BROKEN)
def test_the_checker_catches_one_slot_with_a_rule_left_out(case: str) -> None:
    """Who does not wait for the hook of a worker that was overtaken is overwritten by it."""
    violation = explored(check(slot.system(case, ONE_SLOT_BROKEN[case], NO_FAULTS))).violation
    assert violation is not None
    assert violation.rule == slot.ACCEPTED, violation
