"""AWS Parameter Store against moto, mended where its lies leave no right way; coordinated and not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.coordinator import SQLiteCoordinator
from strongroom.testing.conformance_async import AsyncConformance
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.ssm import reader, ssm
from tests.conformance.support import Ours, Suite, encrypted
from tests.servers.moto import Moto

UNDECLARED = Capability.DELETE | Capability.CAS | Capability.NATIVE_PENDING


class Parameters(Ours):
    """Pending values in a companion, under the leases of a SQLite coordinator; a plain boto3 client reads."""

    many = 60
    undeclared = UNDECLARED
    thrown_away = True
    share = 25

    @pytest.fixture(scope="class")
    @classmethod
    def coordinator(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteCoordinator | None]:
        path: Path = tmp_path_factory.mktemp("coordinator")
        coordinator = SQLiteCoordinator(path / "leases.db")
        yield coordinator
        coordinator.close()

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, mended_moto: Moto, coordinator: SQLiteCoordinator | None) -> Backend:
        return ssm(mended_moto.url, coordinator=coordinator)

    @pytest.fixture
    def disposable(self, mended_moto: Moto, coordinator: SQLiteCoordinator | None) -> Backend:
        return ssm(mended_moto.url, coordinator=coordinator)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, mended_moto: Moto) -> NativeReader:
        return reader(mended_moto.url)


class TestParameterStore(Parameters, Suite):
    """Guarded."""


class TestParameterStoreAsync(Parameters, AsyncConformance):
    """The same through ``AsyncSecretStore``."""

    second_way = True


class TestParameterStoreAlone(Parameters, Suite):
    """Without a coordinator: what is left is unconditional and create-only."""

    second_way = True

    undeclared = UNDECLARED | Capability.CAS_GUARDED

    @pytest.fixture(scope="class")
    @classmethod
    def coordinator(cls) -> None:
        return None


class TestParameterStoreEncrypted(Parameters, EncryptedSuite):
    """Messages in advanced parameters: 8 KB, since a message takes its place and base64 a third more."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, mended_moto: Moto, coordinator: SQLiteCoordinator | None) -> Backend:
        return encrypted(ssm(mended_moto.url, coordinator=coordinator, options={"tier": "advanced"}))

    @pytest.fixture
    def disposable(self, mended_moto: Moto, coordinator: SQLiteCoordinator | None) -> Backend:
        return encrypted(ssm(mended_moto.url, coordinator=coordinator, options={"tier": "advanced"}))

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, backend: Backend) -> NativeReader:
        return lambda name: cls.read_by_backend(backend, name)
