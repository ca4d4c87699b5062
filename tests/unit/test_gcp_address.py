"""Where Google's stores and keys may be, and whose credentials go there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError

from strongroom.backend import Settings, Stage
from strongroom.errors import InvalidRequestError, PermissionDeniedError
from strongroom.names import Name, StoreURL
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from strongroom_gcp import _channel
from strongroom_gcp._channel import Address, check_auth
from tests.canary import CANARY, assert_no_canary_in

HOST = "secretmanager.googleapis.com"
AUTH = {"token": SecretValue(CANARY)}


def address(endpoint: str | None = None, **settings: Any) -> Address:
    return Address.of(StoreURL.parse("gcp-sm://acme/app"), Settings(endpoint=endpoint, **settings), HOST)


def test_without_an_endpoint_it_is_googles_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: it could otherwise send every value to another host."""
    for name in (
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
        "GOOGLE_API_USE_MTLS_ENDPOINT",
        "SECRETMANAGER_EMULATOR_HOST",
    ):
        monkeypatch.setenv(name, "evil.example")
    assert address() == Address(f"{HOST}:443", secure=True, local=False)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:8085", Address("127.0.0.1:8085", secure=False, local=True)),
        ("http://[::1]:8085", Address("[::1]:8085", secure=False, local=True)),
        ("https://127.0.0.1:8085", Address("127.0.0.1:8085", secure=True, local=True)),
        ("https://secretmanager.europe-west6.rep.googleapis.com", Address(
            "secretmanager.europe-west6.rep.googleapis.com:443")),
        ("https://gateway.example:8443", Address("gateway.example:8443")),
    ],
)  # fmt: skip
def test_an_endpoint_is_a_host_and_a_port(endpoint: str, expected: Address) -> None:
    """Loopback means a literal address."""
    assert address(endpoint) == expected


@pytest.mark.parametrize("endpoint", [
    "http://gateway.example:80", "http://10.0.0.1:80", "http://localhost:80", "https://a/path",
    "https://a?x=y", "https://user@a", "ftp://127.0.0.1:80", "gateway.example:443", "https://",
])  # fmt: skip
def test_anything_else_is_refused(endpoint: str) -> None:
    """Plain HTTP is for this machine only; credentials stand in no URL."""
    with pytest.raises(InvalidRequestError):
        address(endpoint)


@pytest.mark.parametrize("endpoint", [
    "https://gateway.example", "https://secretmanager.googleapis.com.evil.example",
    "https://evil-googleapis.com", "https://googleapis.com.evil.example",
])  # fmt: skip
def test_ambient_credentials_go_to_googles_own_hosts_alone(endpoint: str) -> None:
    """A host that only looks like one of theirs needs credentials of its own in the configuration."""
    with pytest.raises(InvalidRequestError):
        check_auth(address(endpoint), Settings())
    check_auth(address(endpoint), Settings(auth=AUTH))


@pytest.mark.parametrize("endpoint", [
    None, "https://secretmanager.europe-west6.rep.googleapis.com", "https://x.p.googleapis.com",
    "https://SecretManager.googleapis.com", "http://127.0.0.1:1",
])  # fmt: skip
def test_googles_own_hosts_need_no_auth_table(endpoint: str | None) -> None:
    """Regional and Private Service Connect endpoints among them."""
    check_auth(address(endpoint), Settings())


def test_no_credential_travels_over_plain_http() -> None:
    """Not even to this machine."""
    with pytest.raises(InvalidRequestError):
        check_auth(address("http://127.0.0.1:1"), Settings(auth=AUTH))


def test_an_unknown_credential_setting_is_named() -> None:
    """The setting, not what it holds."""
    with pytest.raises(InvalidRequestError) as caught:
        check_auth(address(), Settings(auth={"password": SecretValue(CANARY)}))
    assert "password" in str(caught.value)
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_loopback_asks_for_no_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ones are not for whatever listens on this machine."""

    def asked(*args: Any, **kwargs: Any) -> None:
        pytest.fail("google.auth.default was asked")

    monkeypatch.setattr(google.auth, "default", asked)
    _channel.open_channel(address(endpoint), Settings()).close()


@pytest.mark.parametrize("text", [
    CANARY, "[]", "{}", json.dumps({"type": "service_account", "private_key": CANARY}),
    json.dumps({"type": "external_account", "token_url": "https://evil.example", "x": CANARY}),
    json.dumps({"type": "service_account", "private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
                "client_email": "a@b", "token_uri": "https://oauth2.googleapis.com/token"}),
])  # fmt: skip
def test_credentials_that_are_not_usable_are_not_shown(text: str) -> None:
    """A key that does not parse, or of a kind whose configuration may name any host."""
    with pytest.raises(InvalidRequestError) as caught:
        _channel._named_credentials({"credentials": SecretValue(text)})
    assert_no_canary_in(caught.value)


def test_no_ambient_credentials_is_a_denial_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found when the first call is made; the store opens without them."""

    def none(*args: Any, **kwargs: Any) -> None:
        raise DefaultCredentialsError("nothing here")

    monkeypatch.setattr(google.auth, "default", none)
    backend = open_backend("gcp-sm://acme-prod/app")
    with pytest.raises(PermissionDeniedError) as caught:
        backend.get(Name("db"), Stage.CURRENT)
    assert "gcloud auth application-default login" in str(caught.value)


def test_fork_support_is_on_before_grpc_is_imported() -> None:
    """It is read once; a child of a process without it hangs on its parent's locks."""
    code = (
        "import strongroom_gcp.secret_manager, os; from grpc._cython import cygrpc;"
        "print(os.environ['GRPC_ENABLE_FORK_SUPPORT'], cygrpc.is_fork_support_enabled())"
    )
    env = {name: text for name, text in os.environ.items() if not name.startswith("GRPC_")}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.split() == ["1", "True"]
