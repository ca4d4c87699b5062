"""Hostile and broken servers: no token and no value reaches one that cannot be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from strongroom.backend import Settings, Stage
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.names import StoreURL
from strongroom.value import SecretValue
from strongroom_vault.kv import VaultKV
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.vault_support import DB, TurnedClock, open_store, text, token_auth
from tests.servers import https
from tests.servers.openbao import OpenBao


def _store(server: https.Server, **settings: Any) -> VaultKV:
    url = StoreURL.parse(f"vault://{server.url.removeprefix('https://')}/secret/prod")
    auth = settings.pop("auth", token_auth(CANARY))
    return VaultKV.from_url(
        url, Settings(auth=auth, ca=str(server.ca_file), timeout=2.0, clock=TurnedClock(), **settings)
    )


CALLS: dict[str, Callable[[VaultKV], object]] = {
    "get": lambda store: store.get(DB, Stage.CURRENT),
    "put": lambda store: store.put(DB, text(), None),
    "list": lambda store: list(store.list_info("")),
    "delete": lambda store: store.delete(DB),
}


def _refused(call: Callable[[], object]) -> SecretStoreError:
    with pytest.raises(UnavailableError) as caught:
        call()
    assert caught.value.performed is False
    assert caught.value.hint
    assert_no_canary_in(caught.value)
    return caught.value


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_redirect_is_not_followed(
    redirecting_server: https.Server, redirect_target: https.Server, call: Callable[[VaultKV], object]
) -> None:
    """A client that follows hands its token to whoever is named there."""
    error = _refused(lambda: call(_store(redirecting_server)))
    assert "redirect" in error.message
    assert redirect_target.requests == []


def test_a_login_is_not_redirected_either(
    redirecting_server: https.Server, redirect_target: https.Server
) -> None:
    """Its body is a credential."""
    auth = {"method": "userpass", "username": "ann", "password": SecretValue(CANARY)}
    _refused(lambda: _store(redirecting_server, auth=auth).get(DB, Stage.CURRENT))
    assert redirect_target.requests == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_tls_1_1_is_refused(tls_1_1_server: https.Server, call: Callable[[VaultKV], object]) -> None:
    """Although the certificate is good."""
    assert "TLS" in _refused(lambda: call(_store(tls_1_1_server))).message
    assert tls_1_1_server.requests == []


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_foreign_ca_is_refused(foreign_ca_server: https.Server, call: Callable[[VaultKV], object]) -> None:
    """Although TLS is new enough."""
    assert "certificate" in _refused(lambda: call(_store(foreign_ca_server))).message
    assert foreign_ca_server.requests == []


def test_the_environments_ca_bundle_does_not_replace_the_stores(
    foreign_ca_server: https.Server, authority: https.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would let REQUESTS_CA_BUNDLE win; here the store trusts what its settings name, only."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "VAULT_CACERT"):
        monkeypatch.setenv(name, "/nonexistent")
    with https.serving(lambda _: https.Response(404), authority) as server:
        assert list(_store(server).list_info("")) == []


def test_without_a_ca_setting_an_unknown_authority_is_refused(
    authority: https.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the environment would vouch for it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
    with https.serving(lambda _: https.Response(), authority) as server:
        url = StoreURL.parse(f"vault://{server.url.removeprefix('https://')}/secret/prod")
        store = VaultKV.from_url(url, Settings(auth=token_auth(CANARY), clock=TurnedClock()))
        _refused(lambda: store.get(DB, Stage.CURRENT))
        assert server.requests == []


def test_a_proxy_of_the_environment_never_sees_what_goes_to_this_machine(
    openbao_server: OpenBao, kv2_mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY would get token and value in clear."""
    with https.serving(lambda _: https.Response()) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        store = open_store(openbao_server, kv2_mount)
        store.put(DB, text(), None)
        assert store.get(DB, Stage.CURRENT).value == text()
        assert proxy.requests == []


def test_over_tls_with_its_ca_it_works(openbao_tls_server: OpenBao) -> None:
    """The positive case of all the refusals here."""
    mount = openbao_tls_server.mount_kv(2)
    host = openbao_tls_server.address.removeprefix("https://")
    settings = Settings(auth=token_auth(openbao_tls_server.token), ca=str(openbao_tls_server.ca_file))
    store = VaultKV.from_url(StoreURL.parse(f"vault://{host}/{mount}/prod"), settings)
    store.put(DB, text(), None)
    assert store.get(DB, Stage.CURRENT).value == text()
    assert store.origin == f"vault:{host}/{mount}"


@pytest.mark.parametrize("what", ["ca", "cert"])
def test_an_unreadable_pem_file_is_an_invalid_request(tmp_path: Any, what: str) -> None:
    """When the store is opened, before anything is sent."""
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    url = StoreURL.parse("vault://vault.example.net/secret/prod")
    for path in (broken, tmp_path / "missing.pem"):
        auth = token_auth(CANARY) | ({"cert": str(path), "key": str(path)} if what == "cert" else {})
        with pytest.raises(InvalidRequestError, match="cannot read"):
            VaultKV.from_url(url, Settings(auth=auth, ca=str(path) if what == "ca" else None))


class TestAnswers:
    """What a gateway, a quota or a strange server may answer."""

    @pytest.fixture
    def answer(self) -> list[https.Response]:
        return [https.Response()]

    @pytest.fixture
    def server(self, answer: list[https.Response], authority: https.Authority) -> Iterator[https.Server]:
        def respond(request: https.Request) -> https.Response:
            return https.Response() if "lookup-self" in request.path else answer[-1]

        with https.serving(respond, authority) as running:
            yield running

    def test_retry_after_is_honoured_on_reads(
        self, server: https.Server, answer: list[https.Response]
    ) -> None:
        """To the second, on the injected clock."""
        store = _store(server)
        answer[0] = https.Response(429, b"{}", {"Retry-After": "7"})
        with pytest.raises(UnavailableError):
            store.get(DB, Stage.CURRENT)
        assert isinstance(store._clock, TurnedClock)
        assert store._clock.slept == [7.0, 7.0]

    def test_a_long_retry_after_is_the_callers_to_wait(
        self, server: https.Server, answer: list[https.Response]
    ) -> None:
        """An hour is not slept away inside a read."""
        store = _store(server)
        answer[0] = https.Response(503, b"{}", {"Retry-After": "3600"})
        with pytest.raises(UnavailableError):
            store.get(DB, Stage.CURRENT)
        assert isinstance(store._clock, TurnedClock)
        assert store._clock.slept == []

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>"),
            (200, b"[]"),
            (200, b"{}"),
            (200, b'{"data": null}'),
            (200, b'{"data": {"metadata": 3, "versions": 3, "keys": 3}}'),
            (404, b"<html>"),
            (404, b'{"data": {"metadata": 3}, "errors": 3}'),
            (500, b"[]"),
        ],
    )
    def test_an_answer_that_is_not_vaults_is_an_error_of_ours(
        self, server: https.Server, answer: list[https.Response], body: bytes, status: int
    ) -> None:
        """Whatever its shape; never a KeyError or a JSON error that quotes it."""
        answer[0] = https.Response(status, body)
        for call in CALLS.values():
            try:
                call(_store(server, attempts=1))
            except SecretStoreError as error:
                assert_no_canary_in(error)

    def test_a_put_whose_answer_tells_no_version_is_unknown(self, authority: https.Authority) -> None:
        """It may have been done: success is not claimed, failure neither."""

        def respond(request: https.Request) -> https.Response:
            return https.Response(200 if request.method == "POST" else 404, b"{}")

        with https.serving(respond, authority) as server, pytest.raises(UnavailableError) as caught:
            _store(server).put(DB, text(), None)
        assert caught.value.performed is None

    def test_a_server_error_on_a_write_is_read_back(self, authority: https.Authority) -> None:
        """Vault answers 500 to a write it did when its audit device fails afterwards."""

        def respond(request: https.Request) -> https.Response:
            return https.Response(500 if request.method == "POST" else 404, b'{"errors": ["internal error"]}')

        with https.serving(respond, authority) as server, pytest.raises(UnavailableError) as caught:
            _store(server).put(DB, text(), None)
        assert caught.value.performed is None
        assert sum("version=1" in request.path for request in server.requests) == 1

    def test_the_index_of_a_write_travels_with_later_reads(self, authority: https.Authority) -> None:
        """A standby that is behind then knows it (Vault Enterprise's X-Vault-Index)."""
        facts = b'{"data": {"version": 1, "created_time": "2026-01-01T00:00:00Z"}}'

        def respond(request: https.Request) -> https.Response:
            if request.method == "POST":
                return https.Response(200, facts, {"X-Vault-Index": "v1:abc"})
            return https.Response(404, b'{"errors": []}')

        with https.serving(respond, authority) as server:
            store = _store(server)
            store.put(DB, text(), None)
            with pytest.raises(SecretStoreError):
                store.get(DB, Stage.CURRENT)
        assert server.requests[-1].headers["X-Vault-Index"] == "v1:abc"
        assert "X-Vault-Index" not in server.requests[0].headers
