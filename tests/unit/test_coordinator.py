"""Leases and fences, of the SQLite coordinator and of one in a store."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
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
from strongroom.pgcoordinator import PostgresCoordinator
from strongroom.registry import open_backend
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.chaos.forked import Say, forked
from tests.scale import scaled
from tests.servers.openbao import OpenBao
from tests.unit.ledger_support import empty_database

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


@pytest.fixture(params=["sqlite", "memory", "vault", "postgresql"])
def make(request: pytest.FixtureRequest, path: Path, clock: Hands) -> Iterator[Make]:
    """Makes coordinators that meet in one place, as several processes have them."""
    kind, shared = request.param, MemoryBackend()
    if kind == "postgresql":
        login = empty_database(request.getfixturevalue("postgres_server"), "coordination")
    with ExitStack() as ends:

        def made() -> Coordinator:
            coordinator: Coordinator
            if kind == "sqlite":
                coordinator = SQLiteCoordinator(path, clock)
            elif kind == "postgresql":
                coordinator = PostgresCoordinator(login, clock)
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


def test_coordinators_that_make_one_file_at_once_all_coordinate(tmp_path: Path) -> None:
    """SQLite turns away at once whoever meets another turning a new file to WAL, for all its busy timeout."""
    for number in range(scaled(200)):
        path = tmp_path / f"{number}.db"
        coordinators = [SQLiteCoordinator(path) for _ in range(8)]
        leases = at_once([partial(coordinator.acquire, RESOURCE, 60) for coordinator in coordinators])
        assert [lease.fence for lease in leases if lease] == [1]
        for coordinator in coordinators:
            coordinator.close()
        assert [left.name for left in tmp_path.iterdir() if not left.name.endswith(".db")] == []


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


def _elsewhere(path: Path) -> int:
    """The fence that another program gets, which begins and ends here."""
    code = f"""
from strongroom.coordinator import SQLiteCoordinator
coordinator = SQLiteCoordinator({str(path)!r})
lease = coordinator.acquire({RESOURCE!r}, 0)
coordinator.close()
print(lease.fence)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return int(ran.stdout)


def test_two_stores_of_one_process_do_not_undo_each_others_locks(path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it ▲: another program would
    take itself for the last one and remove the log that this one goes on writing to.
    """
    one, two = SQLiteCoordinator(path), SQLiteCoordinator(path)
    fences = [held(one, 0).fence, held(two, 0).fence]
    fences += [_elsewhere(path), held(one, 0).fence, _elsewhere(path), held(two, 0).fence]
    assert fences == [1, 2, 3, 4, 5, 6]
    assert path.with_name("leases.db-wal").exists()
    one.close()
    two.close()


def _child(coordinator: SQLiteCoordinator, go: int) -> Callable[[Say], None]:
    def work(say: Say) -> None:
        say(held(coordinator, 0).fence)
        os.read(go, 1)
        say(held(coordinator, 0).fence)

    return work


def test_a_forked_child_has_locks_of_its_own(path: Path) -> None:
    """SQLite inherits the table of its parent's locks, and not the locks ▲: the parent would remove the log
    as its last user, and the child's fences would be given again.
    """
    parent = SQLiteCoordinator(path)
    fences = [held(parent, 0).fence]
    waiting, go = os.pipe()
    with forked(_child(parent, waiting)) as (child,):
        fences.append(child.hear())
        parent.close()
        fences.append(_elsewhere(path))
        os.write(go, b"g")
        fences.append(child.hear())
    for end in (waiting, go):
        os.close(end)
    fences.append(_elsewhere(path))
    assert fences == [1, 2, 3, 4, 5]


def test_a_fork_waits_for_a_thread_that_uses_the_coordinator(path: Path) -> None:
    """The child would wait for ever for a lock whose holder does not exist there."""
    coordinator, busy, let = SQLiteCoordinator(path), threading.Event(), threading.Event()

    def hold() -> None:
        with coordinator._file._lock:
            busy.set()
            assert let.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert busy.wait(30)
    threading.Timer(0.2, let.set).start()
    with forked(lambda say: say(held(coordinator, 0).fence)) as (child,):
        assert child.hear(30) == 1
    holder.join(30)
    assert held(coordinator).fence == 2
    coordinator.close()


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
