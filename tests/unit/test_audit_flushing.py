"""The flusher of counts: twice a second, in a thread that a disk may hold up, beside one that notices."""

from __future__ import annotations

import threading
from collections.abc import Callable

from strongroom.audit.flushing import EVERY, Flusher
from strongroom.testing.clock import FakeClock
from tests.unit.core_support import DEADLINE


class Disk:
    """What a flush waits for.

    Attributes:
        flushed: released by each flush that has begun.
        late: released by each time that it was late.
    """

    def __init__(self) -> None:
        self.flushed, self.late = threading.Semaphore(0), threading.Semaphore(0)
        self.answers = threading.Event()
        self.answers.set()

    def flush(self) -> None:
        self.flushed.release()
        assert self.answers.wait(DEADLINE)


def _until(clock: FakeClock, happened: Callable[[], bool]) -> bool:
    """Let time pass, half a second at once, until something has happened."""
    for _ in range(2000):
        clock.advance(EVERY)
        if happened():
            return True
    return False


def test_it_flushes_as_time_passes_and_ends() -> None:
    """By the injected clock; after `close` nothing more."""
    clock, disk = FakeClock(), Disk()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    for _ in range(2):
        flusher.start()
    for _ in range(3):
        assert _until(clock, lambda: disk.flushed.acquire(timeout=0.01))
    flusher.close()
    for thread in [one for one in threading.enumerate() if one.name == "strongroom-audit-counts"]:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    flusher.start()
    assert not any(one.name == "strongroom-audit-counts" for one in threading.enumerate())


def test_a_flush_that_hangs_is_told_each_time_and_goes_on_afterwards() -> None:
    """Warm reads stop at the next beat, not when the disk answers."""
    clock, disk = FakeClock(), Disk()
    disk.answers.clear()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    flusher.start()
    assert _until(clock, lambda: disk.flushed.acquire(timeout=0.01))
    assert _until(clock, lambda: disk.late.acquire(timeout=0.01))
    disk.answers.set()
    assert _until(clock, lambda: disk.flushed.acquire(timeout=0.01))
    flusher.close()


def test_a_forked_child_begins_anew() -> None:
    """As if it had never been started, nor closed."""
    clock, disk = FakeClock(), Disk()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    flusher.start()
    flusher.close()  # in a child its threads are not there at all
    flusher.after_fork()
    flusher.start()
    assert _until(clock, lambda: disk.flushed.acquire(timeout=0.01))
    flusher.close()
