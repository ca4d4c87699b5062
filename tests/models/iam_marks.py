"""Whose an IAM access key is, though it takes no tag: marks on the user, and workers that pause and die.

Modelled: a user with two slots, of which the current key has one; a mark for each attempt, which names the
keys that were there; the ledger's epochs; the claim under which a value is held. A worker asks the ledger
before each effect, so that a paused one does at most the effect that it was at; one that never goes on has
died. Not modelled: time, by which a key made much later than its mark is nobody's; eventual consistency.

Each broken form leaves out one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

CURRENT = 0
SLOTS = 2
KEPT, RESUMES = "the value that is held stays good", "a worker that nobody disturbs comes to the end"


class Mark(NamedTuple):
    """An attempt; `number` is when it was written."""

    epoch: int
    before: frozenset[int]
    number: int


class Worker(NamedTuple):
    """At which step it is, under which epoch, and what it has seen; `victims` are still to be deleted."""

    step: str = "claim"
    epoch: int = 0
    keys: frozenset[int] = frozenset()
    marks: frozenset[Mark] = frozenset()
    victims: frozenset[int] = frozenset()


class World(NamedTuple):
    """`claim` is the epoch under which a value may be held; `held` the key of the one that is."""

    keys: frozenset[int] = frozenset({CURRENT})
    marks: frozenset[Mark] = frozenset()
    made: int = 0
    marked: int = 0
    epoch: int = 0
    claim: int = 0
    held: int | None = None
    workers: tuple[Worker, ...] = ()


class Marks:
    """The model, in its right form: one mark for each epoch, read after the keys.

    Args:
        name: of the case.
        workers: how many take the rotation over, one after another, and may each pause for ever.
    """

    goal: Callable[[World], bool] | None = None
    asks = True
    order = ("claim", "keys", "marks", "delete", "before", "mark", "create", "hold")

    def __init__(self, name: str, workers: int):
        self.name, self._most = name, workers
        self.invariants: Mapping[str, Callable[[World], bool]] = {
            KEPT: lambda world: world.held is None or world.held in world.keys,
            RESUMES: self._resumes,
        }

    def initial(self) -> Iterable[World]:
        return [World()]

    def successors(self, world: World) -> Iterator[tuple[str, World]]:
        if world.epoch < self._most and world.held is None:
            epoch = world.epoch + 1
            yield (
                f"{epoch} takes over",
                world._replace(epoch=epoch, workers=(*world.workers, Worker(epoch=epoch))),
            )
        for number, worker in enumerate(world.workers):
            for after, moved in self._steps(world, worker):
                workers = (*world.workers[:number], moved, *world.workers[number + 1 :])
                yield f"{worker.epoch} {worker.step}", after._replace(workers=workers)

    def attributed(self, key: int, marks: Iterable[Mark]) -> int | None:
        """The highest epoch that may have made it, so that nobody takes a later worker's for his own."""
        return max((mark.epoch for mark in marks if key not in mark.before), default=None)

    def left(self, marks: frozenset[Mark], new: Mark) -> frozenset[Mark]:
        """The marks, when one is written."""
        return frozenset(mark for mark in marks if mark.epoch != new.epoch) | {new}

    def _steps(self, world: World, worker: Worker) -> Iterator[tuple[World, Worker]]:
        """The one thing that it does next; between a check and its effect it may be overtaken."""
        if worker.step in ("delete!", "mark!", "create!"):
            yield self._effect(world, worker)
        elif worker.step in ("delete", "mark", "create"):
            if worker.step == "delete" and not worker.victims:
                yield world, worker._replace(step="before")
            elif not self.asks or world.epoch == worker.epoch:
                yield world, worker._replace(step=f"{worker.step}!")
        elif worker.step != "end":
            yield self._plain(world, worker)

    def _plain(self, world: World, worker: Worker) -> tuple[World, Worker]:
        following = (*self.order, "end")[self.order.index(worker.step) + 1]
        moved = worker._replace(step=following)
        if worker.step == "claim":
            if world.held is not None or world.claim > worker.epoch:
                return world, worker._replace(step="end")
            return world._replace(claim=worker.epoch), moved
        if worker.step == "hold":
            mine = world.claim == worker.epoch and world.held is None
            key = max(worker.victims)
            return (world._replace(held=key) if mine else world), moved
        if worker.step in ("keys", "before"):
            moved = moved._replace(keys=world.keys)
        if worker.step == "marks":
            moved = moved._replace(marks=world.marks)
        return world, self._judged(moved) if following == "delete" else moved

    def _judged(self, worker: Worker) -> Worker:
        found = {key: self.attributed(key, worker.marks) for key in worker.keys - {CURRENT}}
        victims = {key for key, epoch in found.items() if epoch is not None and epoch < worker.epoch}
        return worker._replace(victims=frozenset(victims))

    def _effect(self, world: World, worker: Worker) -> tuple[World, Worker]:
        if worker.step == "delete!":
            key = min(worker.victims)
            left = worker._replace(step="delete", victims=worker.victims - {key})
            return world._replace(keys=world.keys - {key}), left
        if worker.step == "mark!":
            mark = Mark(worker.epoch, worker.keys, world.marked + 1)
            marks = self.left(world.marks, mark)
            return world._replace(marks=marks, marked=mark.number), worker._replace(step="create")
        if len(world.keys) >= SLOTS:
            return world, worker._replace(step="end")  # LimitExceeded: a later attempt reclaims
        key = world.made + 1
        made = world._replace(keys=world.keys | {key}, made=key)
        return made, worker._replace(step="hold", victims=frozenset({key}))

    def _resumes(self, world: World) -> bool:
        """One more worker, with all others asleep."""
        if world.held is not None:
            return True
        epoch = world.epoch + 1
        world, worker = world._replace(epoch=epoch), Worker(epoch=epoch)
        while worker.step != "end":
            [(world, worker)] = self._steps(world, worker)
        return world.held is not None and world.keys == {CURRENT, world.held}


class Unasked(Marks):
    """The ledger is not asked before an effect: it was, for all that a worker knows, a moment ago."""

    asks = False


class OneMark(Marks):
    """One tag for all attempts: a paused worker's overwrites a later one's."""

    def left(self, marks: frozenset[Mark], new: Mark) -> frozenset[Mark]:
        return frozenset({new})


class LatestMark(Unasked):
    """By the time of the mark: a paused worker's is the latest."""

    def attributed(self, key: int, marks: Iterable[Mark]) -> int | None:
        latest = max((mark for mark in marks if key not in mark.before), key=lambda m: m.number, default=None)
        return latest.epoch if latest else None


class MarksFirst(Unasked):
    """The marks are read before the keys."""

    order = ("claim", "marks", "keys", "delete", "before", "mark", "create", "hold")


class EveryEpoch(Unasked):
    """Whatever a mark speaks of is deleted, a later worker's too."""

    def attributed(self, key: int, marks: Iterable[Mark]) -> int | None:
        return -1 if super().attributed(key, marks) is not None else None


class NoMarks(Marks):
    """Nothing tells whose a key is."""

    def left(self, marks: frozenset[Mark], new: Mark) -> frozenset[Mark]:
        return frozenset()
