"""Which vault a URL names, whose credentials it gets, and what is left of a closed or forked client."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.identity
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from strongroom.backend import Backend, Capability, Settings, Stage
from strongroom.errors import InvalidRequestError, SecretStoreError, UnsupportedOperationError
from strongroom.names import Name, StoreURL
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from strongroom_azure._credentials import Nobody, credential
from strongroom_azure._vault import Vault
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.servers import azure as double

DB = Name("db/password")
TENANT, CLIENT = "16b3c013-0000-4000-8000-7eda0820b6d3", "5f3b0000-0000-4000-8000-00000000c11e"
SECRET: Mapping[str, str | SecretValue] = {
    "tenant_id": TENANT,
    "client_id": CLIENT,
    "client_secret": SecretValue(CANARY),
}


def vault(url: str = "azure-kv://my-vault/prod", **settings: Any) -> Vault:
    return Vault.of(StoreURL.parse(url), Settings(**settings))


class TestAddresses:
    @pytest.mark.parametrize(("url", "endpoint", "login"), [
        ("azure-kv://my-vault/prod", "https://my-vault.vault.azure.net", "login.microsoftonline.com"),
        ("azure-kv://My-Vault", "https://my-vault.vault.azure.net", "login.microsoftonline.com"),
        ("azure-kv://v-1.vault.azure.cn/x", "https://v-1.vault.azure.cn", "login.chinacloudapi.cn"),
        ("azure-kv://v-1.vault.usgovcloudapi.net/x", "https://v-1.vault.usgovcloudapi.net",
         "login.microsoftonline.us"),
        ("azure-key://hsm1.managedhsm.azure.net/k", "https://hsm1.managedhsm.azure.net",
         "login.microsoftonline.com"),
    ])  # fmt: skip
    def test_a_name_or_a_host_of_one_of_azures_clouds(self, url: str, endpoint: str, login: str) -> None:
        """The login service is that of the vault's cloud."""
        found = vault(url)
        assert (found.endpoint, found.login, found.loopback) == (endpoint, login, False)

    @pytest.mark.parametrize("url", [
        "azure-kv://evil.example.com/x", "azure-kv://a.vault.azure.net.evil.com/x", "azure-kv:///x",
        "azure-kv://x.y.vault.azure.net.", "azure-kv://my_vault/x", "azure-kv://ab/x", "azure-kv://-abc/x",
        f"azure-kv://{'x' * 25}/x", "azure-kv://my-vault/a/../b", "azure-kv://my-vault/x?region=y",
        "azure-kv://my-vault/x?endpoint=https://example.com", "azure-kv://my-vault?endpoint=https://localhost:1",
        "azure-kv://my-vault?endpoint=http://127.0.0.1:1", "azure-kv://my-vault:8443/x",
    ])  # fmt: skip
    def test_a_url_names_a_vault_and_at_most_loopback(self, url: str) -> None:
        """The name becomes part of a host name, and a URL must not send values elsewhere."""
        with pytest.raises(InvalidRequestError):
            open_backend(url)

    @pytest.mark.parametrize("settings", [
        Settings(endpoint="http://10.0.0.1:80"),
        Settings(endpoint="https://secrets.example.com"),
        Settings(endpoint="https://my-vault.vault.azure.net/path"),
        Settings(endpoint="https://127.0.0.1:1", auth=SECRET),
        Settings(auth={"password": "x"}),
        Settings(auth={"tenant_id": TENANT}),
        Settings(auth={**SECRET, "certificate": "x.pem"}),
        Settings(auth={"client_id": CLIENT, "client_secret": "x"}),
    ])  # fmt: skip
    def test_a_wrong_setting_is_refused_at_once(self, settings: Settings) -> None:
        """Plain HTTP, ambient credentials for a foreign host, any for loopback, half a credential."""
        with pytest.raises(InvalidRequestError):
            open_backend("azure-kv://my-vault/x", settings)

    def test_nothing_is_sent_or_logged_in_by_opening(self) -> None:
        """Neither a request nor the import of azure-identity, which takes longer than everything else."""
        code = (
            "import sys; from strongroom.registry import open_backend; open_backend('azure-kv://my-vault/prod');"
            "sys.exit('azure.identity' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def self_signed() -> bytes:
    """A certificate and its RSA key, the only kind that azure-identity takes."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rotator")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


class TestCredentials:
    @pytest.mark.parametrize(("auth", "kind"), [
        ({}, azure.identity.DefaultAzureCredential),
        (SECRET, azure.identity.ClientSecretCredential),
        ({"client_id": CLIENT}, azure.identity.ManagedIdentityCredential),
    ])  # fmt: skip
    def test_the_settings_choose_the_credential(self, auth: dict[str, Any], kind: type) -> None:
        """Without any, the SDK's own chain."""
        found = credential(Settings(auth=auth), vault())
        assert type(found) is kind
        found.close()  # type: ignore[attr-defined]

    def test_loopback_gets_a_token_that_opens_nothing(self) -> None:
        """Whatever listens there."""
        local = vault("azure-kv://my-vault?endpoint=https://127.0.0.1:1")
        assert isinstance(credential(Settings(), local), Nobody)
        assert Nobody().get_token("scope").token == "loopback"

    def test_a_certificate_that_cannot_be_read_is_a_configuration_error(self) -> None:
        """With no secret in the error's frames."""
        auth: dict[str, str | SecretValue] = {
            "tenant_id": TENANT, "client_id": CLIENT, "certificate": "/nonexistent/cert.pem",
            "certificate_password": SecretValue(CANARY),
        }  # fmt: skip
        store = open_backend("azure-kv://my-vault/x", Settings(auth=auth))
        with pytest.raises(InvalidRequestError, match="credentials") as caught:
            store.get(DB, Stage.CURRENT)
        assert_no_canary_in(caught.value)

    @pytest.mark.parametrize("by", ["path", "content"])
    def test_a_certificate_is_a_path_or_the_pem_itself(self, by: str, tmp_path: Path) -> None:
        """In strongroom.toml it is a path, or comes by reference as what the file holds."""
        pem = self_signed()
        (tmp_path / "both.pem").write_bytes(pem)
        given = str(tmp_path / "both.pem") if by == "path" else SecretValue(pem)
        auth: dict[str, str | SecretValue] = {"tenant_id": TENANT, "client_id": CLIENT, "certificate": given}
        found = credential(Settings(auth=auth), vault())
        assert isinstance(found, azure.identity.CertificateCredential)
        found.close()

    def test_no_credential_shows_in_a_repr(self) -> None:
        """Of the store or its settings."""
        settings = Settings(auth={**SECRET, "client_secret": CANARY})
        store = open_backend("azure-kv://my-vault/x", settings)
        assert CANARY not in f"{store!r} {settings!r} {vars(store)!r}"


@pytest.fixture
def store(azure_server: double.Vault) -> Iterator[Backend]:
    settings = Settings(ca=str(azure_server.ca_file))
    store = open_backend(f"azure-kv://example/app?endpoint={azure_server.url}", settings)
    yield store
    store.close()


class TestGuard:
    def test_without_a_coordinator_nothing_conditional_is_declared_or_sent(
        self, store: Backend, azure_server: double.Vault
    ) -> None:
        """Key Vault has no condition on a write, so the store refuses before any request."""
        assert not store.capabilities & (Capability.CAS | Capability.CAS_GUARDED | Capability.CREATE_ONLY)
        with SecretStore(store, cache=None) as secrets:
            with pytest.raises(UnsupportedOperationError):
                secrets.put("db/password", CANARY, if_version="0" * 32)
            with pytest.raises(UnsupportedOperationError):
                secrets.pending("db/password", CLIENT).put(CANARY, base_version="0" * 32)
        with pytest.raises(UnsupportedOperationError):
            store.put(DB, SecretValue(CANARY), "0" * 32)
        assert not azure_server.requests


class TestLife:
    def test_a_read_is_one_request(self, store: Backend, azure_server: double.Vault) -> None:
        """Once the vault has said how to log in."""
        store.put(DB, SecretValue(CANARY), None)
        azure_server.requests.clear()
        store.get(DB, Stage.CURRENT)
        assert len(azure_server.requests) == 1

    def test_64_threads_share_a_client_and_close_leaves_no_socket(
        self, store: Backend, azure_server: double.Vault
    ) -> None:
        """The first request of all is challenged once; whoever comes after the close begins anew."""
        store.put(DB, SecretValue(CANARY), None)
        fresh = open_backend(
            f"azure-kv://example/app?endpoint={azure_server.url}", Settings(ca=str(azure_server.ca_file))
        )
        before = _sockets(azure_server)
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda _: fresh.get(DB, Stage.CURRENT), range(256)))
        assert all(secret.value.matches(CANARY) for secret in answers)
        fresh.close()
        fresh.close()
        assert _sockets(azure_server) <= before
        assert fresh.get(DB, Stage.CURRENT).value.matches(CANARY)
        fresh.close()

    def test_eight_forked_children_read_with_connections_of_their_own(
        self, store: Backend, azure_server: double.Vault
    ) -> None:
        """And the parent's go on working.

        They begin together when all are there: the server's threads are in this process, and a fork while one
        of them is in a handshake leaves the child OpenSSL's lock, which nobody gives back.
        """
        secrets = SecretStore(store, cache=None)
        secrets.put("db/password", CANARY)
        waiting, go = os.pipe()
        children = [os.fork() or os._exit(_read_at(waiting, go, secrets)) for _ in range(8)]
        os.close(go)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        os.close(waiting)
        assert codes == [0] * 8
        assert secrets.get("db/password").value.matches(CANARY)
        secrets.close()

    def test_no_value_stands_in_the_sdks_logs(
        self, azure_server: double.Vault, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At DEBUG they print bodies and tokens, so they stay at INFO while a store is open."""
        with caplog.at_level(0), caplog.at_level(logging.DEBUG, "azure"):
            store = open_backend(
                f"azure-kv://example/app?endpoint={azure_server.url}", Settings(ca=str(azure_server.ca_file))
            )
            store.put(DB, SecretValue(CANARY), None)
            store.get(DB, Stage.CURRENT)
            store.close()
        assert caplog.records
        assert_no_canary(*(f"{record.getMessage()} {vars(record)}" for record in caplog.records))


def _sockets(azure_server: double.Vault) -> int:
    port = int(azure_server.url.rpartition(":")[2])
    mine = psutil.Process().net_connections("tcp")
    return sum(one.raddr[1:] == (port,) for one in mine)


def _read_at(waiting: int, go: int, secrets: SecretStore) -> int:
    os.close(go)
    os.read(waiting, 1)
    try:
        return 0 if secrets.get("db/password").value.matches(CANARY) else 1
    except (SecretStoreError, OSError):
        return 2
