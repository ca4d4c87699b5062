"""The model of PROTOCOLS section 1 (and of writes with `if_version`) over KV version 2.

Modelled: every interleaving of up to three actors (workers of one or two rotations, a discard, writers on
top), crashes between any two calls, lost answers, late calls; ledger writes included. A worker that crashed
comes back with another generated value. Not modelled: the target system and its hooks (section 6),
encryption, `delete` of the pair, a companion that cannot be decrypted, performance standbys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from itertools import pairwise

from tests.models.companion import DISCARDED, SUPERSEDED
from tests.models.kv2 import WRITES, Done, Entry, Held, Value, World, apply
from tests.models.replay import Budget, Program, State, System

START = World(Entry(0, (Value("old"),)))
AGAIN = frozenset({"UnknownError", "ConflictError"})

Rule = Callable[[State[World]], bool]


def rotated(world: World, rotation: str) -> list[int]:
    """The version numbers that carry a value of this rotation."""
    values = enumerate(world.secret.versions, 1)
    return [number for number, value in values if isinstance(value, Value) and value.by == rotation]


def ended(world: World) -> Mapping[str, Hashable]:
    return dict(world.ledger)


def one_value_per_rotation(state: State[World]) -> bool:
    by = [value.by for value in state.world.secret.versions if isinstance(value, Value)]
    return all(by.count(who) <= 1 for who in by if who.startswith("r"))


def no_write_is_lost(state: State[World]) -> bool:
    """Whoever writes over a version meant exactly that version (None: meant to write whatever is there)."""
    life, versions = state.world.secret
    return all(
        not isinstance(value, Value) or value.base in (None, number, (life, number))
        for number, value in enumerate(versions)
    )


def nothing_is_written_again(state: State[World]) -> bool:
    """A value that another writer wrote over does not come back by itself."""
    by = [value.by for value in state.world.secret.versions if isinstance(value, Value)]
    return all(
        before == who or who not in by[:number] for number, (before, who) in enumerate(pairwise(by), 1)
    )


def the_ledger_tells_the_truth(state: State[World]) -> bool:
    """Ended as N: version N is this rotation's, whatever came after. Ended otherwise: it was never
    current."""
    for rotation, outcome in state.world.ledger:
        numbers = rotated(state.world, rotation)
        if numbers and outcome in (SUPERSEDED, DISCARDED):
            return False
        if outcome not in (SUPERSEDED, DISCARDED) and numbers != [int(str(outcome))]:
            return False
    return True


def nothing_pending_is_left(state: State[World]) -> bool:
    """Once all actors have ended, no held value can be read from the companion's older versions."""
    if state.flying or any(actor.result is None or actor.result in AGAIN for actor in state.actors):
        return True
    return not any(isinstance(frame, Held) for frame in state.world.companion.versions)


RULES: Mapping[str, Rule] = {
    "a rotation writes one value, once": one_value_per_rotation,
    "no acknowledged write is lost to a Strongroom writer": no_write_is_lost,
    "the ledger tells what became current": the_ledger_tells_the_truth,
    "no pending value outlives its rotation": nothing_pending_is_left,
}


def all_ended(rotations: frozenset[str]) -> Rule:
    def goal(state: State[World]) -> bool:
        frame = state.world.companion.versions[-1] if state.world.companion.versions else None
        workers_done = all(actor.result not in (None, *AGAIN) for actor in state.actors)
        return workers_done and rotations <= set(ended(state.world)) and isinstance(frame, Done | None)

    return goal


def rotations(
    name: str, programs: Mapping[str, Program], *, of: tuple[str, ...] = ("r1",), budget: Budget
) -> System[World]:
    """A model in which all rotations named in `of` can always still end."""
    goal = all_ended(frozenset(of))
    return System(f"companion/{name}", START, programs, apply, WRITES, RULES, goal, budget, AGAIN)


def truthful(number: int) -> Rule:
    """A writer that was told of a conflict: nothing of it is current, nor ever becomes so."""

    def rule(state: State[World]) -> bool:
        return state.actors[number].result != "conflict" or not rotated(state.world, WRITERS[number])

    return rule


WRITERS = ("alice", "bob")


def writers(name: str, alice: Program, bob: Program, *, budget: Budget) -> System[World]:
    """Two writers race over the secret."""
    rules: Mapping[str, Rule] = {
        "alice's conflict means that nothing of hers became current": truthful(0),
        "bob's conflict means that nothing of his became current": truthful(1),
        "no acknowledged write is lost to a Strongroom writer": no_write_is_lost,
        "a write that was written over does not come back": nothing_is_written_again,
    }
    programs = dict(zip(WRITERS, (alice, bob), strict=True))
    return System(f"put/{name}", START, programs, apply, WRITES, rules, None, budget)
