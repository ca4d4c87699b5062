"""Standard Webhooks 1.0.0: ``id.timestamp.body`` is signed (https://www.standardwebhooks.com).

What the reference library for Python lets pass is refused here: secrets of any length, timestamps that
``float`` can read, a list of any length; and what it raises other errors for (a malformed list, a body that
is not UTF-8) is an ordinary refusal.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError

from .refusal import TOLERANCE, Delivery, WebhookError, checked_tolerance, digest_of, raw
from .schemes import Scheme, SigningKey, schemes_of

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

Headers = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
"""Visible ASCII; a full stop would move the border to the timestamp."""
_TIMESTAMP: Final = re.compile(r"0|[1-9][0-9]{0,10}")  # no sign, space, underscore, fraction or foreign digit
_LONGEST_LIST: Final = 4096
_MOST_SIGNATURES: Final = 16  # two keys in rotation, two schemes, and room; each costs a verification


class _Signed(NamedTuple):
    id: str
    timestamp: str
    signatures: list[tuple[str, str]]

    def message(self, body: bytes) -> bytes:
        return f"{self.id}.{self.timestamp}.".encode() + body


_NOTHING: Final = _Signed("", "0", [])


def sign(secret: SigningKey, id: str, timestamp: int | datetime, body: bytes) -> str:  # noqa: A002  (its name)
    """One signature, ``v1,…`` or ``v1a,…``; several stand in the header with spaces between.

    Args:
        secret: ``whsec_…``, ``whsk_…``, 24 to 64 bytes, or a `Signer` for Ed25519.
        id: of the message, the same in every attempt; visible ASCII without a full stop.
        timestamp: of this attempt: whole seconds since 1970, or a time with its zone.
        body: the bytes that are sent.

    Raises:
        InvalidRequestError: one of them is not so.
    """
    schemes, secret = schemes_of(secret), b""
    if isinstance(schemes, InvalidRequestError):
        raise schemes
    return _signature(schemes[0], _Signed(_checked_id(id), str(_seconds(timestamp)), []), body)


def signed_headers(
    secrets: Sequence[SigningKey],
    id: str,  # noqa: A002
    body: bytes,
    *,
    at: int | datetime | None = None,
) -> dict[str, str]:
    """The three headers of a delivery, with a signature by each secret; raises as `sign` does."""
    schemes, secrets = schemes_of(secrets), ()
    if isinstance(schemes, InvalidRequestError):
        raise schemes
    signed = _Signed(_checked_id(id), str(_seconds(Clock().now() if at is None else at)), [])
    signatures = [_signature(scheme, signed, body) for scheme in schemes]
    return {ID: id, TIMESTAMP: signed.timestamp, SIGNATURE: " ".join(signatures)}


def _signature(scheme: Scheme, signed: _Signed, body: bytes) -> str:
    return f"{scheme.name},{base64.b64encode(scheme.sign(signed.message(raw(body)))).decode()}"


def verify(
    secrets: SigningKey | Sequence[SigningKey],
    headers: Headers,
    body: bytes,
    *,
    now: datetime | None = None,
    tolerance: timedelta = TOLERANCE,
) -> Delivery:
    """What was delivered, if one of the signatures is by one of the secrets and the timestamp is near.

    Schemes that are not known are passed over. Whether the id was seen before is not looked at: see
    `ReplayStore`.

    Args:
        secrets: those accepted: ``whsec_…``, ``whpk_…``, ``whsk_…``, bytes.
        headers: of the request: a mapping, or pairs as ASGI has them; their case does not matter.
        body: the raw bytes, before anything parsed them.
        now: the time, for tests.
        tolerance: how far the timestamp may be from it, either way.

    Raises:
        WebhookError: it is not genuine, or not of now.
        InvalidRequestError: the caller's own arguments are wrong; nothing in a request can cause it.
    """
    schemes, secrets = schemes_of(secrets), ()
    if isinstance(schemes, InvalidRequestError):
        raise schemes
    body, seconds = raw(body), checked_tolerance(tolerance)
    found = _parsed(headers)
    # The signature is made in any case: how long a refusal takes says nothing of its reason.
    genuine = _is_genuine(found or _NOTHING, schemes, body)
    if found is None or not genuine:
        raise WebhookError("signature" if found else "headers")
    at = datetime.fromtimestamp(int(found.timestamp), UTC)
    if abs(((now or Clock().now()) - at).total_seconds()) > seconds:
        raise WebhookError("time")
    return Delivery(found.id, at, digest_of(body))


def _is_genuine(signed: _Signed, schemes: Iterable[Scheme], body: bytes) -> bool:
    message, genuine = signed.message(body), False
    for scheme in schemes:
        own = [signature for name, signature in signed.signatures if name == scheme.name]
        genuine |= scheme.is_one_of(own, message)
    return genuine


def _parsed(headers: Headers) -> _Signed | None:
    """The three headers, if each stands there once and is written as the specification says."""
    found = single_headers(headers, ID, TIMESTAMP, SIGNATURE)
    if found is None:
        return None
    id_, timestamp, listed = found
    signatures = _listed(listed)
    if not _ID.fullmatch(id_) or not _TIMESTAMP.fullmatch(timestamp) or signatures is None:
        return None
    return _Signed(id_, timestamp, signatures)


def _listed(text: str) -> list[tuple[str, str]] | None:
    if len(text) > _LONGEST_LIST or not text.isascii():
        return None
    entries = [entry.partition(",") for entry in text.split(" ")]
    if len(entries) > _MOST_SIGNATURES or not all(name and comma for name, comma, _ in entries):
        return None
    return [(name, signature) for name, _, signature in entries]


def single_headers(headers: Headers, *names: str) -> list[str] | None:
    """The value of each header; None if one is missing, or there twice: whose would be the other reader's?"""
    found: dict[str, str] = {}
    pairs: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    for name, value in pairs:
        lower = _text(name).lower()
        if lower in names:
            if lower in found:
                return None
            found[lower] = _text(value)
    return [found[name] for name in names] if len(found) == len(names) else None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _checked_id(id_: str) -> str:
    if _ID.fullmatch(id_):
        return id_
    raise InvalidRequestError("a webhook's id is visible ASCII without a full stop, at most 256 characters")


def _seconds(at: int | datetime) -> int:
    """Whole seconds since 1970; a time without a zone would be taken for another instant elsewhere."""
    if isinstance(at, datetime) and at.tzinfo is not None:
        at = int(at.timestamp())
    if isinstance(at, int) and not isinstance(at, bool) and _TIMESTAMP.fullmatch(str(at)):
        return at
    raise InvalidRequestError("a webhook's timestamp is whole seconds since 1970, or a time with its zone")
