"""Records as signed HTTPS messages: Standard Webhooks 1.0.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from strongroom.audit.https import endpoint, post
from strongroom.audit.wire import Reach
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue

from .base import Sink, TooLargeError, hidden, hidden_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.webhooks.schemes import SigningKey

    from .base import Entry

TYPE: Final = "strongroom.audit.records"
"""The message's ``type``; its ``data`` is the list of records."""

_TOO_LARGE: Final = 413
_HINTS: Final = {
    401: "it does not accept the signature: does it have this secret?",
    403: "it does not accept the signature: does it have this secret?",
    404: "is the path in the URL right?",
    410: "it wants no more messages: remove the sink",
    429: "it is asked too often",
}


class WebhookSink(Sink):
    """One POST a batch: ``{"type", "timestamp", "data": [records]}``, signed by each secret.

    The message's id is the record's own, or of several made of what they are: the same however often the same
    batch is sent. Records are told apart by their own ids.

    Args:
        url: https, or http to literal loopback.
        secrets: what the messages are signed by; two while one replaces the other.
        form: how each record is written.
        reach: trust, time, and whether the host may be a private address.
        limit: bytes of one record.
        headers: sent with each message, for a receiver that asks for more than a signature.
        clock: tells the message's time.
    """

    def __init__(
        self,
        url: str,
        secrets: SigningKey | Sequence[SigningKey] | None,
        form: str = "json",
        *,
        reach: Reach | None = None,
        limit: int | None = None,
        headers: Mapping[str, str | SecretValue] | None = None,
        clock: Clock | None = None,
    ):
        # Hidden first: a frame that an error leaves holds no token.
        secrets, headers = hidden(secrets), hidden_values(headers)
        super().__init__(form, limit=limit)
        if not secrets:
            raise InvalidRequestError("an HTTPS sink signs what it sends", hint="give it a secret (whsec_…)")
        endpoint(url)
        self._url, self._secrets, self._headers = url, secrets, headers
        self._reach, self._clock = reach or Reach(), clock or Clock()
        self._signed("check", b"")

    def deliver(self, entries: Sequence[Entry]) -> None:
        body = self._body(entries)
        problem = self._sent(message_id(entries, body), body)
        del entries, body
        if problem is not None:
            raise problem

    def _sent(self, id_: str, body: bytes) -> SecretStoreError | None:
        """Posts it; errors are returned, so that no frame with the signature travels with them."""
        ca, identity, timeout, private = self._reach
        try:
            status, _ = post(
                self._url,
                body,
                self._all_headers(id_, body),
                ca=ca,
                identity=identity,
                timeout=timeout,
                private=private,
            )
        except SecretStoreError as error:
            return error.with_traceback(None)
        if 200 <= status < 300:
            return None
        if status == _TOO_LARGE:
            return TooLargeError("the receiver refuses the size of the message")
        hint = "it redirects: give the URL it names" if 300 <= status < 400 else _HINTS.get(status)
        return UnavailableError(f"the receiver answered with status {status}", performed=None, hint=hint)

    def _all_headers(self, id_: str, body: bytes) -> dict[str, str]:
        given = {name: text.reveal_text() for name, text in self._headers.items()}
        return {**given, **self._signed(id_, body), "Content-Type": "application/json"}

    def _signed(self, id_: str, body: bytes) -> dict[str, str]:
        from strongroom.webhooks.standard import signed_headers

        return signed_headers(self._secrets, id_, body, at=self._clock.now())

    def _body(self, entries: Sequence[Entry]) -> bytes:
        """The same bytes for the same records, so its time is the last record's."""
        texts = self.all_written(entries)
        records = map(_quoted, texts) if self.form == "cef" else texts
        time = str(entries[-1].fields.get("time", "")).encode("ascii", "replace")
        head = b'{"type":"%s","timestamp":"%s","data":[' % (TYPE.encode(), time)
        return head + b",".join(records) + b"]}"


def message_id(entries: Sequence[Entry], body: bytes) -> str:
    """The record's own id, or of several the first's, how many they are, and a digest of the body."""
    if len(entries) == 1:
        return entries[0].id
    return f"{entries[0].id}+{len(entries)}-{hashlib.sha256(body).hexdigest()[:16]}"


def _quoted(text: bytes) -> bytes:
    import json

    return json.dumps(text.decode()).encode()
