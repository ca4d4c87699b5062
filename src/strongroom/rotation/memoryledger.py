"""MemoryLedger: the executable specification of `Ledger`, for tests.

Nothing is kept when the process ends.
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from strongroom.clock import Clock

from . import ledgerrules as rules
from .ledger import LEASE_SECONDS, Entry, Ledger, State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime


class MemoryLedger(Ledger):
    """Records in this process's memory.

    Args:
        clock: injected in tests.
    """

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or Clock()
        self._entries: dict[str, Entry] = {}
        self._next: dict[str, datetime] = {}
        self._successes: dict[str, datetime] = {}
        self._lock = threading.RLock()

    def now(self) -> datetime:
        return self._clock.now()

    def begin(
        self,
        rotation_id: str,
        secret: str,
        *,
        base: str | None,
        tick: datetime | None = None,
        next_due: datetime | None = None,
    ) -> Entry:
        with self._lock:
            if entry := self._entries.get(rotation_id):
                return rules.same_secret(entry, secret)
            rules.check_tick(tick, self._next.get(secret))
            others = self._of(secret)
            entry = rules.begun(rotation_id, secret, self.now(), base=base, tick=tick, others=others)
            if next_due is not None:
                self._next[secret] = next_due
            return self._write(entry)

    def get(self, rotation_id: str) -> Entry:
        with self._lock:
            return rules.found(self._entries.get(rotation_id), rotation_id)

    def find(
        self, *, secret: str | None = None, states: Collection[State] | None = None, limit: int = 1000
    ) -> Sequence[Entry]:
        with self._lock:
            wanted = [
                entry
                for entry in self._entries.values()
                if secret in (None, entry.secret) and (states is None or entry.state in states)
            ]
        return sorted(wanted, key=lambda entry: (entry.started, entry.id), reverse=True)[:limit]

    def claim(self, rotation_id: str, seconds: float = LEASE_SECONDS) -> Entry | None:
        with self._lock:
            claimed = rules.claimed(self.get(rotation_id), self.now(), seconds, uuid.uuid4().hex)
            return claimed and self._write(claimed)

    def claim_due(self, limit: int, seconds: float = LEASE_SECONDS) -> Sequence[Entry]:
        with self._lock:
            now = self.now()
            due = [e for e in self._entries.values() if e.due <= now and rules.claimable(e, now)]
            due.sort(key=lambda entry: (entry.due, entry.id))
            claims = [rules.claimed(entry, now, seconds, uuid.uuid4().hex) for entry in due[:limit]]
            return [self._write(entry) for entry in claims if entry]

    def renew(self, entry: Entry, seconds: float = LEASE_SECONDS) -> Entry:
        with self._lock:
            return self._write(rules.renewed(entry, self._entries.get(entry.id), self.now(), seconds))

    def record(self, entry: Entry, state: State, **changes: Any) -> Entry:
        with self._lock:
            return self._write(rules.recorded(entry, self._entries.get(entry.id), self.now(), state, changes))

    def release(self, entry: Entry, *, due: rules.Due | None = None, **changes: Any) -> None:
        with self._lock:
            free = rules.released(entry, self._entries.get(entry.id), self.now(), due, changes)
            if free:
                self._write(free)

    def move(
        self,
        rotation_id: str,
        states: Collection[State],
        to: State,
        *,
        epoch: int | None = None,
        **changes: Any,
    ) -> Entry:
        with self._lock:
            entry, token = self.get(rotation_id), uuid.uuid4().hex
            return self._write(rules.moved(entry, self.now(), states, to, epoch, token, changes))

    def last_success(self, secret: str) -> datetime | None:
        with self._lock:
            return self._successes.get(secret)

    def next_due(self, secret: str) -> datetime | None:
        with self._lock:
            return self._next.get(secret)

    def plan(self, secret: str, due: datetime, *, expected: datetime | None) -> bool:
        with self._lock:
            if self._next.get(secret) not in (expected, due):
                return False
            self._next[secret] = due
            return True

    def due(self, limit: int) -> Sequence[tuple[str, datetime]]:
        with self._lock:
            now, busy = self.now(), {e.secret for e in self._entries.values() if e.state.open}
            waiting = [(at, secret) for secret, at in self._next.items() if at <= now and secret not in busy]
        return [(secret, at) for at, secret in sorted(waiting)[:limit]]

    def purge(self, before: datetime, limit: int = 10_000) -> int:
        with self._lock:
            now = self.now()
            old = [entry.id for entry in self._entries.values() if rules.may_purge(entry, before, now)]
            for rotation_id in old[:limit]:
                del self._entries[rotation_id]
            return len(old[:limit])

    def _of(self, secret: str) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.secret == secret]

    def _write(self, entry: Entry) -> Entry:
        before = self._entries.get(entry.id)
        if entry.promoted and not (before and before.promoted):
            self._successes[entry.secret] = entry.promoted
        self._entries[entry.id] = entry
        return entry
