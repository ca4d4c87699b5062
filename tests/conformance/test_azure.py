"""Azure Key Vault against its wire double: with a coordinator, encrypted, awaited, and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.coordinator import SQLiteCoordinator
from strongroom.testing.conformance_async import AsyncConformance
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.azure import azure, reader
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Ours, Suite, encrypted
from tests.servers import azure as double
from tests.servers.https import Authority

NEEDS_COORDINATOR = Capability.CAS | Capability.CAS_GUARDED | Capability.CREATE_ONLY
MISSING = Capability.NATIVE_PENDING | Capability.BATCH_GET | Capability.CAS


@pytest.fixture(scope="module")
def _vault(authority: Authority) -> Iterator[double.Vault]:
    with double.server(authority) as vault:
        yield vault


@pytest.fixture(scope="module")
def _closed(authority: Authority) -> Iterator[double.Vault]:
    """The same place as somebody sees it who has no rights there."""
    with double.server(authority) as vault:
        vault.faults.deny("*")
        yield vault


@pytest.fixture(scope="module")
def _coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteCoordinator]:
    coordinator = SQLiteCoordinator(Path(tmp_path_factory.mktemp("coordinator"), "leases.db"))
    yield coordinator
    coordinator.close()


class AzureSuite(Ours):
    """One vault for a module; every test has names of its own."""

    many = 30  # more than one page of 25
    undeclared = MISSING
    thrown_away = True
    share = 25

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _vault: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return azure(_vault, coordinator=_coordinator)

    @pytest.fixture
    def disposable(self, _vault: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return azure(_vault, coordinator=_coordinator)

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, _closed: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return azure(_closed, coordinator=_coordinator)


class TestAzure(AzureSuite, Suite):
    """Guarded writes, pending values in a companion; a plain SecretClient is the native reader."""

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, _vault: double.Vault) -> NativeReader:
        return reader(_vault)


class TestAzureAsync(AzureSuite, AsyncConformance):
    """The same, awaited."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, _vault: double.Vault) -> NativeReader:
        return reader(_vault)


class TestAzureEncrypted(AzureSuite, EncryptedSuite):
    """Messages in Key Vault, as base64."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _vault: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return encrypted(azure(_vault, coordinator=_coordinator))

    @pytest.fixture
    def disposable(self, _vault: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return encrypted(azure(_vault, coordinator=_coordinator))

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, _closed: double.Vault, _coordinator: SQLiteCoordinator) -> Backend:
        return encrypted(azure(_closed, coordinator=_coordinator))


class TestAzureWithoutCoordinator(AzureSuite, Suite):
    """Neither conditional writes nor pending values: they are refused before anything is sent."""

    second_way = True

    undeclared = MISSING | NEEDS_COORDINATOR

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _vault: double.Vault) -> Backend:
        return azure(_vault)

    @pytest.fixture
    def disposable(self, _vault: double.Vault) -> Backend:
        return azure(_vault)

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, _closed: double.Vault) -> Backend:
        return azure(_closed)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, _vault: double.Vault) -> NativeReader:
        return reader(_vault)
