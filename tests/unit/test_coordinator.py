"""Leases and fences, of the SQLite coordinator and of one in a store."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import Backend, Clock, Settings
from strongroom.coordinator import SQLiteCoordinator, StoreCoordinator
from strongroom.errors import SecretConflictError, UnavailableError
from strongroom.lease import Coordinator, Lease
from strongroom.memory import MemoryBackend
from strongroom.registry import open_backend
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.servers.openbao import OpenBao

RESOURCE = "azure-kv://vault/db/password"
Make = Callable[[], Coordinator]


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


def _vault(request: pytest.FixtureRequest) -> Backend:
    server: OpenBao = request.getfixturevalue("openbao_server")
    token = SecretValue(server.token)
    url = f"vault:///{request.getfixturevalue('kv2_mount')}/coordination?endpoint={server.address}"
    return open_backend(url, Settings(auth={"method": "token", "token": token}, timeout=30.0))


@pytest.fixture(params=["sqlite", "memory", "vault"])
def make(request: pytest.FixtureRequest, path: Path, clock: Hands) -> Iterator[Make]:
    """Makes coordinators that meet in one place, as several processes have them."""
    kind, shared = request.param, MemoryBackend()
    with ExitStack() as ends:

        def made() -> Coordinator:
            if kind == "sqlite":
                coordinator: Coordinator = SQLiteCoordinator(path, clock)
            else:
                coordinator = StoreCoordinator(shared if kind == "memory" else _vault(request), clock)
            ends.callback(coordinator.close)
            return coordinator

        yield made


def held(coordinator: Coordinator, seconds: float = 30) -> Lease:
    lease = coordinator.acquire(RESOURCE, seconds)
    assert lease is not None
    return lease


def test_one_holds_a_lease_and_others_wait_until_it_runs_out(make: Make, clock: Hands) -> None:
    """Two coordinators in one place are two processes."""
    one, two = make(), make()
    first = held(one)
    assert two.acquire(RESOURCE, 30) is None
    assert two.acquire("another", 30) is not None
    clock.move(30)
    assert one.seconds_left(first) <= 0
    assert held(two).fence == first.fence + 1


def test_a_released_lease_is_free_at_once_and_the_fence_still_grows(make: Make) -> None:
    """Fences never repeat, whether a lease ran out or was given back."""
    coordinator = make()
    first = held(coordinator)
    coordinator.release(first)
    second = held(coordinator)
    coordinator.release(first)  # a late release must not free what another holds
    assert coordinator.acquire(RESOURCE, 30) is None
    assert second.fence > first.fence


def test_a_suspended_holder_cannot_record_after_it_was_overtaken(make: Make, clock: Hands) -> None:
    """The attack a lease alone allows: the first holder wakes after its end and writes over the second."""
    one, two = make(), make()
    suspended = held(one)
    one.record(suspended, "version-1")
    clock.move(31)
    two.record(held(two), "version-2")
    with pytest.raises(SecretConflictError):
        one.record(suspended, "version-1-again")
    assert one.recorded(RESOURCE) == "version-2"


def test_a_holder_that_nobody_overtook_may_still_record(make: Make, clock: Hands) -> None:
    """Its lease ran out, and no higher fence was given: what it wrote is still the newest."""
    coordinator = make()
    slow = held(coordinator)
    clock.move(31)
    coordinator.record(slow, "version-1")
    assert coordinator.recorded(RESOURCE) == "version-1"


def test_what_was_recorded_outlives_leases_and_processes(make: Make) -> None:
    """A new process reads what the last one recorded; nothing recorded is None, and is not empty text."""
    first = make()
    assert first.recorded(RESOURCE) is None
    lease = held(first)
    assert first.recorded(RESOURCE) is None
    first.record(lease, "")
    assert first.recorded(RESOURCE) == ""
    first.record(lease, "version-1")
    first.release(lease)
    first.close()
    first.close()
    later = make()
    assert later.recorded(RESOURCE) == "version-1"
    held(later)
    assert later.recorded(RESOURCE) == "version-1"


def test_racing_threads_never_share_a_fence(make: Make) -> None:
    """Eight threads take and release one lease as fast as they can, on two coordinators."""
    coordinators, rounds = [make(), make()], scaled(100)

    def fences(coordinator: Coordinator) -> list[int]:
        won = [coordinator.acquire(RESOURCE, 60) for _ in range(rounds)]
        for lease in filter(None, won):
            coordinator.release(lease)
        return [lease.fence for lease in won if lease]

    answers = at_once([partial(fences, coordinator) for coordinator in coordinators * 4])
    found = [fence for answer in answers for fence in answer]
    assert len(found) == len(set(found)) > 0


def test_the_file_is_for_its_owner_only(path: Path, clock: Hands) -> None:
    """Whoever writes the file decides who may write secrets."""
    held(coordinator := SQLiteCoordinator(path, clock))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    coordinator.close()


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
