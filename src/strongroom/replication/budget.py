"""Budget: a replication writes no faster than the provider takes it."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final, final

from strongroom.clock import Clock
from strongroom.errors import UnavailableError
from strongroom.layers.layer import Layer

if TYPE_CHECKING:
    from strongroom.backend import Absent, Backend, SecretVersion, WriteBudget
    from strongroom.errors import SecretStoreError
    from strongroom.names import Key
    from strongroom.value import SecretValue

LONGEST: Final = 60.0
"""Seconds that a write waits: a secret that has had a day's writes on AWS must not hold up all others."""
_KEPT: Final = 1024


@final
class Budget:
    """Paces writes over a sliding window; threads share it.

    Args:
        limit: what the provider takes; None: as many as come.
        clock: by which it waits.
    """

    def __init__(self, limit: WriteBudget | None, clock: Clock | None = None):
        self._limit, self._clock = limit, clock or Clock()
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._lock, self._most = threading.Lock(), _KEPT

    def take(self, name: str) -> None:
        """Wait until one more write of this name is within the budget, and count it.

        Raises:
            UnavailableError: that would be longer than `LONGEST`, ``retry_after`` says how long; nothing was
                sent.
        """
        if self._limit is None:
            return
        wait = self._booked(name if self._limit.each == "secret" else "", self._limit)
        if wait > 0:
            self._clock.sleep(wait)

    def _booked(self, whose: str, limit: WriteBudget) -> float:
        """A place in the window is booked before it is waited for: who comes next waits behind it."""
        with self._lock:
            now, times = self._clock.monotonic(), self._times[whose]
            while times and times[0] <= now - limit.seconds:
                times.popleft()
            at = now if len(times) < limit.writes else max(now, times[-limit.writes] + limit.seconds)
            if at - now > LONGEST:
                raise UnavailableError(
                    f"the provider takes {limit.writes} writes in {limit.seconds:.0f} s, and has had them",
                    performed=False,
                    retryable=True,
                    retry_after=at - now,
                )
            times.append(at)
            if len(self._times) > self._most:
                self._forget(now - limit.seconds)
            return at - now

    def _forget(self, before: float) -> None:
        for whose in [whose for whose, times in self._times.items() if times[-1] <= before]:
            del self._times[whose]
        self._most = max(_KEPT, 2 * len(self._times))  # else each write would look through all of them


def is_away(error: SecretStoreError | None) -> bool:
    """Whether a store does not answer at all: what says when it will is there, and takes other names."""
    return isinstance(error, UnavailableError) and error.retry_after is None


@final
class Paced(Layer):
    """Takes every write out of a budget before it goes on: pages and companions count as secrets do."""

    def __init__(self, inner: Backend, budget: Budget):
        super().__init__(inner)
        self._budget = budget

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._budget.take(str(key))
        return self.inner.put(key, value, if_version, record)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._budget.take(str(key))
        return self.inner.put_pending(key, rotation_id, value, base_version, record)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        self._budget.take(str(key))
        return self.inner.promote_pending(key, rotation_id)

    def delete(self, key: Key) -> None:
        self._budget.take(str(key))
        self.inner.delete(key)

    def restore(self, key: Key) -> None:
        self._budget.take(str(key))
        self.inner.restore(key)

    def purge(self, key: Key) -> None:
        self._budget.take(str(key))
        self.inner.purge(key)

    def retire(self, key: Key, version: str) -> None:
        self._budget.take(str(key))
        self.inner.retire(key, version)
