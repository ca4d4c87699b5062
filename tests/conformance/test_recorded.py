"""The layer `Recorded`: a source of replication is a store like any other, to whoever uses it."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.layers.recorded import Recorded
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.store import SecretStore
from tests.conformance.support import Suite, encrypted

COMPANION = ALL & ~Capability.NATIVE_PENDING


class Recording(Suite):
    """What is written without a record gets one."""

    second_way = True

    @pytest.mark.xfail(reason="the layer gives a record to what is written without one", strict=True)
    def test_a_record_is_one_version_s_alone(self, store: SecretStore, backend: Backend) -> None:
        """What is written through it is never without."""
        super().test_a_record_is_one_version_s_alone(store, backend)

    def test_each_version_has_a_record_of_its_own_value(self, store: SecretStore, backend: Backend) -> None:
        """Of each secret and each version another one, and none that another value could bear."""
        layer = backend
        assert isinstance(layer, Recorded)
        names = [Name(self.name("first")), Name(self.name("second"))]
        for name in names:
            store.put(str(name), self.text("one"))
            store.put(str(name), self.text("two"))
        found = [backend.get(name, stage) for name in names for stage in (Stage.CURRENT, Stage.PREVIOUS)]
        assert len({secret.record for secret in found}) == 4
        assert all(layer.order.verify(Name(secret.name), secret) for secret in found)


class TestRecorded(Recording):
    """Over native pending values."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Recorded(MemoryBackend(), "conformance", alias="prod")


class TestRecordedCompanion(Recording):
    """Over a companion, where a promote is a put of the secret."""

    undeclared = Capability.NATIVE_PENDING

    @pytest.fixture
    def backend(self) -> Backend:
        return Recorded(MemoryBackend(COMPANION), "conformance", alias="prod")


class TestRecordedEncrypted(Recording):
    """Over encryption: digests are of what applications put."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Recorded(encrypted(MemoryBackend()), "conformance", alias="prod")
