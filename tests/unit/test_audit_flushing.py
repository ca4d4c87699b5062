"""The flusher of counts: twice a second, in a thread that a disk may hold up, beside one that notices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strongroom.audit.flushing import EVERY, Flusher
from strongroom.audit.hook import Policy
from strongroom.audit.reading import Reader
from strongroom.audit.record import parse
from strongroom.audit.service import Service
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.unit.audit_trail_support import CACHE, Trails
from tests.unit.core_support import DEADLINE, NAME, memory, overwrite

_NEVER = threading.Event()


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
        _NEVER.wait(0.002)  # those who wait by a fake clock look as often
    return False


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "strongroom-audit-counts"}


def test_it_flushes_as_time_passes_and_ends() -> None:
    """By the injected clock; after `close` nothing more."""
    clock, disk, others = FakeClock(), Disk(), _threads()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    for _ in range(2):
        flusher.start()
    assert len(_threads() - others) == 2
    for _ in range(3):
        assert _until(clock, lambda: disk.flushed.acquire(blocking=False))
    flusher.close()
    for thread in _threads() - others:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    flusher.start()
    assert not _threads() - others


def test_a_flush_that_hangs_is_told_each_time_and_goes_on_afterwards() -> None:
    """Warm reads stop at the next beat, not when the disk answers."""
    clock, disk = FakeClock(), Disk()
    disk.answers.clear()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    flusher.start()
    assert _until(clock, lambda: disk.flushed.acquire(blocking=False))
    assert _until(clock, lambda: disk.late.acquire(blocking=False))
    disk.answers.set()
    assert _until(clock, lambda: disk.flushed.acquire(blocking=False))
    flusher.close()


def test_a_forked_child_begins_anew() -> None:
    """As if it had never been started, nor closed."""
    clock, disk = FakeClock(), Disk()
    flusher = Flusher(disk.flush, disk.late.release, clock)
    flusher.start()
    flusher.close()  # in a child its threads are not there at all
    flusher.after_fork()
    flusher.start()
    assert _until(clock, lambda: disk.flushed.acquire(blocking=False))
    flusher.close()


def test_a_disk_that_hangs_stops_warm_reads_and_they_come_back(tmp_path: Path) -> None:
    """The whole way: reads are counted, the sync of their record hangs, and reads go on only when it ends."""
    trails = Trails(tmp_path / "journal")
    answers, asked, sync = threading.Event(), threading.Event(), trails.disk.sync
    backend = memory(clock=trails.clock)
    overwrite(backend.inner, "first")
    running = Service(trails.journal, trails.subjects.seal, trails.clock)
    hook = running.hook(lambda: None, Policy(), alias="prod")
    store = SecretStore(backend, hooks=[hook], clock=trails.clock, cache=CACHE)
    store.get(NAME)
    trails.journal.flush()

    def hanging(descriptor: int) -> None:
        asked.set()
        assert answers.wait(DEADLINE)
        sync(descriptor)

    trails.disk.sync = hanging  # type: ignore[method-assign]
    for _ in range(5):
        store.get(NAME)
    assert _until(trails.clock, asked.is_set)
    assert _until(trails.clock, lambda: not store._accounting.allowed)
    assert not store._warm
    answers.set()
    assert _until(trails.clock, lambda: store._accounting.allowed)
    store.close()
    running.close()
    assert sum(count for record in _reads(trails.path) for _, _, count in record["reads"]) == 5


def _reads(journal: Path) -> list[dict[str, Any]]:
    every = [parse(line.data) for line in Reader(journal).lines()]
    return [record for record in every if record["kind"] == "reads"]
