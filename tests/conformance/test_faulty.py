"""FaultyBackend without a fault changes nothing; with faults it plays what was asked for, and counts."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.errors import (
    IntegrityError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, Killed, kill
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.conformance.support import Suite, encrypted

NAME = Name("db/password")
VALUE = SecretValue(CANARY)


class TestFaultyWithoutFaults(Suite):
    """The layer itself is transparent."""

    @pytest.fixture
    def backend(self) -> Backend:
        return FaultyBackend(MemoryBackend())


@pytest.fixture
def faulty() -> FaultyBackend:
    backend = FaultyBackend(MemoryBackend())
    backend.put(NAME, VALUE, None)
    backend.calls.clear()
    return backend


def test_calls_are_counted_even_if_they_fail(faulty: FaultyBackend) -> None:
    """`calls` counts what was asked for, by method."""
    faulty.throttle("get")
    with pytest.raises(UnavailableError):
        faulty.get(NAME, Stage.CURRENT)
    faulty.get(NAME, Stage.CURRENT)
    list(faulty.list_info(""))
    assert faulty.calls == {"get": 2, "list_info": 1}


def test_a_timeout_after_the_commit_has_written(faulty: FaultyBackend) -> None:
    """The write happened and nobody can know."""
    faulty.timeout("put", after=True)
    with pytest.raises(UnavailableError) as caught:
        faulty.put(NAME, SecretValue("new"), None)
    assert caught.value.performed is None
    assert faulty.get(NAME, Stage.CURRENT).value.matches("new")


def test_a_timeout_before_the_commit_has_not(faulty: FaultyBackend) -> None:
    """Nothing happened, and nobody can know that either."""
    faulty.timeout("put")
    with pytest.raises(UnavailableError):
        faulty.put(NAME, SecretValue("new"), None)
    assert faulty.get(NAME, Stage.CURRENT).value == VALUE


def test_the_nth_call_is_hit_and_no_other(faulty: FaultyBackend) -> None:
    """`skip` and `times` choose the calls."""
    faulty.fault("*", kill, skip=2, times=1)
    faulty.get(NAME, Stage.CURRENT)
    faulty.versions(NAME)
    with pytest.raises(Killed):
        faulty.get(NAME, Stage.CURRENT)
    assert faulty.get(NAME, Stage.CURRENT).value == VALUE


def test_a_denial_lasts_until_it_is_lifted(faulty: FaultyBackend) -> None:
    """As a policy does."""
    faulty.deny()
    for _ in range(2):
        with pytest.raises(PermissionDeniedError):
            faulty.get(NAME, Stage.CURRENT)
    faulty.clear()
    assert faulty.get(NAME, Stage.CURRENT).value == VALUE


def test_a_stale_read_misses_the_last_write(faulty: FaultyBackend) -> None:
    """It answers what the same read answered before, once."""
    faulty.get(NAME, Stage.CURRENT)
    faulty.put(NAME, SecretValue("new"), None)
    faulty.stale()
    assert faulty.get(NAME, Stage.CURRENT).value == VALUE
    assert faulty.get(NAME, Stage.CURRENT).value.matches("new")


def test_a_delay_moves_the_injected_clock() -> None:
    """No test waits."""
    clock = FakeClock()
    faulty = FaultyBackend(MemoryBackend(), clock=clock)
    faulty.delay("get", 3.5)
    with pytest.raises(SecretNotFoundError):
        faulty.get(NAME, Stage.CURRENT)
    assert clock.slept == [3.5]
    assert clock.monotonic() == 3.5


def test_half_a_page_breaks_off(faulty: FaultyBackend) -> None:
    """Some items come, then the connection is gone."""
    faulty.put(Name("b"), VALUE, None)
    faulty.half_page()
    pages = faulty.list_info("")
    assert str(next(pages).key) == "b"
    with pytest.raises(UnavailableError):
        next(pages)


def test_garbage_under_encryption_is_an_integrity_error() -> None:
    """What comes back from a broken provider is never taken for a value."""
    faulty = FaultyBackend(MemoryBackend())
    store = SecretStore(encrypted(faulty), cache=None)
    store.put("db/password", CANARY)
    faulty.garbage()
    with pytest.raises(IntegrityError):
        store.get("db/password")
    assert store.get("db/password").value == VALUE


def test_an_unreachable_member_is_passed_over() -> None:
    """Reads go on with the next member and say so; a denial and a missing secret do not go on."""
    members = {alias: FaultyBackend(MemoryBackend()) for alias in ("one", "two")}
    for member in members.values():
        member.put(NAME, VALUE, None)
    store = SecretStore(Failover(members), cache=None)
    members["one"].unreachable()
    assert store.get("db/password").degraded
    members["one"].clear()
    members["one"].deny()
    with pytest.raises(PermissionDeniedError):
        store.get("db/password")
    members["one"].clear()
    members["one"].purge(NAME)
    with pytest.raises(SecretNotFoundError):
        store.get("db/password")


def test_fewer_capabilities_can_be_claimed() -> None:
    """To see what a lesser backend would do."""
    faulty = FaultyBackend(MemoryBackend(), capabilities=Capability.PUT)
    assert faulty.capabilities == Capability.PUT
    with pytest.raises(SecretStoreError):
        SecretStore(faulty, require=Capability.PURGE)
