"""The Encrypted layer over memory: native pending values, and a companion's."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability
from strongroom.memory import ALL, MemoryBackend
from tests.conformance.support import Suite, encrypted


class TestEncrypted(Suite):
    """Over native pending values."""

    @pytest.fixture
    def backend(self) -> Backend:
        return encrypted(MemoryBackend())


class TestEncryptedCompanion(Suite):
    """Over a companion, whose messages are bound to the companion's own key."""

    @pytest.fixture
    def backend(self) -> Backend:
        return encrypted(MemoryBackend(ALL & ~Capability.NATIVE_PENDING))
