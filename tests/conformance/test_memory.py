"""MemoryBackend, the executable specification, with everything it has."""

from __future__ import annotations

import pytest

from strongroom.memory import MemoryBackend
from tests.conformance.support import Suite


class TestMemory(Suite):
    """Native pending values."""

    many = 300

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()


class TestMemoryEventual(Suite):
    """Labels that may lag: what this process wrote is pinned, and other writers are still seen."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        backend = MemoryBackend()
        backend.eventual = True
        return backend
