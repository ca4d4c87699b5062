"""MemoryBackend with less: what most providers can do, and less and less of it."""

from __future__ import annotations

import pytest

from strongroom.backend import Capability
from strongroom.memory import ALL, MemoryBackend
from tests.conformance.support import Suite

C = Capability


class TestMemoryCompanion(Suite):
    """Pending values in a companion, as on Vault."""

    undeclared = Capability.NATIVE_PENDING

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(ALL & ~C.NATIVE_PENDING)


class TestMemoryWithoutVersions(Suite):
    """A plain key-value store with compare-and-set, as Consul."""

    undeclared = ~(C.LIST | C.PUT | C.CREATE_ONLY | C.CAS | C.PURGE)

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(C.LIST | C.PUT | C.CREATE_ONLY | C.CAS | C.PURGE)


class TestMemoryPutOnly(Suite):
    """Nothing but reading and writing, as Vault's KV version 1 without its list."""

    undeclared = ~(C.PUT | C.DELETE)

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(C.PUT | C.DELETE)
