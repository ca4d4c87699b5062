"""One HTTPS request to a receiver that may be anybody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.audit.https import LARGEST_ANSWER, post
from strongroom.audit.wire import is_public
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from tests.canary import CANARY, assert_no_canary_in
from tests.servers.https import (
    Authority,
    Request,
    Response,
    at_most_tls_1_1,
    redirecting,
    serving,
    under_foreign_ca,
)
from tests.servers.receivers import answering, deaf, dripping, receiving


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.close()


def test_a_request_arrives_whole_and_the_answer_comes_back(authority: Authority) -> None:
    """Method, path, query, headers and body are what was given; any status is an answer."""
    with serving(lambda _: Response(418, b"teapot"), authority) as server:
        answer = post(
            f"{server.url}/in?a=b", b"body", {"X-Id": "1"}, ca=server.ca_file, method="PUT", timeout=5
        )
    (request,) = server.requests
    assert answer == (418, b"teapot")
    assert (request.method, request.path, request.body) == ("PUT", "/in?a=b", b"body")
    assert request.headers["X-Id"] == "1"


def test_a_redirect_is_an_answer_and_is_not_followed(authority: Authority) -> None:
    """Where a receiver points to is not where the records were meant to go."""
    with (
        serving(lambda _: Response(), authority) as target,
        redirecting(authority, target.url) as server,
    ):
        status, _ = post(server.url, b"body", ca=server.ca_file)
    assert (status, target.requests) == (307, [])


@pytest.mark.parametrize("hostile", [under_foreign_ca, at_most_tls_1_1])
def test_nothing_is_sent_to_who_does_not_prove_himself(hostile: Any, authority: Authority) -> None:
    """A certificate of another authority, or a TLS that is too old, ends it before the request."""
    with hostile(authority) as server, pytest.raises(UnavailableError) as caught:
        post(server.url, b"body", ca=server.ca_file, timeout=5)
    assert server.requests == []
    assert caught.value.__context__ is None
    assert caught.value.performed is False


def test_the_certificate_must_be_of_the_host(authority: Authority) -> None:
    """The right authority vouches for another name: refused."""
    context = authority.server_context("elsewhere.example")
    with serving(lambda _: Response(), authority, context) as server:
        port = server.url.rpartition(":")[2]
        post(server.url, b"", ca=server.ca_file)
        with pytest.raises(UnavailableError):
            post(f"https://localhost:{port}", b"", ca=server.ca_file, private=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "http://localhost/", "ftp://127.0.0.1/", "https://", "https:///x",
        "example.com", "https://user@example.com/", "https://user:pass@example.com/", "https://example.com/#part",
        "https://example.com/a b", "https://example.com/a\r\nX: y", "https://example.com\\@127.0.0.1/",
        "https://127.0.0.1:99999/", "https://exämple.com/", "https://[::1/",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    """Before anybody is asked: other schemes, credentials, fragments, what parsers read differently."""
    with pytest.raises(InvalidRequestError) as caught:
        post(url, b"")
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nY: b"},
        {"X\r\nY": "b"},
        {"X": "ä"},
        {"": "x"},
        {"Host": "x"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_a_header_cannot_smuggle_another(headers: dict[str, str]) -> None:
    """Line breaks, foreign characters, and the headers that frame the request are not the caller's."""
    with pytest.raises(InvalidRequestError, match="header"):
        post("https://127.0.0.1:9/", b"", headers)


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.0.1", "172.16.0.1", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%eth0", "fd00::1", "ff02::1", "fd00:ec2::254",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:a00:1::", "64:ff9b::a00:1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_of_private_networks_are_known_in_every_disguise(address: str) -> None:
    """Also where an IPv4 address is carried inside an IPv6 one."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_addresses_are_public(address: str) -> None:
    """The guard refuses no ordinary receiver."""
    assert is_public(address)


def test_a_name_that_stands_for_a_private_address_is_refused_unless_allowed(authority: Authority) -> None:
    """``localhost`` resolves to loopback: without `private` nobody is asked."""
    with serving(lambda _: Response(), authority) as server:
        url = f"https://localhost:{server.url.rpartition(':')[2]}/"
        with pytest.raises(InvalidRequestError, match="not public"):
            post(url, b"", ca=server.ca_file)
        assert server.requests == []
        assert post(url, b"", ca=server.ca_file, private=True)[0] == 200


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers the look-up must not choose by luck which of the two is connected to; it is asked once."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("93.184.216.34", port)), (*kind, ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(InvalidRequestError, match="not public"):
        post("https://receiver.example/", b"")
    assert asked == ["receiver.example"]


def test_no_proxy_is_taken_from_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records go where the configuration says, not where a variable does."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(lambda _: Response(), authority) as server:
        assert post(server.url, b"", ca=server.ca_file)[0] == 200


@pytest.mark.parametrize("behaviour", [deaf, dripping])
def test_the_whole_exchange_ends_in_time(behaviour: Any, authority: Authority) -> None:
    """Not each read of it: a receiver that drips is as dead as a silent one."""
    with receiving(behaviour, authority.server_context()) as receiver:
        with pytest.raises(UnavailableError, match="in time") as caught:
            post(f"https://127.0.0.1:{receiver.port}/", b"body", ca=authority.ca_file, timeout=0.3)
        assert caught.value.performed is None


def test_a_receiver_that_accepts_and_never_shakes_hands_ends_in_time(authority: Authority) -> None:
    """The handshake is under the same deadline."""
    with receiving(deaf) as receiver, pytest.raises(UnavailableError):
        post(f"https://127.0.0.1:{receiver.port}/", b"", ca=authority.ca_file, timeout=0.3)


def test_a_receiver_that_stops_reading_ends_in_time(authority: Authority) -> None:
    """A body larger than all buffers on the way cannot be written to who never reads."""
    with (
        receiving(deaf, authority.server_context()) as receiver,
        pytest.raises(UnavailableError, match="in time"),
    ):
        post(f"https://127.0.0.1:{receiver.port}/", bytes(2**24), ca=authority.ca_file, timeout=0.5)


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"", b"\0" * 100, b"HTTP/1.1 200 OK\r\n" + b"A" * 70000],
)
def test_an_answer_that_is_not_http_is_no_success(answer: bytes, authority: Authority) -> None:
    """Garbage, nothing, a line without end: one typed error without a word of the answer."""
    with receiving(answering(answer), authority.server_context()) as receiver:
        with pytest.raises(UnavailableError) as caught:
            post(f"https://127.0.0.1:{receiver.port}/", b"body", ca=authority.ca_file, timeout=5)
        assert caught.value.performed is None
        assert "SSH" not in str(caught.value)


def test_an_answer_is_read_to_a_bound(authority: Authority) -> None:
    """A receiver that answers without end fills nobody's memory."""
    with serving(lambda _: Response(200, bytes(LARGEST_ANSWER * 4)), authority) as server:
        _, body = post(server.url, b"", ca=server.ca_file)
    assert len(body) == LARGEST_ANSWER


def test_a_token_in_a_header_is_in_no_error() -> None:
    """Neither its text nor a frame of its traceback keeps what authenticates us."""
    with pytest.raises(SecretStoreError) as caught:
        post("https://127.0.0.1:9/", b"", {"Authorization": CANARY})
    assert_no_canary_in(caught.value)


def test_a_file_of_authorities_that_is_none_is_the_callers_fault(tmp_path: Any) -> None:
    """Missing or not PEM: said before anybody is asked; the system's authorities do not step in."""
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(InvalidRequestError, match="authorities"):
            post("https://127.0.0.1:9/", b"", ca=tmp_path / name)


def test_a_receiver_may_ask_who_sends(authority: Authority) -> None:
    """With our certificate the handshake succeeds; without it the receiver refuses."""
    import ssl

    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    ours = authority.issue("sender")

    def answer(_: Request) -> Response:
        return Response(204, b"")

    with serving(answer, authority, context) as server:
        with pytest.raises(UnavailableError):
            post(server.url, b"", ca=server.ca_file)
        identity = (ours.certificate, ours.key)
        assert post(server.url, b"", ca=server.ca_file, identity=identity)[0] == 204
