"""A backend that keeps leases: the store over it caches nothing, and tells it what was refused."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Secret, Stage
from strongroom.cache import CachePolicy
from strongroom.errors import InvalidRequestError
from strongroom.layers.edge import edge
from strongroom.layers.failover import Failover
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue


class Lessor(Backend):
    """Gives what it holds; each refusal of that makes another."""

    leases = True
    origin = "lessor"

    def __init__(self) -> None:
        self.asked, self.number = 0, 1

    def get(self, key: Key, version: str | Stage) -> Secret:
        self.asked += 1
        return Secret(str(key), SecretValue(f"value {self.number}"), str(self.number), origin=self.origin)

    def refused(self, key: Key, version: str) -> None:
        if version == str(self.number):
            self.number += 1


@pytest.fixture
def lessor() -> Lessor:
    return Lessor()


@pytest.fixture
def store(lessor: Lessor) -> SecretStore:
    return SecretStore(edge(Layer(lessor)), cache=CachePolicy(), clock=FakeClock())


def test_nothing_is_cached_whatever_the_policy_says(store: SecretStore, lessor: Lessor) -> None:
    """The backend alone knows when a lease ends."""
    with store:
        store.get("app")
        assert not store.is_warm("app")
        store.get("app")
        assert lessor.asked == 2


def test_a_refresh_tells_the_backend_which_version_was_refused(store: SecretStore) -> None:
    """Once for all who were refused with it."""
    with store:
        first = store.get("app").version
        second = store.refresh("app", rejected=first).version
        assert second != first
        assert store.refresh("app", rejected=first).version == second


def test_a_backend_without_leases_is_told_too_and_need_not_listen() -> None:
    """Without a cache a refresh is a read."""
    with SecretStore(MemoryBackend(), cache=None) as store:
        version = store.put("app", "value").id
        assert store.refresh("app", rejected=version).version == version


def test_a_failover_takes_no_such_member(lessor: Lessor) -> None:
    """Also through layers."""
    with pytest.raises(InvalidRequestError, match="no member of a failover"):
        Failover({"one": MemoryBackend(), "two": edge(Layer(lessor))})


def test_what_was_refused_passes_every_layer(lessor: Lessor) -> None:
    """Down to who makes another."""
    Layer(edge(lessor)).refused(Name("app"), "1")
    assert lessor.number == 2
