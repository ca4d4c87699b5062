"""A rotation whose workers are processes: store, ledger and target are files, and each effect is a point.

A *point* is just before or just after an effect: a write to the store, to the ledger, or at the target. A
worker can be killed at its n-th point; `Points` without one counts them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from strongroom.backend import Absent, Backend, Capability, SecretVersion
from strongroom.clock import Clock
from strongroom.layers.layer import Layer
from strongroom.names import Key
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry, State
from strongroom.rotation.policy import Policy
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.rotation_target import OneSlot, Target, TwoSlots, credential, identifier_of
from tests.unit.local_support import encrypted, local

NAME = "db/password"
ROTATION = "6a1e0c52-3f6e-4a57-9d07-0d7b2d0c8a11"
GRACE = timedelta(hours=1)
PAST_A_LEASE = timedelta(minutes=3)


class Later(Clock):
    """The system's clock, ahead of it: so every worker comes when the lease of the one before is over."""

    def __init__(self, ahead: timedelta):
        self._ahead = ahead

    def now(self) -> datetime:
        return super().now() + self._ahead


class Points:
    """Counts points, and dies at one.

    Args:
        last: at which; 0 never.
        die: how; by default like a power cut.
    """

    def __init__(self, last: int = 0, die: Callable[[], None] | None = None):
        self.last, self.passed = last, 0
        self._die = die or (lambda: os.kill(os.getpid(), signal.SIGKILL))

    def __call__(self, point: str) -> None:
        if point.startswith("at:"):
            return
        self.passed += 1
        if self.passed == self.last:
            self._die()

    def around(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """One effect, with a point before and after it."""
        self("before")
        result = call(*args, **options)
        self("after")
        return result


class PointedStore(Layer):
    """A backend with points around its writes, which may be made to hold pending values in companions."""

    def __init__(self, inner: Backend, points: Points, native: bool):
        super().__init__(inner)
        self._points, self._native = points, native

    @property
    def capabilities(self) -> Capability:  # type: ignore[override]
        flags = self.inner.capabilities
        return flags if self._native else flags & ~Capability.NATIVE_PENDING

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        made: SecretVersion = self._points.around(self.inner.put, key, value, if_version, record)
        return made

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        made: SecretVersion = self._points.around(
            self.inner.put_pending, key, rotation_id, value, base_version, record
        )
        return made

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        made: SecretVersion = self._points.around(self.inner.promote_pending, key, rotation_id)
        return made

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._points.around(self.inner.discard_pending, key, rotation_id)

    def retire(self, key: Key, version: str) -> None:
        self._points.around(self.inner.retire, key, version)


class PointedLedger(SQLiteLedger):
    """A ledger with points around its writes."""

    points: Points

    def begin(self, *args: Any, **options: Any) -> Entry:
        entry: Entry = self.points.around(super().begin, *args, **options)
        return entry

    def claim(self, *args: Any, **options: Any) -> Entry | None:
        entry: Entry | None = self.points.around(super().claim, *args, **options)
        return entry

    def record(self, *args: Any, **options: Any) -> Entry:
        entry: Entry = self.points.around(super().record, *args, **options)
        return entry

    def release(self, *args: Any, **options: Any) -> None:
        self.points.around(super().release, *args, **options)


class Rig:
    """One worker's way to the files.

    Args:
        folder: has them all.
        slots: ``single`` or ``two``.
        native: whether the store holds pending values itself.
        points: passed by each effect.
        ahead: by how much this worker's clock is later than now.
    """

    def __init__(
        self,
        folder: Path,
        slots: str,
        native: bool,
        points: Points | None = None,
        ahead: timedelta = timedelta(),
    ):
        self.points = points or Points()
        self.clock = Later(ahead)
        self.target = Target(folder / "target.db", self.points)
        backend = PointedStore(encrypted(local(folder)), self.points, native)
        self.store = SecretStore(backend, cache=None, alias="prod")
        self.ledger = PointedLedger(folder / "ledger.db", self.clock)
        self.ledger.points = self.points
        rotator = OneSlot(self.target) if slots == "single" else TwoSlots(self.target)
        self.engine = Engine(
            self.ledger,
            [Policy(NAME, self.store, rotator, grace=GRACE)],
            clock=self.clock,
            owner=str(os.getpid()),
        )
        self.slots = slots

    @classmethod
    def prepare(cls, folder: Path, slots: str, native: bool) -> None:
        """Give the secret its first value, which the target accepts."""
        rig, first = cls(folder, slots, native), credential("app")
        rig.target.issue("app", first)
        rig.store.put(NAME, first)
        rig.close()

    def work(self) -> Entry:
        """What every worker does: begin the rotation, unless it was, and carry it on."""
        self.engine.start(NAME, rotation_id=ROTATION)
        return self.engine.advance(ROTATION)

    def close(self) -> None:
        """Release the files."""
        self.engine.close()
        self.store.close()

    def reader_is_served(self) -> bool:
        """Whether the target accepts what a reader gets."""
        return self.target.accepts(self.store.get(NAME).value)

    def may_be_refused(self) -> bool:
        """The declared window of a single slot: from its set to its promote."""
        found = self.ledger.find(states=[State.CREATED, State.SET, State.TESTED])
        return self.slots == "single" and bool(found)

    def settled(self) -> bool:
        """Whether the target accepts exactly what is current."""
        return self.target.live() == {identifier_of(self.store.get(NAME).value)} and self.reader_is_served()
