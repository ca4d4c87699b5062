"""Leases and fences of the SQLite coordinator."""

from __future__ import annotations

import multiprocessing
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from strongroom.backend import Clock
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretConflictError, UnavailableError
from strongroom.lease import Lease
from tests.scale import scaled

if TYPE_CHECKING:
    from pathlib import Path

RESOURCE = "azure-kv://vault/db/password"


class Hands(Clock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


def held(coordinator: SQLiteCoordinator, seconds: float = 30) -> Lease:
    lease = coordinator.acquire(RESOURCE, seconds)
    assert lease is not None
    return lease


def test_one_holds_a_lease_and_others_wait_until_it_runs_out(path: Path, clock: Hands) -> None:
    """Two coordinators on one file are two processes of one machine."""
    one, two = SQLiteCoordinator(path, clock), SQLiteCoordinator(path, clock)
    first = held(one)
    assert two.acquire(RESOURCE, 30) is None
    assert two.acquire("another", 30) is not None
    clock.move(30)
    assert one.seconds_left(first) <= 0
    assert held(two).fence == first.fence + 1


def test_a_released_lease_is_free_at_once_and_the_fence_still_grows(path: Path, clock: Hands) -> None:
    """Fences never repeat, whether a lease ran out or was given back."""
    coordinator = SQLiteCoordinator(path, clock)
    first = held(coordinator)
    coordinator.release(first)
    second = held(coordinator)
    coordinator.release(first)  # a late release must not free what another holds
    assert coordinator.acquire(RESOURCE, 30) is None
    assert second.fence > first.fence


def test_a_suspended_holder_cannot_record_after_it_was_overtaken(path: Path, clock: Hands) -> None:
    """The attack a lease alone allows: the first holder wakes after its end and writes over the second."""
    one, two = SQLiteCoordinator(path, clock), SQLiteCoordinator(path, clock)
    suspended = held(one)
    one.record(suspended, "version-1")
    clock.move(31)
    two.record(held(two), "version-2")
    with pytest.raises(SecretConflictError):
        one.record(suspended, "version-1-again")
    assert one.recorded(RESOURCE) == "version-2"


def test_what_was_recorded_outlives_leases_and_processes(path: Path, clock: Hands) -> None:
    """A new process reads what the last one recorded; nothing recorded is None."""
    first = SQLiteCoordinator(path, clock)
    assert first.recorded(RESOURCE) is None
    first.record(held(first), "version-1")
    first.close()
    first.close()
    assert SQLiteCoordinator(path, clock).recorded(RESOURCE) == "version-1"


def test_the_file_is_for_its_owner_only(path: Path, clock: Hands) -> None:
    """Whoever writes the file decides who may write secrets."""
    held(SQLiteCoordinator(path, clock))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_coordinator_that_cannot_be_reached_is_unavailable(tmp_path: Path, clock: Hands) -> None:
    """Without a coordinator nothing may be written: a missing folder and a file that is no database."""
    with pytest.raises(UnavailableError):
        SQLiteCoordinator(tmp_path / "no" / "leases.db", clock).acquire(RESOURCE, 1)
    (tmp_path / "junk").write_bytes(b"not a database, long enough to be read as one" * 40)
    with pytest.raises(UnavailableError):
        SQLiteCoordinator(tmp_path / "junk", clock).acquire(RESOURCE, 1)


def _count(path: str, rounds: int, won: multiprocessing.SimpleQueue[list[int]]) -> None:
    coordinator, fences = SQLiteCoordinator(path), []
    for _ in range(rounds):
        if lease := coordinator.acquire(RESOURCE, 60):
            fences.append(lease.fence)
            coordinator.release(lease)
    won.put(fences)


def test_racing_processes_never_share_a_fence(path: Path) -> None:
    """Four processes take and release one lease as fast as they can."""
    context = multiprocessing.get_context("spawn")
    won: multiprocessing.SimpleQueue[list[int]] = context.SimpleQueue()
    held(coordinator := SQLiteCoordinator(path), 0)
    workers = [context.Process(target=_count, args=(str(path), scaled(500), won)) for _ in range(4)]
    for worker in workers:
        worker.start()
    fences = [fence for _ in workers for fence in won.get()]
    for worker in workers:
        worker.join()
    assert len(fences) == len(set(fences)) > 0
    coordinator.close()
