"""Reading one's own writes, though AWS's labels lag behind them.

The store pins what it wrote to a backend that says it is eventual, and then cannot see another writer's
newer version for ten seconds. Here labels and creation dates tell which of two versions is the later, so the
backend does it itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from strongroom.backend import Clock

from ._client import Answer
from ._labels import CURRENT

_SECONDS = 10.0
_MOST = 10_000


class Recent:
    """The version that this process last made current, by name, for ten seconds."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[str, tuple[str, float]] = {}

    def wrote(self, name: str, version: str) -> None:
        """Remember a write."""
        now = self._clock.monotonic()
        with self._lock:
            if len(self._written) >= _MOST:
                self._written = {n: w for n, w in self._written.items() if w[1] > now}
            self._written[name] = (version, now + _SECONDS)

    def version(self, name: str) -> str | None:
        """What this process made current in the last ten seconds."""
        version, until = self._written.get(name, (None, 0.0))
        return version if self._clock.monotonic() < until else None

    def drop(self, name: str) -> None:
        """Forget a write: the secret was deleted, or something newer was seen."""
        with self._lock:
            self._written.pop(name, None)

    def after_fork(self) -> None:
        """A lock that another thread held is held for ever in a child."""
        self._lock = threading.Lock()

    def later(self, name: str, current: Answer | None, read: Callable[[str], Answer | None]) -> Answer | None:
        """``current``, or our own version if that is the later of the two; ``read`` reads ours."""
        written = self.version(name)
        if written is None or (current and current["VersionId"] == written):
            return current
        ours = read(written)
        if ours is None or (current and _is_later(current, ours)):
            self.drop(name)
            return current
        return ours


def _is_later(one: Answer, other: Answer) -> bool:
    """Whether ``one`` became current after ``other``: by date, and on a tie by who lost AWSCURRENT."""
    dates: list[datetime] = [one["CreatedDate"], other["CreatedDate"]]
    return dates[0] > dates[1] or CURRENT not in other.get("VersionStages", ())
