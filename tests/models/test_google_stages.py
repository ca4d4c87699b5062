"""The real `strongroom.stages` over the real `SecretManager` under the checker: PROTOCOLS sections 1 and 3
together, the companion being a second secret with intents of its own."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Mapping

import pytest

from strongroom.backend import Stage
from strongroom.companion import Frame
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.stages import Pending
from strongroom.value import SecretValue
from strongroom_gcp.secret_manager import SecretManager
from tests.models import google
from tests.models.checker import Report, check
from tests.models.google_store import FIRST, LIFE, NAME, WRITES, World, apply, opened, program
from tests.models.ledger import NONE, Client, ConflictError, UnknownError
from tests.models.replay import Budget, Port, Program, State, System
from tests.models.spaces import explored, faults, nightly, small

SUPERSEDED, DISCARDED = "superseded", "discarded"
TRIES = 3  # each try writes under ids of its own: without a bound the space would have no end


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The store tells of every foreign version, in every state."""
    caplog.set_level(logging.CRITICAL, "strongroom.gcp")


def pending(store: SecretManager, rotation: str) -> Pending:
    return Pending(store, NAME, str(uuid.uuid5(uuid.NAMESPACE_OID, rotation)))


def worker(who: str, *rotations: str, waits: int = 1, tries: int = TRIES) -> Program:
    """Runs rotations as the engine does: base, ledger, hold, promote, ledger."""

    def act(port: Port) -> str:
        store = opened(port)
        for rotation in rotations:
            ended = tried(port, store, rotation)
            if ended != "ended":
                return ended
        return "ended"

    def tried(port: Port, store: SecretManager, rotation: str) -> str:
        for _ in range(tries):
            try:
                return once(Client(port), store, rotation, f"{rotation} by {who}{port.run}")
            except (UnavailableError, UnknownError, SecretNotFoundError):  # or somebody discarded it
                continue
            except SecretConflictError as error:
                if "holds it" in (error.hint or ""):
                    return f"blocked {rotation}"
        return "gave up"

    return program(who, act, waits)


def once(client: Client, store: SecretManager, rotation: str, text: str) -> str:
    base = store.get(NAME, Stage.CURRENT).version
    outcome = client.ledger(rotation)
    mine = pending(store, rotation)
    if outcome == NONE:
        outcome = promoted(mine, text, base)
        with contextlib.suppress(ConflictError):
            client.advance(rotation, NONE, outcome)
    if outcome == SUPERSEDED:
        mine.discard()
    return "ended"


def promoted(mine: Pending, text: str, base: str) -> str:
    """Promoting first finds what an earlier life of this worker left behind."""
    with contextlib.suppress(SecretNotFoundError):
        return judged(mine)
    mine.put(SecretValue(text), base_version=base)
    return judged(mine)


def judged(mine: Pending) -> str:
    """A conflict that may pass by itself is no judgement."""
    try:
        return mine.promote().id
    except SecretConflictError as error:
        if error.retryable:
            raise
        return SUPERSEDED


def top(who: str, waits: int = 0) -> Program:
    """Somebody puts a value on top, unconditionally."""

    def act(port: Port) -> str:
        try:
            return f"ok {opened(port).put(NAME, SecretValue(who), None).id}"
        except (SecretConflictError, UnavailableError):
            return "failed"

    return program(who, act, waits)


def discarder(rotation: str) -> Program:
    """An operator discards what is held."""

    def act(port: Port) -> str:
        try:
            pending(opened(port), rotation).discard()
        except (SecretConflictError, UnavailableError):
            return "refused"
        return DISCARDED

    return program("d", act, waits=0)


def promoter(rotation: str) -> Program:
    """Somebody promotes what is held."""

    def act(port: Port) -> str:
        try:
            return pending(opened(port), rotation).promote().id
        except (SecretConflictError, SecretNotFoundError, UnavailableError):
            return "refused"

    return program("p", act, waits=0)


def holding(rotation: str) -> World:
    """A value is held already: what comes before is in the cases that begin with nothing."""
    frame = Frame(pending(opened(Port((), 0)), rotation).rotation_id, True, FIRST)
    text = frame.with_value(SecretValue(f"{rotation} by z")).reveal_text()
    return World((google.START, google.World(1, google.START.annotations, (text,))))


def the_ledger_tells_the_truth(state: State[World]) -> bool:
    """Promoted means that the value counts as having been current, and superseded that it never did."""
    for rotation, outcome in state.world.ledger:
        mine = [text for text in state.world.recorded() if text.startswith(rotation)]
        if outcome == SUPERSEDED:
            if mine:
                return False
        elif not (state.world.counts(str(outcome)) or "").startswith(rotation):
            return False
    return True


def discarded_is_not_current(state: State[World]) -> bool:
    """Whoever was told that it is discarded finds it nowhere; whoever promoted it finds it."""
    mine = any(text.startswith("r1") for text in state.world.recorded())
    results = [actor.result for actor in state.actors]
    promoted = any(str(result).endswith(LIFE) for result in results)
    return not (mine and DISCARDED in results) and (mine or not promoted)


def nothing_comes_back(state: State[World]) -> bool:
    """Of what was recorded as current no value comes back after another one."""
    texts = state.world.recorded()
    runs = [text for at, text in enumerate(texts) if at == 0 or texts[at - 1] != text]
    return len(runs) == len(set(runs))


def none_is_blocked(state: State[World]) -> bool:
    """A rotation begins when the ones before are in the ledger: what they held is in nobody's way."""
    return not any(str(actor.result).startswith("blocked") for actor in state.actors)


def nothing_pending_is_left(state: State[World]) -> bool:
    """Once all have ended, no held value can be read."""
    ended = all(actor.result not in (None, "gave up", "refused") for actor in state.actors)
    return not (ended and state.world.held())


RULES = {
    "the ledger tells what became current": the_ledger_tells_the_truth,
    "no value comes back by itself": nothing_comes_back,
    "no finished rotation stops the next": none_is_blocked,
}


def checked(
    case: str,
    programs: Mapping[str, Program],
    budget: Budget,
    rotations: tuple[str, ...],
    world: World | None = None,
) -> Report[State[World]]:
    """A late call can leave a held value readable in the companion, which native readers never ask for."""
    rules = dict(RULES) if budget.late else {**RULES, "nothing pending is left": nothing_pending_is_left}

    def goal(state: State[World]) -> bool:
        """Or a worker met more trouble than it has tries for."""
        results = [actor.result for actor in state.actors]
        return set(rotations) <= dict(state.world.ledger).keys() or "gave up" in results

    system = System(
        f"strongroom_gcp/rotation, {case}", world or World(), programs, apply, WRITES, rules, goal, budget
    )
    return explored(check(system))


BOTH = ("r1", "r2")
ROTATIONS: Mapping[str, tuple[Mapping[str, Program], Budget, tuple[str, ...]]] = {
    "crash": ({"a": worker("a", *BOTH)}, faults(2, 0, 0, small=(1, 0, 0)), BOTH),
    "lost": ({"a": worker("a", *BOTH)}, faults(0, 2, 0, small=(0, 1, 0)), BOTH),
    "late": ({"a": worker("a", *BOTH, waits=1, tries=TRIES)}, Budget(late=1), BOTH),
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", small(ROTATIONS, "late"))
def test_a_rotation_over_intents_keeps_the_rules(case: str) -> None:
    """`stages.py` and `strongroom_gcp` as shipped, in every interleaving of the calls and faults."""
    report = checked(case, *ROTATIONS[case])
    assert report.violation is None, str(report)


@pytest.mark.timeout(7200)
def test_a_put_on_top_of_a_promotion_leaves_it_promoted_or_superseded() -> None:
    """Also when the put takes over what the promotion intended, at any moment."""
    programs = {"a": worker("a", "r1", waits=0, tries=nightly(2, 1)), "top": top("top", waits=1)}
    budget = faults(0, 0, 1, small=(0, 0, 0))
    report = checked("a put on top", programs, budget, ("r1",), holding("r1"))
    assert report.violation is None, str(report)


def discarding(case: str, budget: Budget) -> Report[State[World]]:
    programs = {"p": promoter("r1"), "d": discarder("r1")}
    rules = {"discarded is not current": discarded_is_not_current}
    start = holding("r1")
    system = System(f"strongroom_gcp/{case}", start, programs, apply, WRITES, rules, None, budget)
    return explored(check(system))


@pytest.mark.timeout(7200)
def test_what_is_discarded_while_somebody_promotes_it_never_becomes_current() -> None:
    """Somebody who is at it just now has not moved the base yet."""
    report = discarding("discarded", faults(0, 1, 0, small=(0, 0, 0)))
    assert report.violation is None, str(report)


def test_the_checker_finds_a_discard_that_takes_any_conflict_for_a_moved_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A conflict that passes by itself says nothing of the base."""
    fence = Pending._fence

    def careless(mine: Pending, version: str) -> None:
        with contextlib.suppress(SecretConflictError):
            fence(mine, version)

    monkeypatch.setattr(Pending, "_fence", careless)
    violation = discarding("careless", Budget()).violation
    assert violation is not None
    assert violation.rule == "discarded is not current", str(violation)


def test_the_checker_finds_a_late_frame_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a companion were read as any secret is, from ``latest``."""
    monkeypatch.setattr(SecretManager, "_settled", lambda store, name: store._known.latest(name))
    programs = {"a": worker("a", *BOTH, waits=0, tries=2)}
    violation = checked("latest", programs, Budget(late=1), BOTH).violation
    assert violation is not None
    assert violation.rule in RULES, str(violation)
