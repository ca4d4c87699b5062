"""A signing secret in a store, while it is rotated: the current version, and the previous one in grace."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from strongroom.backend import Stage
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnsupportedOperationError

from .refusal import WebhookError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.backend import Secret
    from strongroom.value import SecretValue

T = TypeVar("T")

GRACE: Final = timedelta(hours=24)
"""How long the previous version is accepted by default; a cache may hold it as current for an hour."""
_RECHECK: Final = 60.0  # seconds until a revocation of the previous version is noticed


class Store(Protocol):
    """What is needed of a `SecretStore`."""

    def get(self, name: str, *, stage: Stage = Stage.CURRENT) -> Secret:
        """As `SecretStore.get`."""


class RotatedSecret:
    """The versions of one secret that are good now; never a pending one.

    Grace begins when the current version was written, or later where this process saw it become current. On a
    store that does not tell when, it begins when this process first reads it.

    Args:
        store: an open `SecretStore`.
        name: of the secret.
        grace: how long the previous version stays good; none at all if zero.
        clock: for tests.

    Raises:
        InvalidRequestError: the grace is negative.
    """

    def __init__(self, store: Store, name: str, *, grace: timedelta = GRACE, clock: Clock | None = None):
        if grace < timedelta(0):
            raise InvalidRequestError("a grace is not negative", operation="webhook", name=name)
        self.name = name
        self._store, self._grace, self._clock = store, grace, clock or Clock()
        self.after_fork()

    def after_fork(self) -> None:
        """With a lock of our own."""
        self._lock = threading.Lock()
        self._version, self._since = "", datetime.min.replace(tzinfo=UTC)
        self._read: tuple[str, float, SecretValue | None] | None = None

    def tried(self, check: Callable[[SecretValue], T]) -> T:
        """What `check` says with the current value; if the signature is another's, with the previous one.

        Raises:
            WebhookError: it refused both.
            UnavailableError: the store does not tell; raises as the store.
        """
        current = self._seen()
        try:
            return check(current.value)
        except WebhookError as error:
            refusal = error
        previous = self._previous(current) if refusal.reason == "signature" else None
        if previous is None:
            raise refusal
        return check(previous)

    def good(self) -> list[SecretValue]:
        """The current value, and the previous one while it is good: what a sender signs with."""
        current = self._seen()
        previous = self._previous(current)
        return [current.value, *([previous] if previous else [])]

    def _previous(self, current: Secret) -> SecretValue | None:
        """The value before this very one: the cache may have moved on since, and left the receiver's out."""
        if self._clock.now() >= self._since + self._grace:
            return None
        with self._lock:
            now = self._clock.monotonic()
            if self._read is None or self._read[0] != current.version or now >= self._read[1] + _RECHECK:
                self._read = current.version, now, self._fetched()
            return self._read[2]

    def _seen(self) -> Secret:
        secret = self._store.get(self.name)
        with self._lock:
            if secret.version != self._version:
                self._since = self._beginning(secret)
                self._version = secret.version
        return secret

    def _beginning(self, secret: Secret) -> datetime:
        now = self._clock.now()
        return now if self._version or secret.created_at is None else min(secret.created_at, now)

    def _fetched(self) -> SecretValue | None:
        try:
            return self._store.get(self.name, stage=Stage.PREVIOUS).value
        except (SecretNotFoundError, UnsupportedOperationError):
            return None
