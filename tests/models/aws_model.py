"""The model of PROTOCOLS section 2 over AWS Secrets Manager.

Modelled: every interleaving of up to three actors (workers of one or two rotations, a discard, writers with
`if_version` or ABSENT), crashes between any two calls, lost answers, late calls, ledger writes included; both
answers to the contradiction in the API's model, and versions without labels that vanish. Not modelled: label
delay, InSync waits, replicas, the target system (section 6), deletion, retries inside the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from tests.models.aws import CURRENT, PENDING, WRITES, World, apply, born
from tests.models.aws_protocol import DISCARDED, HELD, MARK, OVERTAKEN, PROMOTED, SUPERSEDED
from tests.models.replay import Budget, Program, State, System

AGAIN = frozenset({"UnknownError", "ConflictError"})

Rule = Callable[[State[World]], bool]


def currents(world: World) -> list[str]:
    """The versions that were current, oldest first, the present one last."""
    return [version for version, _ in world.history]


def none_comes_back(state: State[World]) -> bool:
    was = currents(state.world)
    return len(was) == len(set(was))


def pending_values_hide(state: State[World]) -> bool:
    """A rotation's value becomes current by promote alone, never by the put that stored it."""
    return not any(version.startswith("r") and how == "put" for version, how in state.world.history)


def the_ledger_tells_the_truth(state: State[World]) -> bool:
    was = currents(state.world)
    truth: Mapping[Hashable, tuple[bool, ...]] = {
        PROMOTED: (True,),
        SUPERSEDED: (False,),
        DISCARDED: (False,),
        OVERTAKEN: (True, False),
    }
    return all((rotation in was) in truth[outcome] for rotation, outcome in state.world.ledger)


def what_is_over_is_not_current(state: State[World]) -> bool:
    over = (SUPERSEDED, DISCARDED, OVERTAKEN)
    labels = dict(state.world.labels)
    return all(labels[CURRENT] != rotation for rotation, outcome in state.world.ledger if outcome in over)


RULES: Mapping[str, Rule] = {
    "a version becomes current once": none_comes_back,
    "a native reader never sees a pending value": pending_values_hide,
    "the ledger tells what became current": the_ledger_tells_the_truth,
    "a value whose rotation is over is not current": what_is_over_is_not_current,
}


def swept(rotations: frozenset[str]) -> Rule:
    """All ended, and no label left that would block or crowd the next rotation."""

    def goal(state: State[World]) -> bool:
        finished = all(actor.result not in (None, *AGAIN) for actor in state.actors)
        marks = [label for label, _ in state.world.labels if label.startswith(MARK + "r")]
        pending = dict(state.world.labels).get(PENDING)
        free = pending is None or pending in dict(state.world.ledger) or pending in currents(state.world)
        return finished and rotations <= set(dict(state.world.ledger)) and not marks and free

    return goal


def rotations(
    name: str,
    programs: Mapping[str, Program],
    *,
    budget: Budget,
    of: tuple[str, ...] = ("r1",),
    start: World | None = None,
) -> System[World]:
    """A model in which all rotations named in `of` can always still end, their labels swept."""
    start = start or born()
    return System(f"aws/{name}", start, programs, apply, WRITES, RULES, swept(frozenset(of)), budget, AGAIN)


def one_holds(state: State[World]) -> bool:
    """What two rotations do at the target would meet."""
    return [actor.result for actor in state.actors].count(HELD) <= 1


def holders(
    name: str, programs: Mapping[str, Program], *, budget: Budget, start: World | None = None
) -> System[World]:
    """Rotations race to hold a value, and none of them ends."""
    rules: Mapping[str, Rule] = {**RULES, "one rotation is told that it holds": one_holds}
    again = frozenset({"unknown"})
    return System(f"aws/{name}", start or born(), programs, apply, WRITES, rules, None, budget, again)


WRITERS = ("alice", "bob")


def truthful(number: int) -> Rule:
    """`ok`: it was current. `conflict`: it never is, not even later."""

    def rule(state: State[World]) -> bool:
        result, became = state.actors[number].result, WRITERS[number] in currents(state.world)
        return became if result == "ok" else not (became and result == "conflict")

    return rule


def one_over_each(state: State[World]) -> bool:
    """Of two writers over one base at most one succeeds: a version became current by a move, which names its
    base, or unasked in an empty secret."""
    return not any(how == "put" for _, how in state.world.history[1:])


def writers(
    name: str, alice: Program, bob: Program, *, budget: Budget, start: World | None = None
) -> System[World]:
    """Two writers race over the secret."""
    rules: Mapping[str, Rule] = {
        "what alice is told is true": truthful(0),
        "what bob is told is true": truthful(1),
        "no acknowledged write is lost to a Strongroom writer": one_over_each,
        "a version becomes current once": none_comes_back,
    }
    programs = dict(zip(WRITERS, (alice, bob), strict=True))
    return System(f"aws/put/{name}", start or born(), programs, apply, WRITES, rules, None, budget)
