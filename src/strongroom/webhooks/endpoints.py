"""Both ends of Standard Webhooks, with a secret that is in a store and is rotated there."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from strongroom.clock import Clock

from .refusal import TOLERANCE, Delivery, checked_tolerance
from .rotated import GRACE, RotatedSecret
from .schemes import is_key
from .standard import Headers, signed_headers, verify

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from datetime import timedelta

    from .replay import ReplayStore
    from .rotated import Store

    Effect = Callable[[Delivery, sqlite3.Connection], object]


class Receiver:
    """Takes the webhooks of one sender. Safe across threads; in async code call it in a thread.

    The secret is ``whsec_…``, or the sender's public key, ``whpk_…``. Its current version is accepted, and in
    grace the previous one, so that neither end has to change it at the same moment; a pending one never is.

    Args:
        store: an open `SecretStore`.
        name: of the secret.
        replays: remembers what was delivered.
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
        grace: timedelta = GRACE,
        tolerance: timedelta = TOLERANCE,
        clock: Clock | None = None,
    ):
        checked_tolerance(tolerance)
        self._secret = RotatedSecret(store, name, is_key, grace=grace, clock=clock)
        self._replays, self._tolerance, self._clock = replays, tolerance, clock or Clock()

    def verify(self, headers: Headers, body: bytes) -> Delivery:
        """Whether it is genuine and of now; not whether it was seen before, see `receive`.

        Raises:
            WebhookError: it is not; answer with its status and body.
            UnavailableError: the secret could not be read; answer 503, and the sender tries again.
            InvalidRequestError: the secret is none of Standard Webhooks.
        """
        now, tolerance = self._clock.now(), self._tolerance
        return self._secret.tried(lambda secret: verify(secret, headers, body, now=now, tolerance=tolerance))

    def receive(self, headers: Headers, body: bytes, effect: Effect) -> bool:
        """Verify a request and let it take effect, once for all attempts to deliver it.

        Args:
            headers: of the request.
            body: the raw bytes.
            effect: is given the delivery, and a connection in whose transaction the id is remembered.

        Returns:
            Whether the effect ran now; if it had before, answer as then.

        Raises:
            WebhookError: as `verify`, or the id came before with another body.
            UnavailableError: as `verify`, or the file of seen ids does not answer.
        """
        found = self.verify(headers, body)
        return self._replays.once(
            found.id, found.digest, lambda db: effect(found, db), source=self._secret.name
        )


class Sender:
    """Signs the webhooks for one receiver with the current secret, and in grace with the previous one too.

    Args:
        store: an open `SecretStore`.
        name: of the secret, ``whsec_…`` or ``whsk_…``: one of its own for each receiver.
        grace: how long the previous version signs too after the current one was written.
        clock: for tests.

    Raises:
        InvalidRequestError: the grace is negative.
    """

    def __init__(self, store: Store, name: str, *, grace: timedelta = GRACE, clock: Clock | None = None):
        self._secret = RotatedSecret(store, name, is_key, grace=grace, clock=clock)
        self._clock = clock or Clock()

    def headers(self, body: bytes, *, id: str | None = None) -> dict[str, str]:  # noqa: A002
        """The three headers of one attempt.

        Args:
            body: the bytes that are sent.
            id: of the message, the same in every attempt; a new one by default.

        Raises:
            InvalidRequestError: the id or the secret is not as Standard Webhooks has it.
            UnavailableError: the secret could not be read.
        """
        message, at = id or f"msg_{uuid.uuid4().hex}", self._clock.now()
        return self._secret.used(
            lambda values: signed_headers(values, message, body, at=at), self._secret.good()
        )
