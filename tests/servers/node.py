"""AWS's Encryption SDK for JavaScript: one Node process that answers requests as long as the tests run."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.session import note

FOLDER = Path(__file__).parent / "node"


class NodeError(Exception):
    """The SDK refused."""


class Node:
    """A running `interop.mjs`; its requests are described there."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self._process = process

    def ask(self, request: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
        """The answer's data, and its context where it has one.

        Raises:
            NodeError: the SDK refused, and says why.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "node ended"}')
        if "error" in answer:
            raise NodeError(answer["error"])
        return base64.b64decode(answer["data"]), answer.get("context", {})


def missing() -> str:
    """What `make install` would have to bring; empty if all is there."""
    if shutil.which("node") is None:
        return "node is not on PATH: apt-get install nodejs npm, then make install"
    if not (FOLDER / "node_modules" / "@aws-crypto" / "client-node").is_dir():
        return "@aws-crypto/client-node is not in tests/servers/node/node_modules: make install"
    return ""


@contextmanager
def node() -> Iterator[Node]:
    """The SDK in a process of its own, which dies with this one."""
    if problem := missing():
        raise RuntimeError(problem)
    note("servers", name="Node.js (@aws-crypto/client-node)")
    argv = ["setpriv", "--pdeathsig", "KILL", "node", str(FOLDER / "interop.mjs")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Node(process)
        finally:
            process.kill()
