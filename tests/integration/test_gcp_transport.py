"""Google over TLS: which authority is trusted, where a token goes, and what a store leaves when it closes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from strongroom.backend import Settings, Stage
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.gcp_support import NAME, PROJECT
from tests.servers import google
from tests.servers.https import Authority, Server
from tests.servers.process import free_port

KEY = Name(NAME)
SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"


class TLSServer:
    """A gRPC server that knows no secret, and keeps the metadata of every call."""

    def __init__(self, authority: Authority, answer: Callable[[Any], Any] | None = None):
        certificate = authority.issue()
        self.metadata: list[dict[str, Any]] = []
        self._answer = answer
        pair = (certificate.key.read_bytes(), certificate.certificate.read_bytes())
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads, [self._handler()], options=[("grpc.so_reuseport", 0)])
        credentials = grpc.ssl_server_credentials([pair])
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def _handler(self) -> Any:
        def access(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.metadata.append(dict(context.invocation_metadata()))
            context.abort(grpc.StatusCode.NOT_FOUND, CANARY)
            return b""

        handlers = {"AccessSecretVersion": grpc.unary_unary_rpc_method_handler(access)}
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def close(self) -> None:
        self._server.stop(None).wait()
        self._threads.shutdown()


@contextmanager
def serving(authority: Authority) -> Iterator[TLSServer]:
    server = TLSServer(authority)
    yield server
    server.close()


def read(port: int, **settings: Any) -> BaseException:
    """The error of one read; no secret is there."""
    fields = {"timeout": 5.0, "attempts": 1, **settings}
    backend = open_backend(
        f"gcp-sm://{PROJECT}/app", Settings(endpoint=f"https://127.0.0.1:{port}", **fields)
    )
    with pytest.raises((SecretNotFoundError, UnavailableError)) as caught:
        backend.get(KEY, Stage.CURRENT)
    backend.close()
    return caught.value


def test_the_configured_authority_is_trusted_and_the_token_sent(authority: Authority) -> None:
    """The token of the configuration goes to the endpoint of the configuration, over TLS."""
    with serving(authority) as server:
        error = read(server.port, ca=str(authority.ca_file), auth={"token": SecretValue(CANARY)})
    assert isinstance(error, SecretNotFoundError)
    assert server.metadata[0]["authorization"] == f"Bearer {CANARY}"
    assert_no_canary_in(error)


def test_loopback_gets_no_ambient_token(authority: Authority) -> None:
    """Nothing but the call."""
    with serving(authority) as server:
        read(server.port, ca=str(authority.ca_file))
    assert "authorization" not in server.metadata[0]


def test_a_foreign_authority_is_refused(foreign_ca_server: Server, authority: Authority) -> None:
    """Nothing is sent."""
    error = read(_port(foreign_ca_server), ca=str(authority.ca_file), auth={"token": SecretValue(CANARY)})
    assert isinstance(error, UnavailableError)
    assert error.performed is False
    assert not foreign_ca_server.requests


def test_tls_1_1_is_refused(tls_1_1_server: Server, authority: Authority) -> None:
    """gRPC's least is TLS 1.2."""
    error = read(_port(tls_1_1_server), ca=str(authority.ca_file), auth={"token": SecretValue(CANARY)})
    assert isinstance(error, UnavailableError)
    assert not tls_1_1_server.requests


def test_a_redirect_carries_no_token_on(
    redirecting_server: Server, redirect_target: Server, authority: Authority
) -> None:
    """gRPC follows none."""
    read(_port(redirecting_server), ca=str(authority.ca_file), auth={"token": SecretValue(CANARY)})
    assert not redirect_target.requests


def _port(server: Server) -> int:
    return int(server.url.rpartition(":")[2].rstrip("/"))


def test_no_proxy_stands_before_loopback(
    google_process: google.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment would see every value."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    backend = opened(google_process)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, Stage.CURRENT)
    backend.close()


def test_who_is_not_there_performed_nothing() -> None:
    """Nobody listens: gRPC says so at once, and a write that was never sent says that nothing happened."""
    backend = open_backend(
        f"gcp-sm://{PROJECT}/app?endpoint=http://127.0.0.1:{free_port()}", Settings(attempts=1)
    )
    for act in (
        lambda: backend.get(KEY, Stage.CURRENT),
        lambda: backend.put(KEY, SecretValue(CANARY), None),
        lambda: backend.purge(KEY),
    ):
        with pytest.raises(UnavailableError) as caught:
            act()
        assert caught.value.performed is False
        assert caught.value.retryable
        assert_no_canary_in(caught.value)
    backend.close()


def opened(server: google.Process, project: str = "transport") -> Any:
    return open_backend(f"gcp-sm://{project}/app?endpoint={server.url}")


def test_a_closed_store_leaves_no_thread_and_no_descriptor(google_process: google.Process) -> None:
    """Ten stores opened, used by threads, and closed; gRPC's core closes its sockets right after.

    In a process of its own: where another test has forked, the thread of gRPC's core that closes sockets may
    be gone for good.
    """
    url = google_process.url
    code = f"from tests.integration.test_gcp_transport import leaves_nothing; leaves_nothing({url!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=Path(__file__).parents[2])


def leaves_nothing(url: str) -> None:
    """What the test above runs."""
    _use(url)  # gRPC keeps some threads for the process, once
    before = set(threading.enumerate())
    for _ in range(10):
        _use(url)
    until(lambda: _to(url) == 0)
    until(lambda: not set(threading.enumerate()) - before)


def until(holds: Callable[[], bool]) -> None:
    """Look again and again, for at most ten seconds."""
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come to hold")


def _use(url: str) -> None:
    backend = open_backend(f"gcp-sm://transport/app?endpoint={url}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _missing(backend), range(16)))
    backend.close()


def _missing(backend: Any) -> None:
    with suppress(SecretNotFoundError):
        backend.get(Name("missing"), Stage.CURRENT)


def _to(url: str) -> int:
    """Connections of this process to the server."""
    port = int(url.rpartition(":")[2])
    ends = [each.raddr for each in psutil.Process().net_connections("tcp")]
    return len([end for end in ends if getattr(end, "port", None) == port])


def test_64_threads_share_a_store(google_process: google.Process) -> None:
    """Each reads and writes names of its own; no answer is another's."""
    backend = opened(google_process)

    def work(number: int) -> bool:
        key = Name(f"thread/{number}")
        written = backend.put(key, SecretValue(f"{CANARY}-{number}"), None)
        found = backend.get(key, Stage.CURRENT)
        return bool(found.version == written.id and found.value.matches(f"{CANARY}-{number}"))

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(work, range(64)))
    backend.close()


def test_eight_forked_children_read_and_the_parent_goes_on(google_process: google.Process) -> None:
    """Forked while no call is in flight; each makes a channel of its own."""
    backend = opened(google_process)
    backend.put(Name("forked"), SecretValue(CANARY), None)
    children = [_forked(backend) for _ in range(8)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert backend.get(Name("forked"), Stage.CURRENT).value.matches(CANARY)
    backend.close()


def _forked(backend: Any) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        backend.after_fork()
        code = 0 if backend.get(Name("forked"), Stage.CURRENT).value.matches(CANARY) else 2
        backend.close()
    finally:
        os._exit(code)
