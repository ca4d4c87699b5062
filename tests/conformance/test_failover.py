"""Failover over two members, bare and encrypted; the second one is a stranger that knows nothing."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability
from strongroom.layers.failover import Failover
from strongroom.memory import ALL, MemoryBackend
from tests.conformance.support import Suite, encrypted


class FailoverSuite(Suite):
    """Version ids name their member; one that names none is another error, tested beside the layer."""

    def version_id(self, text: str) -> str:
        return f"one:{text}"


class TestFailover(FailoverSuite):
    """Two members with native pending values."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Failover({"one": MemoryBackend(), "two": MemoryBackend()})


class TestFailoverOfEncrypted(FailoverSuite):
    """As DESIGN orders the layers: failover outside, encryption inside, here with companions and a hedge."""

    undeclared = Capability.NATIVE_PENDING

    @pytest.fixture
    def backend(self) -> Backend:
        lesser = ALL & ~Capability.NATIVE_PENDING
        members = {alias: encrypted(MemoryBackend(lesser)) for alias in ("one", "two")}
        return Failover(members, hedge=0.5)
