"""A worker: passes over what is due, in several threads, until it is told to stop.

Nothing is kept here. A grace of thirty days is a row of the ledger, not a thread, and any number of workers
share one ledger; one that is killed leaves at most a lease behind.
"""

from __future__ import annotations

import threading
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, final

from strongroom import observing
from strongroom.clock import Clock
from strongroom.errors import SecretStoreError
from strongroom.telemetry import rendered

from .ledger import State
from .metrics import StepCounter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from strongroom.telemetry import Family, Labels

    from .engine import Engine
    from .ledger import Ledger

EVERY: Final = 10.0
"""Seconds between two looks at the ledger by a thread that found nothing."""

SILENCE: Final = 180.0
"""Seconds without a pass that succeeded until a worker is unwell: longer than a lease and a hook."""

_HOUR: Final = 3600.0
_COUNTED: Final = 10_000


class Duty(Protocol):
    """What a worker's program does besides rotating, such as following replicas."""

    def run(self) -> None:
        """Do it until `stop` is called; it raises nothing."""

    def stop(self) -> None:
        """Begin nothing more. Safe in a signal's handler, and to repeat."""

    @property
    def trouble(self) -> str:
        """Why it is unwell; empty if it is not."""

    def families(self) -> Iterable[Family]:
        """Its metrics."""


def _nobody(_line: str) -> None:
    """Nobody listens."""


@final
class Worker:
    """Runs an engine's passes.

    Args:
        engine: safe across threads.
        ledger: the engine's.
        threads: how many rotations may go on at once.
        every: seconds between two looks of a thread that found nothing.
        chores: what is to be done besides, once an hour and at first.
        duties: what goes on besides, each in a thread of its own.
        steps: one of the engine's hooks, for the metrics.
        say: told in a line when passes begin to fail, and when they succeed again.
        clock: injected in tests.

    Attributes:
        steps: what was counted.
    """

    def __init__(  # noqa: PLR0913  (a program names those it wants)
        self,
        engine: Engine,
        ledger: Ledger,
        *,
        threads: int = 4,
        every: float = EVERY,
        chores: Sequence[Callable[[], object]] = (),
        duties: Sequence[Duty] = (),
        steps: StepCounter | None = None,
        say: Callable[[str], None] = _nobody,
        clock: Clock | None = None,
    ):
        self._engine, self._ledger, self._every = engine, ledger, every
        self._chores, self._duties, self._say = tuple(chores), tuple(duties), say
        self.steps, self._clock = steps or StepCounter(), clock or Clock()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._last = self._clock.monotonic()
        self._tidied = float("-inf")
        self._passes, self._failures, self._error = 0, 0, ""
        self._threads = [
            threading.Thread(target=work, name=f"rotation-{number}")
            for number, work in enumerate((*[self._work] * threads, *(duty.run for duty in self._duties)))
        ]

    def run(self) -> None:
        """Work until `stop` is called, and the steps that are under way have ended."""
        observing.tell_of(self)
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(1.0)  # a signal's handler runs between two waits
        observing.tell_no_more_of(self)

    def stop(self) -> None:
        """Begin nothing more. Safe in a signal's handler, and to repeat."""
        self._stopping.set()
        for duty in self._duties:
            duty.stop()

    @property
    def trouble(self) -> str:
        """Why the worker is unwell; empty if it is not."""
        silent = self._clock.monotonic() - self._last
        if silent <= max(SILENCE, 3 * self._every):
            return next(filter(None, (duty.trouble for duty in self._duties)), "")
        return f"no pass has succeeded for {silent:.0f} s" + (f": {self._error}" if self._error else "")

    def metrics(self) -> str:
        """The state of the worker, of the ledger and of its duties, in Prometheus' text format."""
        others = (duty.families() for duty in self._duties)
        return rendered(chain(self.families(), *others))

    def families(self) -> Iterator[Family]:
        """The state of the worker and of the ledger; its duties are asked themselves."""
        yield from self._own()
        yield from self._of_ledger()

    def _own(self) -> Iterator[Family]:
        with self._lock:
            passes: dict[Labels, float] = {
                (("outcome", "ok"),): self._passes,
                (("outcome", "failed"),): self._failures,
            }
            silent = self._clock.monotonic() - self._last
        steps: dict[Labels, float] = {
            (("step", step), ("outcome", outcome)): count
            for (step, outcome), count in self.steps.counts().items()
        }
        yield "strongroom_rotation_passes_total", "counter", "Looks at the ledger, by outcome.", passes
        yield (
            "strongroom_rotation_steps_total",
            "counter",
            "Steps by outcome: ok, or an error's class.",
            steps,
        )
        meaning = "Seconds since a pass succeeded."
        yield "strongroom_rotation_silence_seconds", "gauge", meaning, {(): silent}

    def _of_ledger(self) -> Iterator[Family]:
        """Nothing of it while the ledger does not answer: a gap is truer than the last number."""
        states = [state for state in State if state.open]
        try:
            entries = self._ledger.find(states=states, limit=_COUNTED)
            due, now = self._ledger.due(_COUNTED), self._ledger.now()
        except SecretStoreError:
            return
        counts: dict[Labels, float] = {
            (("state", state.value),): sum(entry.state is state for entry in entries) for state in states
        }
        yield "strongroom_rotation_open", "gauge", f"Open rotations by state, of {_COUNTED} at most.", counts
        meaning = f"Secrets that are due and wait for a worker, {_COUNTED} at most."
        yield "strongroom_rotation_due", "gauge", meaning, {(): len(due)}
        oldest = max(((now - since).total_seconds() for _, since in due), default=0.0)
        meaning = "How long the longest of them has been due, in seconds."
        yield "strongroom_rotation_due_oldest_seconds", "gauge", meaning, {(): oldest}

    def _work(self) -> None:
        while not self._stopping.is_set():
            if not self._pass():
                self._clock.wait(self._stopping, self._every * (1 + self._clock.chance() / 4))

    def _pass(self) -> bool:
        """Whether there may be more to do at once."""
        try:
            found = self._engine.tick(1)
            self._tidy()
        except Exception as error:  # noqa: BLE001  (one secret's bug must not keep the others from rotating)
            return self._failed(type(error).__name__)
        with self._lock:
            before, self._error = self._error, ""
            self._passes, self._last = self._passes + 1, self._clock.monotonic()
        if before:
            self._say("passes succeed again")
        return bool(found.begun or found.advanced)

    def _failed(self, kind: str) -> bool:
        """Only the class is told: whatever was not foreseen may quote what it choked on."""
        with self._lock:
            before, self._error = self._error, kind
            self._failures += 1
        if before != kind:
            self._say(f"passes fail: {kind}")
        return False

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if now - self._tidied < _HOUR:
                return
            self._tidied = now
        for chore in self._chores:
            chore()
