"""What a receiver answers: a delivery that is genuine, or one refusal whatever is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal, final

from strongroom.errors import InvalidRequestError, PermissionDeniedError

Reason = Literal["headers", "signature", "time", "replayed", "another body"]

TOLERANCE: Final = timedelta(seconds=300)
"""How far a timestamp may be from the receiver's clock, either way; as Standard Webhooks' own libraries."""
_LARGEST_TOLERANCE: Final = timedelta(hours=1)


@final
class WebhookError(PermissionDeniedError):
    """The request is not a genuine, fresh and new one. Its text is the same for whatever reason.

    Answer with ``status`` and ``body``, always: an answer that tells reasons apart helps only a forger.

    Attributes:
        status: the HTTP status of the answer.
        body: the body of the answer.
        reason: what was wrong, for the receiver's own log alone.
    """

    status: ClassVar[int] = 401
    body: ClassVar[bytes] = b'{"error":"refused"}'

    def __init__(self, reason: Reason):
        super().__init__("the webhook was refused", operation="webhook")
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[WebhookError], tuple[Reason]]:
        return WebhookError, (self.reason,)


@dataclass(frozen=True)
class Delivery:
    """What is known of a genuine request; all of it was signed.

    Attributes:
        id: the same in every attempt to deliver it: the idempotency key.
        timestamp: of this attempt, UTC.
        digest: SHA-256 of the body, hex.
    """

    id: str
    timestamp: datetime
    digest: str


def digest_of(body: bytes) -> str:
    """What a delivery says of its body."""
    return hashlib.sha256(body).hexdigest()


def raw(body: bytes) -> bytes:
    """The body, if it is bytes: a parsed and written one is not what was signed.

    Raises:
        InvalidRequestError: it is anything else.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise InvalidRequestError("a webhook's body is the raw bytes, as they came", operation="webhook")


def checked_tolerance(tolerance: timedelta) -> float:
    """The tolerance in seconds.

    Raises:
        InvalidRequestError: it is not above zero, or above an hour: it cannot be switched off.
    """
    if timedelta(0) < tolerance <= _LARGEST_TOLERANCE:
        return tolerance.total_seconds()
    raise InvalidRequestError("a tolerance is above 0 s and at most 1 h", operation="webhook")
