"""The real `strongroom.guarded` under the checker, alone and with the real `strongroom.stages` on top:
PROTOCOLS section 4, for Azure, SSM and tokens alike."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence

import pytest

from strongroom import guarded
from strongroom.backend import ABSENT, Absent, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.guarded import Guard, Head
from strongroom.names import Key
from strongroom.stages import Pending
from strongroom.value import SecretValue
from tests.models.checker import check
from tests.models.guarded import (
    COMPANION,
    NAME,
    SECRET,
    WRITES,
    Entry,
    Framed,
    ModelBackend,
    Provider,
    World,
    apply,
    write_ids,
)
from tests.models.ledger import NONE, ConflictError, UnknownError
from tests.models.replay import Budget, Port, Program, State, System
from tests.models.spaces import explored, faults, nightly, small

SUPERSEDED = "superseded"
TRIES = 3  # each try takes a lease with a fence of its own: without a bound the space would have no end


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The guard tells of every late version, in every state."""
    caplog.set_level(logging.CRITICAL, "strongroom.guarded")


def told(who: str, act: Callable[[Port], str]) -> Program:
    """Errors as results."""

    def program(port: Port) -> str:
        with write_ids(who, port.run):
            try:
                return act(port)
            except (SecretConflictError, SecretNotFoundError, ConflictError):
                return f"conflict {text(who, port)}"
            except (UnavailableError, UnknownError):
                return "unknown"

    return program


def text(who: str, port: Port) -> str:
    """What a writer writes: after a crash another value, never the same again."""
    return who + "'" * port.run


def writer(who: str, if_version: str | Absent | None) -> Program:
    """One put, conditional on a version or not; it is not repeated when its outcome is unknown."""

    def act(port: Port) -> str:
        try:
            ModelBackend(port).put(NAME, SecretValue(text(who, port)), if_version)
            return f"ok {text(who, port)}"
        except UnavailableError as error:
            return "nothing" if error.performed is False else "maybe"

    return told(who, act)


def looker(who: str, base: str) -> Program:
    """One conditional put; where its outcome is unknown it looks whether its value followed the base."""

    def act(port: Port) -> str:
        backend, mine = ModelBackend(port), text(who, port)
        with contextlib.suppress(UnavailableError):
            backend.put(NAME, SecretValue(mine), base)
            return f"ok {mine}"
        after = backend.versions_after(NAME, base)
        won = bool(after) and backend.get(NAME, after[0].id).value.matches(mine)
        return f"ok {mine}" if won else "lost"

    return told(who, act)


def creator(who: str) -> Program:
    """Creates the secret, if nobody has."""
    return writer(who, ABSENT)


def settler() -> Program:
    """Whoever writes next, last of all."""
    return writer("last", None)


def passing_time(times: int) -> Program:
    """Leases run out at any moment, so often."""

    def program(port: Port) -> str:
        for _ in range(times):
            port.call("time passes")
        return "over"

    return program


def console(text: str) -> Program:
    """Somebody writes past the coordinator."""

    def program(port: Port) -> str:
        Provider(port).foreign_write(text)
        return "ok"

    return program


def worker(who: str, *rotations: str) -> Program:
    """Runs rotations as the engine does: base, ledger, hold, promote, ledger."""

    def act(port: Port) -> str:
        return "ended" if all(tried(port, rotation) for rotation in rotations) else "gave up"

    def tried(port: Port, rotation: str) -> bool:
        for _ in range(TRIES):
            with contextlib.suppress(UnavailableError, UnknownError, SecretConflictError, ConflictError):
                once(port, rotation)
                return True
        return False

    def once(port: Port, rotation: str) -> None:
        backend, provider = ModelBackend(port), Provider(port)
        base = backend.get(NAME, Stage.CURRENT).version
        outcome = provider.ledger(rotation)
        mine = Pending(backend, NAME, str(uuid.uuid5(uuid.NAMESPACE_OID, rotation)))
        if outcome == NONE:
            outcome = _promote(mine, f"{rotation} by {who}{port.run}", base)
            with contextlib.suppress(ConflictError):
                provider.advance(rotation, NONE, outcome)
        if outcome == SUPERSEDED:
            mine.discard()

    return told(who, act)


def _promote(mine: Pending, text: str, base: str) -> str:
    try:
        return mine.promote().id
    except SecretNotFoundError:
        pass
    except SecretConflictError:
        return SUPERSEDED
    mine.put(SecretValue(text), base_version=base)
    try:
        return mine.promote().id
    except SecretConflictError:
        return SUPERSEDED


def named(model: System[World], state: State[World], prefix: str) -> dict[str, str]:
    """The writers' results so far."""
    return {who: str(result) for who, result in model.results(state).items() if who.startswith(prefix)}


def acknowledged_stays(model: System[World]) -> Callable[[State[World]], bool]:
    """What a writer was told is written stands in the line for ever, once."""

    def rule(state: State[World]) -> bool:
        texts = state.world.entries[SECRET].texts()
        done = [result[3:] for result in named(model, state, "w").values() if result.startswith("ok")]
        return all(texts.count(mine) >= 1 for mine in done)

    return rule


def one_wins(model: System[World]) -> Callable[[State[World]], bool]:
    """Of those who wrote upon the same version, one is told that it did."""

    def rule(state: State[World]) -> bool:
        return sum(result.startswith("ok") for result in named(model, state, "w").values()) <= 1

    return rule


def a_conflict_is_none_of_ours(model: System[World]) -> Callable[[State[World]], bool]:
    """Whoever was told of a conflict wrote nothing."""

    def rule(state: State[World]) -> bool:
        written = {version.text for version in state.world.entries[SECRET].versions}
        results = named(model, state, "w").values()
        return not written.intersection(res[9:] for res in results if res.startswith("conflict"))

    return rule


def nothing_is_done_twice(state: State[World]) -> bool:
    """In the line no value comes back after another one."""
    texts = [text for text in state.world.entries[SECRET].texts() if text != "old"]
    runs = [text for at, text in enumerate(texts) if at == 0 or texts[at - 1] != text]
    return len(runs) == len(set(runs))


def settled_is_seen(model: System[World]) -> Callable[[State[World]], bool]:
    """At rest after a write that was acknowledged and did not hide anything, readers get the line's tip."""

    def rule(state: State[World]) -> bool:
        if state.flying or any(actor.result is None for actor in state.actors):
            return True
        entry = state.world.entries[SECRET]
        last = model.results(state).get("settler", "")
        return not str(last).startswith("ok") or "last" in entry.texts()

    return rule


def the_ledger_tells_the_truth(state: State[World]) -> bool:
    """Promoted as N: N is in the line and holds the rotation's value. Otherwise no value of it is."""
    entry = state.world.entries[SECRET]
    line = {head.version: entry.versions[int(head.version) - 1].text for head in entry.line()}
    for rotation, outcome in state.world.ledger:
        mine = [text for text in line.values() if str(text).startswith(rotation)]
        if outcome == SUPERSEDED and mine:
            return False
        if outcome != SUPERSEDED and not str(line.get(str(outcome))).startswith(rotation):
            return False
    return True


def gave_up(model: System[World], state: State[World]) -> bool:
    """A worker that met more trouble than it has tries for."""
    return "gave up" in model.results(state).values()


def nothing_pending_is_left(state: State[World]) -> bool:
    """Once all have ended, no held value can be read."""
    if any(actor.result in (None, "gave up") for actor in state.actors):
        return True
    frames = state.world.entries[COMPANION].versions
    return not any(isinstance(f.text, Framed) and f.text.held and not f.disabled for f in frames)


def system(
    name: str, programs: Mapping[str, Program], budget: Budget, world: World | None = None
) -> System[World]:
    """The rules of conditional writes over these programs."""
    model = System(f"guarded/{name}", world or World(), programs, apply, WRITES, {}, None, budget)
    model.invariants = {
        "an acknowledged write stays in the line": acknowledged_stays(model),
        "a reported conflict wrote nothing": a_conflict_is_none_of_ours(model),
        "no value comes back by itself": nothing_is_done_twice,
        "the next write settles": settled_is_seen(model),
    }
    return model


RACES: Mapping[str, tuple[Mapping[str, Program], Budget]] = {
    "two writers upon one version": (
        {"w1": writer("w1", "1"), "w2": writer("w2", "1"), "time": passing_time(1)},
        faults(1, 1, 0, small=(0, 0, 0)),
    ),
    "a late holder": (
        {"w1": writer("w1", "1"), "w2": writer("w2", "1"), "time": passing_time(nightly(2, 1))},
        faults(0, 0, 1, small=(0, 0, 1)),
    ),
    "a late holder looks whether it won": (
        {
            "w1": looker("w1", "1"),
            "w2": nightly(looker, writer)("w2", "1"),
            "time": passing_time(nightly(2, 1)),
        },
        faults(0, 0, 1, small=(0, 0, 1)),
    ),
    "a lost answer": (
        {"w1": writer("w1", "1"), "w2": writer("w2", "1"), "time": passing_time(1)},
        faults(0, 2, 0, small=(0, 1, 0)),
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(RACES, "a late holder looks whether it won"))
def test_of_two_conditional_writers_one_wins(case: str) -> None:
    """Whatever is lost, late or suspended, and whenever leases run out."""
    programs, budget = RACES[case]
    model = system(case, programs, budget)
    model.invariants = {**model.invariants, "one wins": one_wins(model)}
    report = explored(check(model))
    assert report.violation is None, report


@pytest.mark.timeout(7200)
def test_of_two_creators_one_creates() -> None:
    """The same for a name that is not there yet."""
    programs = {"w1": creator("w1"), "w2": creator("w2"), "time": passing_time(1)}
    model = system("two creators", programs, faults(0, 1, 1, small=(0, 0, 1)), World((Entry(), Entry())))
    model.invariants = {**model.invariants, "one wins": one_wins(model)}
    report = explored(check(model))
    assert report.violation is None, report


@pytest.mark.timeout(7200)
def test_a_writer_and_the_next_one_settle_a_late_version() -> None:
    """A late version is written past by whoever writes next, and never counts."""
    programs = {
        "w1": writer("w1", "1"),
        "w2": writer("w2", None),
        "settler": settler(),
        "time": passing_time(1),
    }
    report = explored(check(system("settling", programs, faults(0, 0, 1, small=(0, 0, 0)))))
    assert report.violation is None, report


@pytest.mark.timeout(7200)
def test_a_foreign_version_counts() -> None:
    """Whoever writes past the coordinator is not written past in turn: a conditional writer conflicts."""
    programs = {"w1": writer("w1", "1"), "console": console("foreign"), "time": passing_time(1)}
    model = system("foreign", programs, faults(0, 1, 0, small=(0, 0, 0)))

    def never_hidden(state: State[World]) -> bool:
        entry = state.world.entries[SECRET]
        texts = [version.text for version in entry.versions]
        return texts[-1] != "foreign" or entry.line()[0].version == str(len(texts))

    model.invariants = {**model.invariants, "a foreign newest version is current": never_hidden}
    report = explored(check(model))
    assert report.violation is None, report


BOTH = ("r1", "r2")
ROTATIONS: Mapping[str, tuple[Mapping[str, Program], Budget, tuple[str, ...]]] = {
    "crash": ({"a": worker("a", *BOTH)}, faults(2, 0, 0, small=(1, 0, 0)), BOTH),
    "lost": (
        {"a": worker("a", *BOTH), "time": passing_time(1)},
        faults(0, 1, 0, small=(0, 0, 0)),
        BOTH,
    ),
    "late": (
        {"a": worker("a", *nightly(BOTH, ("r1",))), "time": passing_time(nightly(1, 0))},
        faults(0, 0, 1, small=(0, 0, 1)),
        nightly(BOTH, ("r1",)),
    ),
    "a put on top": (
        {"a": worker("a", "r1"), "top": writer("top", None), "time": passing_time(nightly(1, 0))},
        faults(1, 0, 0, small=(0, 0, 0)),
        ("r1",),
    ),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(ROTATIONS, "late"))
def test_a_rotation_under_a_guard_keeps_the_rules(case: str) -> None:
    """`stages.py` as shipped over `guarded.py` as shipped: promoted is promoted, superseded is superseded.

    A late call can leave a held value readable in the companion, which native readers never ask for.
    """
    programs, budget, of = ROTATIONS[case]
    model = System(f"guarded/rotation, {case}", World(), programs, apply, WRITES, {}, None, budget)
    model.invariants = {
        "the ledger tells what became current": the_ledger_tells_the_truth,
        "no value comes back by itself": nothing_is_done_twice,
    }
    if not budget.late:
        model.invariants = {
            **model.invariants,
            "no pending value outlives its rotation": nothing_pending_is_left,
        }
    model.goal = lambda state: set(of) <= dict(state.world.ledger).keys() or gave_up(model, state)
    report = explored(check(model))
    assert report.violation is None, report


def _newest(heads: list[Head], recorded: str | None) -> Head | None:
    """The obvious rule, which fails."""
    return heads[0] if heads else None


def test_the_checker_catches_a_guard_that_trusts_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the newest version counted, a late holder's write would undo an acknowledged one."""
    monkeypatch.setattr(guarded, "true_tip", _newest)
    monkeypatch.setattr("tests.models.guarded.true_tip", _newest)
    programs, budget = RACES["a late holder"]
    violation = explored(check(system("the newest counts", programs, budget))).violation
    assert violation is not None
    assert violation.rule == "an acknowledged write stays in the line", violation


def test_the_checker_catches_a_judgement_without_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """If what followed the base were judged without the lease, a paused holder would find that it won too."""

    def unsettled(guard: Guard, key: Key) -> tuple[Sequence[Head], None]:
        return guard._port.heads(key), None

    monkeypatch.setattr(Guard, "_settled_heads", unsettled)
    programs, budget = RACES["a late holder looks whether it won"]
    violation = explored(check(system("unsettled", programs, budget))).violation
    assert violation is not None
    assert violation.rule == "an acknowledged write stays in the line", violation
