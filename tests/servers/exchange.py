"""An exchange's key management, with requests signed as Binance or as Coinbase has it; it forgets nothing.

Signatures are verified here by the published rules, with no code of Strongroom's. It has two slots for keys,
beside the manager's key, which stands apart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.canary import CANARY
from tests.servers.https import NO_ANSWER, Request, Response, serving
from tests.session import note

Style = Literal["binance", "coinbase"]
_numbers = itertools.count(1)


class _RefusedError(Exception):
    def __init__(self, status: int, problem: object):
        super().__init__(status)
        self.response = _json(status, {"code": problem})


@dataclass
class Key:
    """One API key; `passphrase` only with Coinbase."""

    id: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False, default="")
    label: str = ""

    def value(self) -> dict[str, str]:
        """As Strongroom keeps it."""
        found = {"key": self.id, "secret": self.secret, "passphrase": self.passphrase}
        return {name: text for name, text in found.items() if text}


@dataclass
class Exchange:
    """A running exchange.

    Attributes:
        keys: that it accepts, by id.
        made: how many were made ever.
        lose: methods and paths whose next answer is lost, after the effect.
        skew: seconds by which its clock is ahead.
        labels: whether it keeps labels.
        lists: whether the manager may list keys.
        managed: whether there is the manager's key.
        status: answers everything with this, if it is not 0.
    """

    style: Style
    url: str = ""
    at_most: int = 2
    keys: dict[str, Key] = field(default_factory=dict)
    made: int = 0
    lose: list[str] = field(default_factory=list)
    skew: float = 0.0
    labels: bool = True
    lists: bool = True
    managed: bool = True
    status: int = 0
    manager: Key = field(default_factory=lambda: Key("manager", ""))

    def __post_init__(self) -> None:
        self.manager = self.new_key("manager")

    def new_key(self, label: str = "", passphrase: str = "") -> Key:
        """A key that nobody has been given yet."""
        secret = f"{CANARY}-{secrets.token_hex(16)}"
        if self.style == "coinbase":
            secret, passphrase = (
                base64.b64encode(secret.encode()).decode(),
                passphrase or secrets.token_hex(8),
            )
        return Key(f"key-{next(_numbers)}-{secrets.token_hex(4)}", secret, passphrase, label)

    def add(self, label: str = "") -> Key:
        """Somebody makes a key by hand."""
        key = self.new_key(label)
        self.keys[key.id] = key
        return key

    def options(self) -> dict[str, Any]:
        """What a rotator is told of it."""
        return {
            "url": self.url,
            "style": self.style,
            "create": "POST /v1/keys",
            "keys": "GET /v1/keys",
            "delete": "DELETE /v1/keys?id={id}" if self.style == "binance" else "DELETE /v1/keys/{id}",
            "probe": "GET /v1/account",
            "id_field": "apiKey",
            "secret_field": "apiSecret",
            "list_field": "keys",
            "passphrase_field": "passphrase" if self.style == "coinbase" else "",
        }

    def respond(self, request: Request) -> Response:
        """Verify and do."""
        if self.status:
            return _json(self.status, {"url": "/elsewhere"})
        try:
            parameters = _VERIFIERS[self.style](self, request)
            response = self._done(request.method, urlsplit(request.path).path, parameters)
        except _RefusedError as refused:
            return refused.response
        what = f"{request.method} {urlsplit(request.path).path}"
        if what in self.lose:
            self.lose.remove(what)
            return NO_ANSWER
        return response

    def accepted(self, key: str) -> Key:
        """The key of a request, which the exchange must know."""
        found = self.manager if key == self.manager.id else self.keys.get(key)
        if found is None:
            raise _RefusedError(401, -2015)
        return found

    def now(self) -> float:
        """By its own clock."""
        return time.time() + self.skew

    def _done(self, method: str, path: str, parameters: Mapping[str, str]) -> Response:
        if (method, path) == ("POST", "/v1/keys"):
            return self._create(parameters)
        if (method, path) == ("GET", "/v1/keys"):
            if not self.lists:
                raise _RefusedError(403, "permission")
            listing = [*([self.manager] if self.managed else []), *self.keys.values()]
            listed = [{"apiKey": key.id, "label": key.label} for key in listing]
            return _json(200, {"keys": listed})
        if method == "DELETE":
            victim = parameters.get("id") or unquote(path.rpartition("/")[2])
            return _json(200 if self.keys.pop(victim, None) else 404, {})
        return _json(200, {"balances": []}) if path == "/v1/account" else _json(404, {})

    def _create(self, parameters: Mapping[str, str]) -> Response:
        if len(self.keys) >= self.at_most:
            raise _RefusedError(400, "too many keys")
        label = parameters.get("label", "") if self.labels else ""
        key = self.new_key(label, parameters.get("passphrase", ""))
        self.keys[key.id], self.made = key, self.made + 1
        return _json(201, {"apiKey": key.id, "apiSecret": key.secret})


def _binance(exchange: Exchange, request: Request) -> Mapping[str, str]:
    signed, found, signature = urlsplit(request.path).query.rpartition("&signature=")
    parameters = dict(parse_qsl(signed))
    headers = {name.lower(): value for name, value in request.headers.items()}
    key = exchange.accepted(headers.get("x-mbx-apikey", ""))
    if abs(exchange.now() * 1000 - int(parameters["timestamp"])) > int(parameters["recvWindow"]):
        raise _RefusedError(400, -1021)
    expected = hmac.new(key.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
    if not found or signature != expected:
        raise _RefusedError(400, -1022)
    return parameters


def _coinbase(exchange: Exchange, request: Request) -> Mapping[str, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    key = exchange.accepted(headers.get("cb-access-key", ""))
    timestamp = headers.get("cb-access-timestamp", "0")
    if abs(exchange.now() - int(timestamp)) > 30:
        raise _RefusedError(400, "request timestamp expired")
    message = f"{timestamp}{request.method}{request.path}".encode() + request.body
    expected = hmac.new(base64.b64decode(key.secret), message, hashlib.sha256).digest()
    if headers.get("cb-access-sign") != base64.b64encode(expected).decode():
        raise _RefusedError(401, "invalid signature")
    if headers.get("cb-access-passphrase") != key.passphrase:
        raise _RefusedError(401, "invalid passphrase")
    return dict(json.loads(request.body)) if request.body else {}


_VERIFIERS: dict[Style, Callable[[Exchange, Request], Mapping[str, str]]] = {
    "binance": _binance,
    "coinbase": _coinbase,
}


def _json(status: int, content: Any) -> Response:
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


@contextmanager
def exchange(style: Style) -> Iterator[Exchange]:
    """An exchange on loopback, in this process."""
    note("servers", name=f"exchange double ({style})")
    made = Exchange(style)
    with serving(made.respond) as server:
        made.url = server.url
        yield made
