"""Where Parameter Store's requests go, over what, and that nothing of a value stays behind in an error."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.backend import ABSENT, Settings, Stage
from strongroom.errors import SecretStoreError, UnavailableError
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.testing.aws import StrictServer
from strongroom.value import SecretValue
from strongroom_aws._access import Access
from tests.canary import CANARY, assert_no_canary_in

if TYPE_CHECKING:
    from tests.servers.https import Authority, Server

KEY = Name("db/password")


def _error(server: Server, authority: Authority) -> SecretStoreError:
    settings = Settings(ca=str(authority.ca_file), attempts=1)
    store = open_backend(f"aws-ssm://eu-west-1/x?endpoint={server.url}", settings)
    with pytest.raises(SecretStoreError) as caught:
        store.put(KEY, SecretValue(CANARY), ABSENT)
    assert_no_canary_in(caught.value)
    return caught.value


def test_tls_1_1_is_refused(tls_1_1_server: Server, authority: Authority) -> None:
    """The handshake fails, and nothing was sent."""
    assert isinstance(_error(tls_1_1_server, authority), UnavailableError)
    assert not tls_1_1_server.requests


def test_a_foreign_authority_is_refused(foreign_ca_server: Server, authority: Authority) -> None:
    """Its certificate is not trusted, and nothing was sent."""
    assert isinstance(_error(foreign_ca_server, authority), UnavailableError)
    assert not foreign_ca_server.requests


def test_a_redirect_is_not_followed(
    redirecting_server: Server, redirect_target: Server, authority: Authority
) -> None:
    """Values and credentials go to no other host."""
    assert isinstance(_error(redirecting_server, authority), UnavailableError)
    assert not redirect_target.requests


def test_an_ambient_endpoint_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can set AWS_ENDPOINT_URL would otherwise receive every value."""
    with StrictServer() as thief:
        for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM"):
            monkeypatch.setenv(variable, thief.url)
        store: Any = open_backend("aws-ssm://eu-west-1/x")
        assert store.inner._client._connected().meta.endpoint_url == "https://ssm.eu-west-1.amazonaws.com"
        assert not thief.calls


def test_an_unreachable_endpoint_was_never_reached() -> None:
    """A write that was not sent was not performed."""
    store = open_backend("aws-ssm://eu-west-1/x?endpoint=http://127.0.0.1:9", Settings(attempts=1))
    for write in (lambda: store.put(KEY, SecretValue(CANARY), ABSENT), lambda: store.purge(KEY)):
        with pytest.raises(UnavailableError) as caught:
            write()
        assert caught.value.performed is False
        assert_no_canary_in(caught.value)


def test_64_threads_share_one_client_and_a_child_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is made once, and forgotten when a child is forked."""
    connect, made = Access.connect, []

    def counted(access: Access, service: str) -> Any:
        made.append(service)
        return connect(access, service)

    monkeypatch.setattr(Access, "connect", counted)
    store: Any = open_backend("aws-ssm://eu-west-1/x?endpoint=http://127.0.0.1:9", Settings(attempts=1))

    def read() -> None:
        with pytest.raises(UnavailableError):
            store.get(KEY, Stage.CURRENT)

    threads = [threading.Thread(target=read) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["ssm"]
    store.after_fork()
    assert store.inner._client._sdk is None
    store.close()
