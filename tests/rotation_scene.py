"""One rotated secret with everything around it: a store, a target of either kind, a ledger, an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Backend
from strongroom.memory import MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry, State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotator
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.rotation_target import OneSlot, Target, TwoSlots, credential, identifier_of, no_fault

NAME = "db/password"
GRACE = timedelta(hours=2)


class Heard(AuditHook):
    """Remembers the outcome of every operation."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def after(self, event: AuditEvent) -> None:
        self.events.append(event)

    def operations(self, group: str = "rotation") -> list[str]:
        """What was told of, in order."""
        return [event.operation for event in self.events if event.operation.split(".")[0] == group]


class Scene:
    """A secret ``db/password`` whose current value the target accepts.

    Args:
        folder: where the target's file goes.
        slots: ``single`` or ``two``.
        backend: holds the secret; None: in memory.
        fault: the target's.
        policy: changes of the policy.
    """

    def __init__(
        self,
        folder: Path,
        slots: str = "two",
        *,
        backend: Backend | None = None,
        fault: Callable[[str], None] = no_fault,
        hooks: Sequence[AuditHook] = (),
        rotator: Callable[[Target], Rotator] | None = None,
        **policy: Any,
    ):
        self.clock = FakeClock()
        self.target = Target(folder / "target.db", fault)
        self.backend = backend or MemoryBackend(clock=self.clock)
        self.store = SecretStore(self.backend, cache=None, alias="prod", clock=self.clock)
        first = credential("app")
        with_fault, self.target.fault = self.target.fault, no_fault
        self.target.issue("app", first)
        self.target.fault = with_fault
        self.first, self.first_value = self.store.put(NAME, first), first
        kind = rotator or (OneSlot if slots == "single" else TwoSlots)
        self.rotator = kind(self.target)
        self.policy = Policy(NAME, self.store, self.rotator, **{"grace": GRACE} | policy)
        self.ledger = MemoryLedger(self.clock)
        self.heard = Heard()
        self.engine = self.another(hooks)

    def another(self, hooks: Sequence[AuditHook] = ()) -> Engine:
        """Another worker's engine, over the same ledger."""
        return Engine(self.ledger, [self.policy], clock=self.clock, hooks=(self.heard, *hooks))

    def value(self) -> SecretValue:
        """What a reader gets."""
        return self.store.get(NAME).value

    def works(self) -> bool:
        """Whether the target accepts what a reader gets."""
        fault, self.target.fault = self.target.fault, no_fault
        try:
            return self.target.accepts(self.value())
        finally:
            self.target.fault = fault

    def begin(self) -> Entry:
        """Start a rotation and carry it as far as it goes."""
        return self.engine.advance(self.engine.start(NAME).id)

    def later(self, rotation_id: str, wait: timedelta = GRACE) -> Entry:
        """Carry it on after a while."""
        self.clock.advance(wait.total_seconds())
        return self.engine.advance(rotation_id)

    def finish(self, rotation_id: str, tries: int = 60) -> Entry:
        """Carry it on, waiting as long as it wants, until it is over or a person is asked."""
        for _ in range(tries):
            entry = self.engine.advance(rotation_id)
            if not entry.state.open or entry.state in (State.ORPHANED, State.WAITING):
                return entry
            ends = max(entry.due, entry.lease_until or entry.due, self.clock.now())
            self.clock.advance(max(1.0, (ends - self.clock.now()).total_seconds()))
        raise AssertionError(f"stuck in {entry}")

    def only_current_is_live(self) -> bool:
        """Whether the target accepts exactly what is current."""
        return self.works() and self.target.live() == {identifier_of(self.value())}
