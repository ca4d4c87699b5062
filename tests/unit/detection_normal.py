"""Two weeks of a company's ordinary traffic, by several processes, in which no rule may find anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from tests.unit.detection_support import MONDAY, Scene, merged

SERVICES: Final = {"web": 4, "orders": 6, "quotes": 3, "batch": 25, "reports": 8}
PEOPLE: Final = ("a11ce", "b0b", "c4rol")
Job = tuple[datetime, Callable[[], None]]


class Company:
    """Writes two weeks that begin on a Monday.

    Args:
        seed: of what is left to chance.
        pace: minutes between two flushes of a service's warm reads.
    """

    def __init__(self, seed: int, pace: float):
        self._random, self._pace = random.Random(seed), pace
        self._scenes = {
            name: Scene(MONDAY, number) for number, name in enumerate((*SERVICES, "desk", "rotator"), 1)
        }
        self._versions: dict[str, int] = {}
        self._jobs: list[Job] = []

    def records(self) -> list[dict[str, Any]]:
        """All chains together, by time."""
        for day in range(14):
            morning = MONDAY + timedelta(days=day)
            for service in SERVICES:
                self._service_day(service, morning)
            if day % 7 < 5:
                self._office_day(morning)
            if day % 7 == 2:
                self._plan(morning + timedelta(hours=3), partial(self._new_secret, f"db/new-{day}"))
            if day % 7 == 6:
                self._rotation(morning + timedelta(hours=18))
        for moment, job in sorted(self._jobs, key=lambda planned: planned[0]):
            for scene in self._scenes.values():
                scene.now = max(scene.now, moment)
            job()
        return merged(*self._scenes.values())

    def _plan(self, moment: datetime, job: Callable[[], None]) -> None:
        self._jobs.append((moment + timedelta(seconds=self._random.random()), job))

    def _secrets(self, service: str) -> list[str]:
        return [f"{service}/key-{number}" for number in range(SERVICES[service])] + ["db/ledger"]

    def _service_day(self, service: str, morning: datetime) -> None:
        self._plan(morning, lambda: self._starts(service))
        for minute in range(int(24 * 60 / self._pace)):
            moment = morning + timedelta(minutes=1 + minute * self._pace)
            self._plan(moment, lambda: self._works(service))

    def _starts(self, service: str) -> None:
        scene = self._scenes[service]
        if self._random.random() < 0.3:  # it was killed: what it was doing has no end, and a tail was torn
            scene.reads(service, self._secrets(service)[0], outcome="")
            scene.add("adopt", library="strongroom 0.1.0", host="app-2", pid=self._random.randrange(9999))
            scene.add("recovery", lost=self._random.randrange(1, 400))
        for name in self._secrets(service):
            scene.does(service, "prefetch", name, _version=self._version(name))

    def _works(self, service: str) -> None:
        scene, names = self._scenes[service], self._secrets(service)
        scene.warm(service, *((name, self._version(name), self._random.randrange(1, 500)) for name in names))
        name = self._random.choice(names)
        fault = self._random.random() < 0.02
        scene.reads(service, name, self._version(name), outcome="UnavailableError" if fault else "ok")

    def _office_day(self, morning: datetime) -> None:
        for person in PEOPLE:
            for _ in range(4):
                self._plan(
                    morning + timedelta(minutes=self._random.randrange(1, 420)),
                    partial(self._looks, person),
                )

    def _looks(self, person: str) -> None:
        desk, service = self._scenes["desk"], ("web", "orders", "reports")[PEOPLE.index(person)]
        desk.does(person, "list", "")
        for name in self._secrets(service):
            desk.wait(seconds=2).reads(person, name, self._version(name))
            desk.does(person, "describe", name)
        for _ in range(self._random.randrange(4)):
            desk.wait(seconds=9).reads(person, "exchange/hot", outcome="PermissionDeniedError", version="")

    def _new_secret(self, name: str) -> None:
        desk = self._scenes["desk"]
        desk.puts("a11ce", name, "v1")
        desk.wait(minutes=10).reads("b0b", name)
        self._scenes["web"].wait(minutes=20).reads("web", name)

    def _rotation(self, moment: datetime) -> None:
        """At night; caches keep the old value for most of an hour, which is their right."""
        self._plan(moment, self._promotes)
        for minutes in range(5, 55, 10):
            self._plan(moment + timedelta(minutes=minutes), self._serves_the_old_value)
        self._plan(moment + timedelta(hours=2, minutes=1), self._revokes)

    def _promotes(self) -> None:
        version = f"v{self._versions.get('db/ledger', 1) + 1}"
        self._scenes["rotator"].does("rotator", "pending.get", "db/ledger", rotation_id="r", _version=version)
        self._versions["db/ledger"] = int(version[1:])
        self._scenes["rotator"].rotates("rotator", "db/ledger", version)

    def _serves_the_old_value(self) -> None:
        self._scenes["web"].warm("web", ("db/ledger", f"v{self._versions['db/ledger'] - 1}", 3))

    def _revokes(self) -> None:
        rotator, old = self._scenes["rotator"], f"v{self._versions['db/ledger'] - 1}"
        rotator.does("rotator", "get", "db/ledger", stage="previous", rotation_id="r", _version=old)
        rotator.does("rotator", "rotation.revoke", "db/ledger", version=old, rotation_id="r")

    def _version(self, name: str) -> str:
        return f"v{self._versions.get(name, 1)}"
