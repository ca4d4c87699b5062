"""PROTOCOLS section 2: the right order of calls holds, and the older, more obvious ones are seen to fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tests.models import aws_protocol as a
from tests.models.aws import World, born
from tests.models.aws_model import holders, rotations, writers
from tests.models.checker import RESUMABLE, Report, check
from tests.models.replay import NO_FAULTS, Budget, Program, State
from tests.models.spaces import explored, faults, nightly, small


class Race(NamedTuple):
    """Who acts, what may go wrong, which rotations must be able to end, over which secret."""

    programs: Mapping[str, Program]
    budget: Budget
    of: tuple[str, ...] = ("r1",)
    start: World = born()

    def check(self, name: str) -> Report[State[World]]:
        return check(rotations(name, self.programs, of=self.of, budget=self.budget, start=self.start))


BOTH = ("r1", "r2")
WHOLE_OR_ONE = nightly(BOTH, ("r1",))
STEALS = born()._replace(steals=True)
COLLECTS = born()._replace(collects=True)
AND_A_PUT = {"worker": a.worker("w", *WHOLE_OR_ONE), "writer": a.writer("top")}
# At one rotation: at two, with each read finding a version or not, there are more states than memory.
TWO_WORKERS = {"one": a.worker("a", "r1"), "two": a.worker("b", "r1")}
TWO_PUTS = {
    "worker": a.worker("w", "r1"),
    "writer": nightly(a.writer("top", times=2), a.native_writer("top", times=2)),
}
DISCARD = {"one": a.worker("a", "r1"), "two": a.discarder("r1")}

HOLDS = {
    "two rotations and a put, crash": Race(AND_A_PUT, faults(1, 1, 0, small=(1, 0, 0)), WHOLE_OR_ONE),
    "two rotations and a put, lost": Race(
        AND_A_PUT, faults(0, 2, 0, small=(0, 1, 0)), WHOLE_OR_ONE, COLLECTS
    ),
    "a rotation and a put, late": Race(
        AND_A_PUT,
        faults(0, 0, 1, small=(0, 0, 1)),
        WHOLE_OR_ONE,
        STEALS,
    ),
    "two puts on top": Race(TWO_PUTS, faults(1, 1, 0, small=(1, 0, 0))),
    "two workers, late": Race(TWO_WORKERS, faults(0, 1, 1, small=(0, 0, 0))),
    "two workers, versions vanish": Race(TWO_WORKERS, NO_FAULTS, start=COLLECTS),
    "discard against promote": Race(DISCARD, faults(1, 0, 1, small=(1, 0, 0))),
    "discard against promote, lost": Race(DISCARD, faults(1, 1, 0, small=(0, 0, 0))),
}

TRUTH = "the ledger tells what became current"
ONCE = "a version becomes current once"
HIDES = "a native reader never sees a pending value"
TELLS = "what alice is told is true"
NOT_LOST = "no acknowledged write is lost to a Strongroom writer"


def alone(kind: a.RotationClass, *of: str, puts: int = 1) -> dict[str, Program]:
    return {
        "worker": a.worker("w", *(of or ("r1",)), kind=kind),
        "writer": a.native_writer("top", times=puts),
    }


BROKEN = {
    "the private label off before the ledger knows": (
        Race(alone(a.UnmarksFirst, puts=2), Budget(crash=1)),
        RESUMABLE,
    ),
    "the private label off before the ledger knows, versions vanish": (
        Race(alone(a.UnmarksFirst, puts=2), Budget(crash=1), start=COLLECTS),
        ONCE,
    ),
    "discarding without a fence": (
        Race({"one": a.worker("a", "r1"), "two": a.discarder("r1", a.DiscardsUnfenced)}, NO_FAULTS),
        TRUTH,
    ),
    "discarding without a fence after a lost promote": (
        Race({"one": a.worker("a", "r1"), "two": a.discarder("r1", a.DiscardsUnfenced)}, Budget(late=1)),
        TRUTH,
    ),
    "a base that does not survive": (Race(alone(a.ForgetsTheBase), Budget(crash=1)), ONCE),
    "two answers only": (Race(alone(a.TwoAnswersOnly, puts=2), Budget(crash=1)), TRUTH),
    "AWSPENDING set after the end is foreign": (
        Race(alone(a.LabelsTellAll, "r1", "r2"), Budget(late=1), BOTH),
        RESUMABLE,
    ),
    "pending on an empty secret": (Race(alone(a.PendingOnNothing), NO_FAULTS, start=World()), HIDES),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(HOLDS, "discard against promote", "a rotation and a put, late"))
def test_the_label_protocol_holds(case: str) -> None:
    """Every interleaving within the fault budget keeps the invariants, and can always still end."""
    report = explored(HOLDS[case].check(case))
    assert report.violation is None, report


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_a_broken_label_protocol(case: str) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    race, rule = BROKEN[case]
    violation = explored(race.check(case)).violation
    assert violation is not None
    assert violation.rule == rule, violation


HOLDERS = {"one": a.holder("a", "r1"), "two": a.holder("b", "r2")}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("start", [born(), STEALS, COLLECTS], ids=["refuses", "steals", "collects"])
def test_one_of_racing_rotations_is_told_that_it_holds(start: World) -> None:
    """Crashes, lost answers and late calls included, and a put that changes the base meanwhile."""
    actors = {**HOLDERS, "writer": a.native_writer("top")}
    budget = faults(1, 1, 1, small=(1, 0, 0))
    report = explored(check(holders("holding and a put", actors, budget=budget, start=start)))
    assert report.violation is None, report


@pytest.mark.timeout(7200)
def test_one_of_three_racing_rotations_is_told_that_it_holds() -> None:
    """Where AWS moves a held label all the same, the labels alone would let all three believe it."""
    actors = {**HOLDERS, "three": a.holder("c", "r3")}
    budget = faults(1, 0, 1, small=(0, 0, 0))
    report = explored(check(holders("three to hold", actors, budget=budget, start=STEALS)))
    assert report.violation is None, report


def test_the_checker_catches_a_lock_that_is_a_label() -> None:
    """Where AWS moves a held label, two that race for it both read it back on their own version."""
    actors = {name: a.holder(name, rotation, a.TurnsByLabel) for name, rotation in (("a", "r1"), ("b", "r2"))}
    system = holders("a label as the lock", actors, budget=NO_FAULTS, start=STEALS)
    violation = explored(check(system)).violation
    assert violation is not None
    assert violation.rule == "one rotation is told that it holds", violation


@pytest.mark.parametrize("start", [born(), STEALS, COLLECTS], ids=["refuses", "steals", "collects"])
def test_label_writers_with_if_version_tell_the_truth(start: World) -> None:
    """At most one of two racing writers succeeds, and what each was told stays true, late moves included."""
    budget = faults(0, 2, 2, small=(0, 1, 1))
    report = explored(
        check(writers("if_version", a.writer("alice"), a.writer("bob"), budget=budget, start=start))
    )
    assert report.violation is None, report


def test_writers_of_an_absent_value_tell_the_truth() -> None:
    """A secret without a value: AWS makes the first version current unasked, and the answers tell who that
    was."""
    alice, bob = a.first_writer("alice"), a.first_writer("bob")
    report = explored(check(writers("absent", alice, bob, budget=Budget(0, 2, 2), start=World())))
    assert report.violation is None, report


BROKEN_WRITERS = {
    "label moved again": (
        a.writer("alice", a.put_if_retried),
        a.writer("bob"),
        Budget(lost=1),
        born(),
        TELLS,
    ),
    "checked, then put": (a.writer("alice", a.put_plain), a.writer("bob"), NO_FAULTS, born(), NOT_LOST),
    "absent, then put": (
        a.first_writer("alice", a.put_absent_plain),
        a.first_writer("bob"),
        NO_FAULTS,
        World(),
        NOT_LOST,
    ),
}


@pytest.mark.parametrize("case", BROKEN_WRITERS)
def test_the_checker_catches_a_broken_label_writer(case: str) -> None:
    """Each obvious form of a guarded put loses a write or tells its caller something untrue."""
    alice, bob, budget, start, rule = BROKEN_WRITERS[case]
    violation = explored(check(writers(case, alice, bob, budget=budget, start=start))).violation
    assert violation is not None
    assert violation.rule == rule, violation
