"""PROTOCOLS section 6 as code: workers of one rotation at a target, with claims in the companion.

Modelled: a target that lists its credentials, with the rotation id and epoch of whoever made them; the
companion as one register under compare-and-set; the ledger's epochs and states; two workers, of which any
may pause anywhere for as long as it likes, crash, or lose an answer. A worker asks the ledger before each
effect, so that a paused one does at most the effect that it was at. Not modelled: single slots (their set is
a put of one value), replacing a rejected value, people.

Each broken form leaves out one rule; the tests show which promise that rule keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from tests.models.ledger import ConflictError, UnknownError, done
from tests.models.replay import Budget, Call, Port, Program, Refused, State, System

STARTED, CREATED, TESTED, PROMOTED, REVOKING, DONE = (
    "started",
    "created",
    "tested",
    "promoted",
    "revoking",
    "done",
)
WRITES = frozenset({"issue", "withdraw", "claim", "hold", "promote", "record"})
AGAIN = frozenset({"UnknownError", "overtaken", "tried"})


class Made(NamedTuple):
    """A credential: which rotation's, and under which epoch; `number` tells two of one epoch apart."""

    rotation: str
    epoch: int
    number: int = 0


class Record(NamedTuple):
    """A rotation in the ledger; `made` is the epoch of the value that is held."""

    state: str = STARTED
    epoch: int = 0
    made: int = 0


class Companion(NamedTuple):
    """Claimed by a rotation's epoch, or holding its value."""

    rotation: str = ""
    epoch: int = 0
    value: Made | None = None


OLD = Made("r0", 0)


class World(NamedTuple):
    """`live` is what the target accepts; `current` what readers get."""

    live: frozenset[Made] = frozenset({OLD})
    issued: int = 0
    current: Made = OLD
    base: Made = OLD
    companion: Companion = Companion()
    record: Record = Record()


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the target, the store or the ledger, atomically."""
    return _CALLS[call.name](world, *call.args)


def _ledger(world: World) -> tuple[World, Hashable]:
    return world, world.record


def _take(world: World, most: int) -> tuple[World, Hashable]:
    """A claim of the ledger's record, once the lease of whoever had it is over; at most so often."""
    if world.record.epoch == most:
        return world, Refused("enough")
    record = world.record._replace(epoch=world.record.epoch + 1)
    return world._replace(record=record), record


def _record(world: World, epoch: int | None, state: str, made: int) -> tuple[World, Hashable]:
    """Under the epoch of the claim; without one, whatever it is."""
    if epoch not in (None, world.record.epoch):
        return world, Refused("overtaken")
    return world._replace(record=world.record._replace(state=state, made=made)), "ok"


def _companion(world: World) -> tuple[World, Hashable]:
    return world, world.companion


def _claim(world: World, seen: Companion, epoch: int) -> tuple[World, Hashable]:
    if world.companion != seen:
        return world, Refused("changed")
    return world._replace(companion=Companion("r1", epoch)), "ok"


def _hold(world: World, seen: Companion, value: Made) -> tuple[World, Hashable]:
    if world.companion != seen:
        return world, Refused("changed")
    return world._replace(companion=Companion("r1", seen.epoch, value)), "ok"


def _promote(world: World, value: Made) -> tuple[World, Hashable]:
    if world.current == value:
        return world, "ok"
    if world.current != world.base:
        return world, Refused("superseded")
    return world._replace(current=value), "ok"


def _live(world: World) -> tuple[World, Hashable]:
    return world, world.live


def _issue(world: World, epoch: int) -> tuple[World, Hashable]:
    """A hook has a hard limit, which is over long before the grace is."""
    if epoch < world.record.epoch and world.record.state in (REVOKING, DONE):
        return world, Refused("the hook's time is over")
    made = Made("r1", epoch, world.issued + 1)
    return world._replace(live=world.live | {made}, issued=world.issued + 1), made


def _withdraw(world: World, made: Made) -> tuple[World, Hashable]:
    return world._replace(live=world.live - {made}), "ok"


def _current(world: World) -> tuple[World, Hashable]:
    return world, world.current


_CALLS: Mapping[str, Callable[..., tuple[World, Hashable]]] = {
    "ledger": _ledger,
    "take": _take,
    "record": _record,
    "companion": _companion,
    "claim": _claim,
    "hold": _hold,
    "promote": _promote,
    "live": _live,
    "issue": _issue,
    "withdraw": _withdraw,
    "current": _current,
}


class OvertakenError(Exception):
    """Another worker has the rotation by now."""


class TriedError(Exception):
    """The step did not work out, and is tried again later."""


class Worker:
    """The steps of `strongroom.rotation.steps`, of a rotator with two slots."""

    def __init__(self, port: Port, most: int) -> None:
        self.port, self.most = port, most
        self.record = Record()

    def run(self) -> str:
        taken = self.port.call("take", self.most)
        if isinstance(taken, Refused):
            return "enough"
        self.record = taken
        self.epoch: int = taken.epoch
        while self.record.state != DONE:
            {
                STARTED: self.create,
                CREATED: self.test,
                TESTED: self.promote,
                PROMOTED: lambda: self.write(REVOKING),
                REVOKING: self.revoke,
            }[self.record.state]()
        return "ended"

    def check(self) -> None:
        if self.port.call("ledger").epoch != self.epoch:
            raise OvertakenError

    def write(self, state: str, made: int | None = None) -> None:
        made = self.record.made if made is None else made
        try:
            done(self.port.call("record", self.fence(), state, made))
        except ConflictError:
            raise OvertakenError from None
        self.record = Record(state, self.epoch, made)

    def fence(self) -> int | None:
        return self.epoch

    def create(self) -> None:
        seen: Companion = self.port.call("companion")
        if seen.value:
            return self.write(CREATED, seen.value.epoch)
        self.check()
        mine = self.claim(seen)
        self.check()
        self.reclaim(self.epoch)
        self.check()
        made = self.port.call("issue", self.epoch)
        if not isinstance(made, Made):
            raise UnknownError
        try:
            self.check()
        except OvertakenError:
            self.give_up(made)
            raise
        self.hold(mine, made)
        return self.write(CREATED, self.epoch)

    def claim(self, seen: Companion) -> Companion:
        mine = Companion("r1", self.epoch)
        if seen.epoch > self.epoch:
            raise OvertakenError
        try:
            done(self.port.call("claim", seen, self.epoch))
        except (ConflictError, UnknownError):
            if self.port.call("companion") != mine:
                raise TriedError from None
        return mine

    def removes(self, found: Made, epoch: int) -> bool:
        """Which credentials `reclaim` takes from the target."""
        return found.rotation == "r1" and found.epoch < epoch

    def reclaim(self, epoch: int) -> None:
        """A hook's whole body: nothing is asked between its effects."""
        live: frozenset[Made] = self.port.call("live")
        for found in sorted(live):
            if self.removes(found, epoch):
                done(self.port.call("withdraw", found))

    def hold(self, mine: Companion, made: Made) -> None:
        try:
            done(self.port.call("hold", mine, made))
        except (ConflictError, UnknownError):
            if self.port.call("companion").value == made:
                return
            self.give_up(made)
            raise TriedError from None

    def give_up(self, made: Made) -> None:
        """Nobody else could find what this worker made, and will not be held."""
        done(self.port.call("withdraw", made))

    def held(self) -> Made:
        value: Made | None = self.port.call("companion").value
        assert value is not None
        return value

    def test(self) -> None:
        self.prove(self.held())
        self.write(TESTED)

    def prove(self, value: Made) -> None:
        if value not in self.port.call("live"):
            raise TriedError

    def promote(self) -> None:
        value = self.held()
        self.prove(value)
        self.check()
        done(self.port.call("promote", value))
        self.write(PROMOTED)

    def revoke(self) -> None:
        current: Made = self.port.call("current")
        self.prove(current)
        self.check()
        done(self.port.call("withdraw", OLD))
        self.sweep()
        self.write(DONE)

    def sweep(self) -> None:
        """What a paused worker made after another had reclaimed bears a lower epoch than what is held."""
        self.reclaim(self.record.made)


class ClaimsNothing(Worker):
    """Obvious: the ledger's lease says whose turn it is."""

    def claim(self, seen: Companion) -> Companion:
        return seen


class HoldsOverAnyClaim(Worker):
    """Obvious: what is claimed holds no value yet, so it may be written over."""

    def hold(self, mine: Companion, made: Made) -> None:
        seen: Companion = self.port.call("companion")
        if seen.value:
            self.give_up(made)
            raise TriedError
        super().hold(seen, made)


class ReclaimsEveryEpoch(Worker):
    """Obvious: whatever bears this rotation's id, and is not held, was left behind."""

    def removes(self, found: Made, epoch: int) -> bool:
        return found.rotation == "r1"

    def sweep(self) -> None:
        """It would remove what is held."""


class NeverSweeps(Worker):
    """Obvious: `reclaim` has run before the value was made."""

    def sweep(self) -> None:
        """Nothing."""


class RecordsWithoutEpoch(Worker):
    """Obvious: what was proved is true, whoever proved it."""

    def fence(self) -> int | None:
        return None


WorkerClass = Callable[[Port, int], Worker]


def worker(most: int, kind: WorkerClass = Worker) -> Program:
    def program(port: Port) -> str:
        try:
            return kind(port, most).run()
        except OvertakenError:
            return "overtaken"
        except (TriedError, UnknownError):
            return "tried"

    return program


def is_accepted(state: State[World]) -> bool:
    return state.world.current in state.world.live


def nothing_unknown_is_live(state: State[World]) -> bool:
    """Once it is over and nobody is at it any more."""
    resting = not state.flying and all(actor.result is not None for actor in state.actors)
    over = state.world.record.state == DONE
    return not (resting and over) or state.world.live == {state.world.current}


def is_not_reopened(state: State[World]) -> bool:
    """Revoking has ended the old credential: whatever the ledger says after must know that."""
    return OLD in state.world.live or state.world.record.state in (REVOKING, DONE)


ACCEPTED, KNOWN, CLOSED_FOR_GOOD = (
    "what is current is accepted by the target",
    "no credential is live that nobody knows",
    "what was proved stays proved",
)
RULES: Mapping[str, Callable[[State[World]], bool]] = {
    ACCEPTED: is_accepted,
    KNOWN: nothing_unknown_is_live,
    CLOSED_FOR_GOOD: is_not_reopened,
}


def system(name: str, workers: int, most: int, budget: Budget, kind: WorkerClass = Worker) -> System[World]:
    """So many workers that start again, and take the rotation over at most so often in all."""

    def goal(state: State[World]) -> bool:
        return state.world.record.state == DONE or state.world.record.epoch == most

    programs = {f"worker {number}": worker(most, kind) for number in range(workers)}
    return System(f"rotation/{name}", World(), programs, apply, WRITES, RULES, goal, budget, AGAIN)
