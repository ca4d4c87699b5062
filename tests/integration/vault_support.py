"""What the tests of `strongroom_vault` share: opening stores, a clock to turn, a proxy that cuts answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

from strongroom.backend import Clock, Secret, SecretVersion, Settings, Stage
from strongroom.names import Companion, Name, StoreURL
from strongroom.value import SecretValue
from strongroom_vault.kv import VaultKV
from strongroom_vault.kv1 import VaultKV1
from tests.canary import CANARY, not_ours
from tests.servers.openbao import OpenBao

DB = Name("db/password")
PENDING = Companion(DB)


def text(extra: str = "") -> SecretValue:
    """A text value that holds the canary."""
    return SecretValue(f"{CANARY}{extra}")


class TurnedClock(Clock):
    """A clock that a test turns; nobody really sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def token_auth(token: str) -> dict[str, str | SecretValue]:
    """`auth = {method = "token", token = …}`."""
    return {"method": "token", "token": SecretValue(token)}


def url(address: str, mount: str, query: str = "", prefix: str = "prod") -> StoreURL:
    """The store URL of a prefix in a mount of a server on loopback."""
    return StoreURL.parse(f"vault:///{mount}/{prefix}?endpoint={address}{query}")


def open_store(
    server: OpenBao, mount: str, *, address: str = "", query: str = "", prefix: str = "prod", **settings: Any
) -> VaultKV:
    """A store on `server`, as root unless `auth` says otherwise."""
    auth = settings.pop("auth", token_auth(server.token))
    ca = str(server.ca_file) if server.ca_file else None
    where = url(address or server.address, mount, query, prefix)
    return VaultKV.from_url(where, Settings(auth=auth, ca=ca, **settings))


def open_kv1(server: OpenBao, mount: str, **settings: Any) -> VaultKV1:
    """The same on a KV version 1 mount."""
    return cast("VaultKV1", open_store(server, mount, query="&kv=1", **settings))


def policy_token(server: OpenBao, policy: str, **facts: Any) -> str:
    """A fresh token with just this policy (and `default`)."""
    with not_ours():
        client = server.client()
        name = f"policy-{abs(hash(policy))}"
        client.sys.create_or_update_policy(name, policy)
        answer = client.auth.token.create(policies=[name, "default"], **facts)
    return str(answer["auth"]["client_token"])


def shown(secret: Secret) -> tuple[bytes, str]:
    """Value and kind."""
    return secret.value.reveal(), secret.value.kind


def held_stages(versions: list[SecretVersion]) -> list[set[Stage]]:
    """Which stages each version holds."""
    return [set(version.stages) for version in versions]


class CuttingProxy:
    """Stands before a server and swallows requests, or only their answers.

    `cut` says what to do with a request: "request" closes the connection unforwarded, "answer" forwards it,
    waits until the server has done it, and closes the connection; anything else lets it pass.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.cut: Callable[[str, str], str] = lambda method, path: ""
        self.seen: list[tuple[str, str]] = []
        self.address = ""

    def cut_once(self, what: str, method: str, part: str) -> None:
        """Cut the first request with this method whose path holds `part`."""
        left = [what]

        def cut(asked: str, path: str) -> str:
            return left.pop() if left and asked == method and part in path else ""

        self.cut = cut

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.seen.append((handler.command, handler.path))
        what = self.cut(handler.command, handler.path)
        if what != "request":
            answer, content = self._forward(handler, body)
        if what:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Connection", "Content-Length", "Transfer-Encoding", "Date"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _forward(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=10)
        connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


@contextmanager
def cutting_proxy(upstream: str) -> Iterator[CuttingProxy]:
    """A `CuttingProxy` on a free loopback port."""
    proxy = CuttingProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            proxy.handle(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_LIST = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    proxy.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
