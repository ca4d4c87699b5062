"""What a vault URL may say, and which credentials go where."""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL
from strongroom.value import SecretValue
from strongroom_vault.address import Address, same_origin
from strongroom_vault.kv import VaultKV
from strongroom_vault.kv1 import VaultKV1
from strongroom_vault.login import credentials
from tests.canary import CANARY


def _address(url: str, **settings: Any) -> Address:
    return Address.of(StoreURL.parse(url), Settings(**settings))


@pytest.mark.parametrize(
    ("url", "endpoint", "mount", "prefix"),
    [
        ("vault://vault.example.net:8200/secret/prod", "https://vault.example.net:8200", "secret", "prod"),
        ("vault://vault.example.net/secret", "https://vault.example.net", "secret", ""),
        ("vault://127.0.0.1:8200/kv/a/b/", "https://127.0.0.1:8200", "kv", "a/b"),
        ("vault:///kv/p?endpoint=http://127.0.0.1:8200", "http://127.0.0.1:8200", "kv", "p"),
        ("vault:///kv?endpoint=http://[::1]:8200/", "http://[::1]:8200", "kv", ""),
        ("vault://h:8200/prod?mount=team/kv", "https://h:8200", "team/kv", "prod"),
        ("vault://h:8200?mount=team/kv/", "https://h:8200", "team/kv", ""),
    ],
)
def test_a_url_names_a_place(url: str, endpoint: str, mount: str, prefix: str) -> None:
    """HTTPS unless it names a loopback endpoint of its own."""
    address = _address(url)
    assert (address.endpoint, address.mount, address.prefix, address.kv) == (endpoint, mount, prefix, 2)


@pytest.mark.parametrize(
    "url",
    [
        "vault:///secret/prod",
        "vault://vault.example.net",
        "vault://vault.example.net/",
        "vault://vault.example.net//prod",
        "vault://vault.example.net/../sys/prod",
        "vault://vault.example.net/secret/../sys",
        "vault://vault.example.net/secret/%2e%2e/sys",
        "vault://vault.example.net/secret/./x",
        "vault://vault.example.net/secret/a//b",
        "vault://vault.example.net/secret/_strongroom",
        "vault://vault.example.net/_strongroom/x",
        "vault://vault.example.net/secret/" + "x" * 25,
        "vault://vault.example.net:port/secret",
        "vault://vault.example.net/secret?kv=3",
        "vault://vault.example.net/prod?mount=",
        "vault://vault.example.net/prod?mount=a/../sys",
        "vault://vault.example.net/secret?token=x",
        "vault://vault.example.net/secret?namespace=../admin",
        "vault://vault.example.net/secret?endpoint=http://10.0.0.1:8200",
        "vault://vault.example.net/secret?endpoint=https://evil.example.net",
        "vault:///secret?endpoint=http://localhost:8200",
    ],
)
def test_a_url_that_could_climb_or_leak_is_refused(url: str) -> None:
    """When it is opened, before any request."""
    with pytest.raises(InvalidRequestError):
        VaultKV.from_url(StoreURL.parse(url), Settings(auth={"token": SecretValue("t")}))


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://vault.example.net:8200", "http://localhost:8200", "ftp://127.0.0.1", "https://u:p@h:1",
        "https://h/path", "https://h?x=1", "127.0.0.1:8200", "https://", "https://h:99999",
    ],
)  # fmt: skip
def test_an_endpoint_of_the_settings_is_checked_too(endpoint: str) -> None:
    """Plain HTTP to this machine only, and nothing but scheme, host and port."""
    with pytest.raises(InvalidRequestError):
        _address("vault://vault.example.net/secret", endpoint=endpoint)


def test_settings_override_the_urls_host() -> None:
    """What an administrator wrote beats a name."""
    address = _address("vault://vault.example.net/secret", endpoint="https://10.0.0.1:8200")
    assert address.endpoint == "https://10.0.0.1:8200"
    assert address.origin == "vault:10.0.0.1:8200/secret"


def test_version_and_namespace_come_from_the_url_or_the_options() -> None:
    """The URL wins."""
    both = {"kv": 1, "namespace": "ops"}
    assert _address("vault://h/secret", options=both).kv == 1
    assert _address("vault://h/secret?kv=2", options=both).kv == 2
    assert _address("vault://h/secret?namespace=team/a", options=both).origin == "vault:h/team/a/secret"
    assert _address("vault://h/secret", options=both).namespace == "ops"


def test_the_urls_kv_version_chooses_the_class() -> None:
    """Both open without I/O."""
    settings = Settings(auth={"token": SecretValue("t")})
    assert type(VaultKV.from_url(StoreURL.parse("vault://h/secret"), settings)) is VaultKV
    assert type(VaultKV.from_url(StoreURL.parse("vault://h/secret?kv=1"), settings)) is VaultKV1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h:8200", "https://h:8200/", True),
        ("https://H", "https://h:443/x", True),
        ("http://127.0.0.1:8200", "http://127.0.0.1:8200", True),
        ("http://127.0.0.1", "https://127.0.0.1", False),
        ("https://h:8200", "https://h:8201", False),
        ("https://h", "https://h.evil.example", False),
        ("https://h", "https://h@evil.example", False),
        ("", "", False),
        ("h:8200", "h:8200", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    """A token goes to the same origin and nowhere else."""
    assert same_origin(one, other) is same
    assert same_origin(other, one) is same


def test_the_ambient_token_is_for_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without VAULT_ADDR it is nobody's."""
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    assert credentials({}, "https://h:8200").token is None
    monkeypatch.setenv("VAULT_ADDR", "https://h:8200")
    assert credentials({}, "https://h:8200").token == SecretValue(CANARY)
    assert credentials({}, "https://other:8200").token is None
    assert credentials({"token": SecretValue("t")}, "https://h:8200").token == SecretValue("t")


@pytest.mark.parametrize(
    ("auth", "missing"),
    [
        ({"method": "token"}, "token"),
        ({"method": "approle", "secret_id": "s"}, "role_id"),
        ({"method": "jwt", "role": "r"}, "jwt_file"),
        ({"method": "kubernetes"}, "role"),
        ({"method": "cert", "cert": "c"}, "key"),
        ({"method": "userpass", "username": "u"}, "password"),
        ({"method": "magic"}, "magic"),
        ({"role": "r"}, "method"),
    ],
)
def test_what_a_method_lacks_is_named(auth: dict[str, str], missing: str) -> None:
    """When the store is opened."""
    with pytest.raises(InvalidRequestError, match=missing):
        credentials(auth, "https://h")


@pytest.mark.parametrize("field", ["mount", "username"])
def test_a_login_path_cannot_climb(field: str) -> None:
    """A user name stands in the path."""
    auth = {"method": "userpass", "username": "u", "password": "p", field: "../../sys/x"}
    with pytest.raises(InvalidRequestError):
        credentials(auth, "https://h")
