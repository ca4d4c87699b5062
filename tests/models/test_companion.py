"""PROTOCOLS section 1: the right order of calls holds, and the older, more obvious ones are seen to fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tests.models import companion as c
from tests.models.checker import Report, check
from tests.models.companion_model import rotations, writers
from tests.models.kv2 import World
from tests.models.replay import NO_FAULTS, Budget, Program, State
from tests.models.spaces import explored, faults, nightly, small


class Race(NamedTuple):
    """Who acts, what may go wrong, which rotations must be able to end."""

    programs: Mapping[str, Program]
    budget: Budget
    of: tuple[str, ...] = ("r1",)

    def check(self, name: str) -> Report[State[World]]:
        return check(rotations(name, self.programs, of=self.of, budget=self.budget))


SOME = nightly(("r1", "r2"), ("r1",))
TWO_ROTATIONS = {"worker": c.worker("w", "r1", "r2"), "writer": c.writer("top")}
TWO_WORKERS = {"one": c.worker("a", "r1", "r2"), "two": c.worker("b", "r1", "r2")}

HOLDS = {
    "crash, lost answer, a put on top": Race(TWO_ROTATIONS, faults(2, 2, 0, small=(1, 1, 0)), ("r1", "r2")),
    "late calls": Race(TWO_ROTATIONS, faults(1, 0, 2, small=(0, 0, 1)), ("r1", "r2")),
    "two workers": Race(TWO_WORKERS, faults(1, 0, 0, small=(0, 0, 0)), ("r1", "r2")),
    "two workers, late calls": Race(
        {"one": c.worker("a", *SOME), "two": c.worker("b", *SOME)}, faults(0, 0, 1, small=(0, 0, 1)), SOME
    ),
    "two workers, a put on top, one rotation": Race(
        {"one": c.worker("a", "r1"), "two": c.worker("b", "r1"), "writer": c.writer("top")},
        faults(1, 0, 1, small=(0, 1, 0)),
    ),
    "discard against promote": Race(
        {"one": c.worker("a", "r1"), "two": c.discarder("r1")}, faults(2, 0, 2, small=(1, 0, 1))
    ),
}

TRUTH = "the ledger tells what became current"
ONCE = "a rotation writes one value, once"
NOT_LOST = "no acknowledged write is lost to a Strongroom writer"


def alone(pending: c.PendingClass) -> dict[str, Program]:
    return {"worker": c.worker("w", "r1", pending=pending), "writer": c.writer("top")}


def two(**step: object) -> dict[str, Program]:
    return {name: c.worker(name, "r1", "r2", **step) for name in ("one", "two")}  # type: ignore[arg-type]


BROKEN = {
    "deleting the companion on promote": (
        Race({name: c.worker(name, "r1", pending=c.DeletesCompanion) for name in ("a", "b")}, NO_FAULTS),
        ONCE,
    ),
    "deleting the companion on promote, crash": (Race(alone(c.DeletesCompanion), Budget(crash=1)), ONCE),
    "promoting without compare-and-set on the base": (Race(alone(c.PromotesBlindly), NO_FAULTS), NOT_LOST),
    "promoted means that current is the value": (Race(alone(c.ComparesWithCurrent), Budget(crash=1)), TRUTH),
    "done, and a third party's put on top": (Race(alone(c.ComparesWithCurrent), Budget(lost=1)), TRUTH),
    "a promote that did not match, tried again": (Race(alone(c.RetriesForEver), NO_FAULTS), NOT_LOST),
    "done without destroying what was held": (
        Race(alone(c.LeavesValueBehind), Budget(crash=1)),
        "no pending value outlives its rotation",
    ),
    "holding over any base": (Race(two(pending=c.HoldsOverAnyBase), NO_FAULTS, ("r1", "r2")), ONCE),
    "asking the ledger before reading the base": (
        Race(two(rotate=c.rotate_ledger_first), NO_FAULTS, ("r1", "r2")),
        ONCE,
    ),
    "discarding without a fence": (
        Race({"one": c.worker("a", "r1"), "two": c.discarder("r1", c.DiscardsUnfenced)}, NO_FAULTS),
        TRUTH,
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(HOLDS, "two workers", "two workers, a put on top, one rotation"))
def test_the_companion_protocol_holds(case: str) -> None:
    """Every interleaving within the fault budget keeps the invariants, and can always still end."""
    report = explored(HOLDS[case].check(case))
    assert report.violation is None, report


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_a_broken_companion_protocol(case: str) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    race, rule = BROKEN[case]
    violation = explored(race.check(case)).violation
    assert violation is not None
    assert violation.rule == rule


def test_writes_with_if_version_tell_the_truth() -> None:
    """At most one of two racing writers succeeds, and a reported conflict means that nothing of ours
    landed."""
    report = explored(
        check(writers("if_version", c.writer("alice"), c.writer("bob"), budget=Budget(0, 2, 2)))
    )
    assert report.violation is None, report


def test_a_put_sent_again_reports_a_conflict_with_itself() -> None:
    """Without a read-back, the second try meets the first, which had become current, and calls it a
    conflict."""
    alice = c.writer("alice", c.put_retried)
    report = explored(check(writers("retried", alice, c.writer("bob"), budget=Budget(lost=1))))
    assert report.violation is not None
    assert report.violation.rule == "alice's conflict means that nothing of hers became current"


def test_an_unconditional_put_sent_again_writes_over_a_later_one() -> None:
    """The first try landed and bob wrote over it on purpose; the second try takes bob's write away."""
    alice = c.writer("alice", c.put_unconditional_retried)
    report = explored(check(writers("sent twice", alice, c.writer("bob"), budget=Budget(lost=1))))
    assert report.violation is not None
    assert report.violation.rule == "a write that was written over does not come back"


def test_a_number_left_over_from_before_a_purge_must_not_match() -> None:
    """KV2 numbers restart after the metadata is deleted: `if_version="1"` would match another secret's
    version."""
    report = explored(
        check(writers("leftover", c.holder_of_old_version(c.put_by_number), c.purger, budget=NO_FAULTS))
    )
    assert report.violation is not None
    assert report.violation.rule == NOT_LOST


def test_asking_the_metadata_first_leaves_a_gap_that_a_purge_can_hit() -> None:
    """Known limit: KV2 cannot compare a creation time, so a purge AND a put between the two calls go
    unseen."""
    alice = c.holder_of_old_version(c.put_with_life)
    report = explored(check(writers("gap", alice, c.purger, budget=NO_FAULTS)))
    assert report.violation is not None
    assert [step.split("(")[0] for step in report.violation.steps] == [
        "alice: read",
        "bob: purge",
        "bob: put",
        "alice: put",
    ]


def test_a_purge_that_keeps_the_metadata_leaves_no_gap() -> None:
    """Destroying every version instead of the metadata keeps the numbers rising, and compare-and-set
    whole."""
    alice = c.holder_of_old_version(c.put_by_number)
    report = explored(check(writers("kept", alice, c.purger_keeping_numbers, budget=Budget(0, 1, 1))))
    assert report.violation is None, report
