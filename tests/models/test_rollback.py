"""PROTOCOLS section 5: the right order of calls holds, and the older, more obvious ones are seen to fail."""

from __future__ import annotations

import pytest

from tests.models import rollback as r
from tests.models.checker import check
from tests.models.replay import NO_FAULTS, Budget
from tests.models.spaces import explored, faults

REVOKED, STAYS_AWAY = r.RULES
ONCE = "an operator's rollback takes effect once"

HOLDS = {
    "an operator against the end of grace": (
        {"ann": r.operator(), "worker": r.revoker()},
        faults(2, 2, 2, small=(1, 1, 1)),
    ),
    "two operators against the end of grace": (
        {"ann": r.operator(), "ben": r.operator(), "worker": r.revoker()},
        faults(1, 1, 1, small=(0, 0, 1)),
    ),
    "and the next rotation": (
        {"ann": r.operator(), "worker": r.revoker(), "next": r.next_rotation},
        faults(1, 0, 1, small=(0, 0, 1)),
    ),
    "and the next rotation, lost": (
        {"ann": r.operator(), "worker": r.revoker(), "next": r.next_rotation},
        faults(0, 2, 0, small=(0, 1, 0)),
    ),
}

BROKEN = {
    "rollback outside the ledger, late": (
        {"ann": r.operator(kind=r.IgnoresLedger), "worker": r.revoker()},
        Budget(late=1),
        REVOKED,
    ),
    "stages moved back outside the ledger, late": (
        {"ann": r.operator(kind=r.MovesWithoutLedger), "worker": r.revoker()},
        Budget(late=1),
        REVOKED,
    ),
    "two operators without if_version": (
        {"ann": r.operator(None), "ben": r.operator(None)},
        NO_FAULTS,
        STAYS_AWAY,
    ),
    "revoke without compare-and-set on the ledger": (
        {"ann": r.operator(), "worker": r.revoker(r.RevokesBlindly)},
        NO_FAULTS,
        REVOKED,
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", HOLDS)
def test_rollback_and_revoke_hold(case: str) -> None:
    """Whatever the interleaving, what was revoked is never current, and what was begun can end."""
    programs, budget = HOLDS[case]
    report = explored(check(r.system(case, programs, budget)))
    assert report.violation is None, report


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_a_broken_rollback(case: str) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    programs, budget, rule = BROKEN[case]
    violation = explored(check(r.system(case, programs, budget))).violation
    assert violation is not None
    assert violation.rule == rule, violation


@pytest.mark.parametrize(
    ("kind", "holds"), [(r.MovesWithoutLedger, False), (r.IgnoresLedger, True)], ids=["moves", "new version"]
)
def test_a_stage_moved_back_can_move_again_when_a_late_try_lands(kind: type[r.Rollback], holds: bool) -> None:
    """Ann's first try is late, her second works, Ben undoes it on purpose; then the first try lands. Versions
    that are new each time cannot be mistaken for what they once were."""
    programs = {"ann": r.operator(2, kind), "ben": r.operator(1 if not holds else 3, kind)}
    rules = {ONCE: r.acts_once}
    report = explored(check(r.system("undone", programs, Budget(late=1), rules)))
    assert (report.violation is None or report.violation.rule != ONCE) is holds
