"""Where tokens, secrets and values go: to the vault and its cloud's login service, over TLS, nowhere else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from strongroom.backend import Backend, Settings, Stage
from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.registry import open_backend
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.azure_support import DB, open_store, text
from tests.servers import azure, https
from tests.servers.azure_identity import TENANT
from tests.servers.https import Response

CLIENT = "5f3b0000-0000-4000-8000-00000000c11e"
AUTH: Mapping[str, str | SecretValue] = {
    "tenant_id": TENANT,
    "client_id": CLIENT,
    "client_secret": SecretValue(CANARY),
}
CALLS: dict[str, Callable[[Backend], object]] = {
    "get": lambda store: store.get(DB, Stage.CURRENT),
    "put": lambda store: store.put(DB, text(), None),
    "list": lambda store: list(store.list_info("")),
    "delete": lambda store: store.delete(DB),
}


@pytest.fixture
def store(azure_server: azure.Vault) -> Iterator[Backend]:
    store = open_store(azure_server)
    yield store
    store.close()


@pytest.fixture
def real(azure_server: azure.Vault) -> Iterator[str]:
    """A host of Azure's own that the double answers for; new, since the SDK remembers challenges by host."""
    azure_server.identity.clients[CLIENT] = CANARY
    azure_server.identity.only_issued = True
    with azure.dialled(azure_server):
        yield f"v{uuid.uuid4().hex[:12]}"


def open_real(name: str, vault: azure.Vault, **auth: Any) -> Backend:
    settings = Settings(ca=str(vault.ca_file), clock=FakeClock(), auth={**AUTH, **auth})
    return open_backend(f"azure-kv://{name}/app", settings)


def _refused(call: Callable[[], object], kind: type[SecretStoreError] = UnavailableError) -> SecretStoreError:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.performed is False
    assert caught.value.hint
    assert_no_canary_in(caught.value)
    return caught.value


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_redirect_is_not_followed(
    store: Backend,
    azure_server: azure.Vault,
    redirect_target: https.Server,
    call: Callable[[Backend], object],
) -> None:
    """A client that follows hands its token, and what it writes, to whoever is named there."""
    store.put(DB, text(), None)
    azure_server.faults.redirect(redirect_target.url, times=9)
    assert "another host" in _refused(lambda: call(store)).message
    assert redirect_target.requests == []


def test_the_next_page_is_not_fetched_from_another_host(
    store: Backend, azure_server: azure.Vault, redirect_target: https.Server
) -> None:
    """The link stands in the answer, and the SDK would follow it wherever it points."""
    page = {"value": [], "nextLink": f"{redirect_target.url}/secrets?api-version=7.6&$skiptoken=x"}
    body = json.dumps(page).encode()
    azure_server.faults.answer_with("secrets.list", Response(200, body))
    assert "another host" in _refused(lambda: list(store.list_info(""))).message
    assert redirect_target.requests == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_tls_1_1_is_refused(tls_1_1_server: https.Server, call: Callable[[Backend], object]) -> None:
    """Although the certificate is good."""
    settings = Settings(ca=str(tls_1_1_server.ca_file), clock=FakeClock())
    store = open_backend(f"azure-kv://example/app?endpoint={tls_1_1_server.url}", settings)
    assert "TLS" in _refused(lambda: call(store)).message
    assert tls_1_1_server.requests == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_foreign_authority_is_refused(
    foreign_ca_server: https.Server, call: Callable[[Backend], object]
) -> None:
    """Nothing is sent, on loopback too, and no environment variable adds an authority."""
    settings = Settings(ca=str(foreign_ca_server.ca_file), clock=FakeClock())
    store = open_backend(f"azure-kv://example/app?endpoint={foreign_ca_server.url}", settings)
    assert "TLS" in _refused(lambda: call(store)).message
    assert foreign_ca_server.requests == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environment_names_no_authority(
    azure_server: azure.Vault, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Only the configuration does."""
    monkeypatch.setenv(variable, str(azure_server.ca_file))
    store = open_backend(f"azure-kv://example/app?endpoint={azure_server.url}", Settings(clock=FakeClock()))
    assert "TLS" in _refused(lambda: store.get(DB, Stage.CURRENT)).message
    assert azure_server.requests == []


def test_loopback_takes_no_proxy(store: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would be somebody else."""
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    store.put(DB, text(), None)
    assert store.get(DB, Stage.CURRENT).value == text()


def test_a_client_secret_goes_to_the_login_service_and_its_token_to_the_vault(
    real: str, azure_server: azure.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in production: challenge, token, request, each checked against the host's own name."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "login.evil.example.com")
    store = open_real(real, azure_server)
    store.put(DB, SecretValue("x"), None)
    assert store.get(DB, Stage.CURRENT).value.matches("x")
    store.close()
    sent = {request.headers.get("Host", ""): "" for request in azure_server.requests}
    for request in azure_server.requests:
        sent[request.headers["Host"]] += request.text()
    vault = f"{real}.vault.azure.net"
    assert set(sent) == {vault, "login.microsoftonline.com"}
    assert CANARY not in sent[vault]
    assert "Bearer issued." in sent[vault]
    assert "Bearer" not in sent["login.microsoftonline.com"]


def test_a_wrong_client_secret_is_a_denial(real: str, azure_server: azure.Vault) -> None:
    """The login service's text, which names client and tenant, stays out of the error."""
    store = open_real(real, azure_server, client_secret=SecretValue(f"{CANARY}-wrong"))
    error = _refused(lambda: store.get(DB, Stage.CURRENT), PermissionDeniedError)
    assert CLIENT not in f"{error} {error.__cause__}"
    assert azure_server.calls["secrets.get"] == 0


@pytest.mark.parametrize(
    "resource", ["https://graph.microsoft.com", "https://vault.azure.net.evil.example.com"]
)
def test_a_challenge_for_another_service_gets_no_token(
    real: str, azure_server: azure.Vault, resource: str
) -> None:
    """Whoever answers as the vault could otherwise have a token for whatever he names."""
    azure_server.identity.resource = resource
    store = open_real(real, azure_server)
    error = _refused(lambda: store.get(DB, Stage.CURRENT), PermissionDeniedError)
    assert "another service" in error.message
    assert azure_server.calls["token"] == 0


def test_a_challenge_for_another_tenant_gets_no_token(real: str, azure_server: azure.Vault) -> None:
    """The tenant is the one that the configuration names."""
    azure_server.identity.authority = f"https://login.microsoftonline.com/{uuid.uuid4()}"
    store = open_real(real, azure_server)
    _refused(lambda: store.get(DB, Stage.CURRENT), PermissionDeniedError)
    assert azure_server.calls["token"] == 0


def test_an_unreadable_authority_is_a_configuration_error(azure_server: azure.Vault) -> None:
    """Named with its path."""
    store = open_store(azure_server, ca="/nonexistent/ca.pem")
    with pytest.raises(InvalidRequestError, match="nonexistent"):
        store.get(DB, Stage.CURRENT)
