"""One HTTPS request to a receiver of records or checkpoints, with nothing a receiver can do to the sender.

No redirect is followed, no proxy or credential is taken from the environment, the answer is bounded in
size and the exchange in time, and a name that stands for a private address is refused unless allowed.
"""

from __future__ import annotations

import http.client
import io
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.names import is_loopback

from .wire import Connection, Reach, connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LARGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer's body that are read; the rest is left."""

_URL: Final = re.compile(r"[!-~]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[ -~]*")


class Endpoint(NamedTuple):
    """A checked URL: whom to ask, and for what.

    Attributes:
        scheme: ``https``, or ``http`` on loopback.
        host: a name or literal address, without brackets.
        port: the TCP port.
        target: path and query, as they stand in the request.
        authority: the Host header.
    """

    scheme: str
    host: str
    port: int
    target: str
    authority: str


def endpoint(url: str) -> Endpoint:
    """Check a receiver's URL, without asking anybody.

    Raises:
        InvalidRequestError: not https (http: on literal loopback alone), or it holds credentials.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        host = None
    if not host or not _URL.fullmatch(url) or "\\" in url or parts.fragment:
        raise InvalidRequestError("the receiver's URL is malformed", hint="write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequestError("a receiver's URL holds no credentials", hint="give a secret or headers")
    if parts.scheme != "https" and not is_loopback(f"{parts.scheme}://{parts.netloc}"):
        raise InvalidRequestError("the receiver's URL is not https", hint="plain http goes to 127.0.0.1 only")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    standard = 443 if parts.scheme == "https" else 80
    return Endpoint(parts.scheme, host, port or standard, target, parts.netloc)


def post(  # noqa: PLR0913  (the facts of one request)
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    ca: Path | str | None = None,
    timeout: float = 10.0,
    method: str = "POST",
    private: bool = False,
    identity: tuple[Path | str, Path | str] | None = None,
) -> tuple[int, bytes]:
    """Send one request and read one answer; every status is an answer, redirects too.

    Args:
        url: https, or http to literal loopback.
        body: sent as it is, with its length.
        headers: beside Host, Content-Length and Connection, which are ours.
        ca: PEM file of the only authorities to trust; None: the system's.
        timeout: seconds for the whole exchange, the look-up of the name not counted.
        method: the HTTP method.
        private: whether the host may have an address that is not public; literal loopback always may.
        identity: PEM files of our own certificate and key, for receivers that ask who sends.

    Returns:
        Status, and at most `LARGEST_ANSWER` bytes of the body.

    Raises:
        InvalidRequestError: URL, header or file cannot be used, or the address is not public.
        UnavailableError: no complete answer in time; ``performed`` is None if the request may have arrived.
    """
    reach = Reach(ca, identity, timeout, private)
    outcome = _outcome(endpoint(url), method, headers or {}, body, reach)
    # A header may hold a token: no frame of a traceback keeps it.
    del headers, body
    if isinstance(outcome, SecretStoreError):
        raise outcome
    return outcome


def _outcome(
    place: Endpoint, method: str, headers: Mapping[str, str], body: bytes, reach: Reach
) -> tuple[int, bytes] | SecretStoreError:
    try:
        request = _request(place, method, headers, body)
        with connect(place.host, place.port, reach, plain=place.scheme == "http") as connection:
            return _exchange(connection, request, method)
    except SecretStoreError as error:
        return error.with_traceback(None)


def _request(place: Endpoint, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
    ours = {"Host": place.authority, "Content-Length": str(len(body)), "Connection": "close"}
    taken = {name.lower() for name in ours} | {"transfer-encoding"}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in taken:
            raise InvalidRequestError("a header cannot be sent as it stands")
    if not _TOKEN.fullmatch(method):
        raise InvalidRequestError("the HTTP method is malformed")
    fields = [f"{name}: {value}" for name, value in (ours | {**headers}).items()]
    lines = [f"{method} {place.target} HTTP/1.1", *fields, "", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _exchange(connection: Connection, request: bytes, method: str) -> tuple[int, bytes] | SecretStoreError:
    try:
        connection.send(request)
        return _answer(connection, method)
    except TimeoutError:
        problem = "the receiver did not answer in time"
    except OSError:
        problem = "the connection broke before an answer came"
    except (http.client.HTTPException, ValueError):
        problem = "the receiver's answer is not HTTP"
    return UnavailableError(problem, performed=None)


def _answer(connection: Connection, method: str) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(_Incoming(connection), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        return response.status, response.read(LARGEST_ANSWER)
    finally:
        response.close()


class _Incoming(io.RawIOBase):
    """What `http.client` takes for a socket, each read of it under the deadline."""

    def __init__(self, connection: Connection):
        super().__init__()
        self._connection = connection

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._connection.readinto(buffer)
