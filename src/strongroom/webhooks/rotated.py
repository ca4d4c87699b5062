"""A signing secret in a store, while it is rotated: the current version, and the previous one in grace."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from strongroom.backend import Stage
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnsupportedOperationError

from .refusal import WebhookError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.backend import Secret
    from strongroom.value import SecretValue

T = TypeVar("T")
V = TypeVar("V")

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
        fits: whether a value is of the form that it must be. A previous one that is not is passed over: it
            was a mistake, which the current one has mended.
        grace: how long the previous version stays good; none at all if zero.
        clock: for tests.

    Raises:
        InvalidRequestError: the grace is negative.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        fits: Callable[[SecretValue], bool],
        *,
        grace: timedelta = GRACE,
        clock: Clock | None = None,
    ):
        if grace < timedelta(0):
            raise InvalidRequestError("a grace is not negative", operation="webhook", name=name)
        self.name, self._fits = name, fits
        self._store, self._grace, self._clock = store, grace, clock or Clock()
        # Each is replaced whole, so that threads need no lock, and a fork leaves none held.
        self._known: tuple[str, datetime] | None = None
        self._read: tuple[str, float, SecretValue | None] | None = None

    def tried(self, check: Callable[[SecretValue], T]) -> T:
        """What `check` says with the current value; if the signature is another's, with the previous one.

        Raises:
            WebhookError: it refused both.
            UnavailableError: the store does not tell; raises as the store.
        """
        current = self._current()
        try:
            return self.used(check, current.value)
        except WebhookError as error:
            refusal = error
        previous = self._previous(current) if refusal.reason == "signature" else None
        if previous is None:
            raise refusal
        return self.used(check, previous)

    def used(self, use: Callable[[V], T], value: V) -> T:
        """Use a value, or several; one that is not of the form it must be is told by the secret's name."""
        try:
            return use(value)
        except InvalidRequestError as error:
            error.operation, error.name = "webhook", self.name
            raise

    def good(self) -> list[SecretValue]:
        """The current value, and the previous one while it is good: what a sender signs with."""
        current = self._current()
        previous = self._previous(current)
        return [current.value, *([previous] if previous else [])]

    def _current(self) -> Secret:
        current = self._store.get(self.name)
        self._since(current)  # a change is noticed also where only the current value is asked for
        return current

    def _previous(self, current: Secret) -> SecretValue | None:
        """The value before this very one: the cache may have moved on since, and left the receiver's out."""
        if self._clock.now() >= self._since(current) + self._grace:
            return None
        now, read = self._clock.monotonic(), self._read
        if read is None or read[0] != current.version or now >= read[1] + _RECHECK:
            self._read = read = current.version, now, self._fetched()
        return read[2]

    def _since(self, current: Secret) -> datetime:
        """When grace began."""
        known = self._known
        if known is None or known[0] != current.version:
            now, written = self._clock.now(), current.created_at
            known = current.version, now if known or written is None else min(written, now)
            self._known = known
        return known[1]

    def _fetched(self) -> SecretValue | None:
        try:
            value = self._store.get(self.name, stage=Stage.PREVIOUS).value
        except (SecretNotFoundError, UnsupportedOperationError):
            return None
        return value if self._fits(value) else None
