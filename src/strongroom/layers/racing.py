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
"""Of one failover. A read that finds none free asks one member after the other, in its own thread."""

_SIDE_BY_SIDE: Final = 2


@final
class Lanes:
    """Threads that each make one call and end."""

    def __init__(self, most: int = MOST_THREADS):
        self._most, self._closed = most, False
        self.after_fork()

    def start(self, call: Callable[[], None]) -> bool:
        """Whether there was room for it."""
        run = copy_context().run
        thread = threading.Thread(target=self._run, args=(run, call), name="strongroom-hedge", daemon=True)
        with self._lock:
            if self._closed or len(self._running) >= self._most:
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
    """

    def __init__(self, aliases: Iterable[str], ask: Ask, reading: Reading):
        self._waiting, self._ask, self._reading = deque(aliases), ask, reading
        self._running: list[str] = []
        self._outcomes: deque[tuple[str, Secret | BaseException]] = deque()
        self._arrived = threading.Event()
        self._full = False

    def run(self, lanes: Lanes, clock: Clock, hedge: float) -> None:
        """Ask until the reading is settled, or nobody is left to ask."""
        self._begin(lanes)
        while self._running and not self._reading.settled:
            more = self._waiting and len(self._running) < _SIDE_BY_SIDE and not self._full
            if not self._take(clock, hedge if more else None):
                self._begin(lanes)

    def _take(self, clock: Clock, seconds: float | None) -> bool:
        """Hand the next outcome to the reading; whether the others are waited for before anybody is asked."""
        if not self._outcomes and not clock.wait(self._arrived, seconds):
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
        if lanes.start(lambda: self._run(alias)):
            return
        if len(self._running) == 1:
            self._run(alias)
        else:  # one is on its way, and there is no room for another
            self._waiting.appendleft(self._running.pop())
            self._full = True

    def _run(self, alias: str) -> None:
        try:
            outcome: Secret | BaseException = self._ask(alias)
        except BaseException as exc:  # noqa: BLE001  (raised by the reader, who waits for it)
            outcome = exc
        self._outcomes.append((alias, outcome))
        self._arrived.set()
