"""Requests to an exchange, signed with a key that is rotated (``pip install 'strongroom[httpx]'``).

::

    auth = HmacAuth(store, "exchange/api-key")
    client = httpx.Client(base_url="https://api.exchange.example", auth=auth)

The secret is JSON, ``{"key": …, "secret": …}``: the key's public id, and what signs. By default the request
carries the headers ``X-Api-Key``, ``X-Timestamp`` (milliseconds since 1970) and ``X-Signature``: in hex, the
HMAC-SHA256 of timestamp, method, path with query, and body, one after another. ``Form`` says it otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Literal

from strongroom.aio import AsyncSecretStore
from strongroom.clock import Clock
from strongroom.errors import BackendNotInstalledError, InvalidRequestError

try:
    import httpx
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("httpx is not installed", hint="pip install 'strongroom[httpx]'")

if TYPE_CHECKING:
    from strongroom.backend import Secret
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

_log = logging.getLogger(__name__)
BOUND: Final = timedelta(seconds=30)
"""How far the server's clock may be from this machine's by default: exchanges take some 5 to 60 s."""
_DATE_STEP: Final = timedelta(seconds=1)
"""The resolution of the Date header (RFC 9110, section 5.6.7)."""


def milliseconds(at: datetime) -> str:
    """Milliseconds since 1970: ``1767225600000``."""
    return str(int(at.timestamp() * 1000))


def seconds(at: datetime) -> str:
    """Seconds since 1970: ``1767225600``."""
    return str(int(at.timestamp()))


def iso(at: datetime) -> str:
    """ISO 8601 with milliseconds: ``2026-01-01T00:00:00.000Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_method_path_body(timestamp: str, request: httpx.Request) -> bytes:
    """What is signed by default; the path is the one that is sent, with its query."""
    return timestamp.encode() + request.method.encode() + request.url.raw_path + request.content


def timestamp_method_path(timestamp: str, request: httpx.Request) -> bytes:
    """What is signed where the body is not: with ``Form(body=False)`` it is sent as a stream."""
    return timestamp.encode() + request.method.encode() + request.url.raw_path


@dataclass(frozen=True)
class Form:
    """How an exchange wants its requests signed.

    Attributes:
        key_header: carries the key's id.
        timestamp_header: carries the time of signing, as the server's clock has it.
        signature_header: carries the signature.
        timestamp: writes the time.
        message: what is signed, from the timestamp as written and the request; by default
            ``timestamp_method_path_body``, without a body ``timestamp_method_path``.
        signature: how the signature is written.
        secret: what the secret is: the text's bytes, or Base64 of them.
        headers: more of the secret that is sent as it is, such as a passphrase: JSON pointers by header.
        body: whether the body is signed, which reads it into memory first.
    """

    key_header: str = "X-Api-Key"
    timestamp_header: str = "X-Timestamp"
    signature_header: str = "X-Signature"
    timestamp: Callable[[datetime], str] = milliseconds
    message: Callable[[str, httpx.Request], bytes] | None = None
    signature: Literal["hex", "base64"] = "hex"
    secret: Literal["text", "base64"] = "text"  # noqa: S105  (the name of a way to write it)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bool = True

    def sign(self, request: httpx.Request, value: SecretValue, at: datetime) -> None:
        """Set the headers, each anew.

        Raises:
            InvalidRequestError: the secret is not JSON with a key and a secret.
        """
        timestamp = self.timestamp(at)
        request.headers[self.timestamp_header] = timestamp
        for header, pointer in {self.key_header: "/key", **self.headers}.items():
            request.headers[header] = _text(value, pointer)
        message = self.message or (timestamp_method_path_body if self.body else timestamp_method_path)
        digest = _hmac(value, self.secret, message(timestamp, request))
        written = digest.hex() if self.signature == "hex" else base64.b64encode(digest).decode()
        request.headers[self.signature_header] = written


def _hmac(value: SecretValue, written: Literal["text", "base64"], message: bytes) -> bytes:
    secret = _signing_secret(value, written)
    if secret is None:
        raise InvalidRequestError("the secret's /secret is not Base64")
    return hmac.digest(secret, message, hashlib.sha256)


def _signing_secret(value: SecretValue, written: Literal["text", "base64"]) -> bytes | None:
    """None if it is not written so: raising from here would carry the secret among the frame's locals."""
    text = _text(value, "/secret")
    try:
        return base64.b64decode(text, validate=True) if written == "base64" else text.encode()
    except ValueError:
        return None


def _text(value: SecretValue, pointer: str) -> str:
    found = value.reveal_json(pointer)
    if isinstance(found, str):
        return found
    found = None
    raise InvalidRequestError(f"the secret's {pointer} is not text")


def date_header(response: httpx.Response) -> datetime | None:
    """The server's time by its Date header; None where there is none, or a cache answered (it has an Age)."""
    date = response.headers.get("Date")
    if date is None or "Age" in response.headers:
        return None
    try:
        said = parsedate_to_datetime(date)
    except ValueError:
        return None
    # Cut to a whole second, it is on average half of one behind.
    return (said if said.tzinfo else said.replace(tzinfo=UTC)) + _DATE_STEP / 2


class ServerClock:
    """The server's time, as far as its answers tell.

    An answer's time lies between the sending of the request and the arrival of the answer. The offset moves
    only where an answer contradicts it, and never beyond the bound: a signature from far off is refused
    anyway, and one for far ahead would be good long after its key is revoked.

    Args:
        url: where the server tells its time, asked before the first request, and again each ``relearn``;
            without one, the Date header of each answer tells.
        read: the server's time in an answer, or None.
        step: the resolution of what ``read`` gives.
        relearn: how long the answer of ``url`` is good.
        bound: the largest offset that is used.
        clock: this machine's; injected in tests.
    """

    def __init__(
        self,
        url: str | None = None,
        read: Callable[[httpx.Response], datetime | None] = date_header,
        *,
        step: timedelta = _DATE_STEP,
        relearn: timedelta = timedelta(minutes=10),
        bound: timedelta = BOUND,
        clock: Clock | None = None,
    ):
        self._url, self._read, self._step = url, read, step
        self._relearn, self._bound, self._clock = relearn.total_seconds(), bound, clock or Clock()
        self._offset, self._refused = timedelta(0), False
        self._learned: float | None = None

    @property
    def offset(self) -> timedelta:
        """What is added to this machine's time; zero until an answer contradicts it."""
        return self._offset

    def local(self) -> datetime:
        """This machine's time."""
        return self._clock.now()

    def now(self) -> datetime:
        """The server's time."""
        return self.local() + self._offset

    def question(self) -> httpx.Request | None:
        """The request for the server's time, if one is due."""
        now = self._clock.monotonic()
        due = self._learned is None or now - self._learned >= self._relearn
        return httpx.Request("GET", self._url) if self._url and due else None

    def learn(self, response: httpx.Response, sent: datetime, *, asked: bool = False) -> None:
        """Take in an answer to a request sent at this machine's time ``sent``.

        Args:
            response: the answer.
            sent: this machine's time before the request was sent.
            asked: it answers ``question``; where there is a ``url``, only that counts.
        """
        if asked and response.is_success:
            self._learned = self._clock.monotonic()
        if asked == bool(self._url) and (response.is_success or not asked):
            self._take(response, sent)

    def _take(self, response: httpx.Response, sent: datetime) -> None:
        said = self._read(response)
        if said is None:
            return
        arrived = self._clock.now()
        offset = said - (sent + (arrived - sent) / 2)
        unsure = (arrived - sent) / 2 + self._step / 2
        consistent, refused = abs(offset - self._offset) <= unsure, self._refused
        self._refused = not consistent and abs(offset) > self._bound
        if self._refused and not refused:
            away, bound = round(offset.total_seconds()), round(self._bound.total_seconds())
            what = "the clock of %s is %d s from this machine's, more than the %d s allowed: it is not used"
            _log.warning(what, response.request.url.host, away, bound)
        if not consistent and not self._refused:
            self._offset = offset


class HmacAuth(httpx.Auth):
    """Signs each request with the current key; safe across threads and tasks.

    An answer of 401 asks the store for a newer key, once. Only if there is one is the request signed with it
    and sent again, once: the server has refused it, so nothing was done twice. A body that was sent as a
    stream (``Form(body=False)``) cannot be sent again, and its 401 goes to the caller.

    Give a client with this auth to one exchange: whatever host it asks, it signs for. Leave
    ``follow_redirects`` off, httpx's default: a redirect's target would be sent the signed headers.

    Args:
        store: has the secret.
        name: its name; the value is JSON with ``key`` and ``secret``.
        form: how the exchange wants it.
        server: knows the server's time.
    """

    def __init__(
        self, store: SecretStore, name: str, form: Form | None = None, server: ServerClock | None = None
    ):
        self._store, self._name, self._form = store, name, form or Form()
        self.server = server or ServerClock()

    @property
    def requires_request_body(self) -> bool:  # type: ignore[override]
        """Whether httpx must read the body first."""
        return self._form.body

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """What an ``httpx.Client`` sends for a request."""
        if self._form.body:
            request.read()
        if question := self.server.question():
            sent, told = self.server.local(), (yield question)
            told.read()
            self.server.learn(told, sent, asked=True)
        secret = self._store.get(self._name)
        sent, answer = self.server.local(), (yield self._signed(request, secret))
        if self._is_refused(answer, request, sent):
            newer = self._store.refresh(self._name, rejected=secret.version)
            if newer.version != secret.version:
                yield self._signed(request, newer)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """What an ``httpx.AsyncClient`` sends for a request."""
        store = AsyncSecretStore(self._store)
        if self._form.body:
            await request.aread()
        if question := self.server.question():
            sent, told = self.server.local(), (yield question)
            await told.aread()
            self.server.learn(told, sent, asked=True)
        secret = await store.get(self._name)
        sent, answer = self.server.local(), (yield self._signed(request, secret))
        if self._is_refused(answer, request, sent):
            newer = await store.refresh(self._name, rejected=secret.version)
            if newer.version != secret.version:
                yield self._signed(request, newer)

    def _signed(self, request: httpx.Request, secret: Secret) -> httpx.Request:
        self._form.sign(request, secret.value, self.server.now())
        return request

    def _is_refused(self, answer: httpx.Response, request: httpx.Request, sent: datetime) -> bool:
        """Whether another key may help, and the request can be sent again."""
        self.server.learn(answer, sent)
        return answer.status_code == httpx.codes.UNAUTHORIZED and _is_repeatable(request)


def _is_repeatable(request: httpx.Request) -> bool:
    """Whether the body is at hand: a stream is used up."""
    try:
        return request.content is not None
    except httpx.RequestNotRead:
        return False
