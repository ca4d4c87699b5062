"""Flushing the counts of warm reads twice a second, and noticing when that hangs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock

EVERY: Final = 0.5
"""Seconds: a flush and its disk have as long again, so that a crash loses a second's counts at most."""


class Flusher:
    """Two threads: one keeps the time, the other flushes and may be held up by a disk.

    Args:
        flush: records what waits; it raises nothing.
        late: called each time a flush is due while the last one has not ended.
        clock: injected in tests.
    """

    def __init__(self, flush: Callable[[], object], late: Callable[[], object], clock: Clock):
        self._flush, self._late, self._clock = flush, late, clock
        self.after_fork()

    def after_fork(self) -> None:
        """Run no threads; `start` begins anew."""
        self._lock = threading.Lock()
        self._closing, self._due, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._idle.set()
        self._running = False

    def start(self) -> None:
        """Begin; a second call does nothing. Where no thread can be had nothing is ever flushed on time."""
        with self._lock:
            if not self._running and not self._closing.is_set():
                for work in (self._work, self._keep_time):
                    threading.Thread(target=work, name="strongroom-audit-counts", daemon=True).start()
                self._running = True

    def beat(self) -> None:
        """It is time for a flush."""
        if self._idle.is_set():
            self._idle.clear()
            self._due.set()
        else:
            self._late()

    def close(self) -> None:
        """Flush no more."""
        self._closing.set()
        self._due.set()

    def _keep_time(self) -> None:
        closing = self._closing
        while not self._clock.wait(closing, EVERY):
            self.beat()

    def _work(self) -> None:
        closing, due, idle = self._closing, self._due, self._idle
        while due.wait() and not closing.is_set():
            due.clear()
            self._flush()
            idle.set()
