"""PROTOCOLS section 5 as code: rollback and revoke, over any provider with versions and compare-and-set.

Modelled: a secret whose rotation r1 is in grace (`v1` replaced by `v2`), operators who roll back, the worker
that revokes at the end of grace, the next rotation; crashes between any two calls, lost answers, late calls.
Revoking a credential at the target cannot be undone. Not modelled: `test_secret` on current before revoking
(a late `set_secret`), a native rollback by hand, replicas. Each broken form is an older or more obvious
design that replaces one step; the tests show what is found in it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from tests.models.ledger import ANY, NONE, Client, ConflictError, Ledger, UnknownError, done, keep
from tests.models.replay import Budget, Call, Port, Program, Refused, State, System

GRACE, REVOKING, DONE, ROLLED_BACK = "grace", "revoking", "done", "rolled back"
WRITES = frozenset({"put", "move", "revoke", "retire", "advance"})
AGAIN = frozenset({"UnknownError", "not yet"})


class World(NamedTuple):
    """`texts[n-1]` is version n. `history` is the checker's: what became current, and by whom."""

    texts: tuple[str, ...] = ("old", "bad")
    current: int = 2
    previous: int = 1
    retired: frozenset[int] = frozenset()
    revoked: frozenset[str] = frozenset()
    history: tuple[tuple[int, str], ...] = ((1, ""), (2, "r1"))
    ledger: Ledger = (("r1", GRACE),)


def apply(world: World, actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the provider, the target or the ledger, atomically."""
    if call.name in ("ledger", "advance"):
        ledger, answer = keep(world.ledger, call)
        return world._replace(ledger=ledger), answer
    if call.name == "stages":
        return world, (world.current, world.previous)
    if call.name == "read":
        return world, _read(world, call.args[0])
    if call.name == "revoke":
        return world._replace(revoked=world.revoked | {call.args[0]}), "ok"
    if call.name == "retire":
        return world._replace(retired=world.retired | {call.args[0]}), "ok"
    return _write(world, actor, call)


def _read(world: World, number: int) -> str | Refused:
    if number > len(world.texts) or number in world.retired:
        return Refused("missing")
    return world.texts[number - 1]


def _write(world: World, actor: str, call: Call) -> tuple[World, Hashable]:
    """A put of a new version, or a move of the stage to an old one, over the version that the caller
    expects."""
    what, expected = call.args
    if world.current != expected:
        return world, Refused("current is another", world.current)
    number = len(world.texts) + 1 if call.name == "put" else what
    texts = (*world.texts, what) if call.name == "put" else world.texts
    history = (*world.history, (number, actor))
    return world._replace(texts=texts, current=number, previous=expected, history=history), number


class Provider(Client):
    """The calls of the protocols, by name."""

    def stages(self) -> tuple[int, int]:
        """The numbers of current and previous, in one answer."""
        current, previous = self.port.call("stages")
        return current, previous

    def read(self, number: int) -> str | None:
        text = self.port.call("read", number)
        return text if isinstance(text, str) else None

    def write(self, how: str, what: Hashable, *rest: Hashable) -> str:
        return done(self.port.call(how, what, *rest))


class Rollback:
    """`rollback(if_version=bad)`: the previous value as a NEW version, the ledger moved first."""

    def __init__(self, provider: Provider, bad: int | None) -> None:
        self.provider = provider
        self.bad = bad

    def run(self) -> str:
        current, previous = self.provider.stages()
        if self.bad not in (None, current):
            return "conflict"
        text = self.provider.read(previous)
        if text is None:
            return "refused"
        if not self.cancel_revoke():
            return "refused"
        return self.restore(text, previous, current)

    def cancel_revoke(self) -> bool:
        """True if the revoke of the previous value can no longer begin."""
        try:
            self.provider.advance("r1", GRACE, ROLLED_BACK)
        except ConflictError:
            return self.provider.ledger("r1") == ROLLED_BACK
        return True

    def restore(self, text: str, previous: int, current: int) -> str:
        try:
            self.provider.write("put", text, current)
        except ConflictError:
            return "conflict"
        except UnknownError:
            if self.provider.read(current + 1) != text:
                raise
        return "ok"


class Revoke:
    """The end of grace: nothing is revoked before the ledger says so, under compare-and-set."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def run(self, rotation: str, victim: int, text: str) -> str:
        if not self.begin(rotation):
            return "cancelled"
        current, _ = self.provider.stages()
        if self.provider.read(current) == text:
            return "refused"
        self.provider.write("revoke", text)
        self.provider.write("retire", victim)
        self.provider.advance(rotation, REVOKING, DONE)
        return "ok"

    def begin(self, rotation: str) -> bool:
        try:
            self.provider.advance(rotation, GRACE, REVOKING)
        except ConflictError:
            return self.provider.ledger(rotation) == REVOKING
        return True


def operator(bad: int | None = 2, kind: Callable[[Provider, int | None], Rollback] = Rollback) -> Program:
    """Rolls back; started again after an unknown outcome, as a person would."""

    def program(port: Port) -> str:
        try:
            return kind(Provider(port), bad).run()
        except UnknownError:
            return "UnknownError"

    return program


def revoker(kind: Callable[[Provider], Revoke] = Revoke) -> Program:
    def program(port: Port) -> str:
        try:
            return kind(Provider(port)).run("r1", 1, "old")
        except ConflictError:
            return "ok"
        except UnknownError:
            return "UnknownError"

    return program


def next_rotation(port: Port) -> str:
    """Begins once r1 is over, promotes over what is current then, and revokes that in its turn."""
    provider = Provider(port)
    try:
        if provider.ledger("r2") == NONE:
            if provider.ledger("r1") not in (DONE, ROLLED_BACK):
                return "not yet"
            promote_next(provider)
        victim = int(str(provider.ledger("victim")))
        text = provider.read(victim)
        return "ok" if text is None else Revoke(provider).run("r2", victim, text)
    except (ConflictError, UnknownError):
        return "UnknownError"


def promote_next(provider: Provider) -> None:
    """The base is written down before the promote, as the companion or the private label does it."""
    base, _ = provider.stages()
    if provider.ledger("victim") == NONE:
        provider.advance("victim", NONE, base)
    victim = int(str(provider.ledger("victim")))
    lost = False
    try:
        provider.write("put", "new", victim)
    except ConflictError:
        pass
    except UnknownError:
        lost = True
    after = provider.read(victim + 1)
    if after is None and lost:
        raise UnknownError
    provider.advance("r2", NONE, GRACE if after == "new" else ROLLED_BACK)


class MovesStages(Rollback):
    """Obvious: move the stage back to the version that was good."""

    def restore(self, text: str, previous: int, current: int) -> str:
        try:
            self.provider.write("move", previous, current)
        except ConflictError:
            return "conflict"
        return "ok"


class IgnoresLedger(Rollback):
    """Obvious: a rollback is a write like any other."""

    def cancel_revoke(self) -> bool:
        return True


class MovesWithoutLedger(MovesStages):
    def cancel_revoke(self) -> bool:
        return True


class RevokesBlindly(Revoke):
    """Obvious: see that grace is over in the ledger, then write that revoking begins."""

    def begin(self, rotation: str) -> bool:
        if self.provider.ledger(rotation) not in (GRACE, REVOKING):
            return False
        self.provider.advance(rotation, ANY, REVOKING)
        return True


Rule = Callable[[State[World]], bool]


def revoked_never_returns(state: State[World]) -> bool:
    return state.world.texts[state.world.current - 1] not in state.world.revoked


def rolled_back_stays_away(state: State[World]) -> bool:
    texts = [state.world.texts[number - 1] for number, _ in state.world.history]
    return texts.count("bad") == 1


def acts_once(state: State[World]) -> bool:
    actors = [actor for _, actor in state.world.history]
    return all(actors.count(name) <= 1 for name in ("ann", "ben"))


RULES: Mapping[str, Rule] = {
    "a revoked version never becomes current again": revoked_never_returns,
    "a value rolled back from stays away": rolled_back_stays_away,
}


def over(state: State[World]) -> bool:
    """Nothing is left half done: the ledger has r1 revoked or rolled back, and whoever acts has finished."""
    finished = all(actor.result is not None and actor.result not in AGAIN for actor in state.actors)
    return finished and dict(state.world.ledger)["r1"] in (DONE, ROLLED_BACK)


def system(
    name: str, programs: Mapping[str, Program], budget: Budget, rules: Mapping[str, Rule] = RULES
) -> System[World]:
    return System(f"rollback/{name}", World(), programs, apply, WRITES, rules, over, budget, AGAIN)
