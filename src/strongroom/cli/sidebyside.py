"""Work done side by side, each piece within its time: what hangs is left behind, and keeps nobody waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work.

    Args:
        work: does it; runs in a thread of its own.
        late: what is known of it where it is not done in time; runs beside `work`.
    """

    def __init__(self, work: Callable[[], T], late: Callable[[], T]):
        self._work, self._late = work, late
        self._results: list[T] = []
        self._failures: list[BaseException] = []
        # A daemon, so that the interpreter does not wait for a server that never answers.
        self._thread = threading.Thread(target=self._run, name="strongroom-job", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def result(self, until: float) -> T:
        """What came of it by then, on the monotonic clock; an exception of the work is raised here."""
        self._thread.join(max(0.0, until - time.monotonic()))
        for failure in self._failures:
            raise failure
        return self._results[0] if self._results else self._late()

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as failure:  # noqa: BLE001  (raised in the thread that asked for it)
            self._failures.append(failure)


def side_by_side(jobs: Sequence[Job[T]], seconds: float) -> list[T]:
    """The results in the order of the jobs, after so many seconds at the latest."""
    until = time.monotonic() + seconds
    for job in jobs:
        job.start()
    return [job.result(until) for job in jobs]
