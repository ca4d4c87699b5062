"""Secrets on a SoftHSM token: with a coordinator, encrypted, awaited, and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability
from strongroom.coordinator import SQLiteCoordinator
from strongroom.registry import open_backend
from strongroom.testing.conformance_async import AsyncConformance
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.pkcs11 import PREFIX, reader, token_store
from tests.conformance.support import Ours, Suite, encrypted
from tests.servers.softhsm import TestToken

MISSING = Capability.NATIVE_PENDING | Capability.BATCH_GET | Capability.CAS | Capability.DELETE
NEEDS_COORDINATOR = Capability.CAS_GUARDED | Capability.CREATE_ONLY


class TokenSuite(Ours):
    """Guarded writes and pending values in a companion; plain python-pkcs11 is the native reader."""

    many = 30
    share = 25
    undeclared = MISSING

    @pytest.fixture(scope="class")
    @classmethod
    def coordinator(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteCoordinator | None]:
        coordinator = SQLiteCoordinator(Path(tmp_path_factory.mktemp("coordinator"), "leases.db"))
        yield coordinator
        coordinator.close()

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, softhsm_store: TestToken, coordinator: SQLiteCoordinator | None) -> Iterator[Backend]:
        backend = cls.opened(softhsm_store, coordinator)
        yield backend
        backend.close()

    @pytest.fixture
    def disposable(self, softhsm_store: TestToken, coordinator: SQLiteCoordinator | None) -> Backend:
        return self.opened(softhsm_store, coordinator)

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, softhsm_store: TestToken, coordinator: SQLiteCoordinator | None) -> Backend:
        """The process is logged in, and still nobody enters with a wrong PIN."""
        settings = softhsm_store.settings(coordinator=coordinator, timeout=30.0)
        wrong = replace(settings, auth={"pin": SecretValue(f"{CANARY}-wrong")})
        return open_backend(softhsm_store.url(PREFIX), wrong)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, softhsm_store: TestToken) -> NativeReader:
        return reader(softhsm_store)

    @classmethod
    def opened(cls, token: TestToken, coordinator: SQLiteCoordinator | None) -> Backend:
        """As this run has it."""
        return token_store(token, coordinator=coordinator)


class TestTokenStore(TokenSuite, Suite):
    """Guarded."""


class TestTokenAsync(TokenSuite, AsyncConformance):
    """The same through ``AsyncSecretStore``."""

    second_way = True


class TestTokenEncrypted(TokenSuite, EncryptedSuite):
    """Messages on the token."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, backend: Backend) -> NativeReader:
        return lambda name: cls.read_by_backend(backend, name)

    @classmethod
    def opened(cls, token: TestToken, coordinator: SQLiteCoordinator | None) -> Backend:
        return encrypted(token_store(token, coordinator=coordinator))


class TestTokenAlone(TokenSuite, Suite):
    """Neither conditional writes nor pending values: they are refused before the token is asked."""

    second_way = True

    undeclared = MISSING | NEEDS_COORDINATOR

    @pytest.fixture(scope="class")
    @classmethod
    def coordinator(cls) -> None:
        return None
