"""What a coordinator in a store adds: lost answers, damaged entries, and stores that cannot coordinate."""

from __future__ import annotations

import json

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.coordinator import StoreCoordinator, _reserved
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    UnavailableError,
)
from strongroom.lease import Lease
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Reserved, flat_name
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.unit.core_support import memory

RESOURCE = "azure-kv://vault/db/password"


@pytest.fixture
def backend() -> FaultyBackend:
    return memory()


@pytest.fixture
def coordinator(backend: FaultyBackend) -> StoreCoordinator:
    return StoreCoordinator(backend, FakeClock())


def held(coordinator: StoreCoordinator) -> Lease:
    lease = coordinator.acquire(RESOURCE, 30)
    assert lease is not None
    return lease


@pytest.mark.parametrize(
    "capabilities", [ALL & ~Capability.CAS, ALL & ~Capability.CAS | Capability.CAS_GUARDED]
)
def test_a_store_without_compare_and_set_of_its_own_is_refused(capabilities: Capability) -> None:
    """One that is itself guarded would ask itself for its leases."""
    with pytest.raises(InvalidRequestError, match="cannot coordinate"):
        StoreCoordinator(MemoryBackend(capabilities))


def test_a_lease_whose_answer_was_lost_is_held(coordinator: StoreCoordinator, backend: FaultyBackend) -> None:
    """It is read back: else it would block everybody, its holder too, until it runs out."""
    backend.timeout("put", after=True)
    lease = held(coordinator)
    coordinator.record(lease, "version-1")
    assert coordinator.acquire(RESOURCE, 30) is None


def test_a_lease_that_did_not_arrive_is_not_held(
    coordinator: StoreCoordinator, backend: FaultyBackend
) -> None:
    """No answer, and nothing there."""
    backend.timeout("put")
    assert coordinator.acquire(RESOURCE, 30) is None
    held(coordinator)


def test_a_record_whose_answer_was_lost_is_recorded(
    coordinator: StoreCoordinator, backend: FaultyBackend
) -> None:
    """Read back as well; one that did not arrive is not told as recorded."""
    lease = held(coordinator)
    backend.timeout("put", after=True)
    coordinator.record(lease, "version-1")
    assert coordinator.recorded(RESOURCE) == "version-1"
    backend.timeout("put")
    with pytest.raises(SecretConflictError):
        coordinator.record(lease, "version-2")
    assert coordinator.recorded(RESOURCE) == "version-1"


def test_a_holder_that_is_overtaken_while_it_records_is_told(
    coordinator: StoreCoordinator, backend: FaultyBackend
) -> None:
    """Between its reading and its writing another takes the lease: compare-and-set decides."""
    lease = held(coordinator)
    other = StoreCoordinator(backend.inner, clock := FakeClock())
    clock.advance(31)
    backend.run("put", lambda: held(other))
    with pytest.raises(SecretConflictError):
        coordinator.record(lease, "version-1")
    assert other.recorded(RESOURCE) is None


def test_what_the_store_refuses_is_told(coordinator: StoreCoordinator, backend: FaultyBackend) -> None:
    """Not as a lease that another holds, which would be waited for."""
    backend.unreachable()
    with pytest.raises(UnavailableError):
        coordinator.acquire(RESOURCE, 30)
    backend.clear()
    backend.deny("put")
    with pytest.raises(PermissionDeniedError):
        coordinator.acquire(RESOURCE, 30)


def entry(**changes: object) -> str:
    """A lease as the store keeps it."""
    facts = {"resource": RESOURCE, "fence": 7, "expires": 0.0, "holder": "h", "recorded": "v1"}
    return json.dumps({**facts, **changes})


def test_the_form_of_an_entry_stays(coordinator: StoreCoordinator, backend: FaultyBackend) -> None:
    """Processes of different releases share a coordinator."""
    backend.inner.put(_reserved(RESOURCE), SecretValue(entry()), None)
    assert coordinator.recorded(RESOURCE) == "v1"
    assert held(coordinator).fence == 8
    kept = json.loads(backend.inner.get(_reserved(RESOURCE), Stage.CURRENT).value.reveal())
    assert kept.keys() == json.loads(entry()).keys()


@pytest.mark.parametrize(
    "damaged",
    [
        "{", "[]", "7", '"text"', "null", b"\xff\xfe", entry(resource="another"), entry(fence="7"),
        entry(fence=7.0), entry(fence=True), entry(fence=-1), entry(expires="soon"), entry(expires=None),
        entry(holder=3), entry(recorded=5), entry(more=1), '{"fence": 7}',
    ],
)  # fmt: skip
def test_a_damaged_entry_is_an_integrity_error(
    coordinator: StoreCoordinator, backend: FaultyBackend, damaged: str | bytes
) -> None:
    """A fence that began again at 1 would let every suspended holder back in ▲."""
    backend.inner.put(_reserved(RESOURCE), SecretValue(damaged), None)
    with pytest.raises(IntegrityError, match="damaged"):
        coordinator.acquire(RESOURCE, 30)
    with pytest.raises(IntegrityError):
        coordinator.recorded(RESOURCE)


def test_an_entry_stands_under_a_key_that_no_secret_has() -> None:
    """And fits the tightest provider, however long the resource's name is."""
    key = _reserved("x" * 5000)
    assert isinstance(key, Reserved)
    assert len(flat_name(key, "p" * 24, "-")) <= 127
    assert _reserved("x") != key


def test_closing_and_forking_reach_the_store() -> None:
    """The coordinator owns its backend."""
    told: list[str] = []

    class Told(MemoryBackend):
        def close(self) -> None:
            told.append("close")

        def after_fork(self) -> None:
            told.append("fork")

    backend: Backend = Told()
    coordinator = StoreCoordinator(backend)
    coordinator.after_fork()
    coordinator.close()
    assert told == ["fork", "close"]
