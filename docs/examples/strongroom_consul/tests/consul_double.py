"""The part of Consul's HTTP API that the backend uses, in memory: KV reads and transactions."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "the-only-token"


class ConsulDouble:
    """A Consul on a free port of 127.0.0.1; use it as a context manager."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.index = 0
        self.lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.consul = self
        self.host = f"127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def read(self, key: str, *, recurse: bool) -> list[dict[str, Any]]:
        """The entry of a key, or of all keys that begin with it."""
        with self.lock:
            return [
                dict(e) for k, e in sorted(self.keys.items()) if k == key or (recurse and k.startswith(key))
            ]

    def transact(self, verbs: list[dict[str, Any]]) -> dict[str, Any]:
        """Apply all verbs, or none."""
        with self.lock:
            before = dict(self.keys)
            results: list[dict[str, Any]] = []
            for verb in verbs:
                problem = self._apply(verb, results)
                if problem:
                    self.keys = before
                    return {"Results": None, "Errors": [{"OpIndex": len(results), "What": problem}]}
            return {"Results": results, "Errors": None}

    def _apply(self, verb: dict[str, Any], results: list[dict[str, Any]]) -> str:
        key, current = verb["Key"], self.keys.get(verb["Key"])
        if verb["Verb"] == "cas" and verb["Index"] != (current["ModifyIndex"] if current else 0):
            return "failed to set key, index is stale"
        if verb["Verb"] == "get" and not current:
            return "key doesn't exist"
        if verb["Verb"] == "delete":
            self.keys.pop(key, None)
        if verb["Verb"] in ("set", "cas"):
            self.index += 1
            value = {"Value": verb["Value"] or None, "Flags": verb["Flags"]}
            self.keys[key] = {"Key": key, "ModifyIndex": self.index, **value}
        if key in self.keys:
            results.append({"KV": self.keys[key] | {"Value": None}})
        return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    consul: ConsulDouble


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    wbufsize = -1  # one write for header and body: with Nagle's algorithm two would take 40 ms

    def do_GET(self) -> None:
        """``/v1/kv/KEY`` and ``/v1/kv/PREFIX?recurse``."""
        if self.headers.get("X-Consul-Token") != TOKEN:
            return self._answer(403, "Permission denied")
        url = urlsplit(self.path)
        recurse = "recurse" in parse_qs(url.query, keep_blank_values=True)
        found = self.server.consul.read(unquote(url.path.removeprefix("/v1/kv/")), recurse=recurse)
        return self._answer(200 if found else 404, found)

    def do_PUT(self) -> None:
        """``/v1/txn``."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("X-Consul-Token") != TOKEN:
            return self._answer(403, "Permission denied")
        if len(body) > 512 * 1024:
            return self._answer(413, "request body too large")
        done = self.server.consul.transact([verb["KV"] for verb in json.loads(body)])
        return self._answer(409 if done["Errors"] else 200, done)

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""
