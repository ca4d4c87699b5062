"""Requests signed as exchanges have it: HMAC-SHA256 of timestamp, method, path with query, and body.

The signed parts stand one after another, mostly with nothing between them. What is refused here makes that
unambiguous: a path of anything but the characters of RFC 3986, a timestamp of another length than its unit
has today, and a body that could be the end of a path.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue, take

from .refusal import TOLERANCE, Delivery, WebhookError, checked_tolerance, digest_of, raw
from .rotated import GRACE, RotatedSecret
from .standard import Headers, single_headers

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from .replay import ReplayStore
    from .rotated import Store

    Effect = Callable[[Delivery, sqlite3.Connection], object]

_METHOD: Final = re.compile("[A-Z]{1,16}")
_TARGET: Final = re.compile(r"/[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]{0,8191}")  # RFC 3986, sections 3.3 and 3.4
_IN_TARGET: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:@/?]")
_DIGITS: Final = {"ms": 13, "s": 10}
"""Digits of a timestamp from 2001 to 2286."""
_SHORTEST: Final = 24  # characters, as Standard Webhooks has bytes


def _is_client(value: SecretValue) -> bool:
    try:
        return bool(_key(value))
    except InvalidRequestError:
        return False


@dataclass(frozen=True)
class RequestForm:
    """How a request is signed; by default as `strongroom.integrations.httpx_auth.HmacAuth` does.

    Attributes:
        key_header: carries the key's public id.
        timestamp_header: carries the time of signing.
        signature_header: carries the signature.
        unit: of the timestamp, since 1970.
        encoding: of the signature; hexadecimal is lower case.
        timestamp: whether it stands first or last of what is signed: then come method, path and body.
        separator: between the parts. With none, a body must begin with what no URL holds, as JSON does.
    """

    key_header: str = "X-Api-Key"
    timestamp_header: str = "X-Timestamp"
    signature_header: str = "X-Signature"
    unit: Literal["ms", "s"] = "ms"
    encoding: Literal["hex", "base64"] = "hex"
    timestamp: Literal["first", "last"] = "first"
    separator: Literal["", "\n"] = ""

    def message(self, timestamp: str, method: str, target: str, body: bytes) -> bytes | None:
        """What is signed; None if a part is not as it must be, or could be taken for another request."""
        if not re.fullmatch(rf"[1-9][0-9]{{{_DIGITS[self.unit] - 1}}}", timestamp):
            return None
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
            return None
        if not self.separator and _IN_TARGET.match(body):
            return None
        parts = [method.encode(), target.encode(), body]
        parts.insert(0 if self.timestamp == "first" else len(parts), timestamp.encode())
        return self.separator.encode().join(parts)

    def written(self, at: datetime) -> str:
        """The timestamp of an instant."""
        whole = int(at.timestamp() * 1000)
        return str(whole if self.unit == "ms" else whole // 1000)

    def instant(self, timestamp: str) -> datetime:
        """The instant of a timestamp that `message` took."""
        return datetime.fromtimestamp(int(timestamp) / (1000 if self.unit == "ms" else 1), UTC)

    def signature(self, value: SecretValue, message: bytes) -> str:
        """The signature of a message by the secret's ``/secret``, as it is written in the header."""
        mac = hmac.digest(str(value.reveal_json("/secret")).encode(), message, "sha256")
        return mac.hex() if self.encoding == "hex" else base64.b64encode(mac).decode()

    def is_signature(self, signature: str, value: SecretValue, message: bytes) -> bool:
        """Whether the signature is the one of the message, written as `signature` writes it."""
        return _equal(signature, self.signature(value, message))


def sign_request(
    secret: SecretValue | str | dict[str, Any],
    method: str,
    target: str,
    body: bytes = b"",
    *,
    at: datetime | None = None,
    form: RequestForm | None = None,
) -> dict[str, str]:
    """The headers of a signed request.

    Args:
        secret: JSON, ``{"key": …, "secret": …}``: the key's public id, and what signs.
        method: in capitals.
        target: the path with its query, as it is sent.
        body: the bytes that are sent.
        at: the time by the server's clock.
        form: how the server wants it.

    Raises:
        InvalidRequestError: the secret is not so, or the request cannot be signed without being ambiguous.
    """
    taken, secret = take(secret), ""
    if isinstance(taken, InvalidRequestError):
        raise taken
    form = form or RequestForm()
    timestamp = form.written(at or Clock().now())
    message = form.message(timestamp, method, target, raw(body))
    if message is None:
        problem = "this method, path or body could be taken for another request's"
        raise InvalidRequestError(problem, operation="webhook", hint='a separator of "\\n" tells them apart')
    key = _key(taken)
    headers = {form.key_header: key, form.timestamp_header: timestamp}
    return {**headers, form.signature_header: form.signature(taken, message)}


def _key(value: SecretValue) -> str:
    """The public id; and whether the secret is there and long enough."""
    key, secret = value.reveal_json("/key"), value.reveal_json("/secret")
    good = isinstance(key, str) and isinstance(secret, str) and len(secret) >= _SHORTEST
    secret = None
    if not good:
        raise InvalidRequestError(f"not JSON with a key and a secret of {_SHORTEST} characters or more")
    return str(key)


class RequestReceiver:
    """Takes the signed requests of one client. Safe across threads; in async code call it in a thread.

    The client's secret is JSON, ``{"key": …, "secret": …}``, in both of its versions while it is rotated.

    Args:
        store: an open `SecretStore`.
        name: of the client's secret.
        replays: remembers what was delivered.
        form: how requests are signed.
        grace: how long the previous version is accepted after the current one was written.
        tolerance: how far a timestamp may be from this machine's clock, either way.
        clock: for tests.

    Raises:
        InvalidRequestError: grace or tolerance is out of bounds.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        replays: ReplayStore,
        form: RequestForm | None = None,
        grace: timedelta = GRACE,
        tolerance: timedelta = TOLERANCE,
        clock: Clock | None = None,
    ):
        self._within = checked_tolerance(tolerance)
        self._secret = RotatedSecret(store, name, _is_client, grace=grace, clock=clock)
        self._replays, self._form, self._clock = replays, form or RequestForm(), clock or Clock()

    def verify(self, method: str, target: str, headers: Headers, body: bytes = b"") -> Delivery:
        """Whether it is genuine and of now; not whether it was seen before, see `receive`.

        Args:
            method: of the request.
            target: its path with the query, as they came: not decoded, not normalised.
            headers: of the request.
            body: the raw bytes.

        Raises:
            WebhookError: it is not; answer with its status and body.
            UnavailableError: the secret could not be read; answer 503.
            InvalidRequestError: the secret is not JSON with a key and a secret of 24 characters.
        """
        asked = _Asked(method, target, headers, raw(body))
        return self._secret.tried(lambda value: self._judged(value, asked))

    def receive(self, method: str, target: str, headers: Headers, body: bytes, effect: Effect) -> bool:
        """Verify a request and let it take effect, once; as `Receiver.receive`.

        A request has no id but its signature: one that is signed anew is another request.
        """
        found = self.verify(method, target, headers, body)
        return self._replays.once(
            found.id, found.digest, lambda db: effect(found, db), source=self._secret.name
        )

    def _judged(self, value: SecretValue, asked: _Asked) -> Delivery:
        form, key = self._form, _key(value)
        names = form.key_header.lower(), form.timestamp_header.lower(), form.signature_header.lower()
        found = single_headers(asked.headers, *names)
        message = found and form.message(found[1], asked.method, asked.target, asked.body)
        key_, _, signature = found or ("", "", "")
        # The signature is made in any case: how long a refusal takes says nothing of its reason.
        genuine = _equal(key_, key) & form.is_signature(signature, value, message or b"")
        if not found or message is None or not genuine:
            raise WebhookError("signature" if message else "headers")
        at = form.instant(found[1])
        if abs((self._clock.now() - at).total_seconds()) > self._within:
            raise WebhookError("time")
        return Delivery(signature, at, digest_of(asked.body))


class _Asked(NamedTuple):
    method: str
    target: str
    headers: Headers
    body: bytes


def _equal(found: str, expected: str) -> bool:
    return hmac.compare_digest(found.encode("utf-8", "surrogatepass"), expected.encode())
