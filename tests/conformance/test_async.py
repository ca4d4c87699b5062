"""The same suite through AsyncSecretStore."""

from __future__ import annotations

import pytest

from strongroom.backend import Capability
from strongroom.memory import ALL, MemoryBackend
from strongroom.testing.conformance_async import AsyncConformance
from tests.conformance.support import Ours


class AsyncSuite(Ours, AsyncConformance):
    """The public async suite with this repository's canary."""


class TestAsyncMemory(AsyncSuite):
    """Native pending values."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()


class TestAsyncMemoryCompanion(AsyncSuite):
    """Pending values in a companion."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(ALL & ~Capability.NATIVE_PENDING)
