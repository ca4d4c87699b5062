"""Lambda's Runtime API on loopback, and AWS's own runtime client (awslambdaric) running a package against it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, Final

FUNCTION: Final = "arn:aws:lambda:eu-west-1:123456789012:function:rotate"
_ROOT: Final = "/2018-06-01/runtime/"
_RUNTIME: Final = ("awslambdaric", "runtime_client", "snapshot_restore_py", "simplejson")
BOTO: Final = ("boto3", "botocore", "jmespath", "dateutil", "urllib3", "s3transfer", "six")
"""What AWS's image brings besides the runtime."""


@dataclass(frozen=True)
class Answer:
    """What became of one event."""

    ok: bool
    body: Any


class RuntimeApi:
    """Hands events to a runtime client, and takes its answers."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._http = _Server(("127.0.0.1", 0), _handler(self._events, self._answers))
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What AWS_LAMBDA_RUNTIME_API says."""
        return f"127.0.0.1:{self._http.server_port}"

    def invoke(self, event: Any, seconds: float = 60.0) -> Answer:
        """One event, and its answer."""
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode()))
        return self._answers.get(timeout=seconds)

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client is killed at the end."""


def _handler(
    events: queue.Queue[tuple[str, bytes]], answers: queue.Queue[Answer]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request_id, body = events.get()
            self.send_response(200)
            deadline = int((time.time() + 60) * 1000)
            for name, text in {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": FUNCTION,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            assert self.path.startswith(_ROOT)
            answers.put(Answer(self.path.endswith("/response"), json.loads(body or b"null")))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    return Handler


@contextmanager
def running(package: Path, handler: str, folder: Path, image: Sequence[str] = ()) -> Iterator[RuntimeApi]:
    """The runtime client with an unpacked zip, and nothing else of this installation on its path.

    Args:
        package: the unpacked zip, which the function also starts in.
        handler: what the function's configuration names.
        folder: for the links to what the image brings, and for the client's output (``log``).
        image: modules that the image brings besides the runtime.
    """
    brought = folder / "image"
    brought.mkdir()
    for name in (*_RUNTIME, *image):
        _link(name, brought)
    api = RuntimeApi()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(package), str(brought)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "LAMBDA_TASK_ROOT": str(package),
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION.rpartition(":")[2],
    }
    with (folder / "log").open("wb") as log:
        argv = [sys.executable, "-S", "-m", "awslambdaric", handler]  # -S: no site-packages, no .pth
        process = subprocess.Popen(argv, cwd=package, env=environment, stdout=log, stderr=log)
        try:
            yield api
        finally:
            process.kill()
            process.wait()
            api.close()


def _link(name: str, folder: Path) -> None:
    spec = find_spec(name)
    assert spec, f"{name} is not installed"
    assert spec.origin, f"{name} is no module"
    place = Path(spec.origin)
    real = place.parent if place.name == "__init__.py" else place
    (folder / real.name).symlink_to(real)
