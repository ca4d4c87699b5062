"""The real Parameter Store backend under the checker, boto3 call by boto3 call: what is its own in PROTOCOLS
section 4. Rotations over a guard are checked for all providers in `test_guarded`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import pytest

from strongroom_aws import _parameter_history
from tests.models import ssm_programs as s
from tests.models.checker import Report, check
from tests.models.replay import Budget, Program, State, System
from tests.models.spaces import explored, faults

Rule = Callable[[State[s.World]], bool]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The backend tells of every writer in between, in every state."""
    caplog.set_level(logging.CRITICAL, "strongroom.guarded")
    caplog.set_level(logging.CRITICAL, "strongroom_aws")


def _told(model: System[s.World], state: State[s.World], outcome: str) -> dict[str, str]:
    found = {who: str(result) for who, result in model.results(state).items()}
    return {who: result.partition(" ")[2] for who, result in found.items() if result.startswith(outcome)}


def rules(model: System[s.World]) -> dict[str, Rule]:
    def one_wins(state: State[s.World]) -> bool:
        return len(_told(model, state, "ok")) <= 1

    def a_conflict_wrote_nothing(state: State[s.World]) -> bool:
        texts = {version.text for version in state.world.account.of(s.FULL)}
        return not texts & (_told(model, state, "conflict").keys() | _told(model, state, "nothing").keys())

    def acknowledged_stays(state: State[s.World]) -> bool:
        line = {head.version for head in state.world.line()}
        return set(_told(model, state, "ok").values()) <= line

    return {
        "of racing writers at most one wins": one_wins,
        "a conflict means that nothing of ours was written": a_conflict_wrote_nothing,
        "what was acknowledged stays in the line": acknowledged_stays,
    }


def checked(
    name: str, world: s.World, programs: Mapping[str, Program], budget: Budget, only: str = ""
) -> Report[State[s.World]]:
    model = System(
        f"strongroom_aws.parameter_store/{name}", world, programs, s.apply, s.WRITES, {}, None, budget
    )
    model.invariants = {rule: holds for rule, holds in rules(model).items() if only in rule}
    return explored(check(model))


CREATORS = {who: s.creator(who, guarded=False) for who in ("one", "two")}
GUARDED_CREATORS = {who: s.creator(who, guarded=True) for who in ("one", "two")}
WRITERS = {who: s.writer(who, s.BASE) for who in ("one", "two")}
AND_THE_CONSOLE = {"one": s.writer("one", s.BASE), "console": s.console()}

HOLDS: Mapping[str, tuple[s.World, Mapping[str, Program], Budget]] = {
    "two creators, no coordinator": (s.World(), CREATORS, faults(0, 1, 1, small=(0, 1, 1))),
    "a creator and one with a coordinator": (
        s.World(),
        {"one": CREATORS["one"], "two": GUARDED_CREATORS["two"]},
        faults(0, 1, 1, small=(0, 0, 1)),
    ),
    "two writers": (s.having(), WRITERS, faults(0, 1, 1, small=(0, 0, 1))),
    "two writers, a lost lease": (
        s.having(),
        {**WRITERS, "time": s.passing_time()},
        faults(0, 1, 0, small=(0, 0, 0)),
    ),
    "a writer and the console": (s.having(), AND_THE_CONSOLE, faults(0, 1, 1, small=(0, 1, 0))),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", HOLDS)
def test_the_backend_as_shipped_keeps_the_rules(case: str) -> None:
    """Every interleaving of its calls within the fault budget."""
    report = checked(case, *HOLDS[case])
    assert report.violation is None, report


def test_a_version_of_a_former_life_never_matches() -> None:
    """A leftover `if_version`, a purge and a creation under leases: the number returns, the date does not."""
    programs = {"leftover": s.writer("leftover", s.BASE), "renewer": s.renewer()}
    model = System("strongroom_aws.parameter_store/two lives", s.having(), programs, s.apply, s.WRITES, {})

    def not_in_the_new_life(state: State[s.World]) -> bool:
        versions = state.world.account.of(s.FULL)
        return "new life" not in [v.text for v in versions] or "leftover" not in [v.text for v in versions]

    model.invariants = {"a former life's id writes nothing": not_in_the_new_life}
    report = explored(check(model))
    assert report.violation is None, report


class TestTheCheckerCatches:
    def test_ids_that_are_numbers_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The date is what tells two lives apart."""
        with monkeypatch.context() as patched:
            patched.setattr(_parameter_history, "version_id", lambda number, _: f"{number}.{s.START}")
            with pytest.raises(AssertionError, match="former life"):
                test_a_version_of_a_former_life_never_matches()

    def test_a_copied_mark_that_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The console's version would be taken for a late one of ours, and written past."""

        def trusting(entries: list[dict[str, object]]) -> list[_parameter_history.Version]:
            versions = map(_parameter_history.Version.of, entries)
            return sorted(versions, key=lambda version: -version.number)

        monkeypatch.setattr("strongroom_aws._parameters.in_order", trusting)
        programs = {
            "first": s.writer("first", s.BASE),
            "console": s.console(),
            "last": s.writer("last", None),
        }
        model = System(
            "strongroom_aws.parameter_store/a copied mark", s.having(), programs, s.apply, s.WRITES, {}
        )

        def nothing_is_written_again(state: State[s.World]) -> bool:
            texts = [version.text for version in state.world.account.of(s.FULL)]
            return len(set(texts)) == len(texts)

        model.invariants = {"no value of another program is written past": nothing_is_written_again}
        assert check(model).violation is not None
