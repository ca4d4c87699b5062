"""One run: a fleet, and what happens to it."""

from __future__ import annotations

import math

from strongroom.backend import Backend
from strongroom.layers.failover import Failover
from strongroom.names import Name

from .fleet_instances import Heard, Instance
from .fleet_network import Service, SimulatedBackend, record_of
from .fleet_plan import Plan, Rotation
from .fleet_providers import PROVIDERS
from .fleet_world import World, WorldClock


class Run:
    """A plan, carried out.

    Args:
        plan: what happens.
        seed: of all chance.

    Attributes:
        heard: what was noted.
        services: each region's.
        events: how many there were.
        plan: what happened.
    """

    def __init__(self, plan: Plan, seed: int = 1):
        self.plan = plan
        self.heard = Heard()
        self._world = World(seed)
        provider = PROVIDERS[plan.provider]
        self.services = [
            Service(self._world, provider, plan.weight, plan.limits) for _ in range(plan.regions)
        ]
        self._names = [f"app/{number:03}" for number in range(plan.secrets)]
        with self._world.threads():
            self._instances = [self._instance() for _ in range(plan.sample)]
            self._begin()
            self._world.run(plan.seconds)
            for instance in self._instances:
                instance.end()
        self.events = self._world.events

    def _instance(self) -> Instance:
        return Instance(self._world, self._backend, self.plan, self._names, self.heard)

    def _backend(self) -> Backend:
        """A new process's; of a fleet that has been running it knows what it has read."""
        plan, warm = self.plan, self.plan.start == "warm"
        members = {
            region: SimulatedBackend(self._world, service, region, records=plan.records and plan.regions > 1)
            for region, service in zip("ab", self.services, strict=False)
        }
        if warm:
            members["a"].meet(self._names)
        if not plan.breaker and len(members) == 1:
            return members["a"]
        failover = Failover(members, clock=WorldClock(self._world))
        for name in self._names if warm and plan.records and plan.regions > 1 else ():
            failover._sights.heard(Name.parse(name), record_of(1), first=True)
        return failover

    def _begin(self) -> None:
        plan, world = self.plan, self._world
        for number, instance in enumerate(self._instances):
            if plan.start == "warm":
                instance.warmed()
                instance.go_on()
            else:
                # Their starts are spread evenly: a sample of them leaves no gap and no heap.
                at = plan.within * (number + 0.5) / plan.sample
                world.at(at, lambda one=instance: self._start(one))  # type: ignore[misc]
            if plan.watch:
                instance.watch()
        for rotation in plan.rotations:
            world.at(rotation.at, lambda one=rotation: self._rotated(one))  # type: ignore[misc]
        if plan.trouble:
            world.at(plan.trouble.since, lambda: self._trouble(plan.trouble.share if plan.trouble else 0.0))
            world.at(plan.trouble.until, lambda: self._trouble(1.0))

    def _start(self, instance: Instance) -> None:
        self._world.spawn(instance.start)

    def _rotated(self, rotation: Rotation) -> None:
        name = self._names[rotation.secret]
        version = self.services[0].versions.get(name, 1) + 1
        self.heard.rotated[name, version] = self._world.now
        for service in self.services:
            service.versions[name] = version
        push, chance = self.plan.push, self._world.chance
        for instance in self._instances if push else ():
            if push and chance.random() >= push.lost:
                at = self._world.now + chance.expovariate(math.log(2) / push.delay)
                self._world.at(at, lambda one=instance: one.store.hint(name))  # type: ignore[misc]

    def _trouble(self, share: float) -> None:
        self.services[0].up = share > 0
        self.services[0].squeeze((share or 1.0) * self.plan.limits)
