"""Gaps: what was allowed although nothing could be recorded; afterwards the trail says how much."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from .record import stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.clock import Clock
    from strongroom.errors import SecretStoreError

_log = logging.getLogger(__name__)


class Gaps:
    """What went unrecorded since the trail was last written; a ``gap`` record tells it before anything else.

    Args:
        append: adds a record to the trail, durably.
        clock: injected in tests.
    """

    def __init__(self, append: Callable[[dict[str, Any]], object], clock: Clock):
        self._append, self._clock = append, clock
        self.after_fork()

    def after_fork(self) -> None:
        """What the parent allowed the parent tells."""
        self._lock = threading.Lock()
        self._missed: Counter[str] = Counter()
        self._since: datetime | None = None
        self._reason = ""

    def missed(self, operation: str, problem: SecretStoreError, count: int = 1) -> None:
        """An operation goes on unrecorded, as its policy has it."""
        with self._lock:
            first = not self._missed
            self._missed[operation] += count
            if first:
                self._since, self._reason = self._clock.now(), problem.message
        if first:
            _log.error("operations go on UNRECORDED, as configured, first %s: %s", operation, problem)

    def settle(self) -> None:
        """Record the gap, if there is one, now that the trail may be written again.

        Raises:
            UnavailableError: it may not.
        """
        if not self._missed:
            return
        with self._lock:
            if self._since is None:
                return
            count, ops = self._missed.total(), dict(self._missed)
            record = {"kind": "gap", "since": stamp(self._since), "until": stamp(self._clock.now())}
            self._append({**record, "count": count, "ops": ops, "reason": self._reason})
            self._missed.clear()
            self._since = None
        _log.error("%d operations went unrecorded; the trail says so", count)
