"""Simulated time for real code: what waits gives way, and the clock goes on to what happens next.

The library blocks: it sleeps between attempts, waits for another thread's answer, and starts threads. Here
each of these is a greenlet on one heap of events, so that the same lines run in simulated time, in one order
that a seed decides.
"""

from __future__ import annotations

import heapq
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import greenlet

from strongroom.backend import Clock

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
Call = Callable[[], object]


class World:
    """Time, in seconds from the start, and what is to happen.

    Args:
        seed: of all chance.

    Attributes:
        now: simulated seconds.
        chance: the only source of chance.
        events: how many have happened.
    """

    def __init__(self, seed: int):
        self.now = 0.0
        self.chance = random.Random(seed)
        self.events = 0
        self._heap: list[tuple[float, int, Call]] = []
        self._count = 0
        self._hub = greenlet.getcurrent()
        self._living: set[greenlet.greenlet] = set()

    def at(self, when: float, call: Call) -> None:
        """Let something that does not wait happen then; of two at one time the first that was told."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, call))

    def spawn(self, call: Call) -> None:
        """Run something that may wait, from now on."""
        self.at(self.now, lambda: self._begin(call))

    def _begin(self, call: Call) -> None:
        def run() -> None:
            call()
            self._living.discard(greenlet.getcurrent())

        begun = greenlet.greenlet(run, self._hub)
        self._living.add(begun)
        begun.switch()

    def sleep(self, seconds: float) -> None:
        """Let the others go on for so long."""
        self.at(self.now + seconds, greenlet.getcurrent().switch)
        self._hub.switch()

    def give_way(self) -> None:
        """Wait until somebody switches back."""
        self._hub.switch()

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, call = pop(heap)
            self.events += 1
            call()
        self.now = until

    def _end(self) -> None:
        """End those that wait, while they still have this world's threads."""
        while self._living:
            waiting = self._living.pop()
            if not waiting.dead:
                waiting.throw()
        self._heap.clear()

    @contextmanager
    def threads(self) -> Iterator[None]:
        """A block in which Strongroom's modules have this world's threads, events and chance."""
        ours = _threading(self)
        changed = [
            (module, name, theirs, mine)
            for module in _modules()
            for name, theirs, mine in (("threading", threading, ours), ("random", random, self.chance))
            if getattr(module, name, None) is theirs
        ]
        for module, name, _, mine in changed:
            setattr(module, name, mine)
        log = logging.getLogger("strongroom")
        level = log.level
        log.setLevel(logging.CRITICAL)  # each simulated process would warn on this one's terminal
        try:
            yield
        finally:
            self._end()
            log.setLevel(level)
            for module, name, theirs, _ in changed:
                setattr(module, name, theirs)


class WorldClock(Clock):
    """A world's time as the library's clock."""

    def __init__(self, world: World):
        self._world = world
        self.sleep = world.sleep  # type: ignore[method-assign]
        self.chance = world.chance.random  # type: ignore[method-assign]

    def now(self) -> datetime:
        return START + timedelta(seconds=self._world.now)

    def monotonic(self) -> float:
        return self._world.now

    def wait(self, event: Any, seconds: float | None) -> bool:
        return bool(event.wait(seconds))


class _Event:
    """A `threading.Event` in a world."""

    __slots__ = ("_set", "_waiting", "_world")

    def __init__(self, world: World):
        self._world, self._set = world, False
        self._waiting: list[_Waiter] = []

    def is_set(self) -> bool:
        return self._set

    def clear(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            self._world.at(self._world.now, waiter.wake)

    def wait(self, timeout: float | None = None) -> bool:
        if self._set or (timeout is not None and timeout <= 0):
            return self._set
        waiter = _Waiter()
        self._waiting.append(waiter)
        if timeout is not None:
            self._world.at(self._world.now + timeout, waiter.wake)
        self._world.give_way()
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        return self._set


class _Waiter:
    """One who waits; woken once."""

    __slots__ = ("_greenlet",)

    def __init__(self) -> None:
        self._greenlet: greenlet.greenlet | None = greenlet.getcurrent()

    def wake(self) -> None:
        waiting, self._greenlet = self._greenlet, None
        if waiting is not None:
            waiting.switch()


def _threading(world: World) -> SimpleNamespace:
    """What Strongroom takes from `threading`, in this world. Locks stay: nobody waits while holding one."""

    class Thread:
        def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), **_facts: object):
            self._target, self._args, self._done = target, args, _Event(world)

        def start(self) -> None:
            world.spawn(self._run)

        def _run(self) -> None:
            self._target(*self._args)
            self._done.set()

        def join(self) -> None:
            self._done.wait()

    return SimpleNamespace(
        Event=lambda: _Event(world),
        Thread=Thread,
        Lock=threading.Lock,
        RLock=threading.RLock,
        get_ident=lambda: id(greenlet.getcurrent()),
    )


def _modules() -> list[ModuleType]:
    return [module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] == "strongroom"]
