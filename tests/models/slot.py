"""PROTOCOLS section 6 for a target with one slot: what a hook that is late sets, and who waits for it.

Modelled: a target that accepts one value; two rotations, one after the other; workers that pause anywhere,
crash, and start again; a person who aborts. A hook has a hard limit, so whoever waits for it waits for a
bounded time: here it waits until the paused call has been made, or its process has died. Each broken form
leaves out one rule; the tests show what is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from tests.models.ledger import ConflictError, UnknownError, done
from tests.models.replay import Budget, Call, Lost, Port, Program, Refused, State, System

NONE, CREATED, SET, ENDING, DONE, ABORTED = "none", "created", "set", "ending", "done", "aborted"
CLOSED = frozenset({DONE, ABORTED})
WRITES = frozenset({"set", "promote", "record", "begin", "abort", "fence"})
AGAIN = frozenset({"overtaken", "tried", "UnknownError"})
MOST = 2
"""How often a rotation is taken over, besides its first worker."""


class Record(NamedTuple):
    """A rotation in the ledger; `base` is the version that was current when it began."""

    state: str = NONE
    epoch: int = 0
    base: int = 0
    value: str = ""


class World(NamedTuple):
    """`inside` has the workers that are in a hook: it is shorter than a lease, and so is its delay."""

    target: str = "old"
    current: str = "old"
    version: int = 1
    records: tuple[Record, Record] = (Record(), Record())
    inside: frozenset[tuple[str, int, int]] = frozenset()

    def record(self, rotation: int, record: Record) -> World:
        first, second = self.records
        return self._replace(records=(record, second) if rotation == 0 else (first, record))

    def quiet(self, rotation: int) -> bool:
        """Whether no worker that was overtaken can be in a hook of this rotation."""
        epoch = self.records[rotation].epoch
        return not any(of == rotation and its < epoch for _, of, its in self.inside)


def apply(world: World, actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the target, the store or the ledger, atomically."""
    return _CALLS[call.name](world, actor, *call.args)


def _begin(world: World, _actor: str, rotation: int, waits: bool) -> tuple[World, Hashable]:
    record = world.records[rotation]
    if record.state != NONE:
        return world, record
    if rotation and (world.records[0].state not in CLOSED or (waits and not world.quiet(0))):
        return world, Refused("in progress")
    begun = Record(CREATED, 0, world.version, f"r{rotation + 1}")
    return world.record(rotation, begun), begun


def _take(world: World, actor: str, rotation: int) -> tuple[World, Hashable]:
    """Whoever starts again is in no hook any more."""
    world = world._replace(inside=frozenset(one for one in world.inside if one[0] != actor))
    record = world.records[rotation]
    if record.state in CLOSED:
        return world, record
    if record.epoch > MOST:
        return world, Refused("enough")
    taken = record._replace(epoch=record.epoch + 1)
    return world.record(rotation, taken), taken


def _abort(world: World, _actor: str) -> tuple[World, Hashable]:
    record = world.records[0]
    if record.state not in (CREATED, SET) or record.epoch > MOST:
        return world, Refused("too late")
    return world.record(0, record._replace(state=ENDING, epoch=record.epoch + 1)), "ok"


def _record(world: World, _actor: str, rotation: int, epoch: int, state: str) -> tuple[World, Hashable]:
    record = world.records[rotation]
    if record.epoch != epoch:
        return world, Refused("overtaken")
    return world.record(rotation, record._replace(state=state)), "ok"


def _enter(world: World, actor: str, rotation: int, epoch: int) -> tuple[World, Hashable]:
    """Renewing the lease, right before a hook."""
    if world.records[rotation].epoch != epoch:
        return world, Refused("overtaken")
    return world._replace(inside=world.inside | {(actor, rotation, epoch)}), "ok"


def _set(world: World, actor: str, value: str) -> tuple[World, Hashable]:
    inside = frozenset(one for one in world.inside if one[0] != actor)
    return world._replace(target=value, inside=inside), "ok"


def _promote(world: World, _actor: str, base: int, value: str) -> tuple[World, Hashable]:
    if world.current == value:
        return world, "ok"
    if world.version != base:
        return world, Refused("superseded")
    return world._replace(current=value, version=base + 1), "ok"


def _fence(world: World, _actor: str, base: int) -> tuple[World, Hashable]:
    """Current's value once more, over the base: a late promote finds another version."""
    if world.version == base:
        world = world._replace(version=base + 1)
    return world, world.current


_CALLS: Mapping[str, Callable[..., tuple[World, Hashable]]] = {
    "begin": _begin,
    "take": _take,
    "abort": _abort,
    "record": _record,
    "enter": _enter,
    "set": _set,
    "promote": _promote,
    "fence": _fence,
    "quiet": lambda world, _actor, rotation: (world, world.quiet(rotation)),
    "accepts": lambda world, _actor, value: (world, world.target == value),
}


def answered(answer: Hashable) -> Hashable:
    """An answer that says something, or the error that it means."""
    if isinstance(answer, Refused | Lost):
        done(answer)
    return answer


class Worker:
    """Carries one rotation on."""

    waits_to_begin = True
    waits_to_end = True

    def __init__(self, port: Port, rotation: int) -> None:
        self.port, self.rotation = port, rotation

    def run(self) -> str:
        answered(self.port.call("begin", self.rotation, self.waits_to_begin))
        taken = self.port.call("take", self.rotation)
        if not isinstance(taken, Record):
            return "enough"
        self.record = taken
        while self.record.state not in CLOSED:
            {CREATED: self.set, SET: self.promote, ENDING: self.end}[self.record.state]()
        return "ended"

    def value(self) -> str:
        """What is pending: the same for every worker."""
        return self.record.value

    def write(self, state: str) -> None:
        try:
            done(self.port.call("record", self.rotation, self.record.epoch, state))
        except ConflictError:
            raise OvertakenError from None
        self.record = self.record._replace(state=state)

    def hook(self, value: str) -> None:
        try:
            done(self.port.call("enter", self.rotation, self.record.epoch))
        except ConflictError:
            raise OvertakenError from None
        done(self.port.call("set", value))

    def set(self) -> None:
        self.hook(self.value())
        self.write(SET)

    def promote(self) -> None:
        if not self.port.call("accepts", self.value()):
            self.hook(self.value())
        if not self.port.call("accepts", self.value()):
            raise TriedError
        self.write(SET)  # which asks the ledger whether it is this worker's still
        done(self.port.call("promote", self.record.base, self.value()))
        self.write(DONE)

    def end(self) -> None:
        if self.waits_to_end and not self.port.call("quiet", self.rotation):
            raise TriedError
        current = self.fenced()
        if current == self.value():
            return self.write(DONE)
        self.hook(current)
        return self.write(ABORTED)

    def fenced(self) -> str:
        """What is current for good, as far as this rotation goes."""
        return str(answered(self.port.call("fence", self.record.base)))


class BeginsAtOnce(Worker):
    """Obvious: the rotation before is over, so the next may begin."""

    waits_to_begin = False


class EndsAtOnce(Worker):
    """Obvious: the worker is fenced, so the target can be set back."""

    waits_to_end = False


class EndsUnfenced(Worker):
    """Obvious: what is current is what it was when the rotation began."""

    def fenced(self) -> str:
        return "old"


class MakesAnother(Worker):
    """Obvious: who takes over makes a value of its own."""

    def value(self) -> str:
        return f"{self.record.value} of {self.record.epoch}"


class OvertakenError(Exception):
    """Another worker has the rotation by now."""


class TriedError(Exception):
    """The step did not work out, and is tried again later."""


def worker(rotation: int, kind: Callable[[Port, int], Worker] = Worker) -> Program:
    def program(port: Port) -> str:
        try:
            return kind(port, rotation).run()
        except OvertakenError:
            return "overtaken"
        except (TriedError, ConflictError):
            return "tried"
        except UnknownError:
            return "UnknownError"

    return program


def aborter(port: Port) -> str:
    return "refused" if isinstance(port.call("abort"), Refused) else "aborted"


ACCEPTED = "once rotations are over, the target accepts what is current"


def is_accepted(state: State[World]) -> bool:
    """A worker that was overtaken may still be at it: what it sets late is what is current, or undone."""
    begun = [record for record in state.world.records if record.state != NONE]
    over = all(record.state in CLOSED for record in begun)
    return not over or state.world.target == state.world.current


def system(name: str, programs: Mapping[str, Program], budget: Budget) -> System[World]:
    last = 1 if "next" in programs else 0

    def goal(state: State[World]) -> bool:
        records = state.world.records
        return records[last].state in CLOSED or any(record.epoch > MOST for record in records)

    rules = {ACCEPTED: is_accepted}
    return System(f"rotation/{name}", World(), programs, apply, WRITES, rules, goal, budget, AGAIN)
