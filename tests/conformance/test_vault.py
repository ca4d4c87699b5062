"""Vault's KV version 2 against the real OpenBao: bare, and holding only messages."""

from __future__ import annotations

import hvac.exceptions
import pytest

from strongroom.backend import Backend, Capability, Settings
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Suite, encrypted
from tests.servers.openbao import OpenBao


def vault(server: OpenBao, mount: str, token: str | None = None, options: str = "") -> Backend:
    """A KV mount of the dev server below the prefix ``app``."""
    settings = Settings(auth={"method": "token", "token": SecretValue(token or server.token)})
    return open_backend(f"vault:///{mount}/app?endpoint={server.address}{options}", settings)


def powerless(server: OpenBao) -> str:
    """A token that may do nothing with secrets."""
    token: str = server.client().auth.token.create(policies=["default"])["auth"]["client_token"]
    return token


class VaultSuite(Suite):
    """One mount for a class; every test has names of its own."""

    undeclared = Capability.NATIVE_PENDING
    share = 25

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return vault(openbao_server, kv2_mount, powerless(openbao_server))


class TestVault(VaultSuite):
    """Pending values in a companion; a plain hvac client is the native reader."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return vault(openbao_server, kv2_mount)

    @pytest.fixture
    def disposable(self, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return vault(openbao_server, kv2_mount)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, openbao_server: OpenBao, kv2_mount: str) -> NativeReader:
        kv = openbao_server.client().secrets.kv.v2

        def read(name: str) -> SecretValue | None:
            with not_ours():
                try:
                    answer = kv.read_secret_version(
                        f"app/{name}", mount_point=kv2_mount, raise_on_deleted_version=True
                    )
                except hvac.exceptions.InvalidPath:
                    return None
            return SecretValue(answer["data"]["data"]["value"])

        return read


class TestVaultEncrypted(VaultSuite, EncryptedSuite):
    """Messages in Vault, the companion's under its own key."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return encrypted(vault(openbao_server, kv2_mount))

    @pytest.fixture
    def disposable(self, openbao_server: OpenBao, kv2_mount: str) -> Backend:
        return encrypted(vault(openbao_server, kv2_mount))
