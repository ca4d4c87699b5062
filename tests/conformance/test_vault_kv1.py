"""Vault's KV version 1: no versions, no bin, no pending values."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Suite, encrypted
from tests.conformance.test_vault import powerless, vault
from tests.servers.openbao import OpenBao


class TestVaultKV1(Suite):
    """``?kv=1``."""

    undeclared = ~(Capability.LIST | Capability.PUT | Capability.PURGE)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return vault(openbao_server, kv1_mount, options="&kv=1")

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return vault(openbao_server, kv1_mount, powerless(openbao_server), options="&kv=1")

    @pytest.fixture
    def disposable(self, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return vault(openbao_server, kv1_mount, options="&kv=1")


class TestVaultKV1Encrypted(EncryptedSuite):
    """The same, holding only messages."""

    second_way = True
    undeclared = TestVaultKV1.undeclared

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return encrypted(vault(openbao_server, kv1_mount, options="&kv=1"))

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return encrypted(vault(openbao_server, kv1_mount, powerless(openbao_server), options="&kv=1"))

    @pytest.fixture
    def disposable(self, openbao_server: OpenBao, kv1_mount: str) -> Backend:
        return encrypted(vault(openbao_server, kv1_mount, options="&kv=1"))
