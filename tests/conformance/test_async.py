"""The same suite through AsyncSecretStore, for the backends that have no such run in their own file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend, Capability
from strongroom.memory import ALL, MemoryBackend
from strongroom.testing.aws import StrictServer
from strongroom.testing.conformance_async import AsyncConformance
from tests.conformance.aws import aws
from tests.conformance.support import Ours
from tests.conformance.test_env import TestEnv as _Env
from tests.conformance.test_file import TestFile as _File
from tests.conformance.test_vault import vault
from tests.servers.openbao import OpenBao


class AsyncSuite(Ours, AsyncConformance):
    """The public async suite with this repository's canary."""


class TestAsyncMemory(AsyncSuite):
    """Native pending values."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()


class TestAsyncMemoryCompanion(AsyncSuite):
    """Pending values in a companion."""

    undeclared = Capability.NATIVE_PENDING
    second_way = True

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend(ALL & ~Capability.NATIVE_PENDING)


class TestAsyncSecretsManager(AsyncSuite):
    """boto3's threads under an event loop."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def _server(cls) -> Iterator[StrictServer]:
        with StrictServer() as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _server: StrictServer) -> Backend:
        return aws(_server.url)

    @pytest.fixture
    def disposable(self, _server: StrictServer) -> Backend:
        return aws(_server.url)


class TestAsyncVault(AsyncSuite):
    """The real OpenBao."""

    undeclared = Capability.NATIVE_PENDING
    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return vault(openbao_server, kv2_mount)

    @pytest.fixture
    def disposable(self, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return vault(openbao_server, kv2_mount)


class TestAsyncEnv(_Env, AsyncConformance):
    """Read-only."""


class TestAsyncFile(_File, AsyncConformance):
    """Read-only."""
