"""The strict Secrets Manager double as an HTTP server on loopback, for the real SDK (AWS JSON 1.1)."""

from __future__ import annotations

import json
import re
import ssl
import threading
import uuid
from collections import Counter
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from .aws_account import Behaviour
from .aws_faults import Fault, Faults
from .aws_secrets_manager import StrictSecretsManager
from .aws_state import AwsError

_MAX_BODY = 1 << 20
_SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/([a-z0-9-]+)/secretsmanager/aws4_request")


class StrictServer:
    """Serve a ``StrictSecretsManager`` on a free port of 127.0.0.1; use it as a context manager.

    The region of a call is the one it was signed for; signatures are not checked.

    Args:
        manager: the rules; a new one by default.
        tls: serve HTTPS with this context.

    Attributes:
        manager: the rules and the data.
        faults: what to do to coming calls.
        calls: how often each operation was asked for.
    """

    def __init__(self, manager: StrictSecretsManager | None = None, *, tls: ssl.SSLContext | None = None):
        self.manager = manager or StrictSecretsManager()
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.strict = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The endpoint to give to a client."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_port}"

    @property
    def behaviour(self) -> Behaviour:
        """What AWS leaves open; may be changed while the server runs."""
        return self.manager.behaviour

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, region: str, operation: str, params: dict[str, Any]) -> dict[str, Any] | Fault:
        """Do one call with its faults: the answer, or the fault that stands in its place."""
        with self._lock:
            self.calls[operation] += 1
        hits = self.faults.hit(operation)
        instead = _played(hit for hit in hits if hit.when == "before")
        if instead:
            return instead
        answer = self.manager.call(region, operation, params, stale=any(hit.kind == "stale" for hit in hits))
        return _played(hit for hit in hits if hit.when == "after") or answer


def _played(hits: Iterable[Fault]) -> Fault | None:
    instead = None
    for hit in hits:
        if hit.kind == "error" and hit.error:
            raise hit.error
        if hit.kind == "run" and hit.action:
            hit.action()
        elif hit.kind != "stale":
            instead = hit
    return instead


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # with the default of 5, 64 threads that connect at once wait for seconds
    strict: StrictServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game, and a traceback would show what it sent."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        # Header and body leave in two writes; with Nagle's algorithm each answer would take 40 ms.
        self.request.setsockopt(6, 1, 1)

    def do_POST(self) -> None:
        """Answer one call."""
        length = int(self.headers.get("Content-Length", "0"))
        if length > _MAX_BODY:
            self.close_connection = True
            return
        body = self.rfile.read(length)
        try:
            answer = self.server.strict.answer(self._region(), self._operation(), _params(body))
        except AwsError as error:
            self._send(error.status, {"__type": error.code, "message": str(error)})
            return
        if isinstance(answer, Fault):
            self._misbehave(answer)
        else:
            self._send(200, answer)

    def _region(self) -> str:
        signed = _SCOPE.search(self.headers.get("Authorization", ""))
        if signed is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
        return signed.group(1)

    def _operation(self) -> str:
        service, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        if service != "secretsmanager":
            raise AwsError("UnknownOperationException", "")
        return operation

    def _misbehave(self, fault: Fault) -> None:
        if fault.kind == "garbage":
            self._send_bytes(200, b"<html>not what you asked for</html>")
        elif fault.kind == "redirect":
            self._send_bytes(307, b"", Location=fault.url)
        else:
            self.close_connection = True

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(answer).encode())

    def _send_bytes(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        sent = {
            "x-amzn-RequestId": str(uuid.uuid4()),
            "Content-Type": "application/x-amz-json-1.1",
            "Content-Length": str(len(body)),
        }
        for name, text in (sent | headers).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: requests carry names."""


def _params(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise AwsError("SerializationException", "The body is not a JSON object.")
    return params
