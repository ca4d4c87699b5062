"""``/healthz`` and ``/metrics`` of a program that works on, over HTTP, for an orchestrator and Prometheus."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Protocol

from strongroom.errors import InvalidRequestError
from strongroom.telemetry import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN: Final = "text/plain; charset=utf-8"


class Serving(Protocol):
    """What is answered for: a worker of rotations, or what follows replicas."""

    @property
    def trouble(self) -> str:
        """Why it is unwell; empty if it is not."""

    def metrics(self) -> str:
        """In Prometheus' text format."""


@contextmanager
def health_server(worker: Serving, host: str, port: int) -> Iterator[int]:
    """Answer for a worker while the block runs.

    ``/healthz`` answers 200 while passes succeed, and 503 with a line that says why not.

    Args:
        host: the address to listen at; anybody who reaches it may ask.
        port: 0 takes a free one.

    Yields:
        the port.

    Raises:
        InvalidRequestError: it cannot be listened at.
    """
    server = _listening(worker, host, port)
    thread = threading.Thread(target=server.serve_forever, name="strongroom-health", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's concern."""


def _listening(worker: Serving, host: str, port: int) -> _Server:
    problem = ""
    try:
        return _Server((host, port), _handler(worker))
    except OSError as exc:
        problem = exc.strerror or "cannot be listened at"
    raise InvalidRequestError(f"{host}:{port}: {problem}", hint="choose another by --listen HOST:PORT")


def _handler(worker: Serving) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0  # or whoever connects and is silent would keep a thread for ever
        server_version, sys_version = "strongroom", ""

        def do_GET(self) -> None:
            if self.path == "/healthz":
                trouble = worker.trouble
                self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n", _PLAIN)
            elif self.path == "/metrics":
                self._answer(200, worker.metrics(), CONTENT_TYPE)
            else:
                self._answer(404, "there are /healthz and /metrics\n", _PLAIN)

        def _answer(self, status: int, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """An orchestrator asks every few seconds."""

    return Handler
