"""The real `strongroom_aws` under the checker, boto3 call by boto3 call: it keeps the rules of PROTOCOLS
section 2."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from strongroom_aws._pending import Rotation
from tests.models import aws_backend_programs as s
from tests.models import aws_model as m
from tests.models.aws import WRITES, World, apply
from tests.models.aws_protocol import OVERTAKEN
from tests.models.checker import Report, check
from tests.models.replay import NO_FAULTS, Budget, Program, State, System
from tests.models.spaces import explored, faults, small

BOTH = (s.R1, s.R2)


def pending_values_hide(state: State[World]) -> bool:
    return not any(version in BOTH and how == "put" for version, how in state.world.history)


RULES = {**m.RULES, "a native reader never sees a pending value": pending_values_hide}


def all_ended(rotations: tuple[str, ...]) -> m.Rule:
    def goal(state: State[World]) -> bool:
        finished = all(actor.result not in (None, *m.AGAIN, "not performed") for actor in state.actors)
        return finished and set(rotations) <= set(dict(state.world.ledger))

    return goal


def checked(
    name: str, programs: Mapping[str, Program], budget: Budget, rotations: tuple[str, ...]
) -> Report[State[World]]:
    again = m.AGAIN | {"not performed"}
    goal = all_ended(rotations)
    return explored(
        check(System(f"strongroom_aws/{name}", s.START, programs, apply, WRITES, RULES, goal, budget, again))
    )


AND_A_PUT = {"worker": s.worker("w", s.R1), "writer": s.writer("top")}
TWO_PUTS = {
    "worker": s.worker("w", s.R1, otherwise=OVERTAKEN),
    "writer": s.native_writer("top", times=2),
}
TWO_WORKERS = {"one": s.worker("a", s.R1), "two": s.worker("b", s.R1)}
DISCARD = {"one": s.worker("a", s.R1), "two": s.discarder(s.R1)}

HOLDS: Mapping[str, tuple[Mapping[str, Program], Budget, tuple[str, ...]]] = {
    "a put on top, crash": (AND_A_PUT, faults(1, 0, 0, small=(0, 0, 0)), (s.R1,)),
    "a put on top, lost": (AND_A_PUT, faults(0, 1, 0, small=(0, 0, 0)), (s.R1,)),
    "a put on top, late": (AND_A_PUT, faults(0, 0, 1, small=(0, 0, 0)), (s.R1,)),
    "two puts on top": (TWO_PUTS, faults(1, 1, 0, small=(1, 0, 0)), (s.R1,)),
    "two rotations": ({"worker": s.worker("w", *BOTH)}, faults(2, 1, 1, small=(1, 0, 0)), BOTH),
    "two workers": (TWO_WORKERS, faults(0, 1, 1, small=(0, 0, 0)), (s.R1,)),
    "discard against promote": (DISCARD, faults(0, 0, 1, small=(0, 0, 0)), (s.R1,)),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(HOLDS, "two puts on top"))
def test_the_backend_as_shipped_keeps_the_rules(case: str) -> None:
    """Every interleaving of its boto3 calls within the fault budget keeps the invariants, and can always
    end."""
    report = checked(case, *HOLDS[case])
    assert report.violation is None, report


HOLDERS = {"one": s.holder("a", s.R1), "two": s.holder("b", s.R2)}


def holding(
    name: str, programs: Mapping[str, Program], budget: Budget, *, steals: bool
) -> Report[State[World]]:
    rules = {**RULES, "one rotation is told that it holds": m.one_holds}
    again = frozenset({"UnknownError", "not performed"})
    start = s.START._replace(steals=steals)
    return explored(
        check(System(f"strongroom_aws/{name}", start, programs, apply, WRITES, rules, None, budget, again))
    )


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("steals", [False, True], ids=["refuses", "moves"])
def test_one_of_racing_rotations_is_told_that_it_holds(steals: bool) -> None:
    """On either of AWS's two answers to the move of a held label, with a console's put between."""
    actors = {**HOLDERS, "writer": s.native_writer("top", times=1)}
    report = holding("to hold, and a put", actors, faults(1, 0, 0, small=(0, 0, 0)), steals=steals)
    assert report.violation is None, report
    report = holding("to hold", HOLDERS, faults(1, 1, 1, small=(1, 0, 0)), steals=steals)
    assert report.violation is None, report


def test_the_checker_catches_the_backend_without_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With labels alone both are told that they hold, where AWS moves a held label all the same."""
    monkeypatch.setattr(Rotation, "_take_turn", lambda *_: None)
    report = holding("to hold without turns", HOLDERS, NO_FAULTS, steals=True)
    assert report.violation is not None
    assert report.violation.rule == "one rotation is told that it holds", report


def test_the_checker_catches_the_backend_without_its_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker looks at the code that ships: a discard that leaves the base current lets a promote
    land."""
    monkeypatch.setattr(Rotation, "_fence", lambda *_: None)
    report = checked("discard without its fence", DISCARD, NO_FAULTS, (s.R1,))
    assert report.violation is not None
    assert report.violation.rule == "the ledger tells what became current", report
