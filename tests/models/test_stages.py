"""The real `strongroom.stages` under the checker: the code that ships keeps the rules of PROTOCOLS section
1."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from strongroom.stages import Pending
from tests.models import stages_programs as s
from tests.models.checker import check
from tests.models.companion import writer
from tests.models.companion_model import AGAIN, rotations
from tests.models.kv2 import WRITES, Entry, Value, World, apply
from tests.models.replay import Budget, Program, State, System
from tests.models.spaces import explored, faults, nightly, small

BOTH = ("r1", "r2")
SOME = nightly(BOTH, ("r1",))

HOLDS: Mapping[str, tuple[Mapping[str, Program], Budget, tuple[str, ...]]] = {
    "crash, lost answer, a put on top": (
        {"worker": s.worker("w", *BOTH), "writer": writer("top")},
        faults(2, 1, 0, small=(1, 1, 0)),
        BOTH,
    ),
    "late calls": (
        {"worker": s.worker("w", *BOTH), "writer": writer("top")},
        faults(0, 0, 2, small=(0, 0, 1)),
        BOTH,
    ),
    "two workers": (
        {"one": s.worker("a", *SOME), "two": s.worker("b", *SOME)},
        faults(0, 0, 0, small=(0, 1, 0)),
        SOME,
    ),
    "two workers, a put on top, late": (
        {"one": s.worker("a", "r1"), "two": s.worker("b", "r1"), "writer": writer("top")},
        faults(0, 0, 1, small=(0, 0, 0)),
        ("r1",),
    ),
    "a rotation, and the secret put under other keys": (
        {"worker": s.worker("w", "r1"), "run": s.reencrypter()},
        faults(1, 1, 1, small=(1, 1, 0)),
        ("r1",),
    ),
    "two rotations, and the secret put under other keys": (
        {"worker": s.worker("w", *SOME), "run": s.reencrypter()},
        faults(0, 0, 1, small=(0, 0, 1)),
        SOME,
    ),
    "a discard, and the secret put under other keys": (
        {"one": s.worker("a", "r1"), "two": s.discarder("r1"), "run": s.reencrypter()},
        faults(0, 0, 1, small=(0, 0, 0)),
        ("r1",),
    ),
    "discard against promote": (
        {"one": s.worker("a", "r1"), "two": s.discarder("r1")},
        faults(0, 1, 1, small=(0, 0, 1)),
        ("r1",),
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "case", small(HOLDS, "crash, lost answer, a put on top", "two workers, a put on top, late")
)
def test_stages_as_shipped_keep_the_rules(case: str) -> None:
    """Every interleaving of the real code's calls within the fault budget keeps the invariants, and can
    end."""
    programs, budget, of = HOLDS[case]
    report = explored(check(rotations(f"stages/{case}", programs, of=of, budget=budget)))
    assert report.violation is None, report


BROKEN = {
    "discard without its fence": (
        "_fence",
        "discard against promote",
        "the ledger tells what became current",
    ),
    "what was held is not retired": ("_retire", "late calls", "no pending value outlives its rotation"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_stages_with_a_step_left_out(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker looks at the code that ships: with one step of it left out, the rule for that step
    breaks."""
    step, race, rule = BROKEN[case]
    monkeypatch.setattr(Pending, step, lambda *_: None)
    programs, budget, of = HOLDS[race]
    violation = explored(check(rotations(f"stages/{case}", programs, of=of, budget=budget))).violation
    assert violation is not None
    assert violation.rule == rule, violation


def test_the_checker_catches_a_reencryption_without_compare_and_set() -> None:
    """It would put the value before over the one that a rotation just promoted."""
    programs = {"worker": s.worker("w", "r1"), "run": s.reencrypter(s.Careless)}
    system = rotations("stages/careless", programs, budget=Budget(0, 0, 0))
    violation = explored(check(system)).violation
    assert violation is not None
    assert violation.rule == "no acknowledged write is lost to a Strongroom writer", violation


def rolled_back_once(state: State[World]) -> bool:
    """Version 2 is the bad one; version 3, if there is one, has version 1's value, and there is no version
    4."""
    texts = [value.text for value in state.world.secret.versions if isinstance(value, Value)]
    return texts in (["good", "bad"], ["good", "bad", "good"])


def test_two_operators_who_roll_back_at_once_do_not_toggle() -> None:
    """The real rollback: one writes the good value as a new version, the other is told of a conflict."""
    start = World(Entry(0, (Value("good"), Value("bad"))))
    programs = {"ann": s.roller("2"), "ben": s.roller("2")}
    rules = {"a rollback takes effect once": rolled_back_once}
    budget = faults(2, 2, 2, small=(1, 1, 1))
    system = System("stages/rollback", start, programs, apply, WRITES, rules, None, budget, AGAIN)
    report = explored(check(system))
    assert report.violation is None, report
