"""A takeover and the return of the old source, as PROTOCOLS section 7 has them: the code that ships.

Two stores, each with its sheet; a coordinator whose leases are worth nothing, as those of holders who were
suspended are; applications that go on at the old source until something stops them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from strongroom.backend import Capability
from strongroom.errors import SecretConflictError, SecretStoreError
from strongroom.layers.recorded import Recorded
from strongroom.lease import Coordinator, Lease
from strongroom.replication.member import Member
from strongroom.replication.replicator import Replicator
from strongroom.replication.sheet import NO_TAKEOVER, Sheet
from strongroom.replication.takeover import Takeover
from strongroom.value import SecretValue
from tests.models.replay import NO_FAULTS, Budget, Lost, Port, Program, Refused, State, System
from tests.models.replication import AGAIN, TRIED, born
from tests.models.replication_world import (
    DOMAIN,
    NAME,
    REPLICA,
    WRITES,
    Slot,
    Still,
    Store,
    Version,
    World,
    apply,
    log,
    slot,
    world,
)

EU, US = "eu", "us"
MEMBER = REPLICA | Capability.LIST
LOST = "an acknowledged write is current, replicated, or in the divergence report"
OVER = "what the new source acknowledged is not written over"


class Ids:
    """Write ids, another for each write, and the same whenever a program is run again from its start."""

    def __init__(self) -> None:
        self._who, self._count = "", 0

    def begin(self, who: str, port: Port) -> None:
        """A program starts."""
        self._who, self._count = f"{sum(map(ord, who)) % 1000:03}{port.run:03}", 0

    def __call__(self) -> str:
        self._count += 1
        return f"{self._who}{self._count:026}"


IDS = Ids()


def member(port: Port, alias: str) -> Member:
    """A store as replication knows it."""
    store = Store(port, alias, MEMBER, None)
    store.origin = alias
    return Member(alias, store, DOMAIN)


def start() -> World:
    """`eu` is the source, and `us` is in step."""
    mine, told = Slot((born("old", 1),), given=1), Slot((Version(0, "old"),))
    sheet = Slot((Version(1, Sheet(DOMAIN, 1, NO_TAKEOVER, EU).text),), given=1)
    return world(eu_secret=mine, us_secret=mine, eu_log=told, us_log=told, eu_sheet=sheet, us_sheet=sheet)


class Paused(Coordinator):
    """Everybody gets the lease, since everybody else may have been suspended past its end."""

    def __init__(self, port: Port):
        self._port = port

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        return Lease(resource, self._answer("fence"), 0.0, "")

    def seconds_left(self, lease: Lease) -> float:
        return 0.0

    def release(self, lease: Lease) -> None:
        """It has run out."""

    def recorded(self, resource: str) -> str | None:
        answer = self._port.call("get", "both", "claim", 0)
        return answer.text if isinstance(answer, Version) else None

    def record(self, lease: Lease, text: str) -> None:
        self._answer("claim", text, lease.fence)

    def _answer(self, name: str, *args: Hashable) -> Any:
        answer = self._port.call(name, "both", "claim", *args)
        if isinstance(answer, (Refused, Lost)):
            raise SecretConflictError("overtaken")
        return answer


def writes(alias: str, text: str) -> Program:
    """An application at one store; where it is refused, it comes again."""

    def program(port: Port) -> str:
        IDS.begin(text, port)
        store = member(port, alias).backend
        try:
            Recorded(store, DOMAIN, alias=alias, clock=Still()).put(NAME, SecretValue(text), None)
        except SecretStoreError as error:
            return "unknown" if error.performed is None else TRIED
        return "done"

    return program


def takes_over(*, reaches_the_source: bool = False, then: str = "b") -> Program:
    """An operator makes `us` the source; then an application writes there."""

    def program(port: Port) -> str:
        us, eu = member(port, US), member(port, EU)
        others = [eu] if reaches_the_source else []
        try:
            Takeover(us, Paused(port), others=others, clock=Still()).run()
        except SecretStoreError:
            return TRIED
        return str(writes(US, then)(port))

    return program


def follows(source: str, replica: str, order: Callable[[Replicator], None] | None = None) -> Program:
    """A replication in one direction, run again and again; the sheets stop it, or the records."""

    def program(port: Port) -> str:
        IDS.begin(f"{source} to {replica}", port)
        with contextlib.suppress(SecretStoreError):
            found = Replicator(member(port, source), member(port, replica), clock=Still())
            if order:
                order(found)
            found._begun().bring(NAME)
        return TRIED

    return program


def keeps_nothing(replicator: Replicator) -> None:
    """Obvious: the new source is right."""
    replicator._keeper = Forgetful()  # type: ignore[assignment]


class Forgetful:
    """Keeps nothing of what an old source returns with."""

    def keep(self, *_: object) -> None:
        """Nothing."""


def kept(found: World) -> str:
    """All texts of the new source's divergence report."""
    slots = (slot for (store, key), slot in found if store == US and key.startswith("divergence"))
    return " ".join(version.text for held in slots for version in held.versions)


def nothing_acknowledged_is_lost(state: State[World]) -> bool:
    """A value that the old source took is there still, was the new source's once, or is kept."""
    if state.actors[0].result != "done" or "a" not in log(state.world, EU):
        return True
    here = slot(state.world, EU).text == "a" or "a" in log(state.world, US)
    return here or "\na" in kept(state.world)


def nothing_goes_over_the_new_source(state: State[World]) -> bool:
    """Once its application has written, that is what is current there."""
    at_us = log(state.world, US)
    return "b" not in at_us or at_us[-1] == "b"


RULES: Mapping[str, Callable[[State[World]], bool]] = {
    LOST: nothing_acknowledged_is_lost,
    OVER: nothing_goes_over_the_new_source,
}


def in_step(state: State[World]) -> bool:
    """Nobody is at work, and both have what the new source has."""
    ended = all(actor.result is not None for actor in state.actors)
    return ended and slot(state.world, EU).text == slot(state.world, US).text


def takeover(name: str, programs: Mapping[str, Program], budget: Budget = NO_FAULTS) -> System[World]:
    """A model in which old and new source can always still come in step, if the old one returns."""
    calls, goal = WRITES | {"claim"}, in_step if "back" in programs else None
    return System(f"takeover/{name}", start(), programs, apply, calls, RULES, goal, budget, AGAIN)
