"""Requests as exchanges want them signed: by HMAC-SHA256, each family in its own way."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import urlencode

from strongroom.errors import InvalidRequestError
from strongroom.rotation.fields import field, identifier
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

Style = Literal["binance", "coinbase", "headers"]
RECV_WINDOW: Final = 5000
"""Milliseconds for which Binance takes a request after its timestamp; its own default."""


class Call(NamedTuple):
    """A request, ready to be sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Ask(NamedTuple):
    """A request, to be signed.

    Attributes:
        method: in capitals.
        target: path and query.
        parameters: in the query or in a JSON body, as the style has it; one of them may be a secret.
        at: now, by the clock of the exchange.
    """

    method: str
    target: str
    parameters: Mapping[str, str | SecretValue]
    at: datetime


def signed(style: Style, value: SecretValue, ask: Ask) -> Call:
    """Sign with a value that is JSON, ``{"key": …, "secret": …}``, with ``passphrase`` where it has one.

    - ``binance``: parameters, ``recvWindow`` and ``timestamp`` in the query, the signature in hexadecimal at
      its end, the key in ``X-MBX-APIKEY``
      (https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security).
    - ``coinbase``: JSON; timestamp in seconds, method, path and body are signed under the secret, which is
      Base64, as is the signature; ``CB-ACCESS-*`` headers
      (https://docs.cdp.coinbase.com/exchange/docs/rest-auth).
    - ``headers``: JSON; as `strongroom.webhooks.sign_request` does.

    Raises:
        InvalidRequestError: the value is not so.
    """
    for name in ("key", "secret"):
        field(value, name)  # raises here, where no frame holds what is to be sent
    return _STYLES[style](value, ask)


def _binance(value: SecretValue, ask: Ask) -> Call:
    path, _, query = ask.target.partition("?")
    own = {"recvWindow": str(RECV_WINDOW), "timestamp": str(int(ask.at.timestamp() * 1000))}
    query = "&".join(part for part in (query, urlencode({**_shown(ask), **own})) if part)
    signature = hmac.digest(field(value, "secret").encode(), query.encode(), "sha256").hex()
    headers = {"X-MBX-APIKEY": field(value, "key")}
    return Call(ask.method, f"{path}?{query}&signature={signature}", headers, b"")


def _coinbase(value: SecretValue, ask: Ask) -> Call:
    timestamp, body = str(int(ask.at.timestamp())), _json(ask)
    message = f"{timestamp}{ask.method}{ask.target}".encode() + body
    signature = _keyed(value, message)
    if signature is None:
        message = body = b""
        raise InvalidRequestError("the secret's 'secret' is not Base64")
    headers = {"CB-ACCESS-KEY": field(value, "key"), "CB-ACCESS-SIGN": signature}
    headers["CB-ACCESS-TIMESTAMP"] = timestamp
    if identifier(value, "passphrase"):
        headers["CB-ACCESS-PASSPHRASE"] = field(value, "passphrase")
    return Call(ask.method, ask.target, {**headers, **_TYPE}, body)


def _keyed(value: SecretValue, message: bytes) -> str | None:
    """None if the secret is not Base64: raising from here would carry it among the frame's locals."""
    try:
        secret = base64.b64decode(field(value, "secret"), validate=True)
    except binascii.Error:
        return None
    return base64.b64encode(hmac.digest(secret, message, "sha256")).decode()


def _headers(value: SecretValue, ask: Ask) -> Call:
    from strongroom.webhooks.exchange import sign_request

    body = _json(ask)
    headers = sign_request(value, ask.method, ask.target, body, at=ask.at)
    return Call(ask.method, ask.target, {**headers, **_TYPE}, body)


def _json(ask: Ask) -> bytes:
    return json.dumps(_shown(ask), separators=(",", ":")).encode() if ask.parameters else b""


def _shown(ask: Ask) -> dict[str, str]:
    given = ask.parameters.items()
    return {name: text.reveal_text() if isinstance(text, SecretValue) else text for name, text in given}


_TYPE: Final = {"Content-Type": "application/json"}
_STYLES: Final[Mapping[str, Callable[[SecretValue, Ask], Call]]] = {
    "binance": _binance,
    "coinbase": _coinbase,
    "headers": _headers,
}
