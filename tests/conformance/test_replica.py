"""A replica as applications open it: what replication wrote is read, and nothing else can be done."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend
from strongroom.layers.replica import ReadOnly, said_of
from strongroom.layers.revocable import Revocable
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.testing.conformance_base import Plant
from strongroom.value import SecretValue
from tests.conformance.support import Suite


class Nobody:
    """A list that revokes nothing."""

    def check(self, name: str, version: str, record: str | None = None, *, strict: bool = True) -> None:
        """Everything may be used."""

    def after_fork(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class TestReplica(Suite):
    """Under the layer that asks what is revoked, where nothing is."""

    undeclared = ALL.writes

    @pytest.fixture
    def held(self) -> MemoryBackend:
        """What replication writes to."""
        return MemoryBackend()

    @pytest.fixture
    def backend(self, held: MemoryBackend) -> Backend:
        return Revocable(ReadOnly(held, said_of("us", "eu")), Nobody(), lambda _: True)

    @pytest.fixture
    def plant(self, held: MemoryBackend) -> Plant:
        def plant(name: str, text: str) -> None:
            held.put(Name.parse(name), SecretValue(text), None)

        return plant
