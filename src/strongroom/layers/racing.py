"""Asking a second member while the first has not answered: threads that are few and never left behind."""

from __future__ import annotations

import threading
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import SecretStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.backend import Clock, Secret

    from .reading import Reading

    Ask = Callable[[str], Secret | SecretStoreError]

MOST_THREADS: Final = 32
"""Of one failover. Where none is free the reader's own asks: it then waits for that member, fast or slow."""

_SIDE_BY_SIDE: Final = 2


@final
class Lanes:
    """Threads that each make one call and end."""

    def __init__(self) -> None:
        self._closed = False
        self.after_fork()

    def start(self, call: Callable[[], None]) -> bool:
        """Whether there was room for it."""
        run = copy_context().run
        thread = threading.Thread(target=self._run, args=(run, call), name="strongroom-hedge", daemon=True)
        with self._lock:
            if self._closed or len(self._running) >= MOST_THREADS:
                return False
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                return False
            self._running.add(thread)
            return True

    def close(self) -> None:
        """Begin none any more, and wait for those that run: a member must not be closed under its caller."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for thread in running:
            thread.join()

    def after_fork(self) -> None:
        """In a forked child: no thread of the parent's is here."""
        self._lock = threading.Lock()
        self._running: set[threading.Thread] = set()

    def _run(self, run: Callable[[Callable[[], None]], None], call: Callable[[], None]) -> None:
        try:
            run(call)
        finally:
            with self._lock:
                self._running.discard(threading.current_thread())


@final
class Race:
    """One read, of which the next member is asked as well when `hedge` seconds brought no answer.

    Args:
        aliases: the members in order.
        ask: asks one; its error is returned.
        reading: takes the outcomes.
        clock: what the hedge is measured on.
    """

    def __init__(self, aliases: Iterable[str], ask: Ask, reading: Reading, clock: Clock):
        self._waiting, self._ask, self._reading, self._clock = deque(aliases), ask, reading, clock
        self._running: list[str] = []
        self._outcomes: deque[tuple[str, Secret | BaseException]] = deque()
        self._arrived = threading.Event()
        self._began = 0.0

    def run(self, lanes: Lanes, hedge: float) -> None:
        """Ask until the reading is settled, or nobody is left to ask."""
        self._begin(lanes)
        while self._running and not self._reading.settled:
            more = self._waiting and len(self._running) < _SIDE_BY_SIDE
            patience = max(0.0, self._began + hedge - self._clock.monotonic()) if more else None
            if not self._take(patience):
                self._begin(lanes)

    def _take(self, seconds: float | None) -> bool:
        """Hand the next outcome to the reading; whether the others are waited for before anybody is asked."""
        if not self._outcomes and not self._clock.wait(self._arrived, seconds):
            return False
        self._arrived.clear()  # before looking: what comes now sets it again
        if not self._outcomes:
            return True
        alias, outcome = self._outcomes.popleft()
        if isinstance(outcome, BaseException) and not isinstance(outcome, SecretStoreError):
            raise outcome
        before = self._running[: self._running.index(alias)]
        self._running.remove(alias)
        return not self._reading.hear(alias, outcome, before)

    def _begin(self, lanes: Lanes) -> None:
        if not self._waiting:
            return
        alias = self._waiting.popleft()
        self._running.append(alias)
        self._began = self._clock.monotonic()
        if not lanes.start(lambda: self._run(alias)):
            self._run(alias)

    def _run(self, alias: str) -> None:
        try:
            outcome: Secret | BaseException = self._ask(alias)
        except BaseException as exc:  # noqa: BLE001  (raised by the reader, who waits for it)
            outcome = exc
        self._outcomes.append((alias, outcome))
        self._arrived.set()
