"""To whom a queue's requests go, and what they carry: to the queue alone, over TLS that is trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from azure.core.credentials import AccessToken

from strongroom.backend import Settings
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.notices import Message, Receiver
from strongroom.registry import open_receiver, queue_schemes
from tests.servers import https

PLACES = {
    "sqs": "sqs://eu-west-1/123456789012/changes",
    "pubsub": "pubsub://acme-prod/changes",
    "azure-queue": "azure-queue://acmeprod/changes",
}
AMBIENT = {
    "AWS_ACCESS_KEY_ID": "AKIAREALONE",
    "AWS_SECRET_ACCESS_KEY": "the-real-one",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AZURE_CLIENT_SECRET": "the-real-one",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture(params=queue_schemes())
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    return PLACES[request.param]


@contextlib.contextmanager
def at(place: str, server: https.Server) -> Iterator[Receiver]:
    receiver = open_receiver(place, Settings(endpoint=server.url, ca=str(server.ca_file)))
    try:
        yield receiver
    finally:
        receiver.close()


def test_a_redirect_is_not_followed(
    place: str, redirecting_server: https.Server, redirect_target: https.Server
) -> None:
    """It would carry the token to whoever forged the answer."""
    with at(place, redirecting_server) as receiver, pytest.raises(SecretStoreError):
        receiver.receive(0)
    assert redirecting_server.requests
    assert not redirect_target.requests


def test_a_server_under_another_authority_is_not_spoken_to(
    place: str, foreign_ca_server: https.Server, authority: https.Authority
) -> None:
    """The configured authority counts, whatever the environment names."""
    settings = Settings(endpoint=foreign_ca_server.url, ca=str(authority.ca_file))
    receiver = open_receiver(place, settings)
    with pytest.raises(UnavailableError):
        receiver.receive(0)
    receiver.close()
    assert not foreign_ca_server.requests


def test_real_credentials_do_not_go_to_loopback(place: str, authority: https.Authority) -> None:
    """Nor do requests go through a proxy, or elsewhere because a variable says so."""
    with https.serving(lambda _: https.Response(503), authority) as server:
        with at(place, server) as receiver, pytest.raises(UnavailableError):
            receiver.receive(0)
        assert server.requests
        server.assert_never_saw("AKIAREALONE", "the-real-one")


def test_an_answer_that_makes_no_sense_is_an_error_of_ours(place: str, authority: https.Authority) -> None:
    """A captive portal's page, say: neither messages nor an exception of the SDK's."""
    page = https.Response(200, b"<html>log in</html>", {"Content-Type": "text/html"})
    with https.serving(lambda _: page, authority) as server, at(place, server) as receiver:
        with contextlib.suppress(SecretStoreError):
            assert list(receiver.receive(0)) == []
        with contextlib.suppress(SecretStoreError):
            receiver.acknowledge([Message("x", ("id", "receipt") if "azure" in place else "handle")])


def test_what_is_not_there_is_unavailable(place: str) -> None:
    """The listener goes on asking, with pauses."""
    receiver = open_receiver(place, Settings(endpoint="https://127.0.0.1:9"))
    with pytest.raises(UnavailableError):
        receiver.receive(0)
    receiver.close()


def test_a_child_has_connections_of_its_own(place: str) -> None:
    """What the parent uses is left alone."""
    receiver = open_receiver(place, Settings(endpoint="https://127.0.0.1:9"))
    receiver.after_fork()
    receiver.close()
    receiver.close()


def test_a_queue_gets_no_token_for_a_vault(
    monkeypatch: pytest.MonkeyPatch, authority: https.Authority
) -> None:
    """The SDK would fetch one of whatever service the challenge names, and send it."""
    asked: list[tuple[str, ...]] = []

    class Credential:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            asked.append(scopes)
            return AccessToken("a token for storage", 1 << 40)

    monkeypatch.setattr("strongroom_azure.queue.credential", lambda *_: Credential())
    login = "authorization_uri=https://login.microsoftonline.com/common resource_id=https://vault.azure.net"
    refusal = https.Response(401, b"", {"WWW-Authenticate": f"Bearer {login}"})
    with (
        https.serving(lambda _: refusal, authority) as server,
        at(PLACES["azure-queue"], server) as receiver,
        pytest.raises(PermissionDeniedError),
    ):
        receiver.receive(0)
    assert set(asked) == {("https://storage.azure.com/.default",)}
