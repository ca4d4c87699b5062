"""A small fleet on the simulated clock, and the same with real threads on the system's: they ask as often.

A busy machine makes the real one late, never early, so that of three tries the closest counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from strongroom.backend import Clock, Secret, Settings
from strongroom.cache import CachePolicy
from strongroom.errors import UnavailableError
from strongroom.names import Name
from strongroom.store import SecretStore
from tests.bench.fleet_network import Service, SimulatedBackend
from tests.bench.fleet_plan import Plan, Push, Rotation, Trouble
from tests.bench.fleet_providers import AWS
from tests.bench.fleet_runs import Run
from tests.bench.fleet_world import World

NOTHING = 1e-9
"""The share of a limit that lets nothing through."""
PLAN = Plan(
    2.5,
    instances=3,
    sample=3,
    secrets=4,
    reads=50.0,
    policy=CachePolicy(fresh=0.4, stale=30.0),
    start="singly",
)


class _Elapsed(World):
    """The system's time where the simulation has its own."""

    def __init__(self, seed: int):
        self._began = time.monotonic()
        super().__init__(seed)

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    @now.setter
    def now(self, _: float) -> None:
        """Nobody sets it."""

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(seconds)


class _Real:
    """A fleet of real stores on the system's clock, and how long each took to serve a change."""

    def __init__(self, plan: Plan):
        self.plan, self._over = plan, threading.Event()
        self.world = _Elapsed(1)
        self.service = Service(self.world, AWS, 1.0, plan.limits)
        self.rotated, self.news = 0.0, list[float]()
        self.stores = [self._store() for _ in range(plan.instances)]
        self.names = [f"app/{number:03}" for number in range(plan.secrets)]

    def _store(self) -> SecretStore:
        backend = SimulatedBackend(self.world, self.service)
        backend._settings = Settings(clock=Clock())
        store = SecretStore(backend, cache=self.plan.policy)
        cache = store._reads._cache
        assert cache is not None
        cache.landed = self._landed
        return store

    def _landed(self, name: Name, secret: Secret) -> None:
        if secret.version == "2":
            self.news.append(self.world.now - self.rotated)

    def _read(self, store: SecretStore, name: str) -> None:
        while not self._over.wait(1 / self.plan.reads):
            try:
                store.get(name)
            except UnavailableError:
                continue

    def moments(self, *seconds: float) -> Iterator[None]:
        """Readers read; at each of these seconds something may happen, and after the last it is over."""
        reading = [(store, name) for store in self.stores for name in self.names]
        readers = [threading.Thread(target=self._read, args=one, daemon=True) for one in reading]
        for reader in readers:
            reader.start()
        for second in seconds:
            self._over.wait(second - self.world.now)
            yield
        self._over.set()
        for reader in readers:
            reader.join(10)
        self.close()

    def close(self) -> None:
        for store in self.stores:
            store.close()


def refreshing(plan: Plan) -> float:
    """Requests of a fleet that reads, and nothing happens."""
    real = _Real(plan)
    for _ in real.moments(plan.seconds):
        pass
    return real.service.asked("GetSecretValue").total()


def browned_out(plan: Plan) -> float:
    """Refused requests of a fleet that nothing is let through to for a while."""
    assert plan.trouble
    real = _Real(plan)
    happening = real.moments(plan.trouble.since, plan.trouble.until, plan.seconds)
    for share in (NOTHING, 1.0):
        next(happening)
        real.service.squeeze(share)
    for _ in happening:
        pass
    return real.service.refused["GetSecretValue"].total()


def hinted(plan: Plan) -> float:
    """Seconds, on average, from a change until each instance has it, which it was told of at once."""
    real = _Real(plan)
    for store in real.stores:
        store.prefetch(real.names)
    real.rotated = real.world.now
    real.service.versions.update(dict.fromkeys(real.names, 2))
    for store in real.stores:
        for name in real.names:
            store.hint(name)
    deadline = time.monotonic() + 10
    while len(real.news) < plan.instances * plan.secrets and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    real.close()
    return sum(real.news) / len(real.news)


def closest(real: Callable[[Plan], float], plan: Plan, simulated: float, within: float) -> float:
    """What is measured, tried until it is close enough, at most three times."""
    for _ in range(3):
        measured = real(plan)
        if measured == pytest.approx(simulated, rel=within):
            break
    return measured


def test_a_fleet_that_refreshes() -> None:
    simulated = Run(PLAN).services[0].asked("GetSecretValue").total()
    assert closest(refreshing, PLAN, simulated, 0.15) == pytest.approx(simulated, rel=0.15)


def test_a_fleet_through_a_brownout() -> None:
    """Attempts, and the pauses between them, while a limit lets nothing through."""
    plan = replace(PLAN, trouble=Trouble(since=0.8, until=2.3, share=NOTHING))
    simulated = Run(plan).services[0].refused["GetSecretValue"].total()
    assert closest(browned_out, plan, simulated, 0.2) == pytest.approx(simulated, rel=0.2)


def test_a_fleet_that_is_told_of_changes() -> None:
    """A hint of each of ten secrets to each of ten instances, whose reads are spread over half a second."""
    plan = replace(
        PLAN,
        instances=10,
        sample=10,
        secrets=10,
        reads=1.0,
        policy=CachePolicy(fresh=1000.0, stale=1000.0, spread=0.5),
        start="warm",
        push=Push(delay=1e-6),
        rotations=tuple(Rotation(0.5, number) for number in range(10)),
    )
    news = [second for each in Run(plan).heard.news.values() for second in each]
    simulated = sum(news) / len(news)
    assert len(news) == 100
    assert closest(hinted, plan, simulated, 0.25) == pytest.approx(simulated, rel=0.25)
