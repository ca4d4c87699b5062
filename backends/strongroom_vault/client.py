"""Requests with a login: reads tried again within bounds, writes sent once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from strongroom.errors import SecretStoreError, UnavailableError

from .auth import AuthManager
from .login import credentials
from .transport import Answer, Request, Transport

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.value import SecretValue

    from .address import Address

LONGEST_WAIT = 30.0
"""Seconds; a longer Retry-After is the caller's business, who gets the error at once."""
_FIRST_WAIT = 0.1


class VaultClient:
    """What a store needs of a Vault. Safe across threads.

    Raises:
        InvalidRequestError: a credential is missing, or a PEM file cannot be read.
    """

    def __init__(self, address: Address, settings: Settings):
        chosen = credentials(settings.auth, address.endpoint)
        self._transport = Transport(address, settings.timeout, settings.ca, chosen.certificate)
        self._auth = AuthManager(self._transport, settings.clock, chosen.login, chosen.token)
        self._clock = settings.clock
        self._attempts = max(1, settings.attempts)
        # Vault Enterprise: a read that carries the index of our last write is never older than it.
        self._index: str | None = None
        self._last = threading.local()

    def read(self, request: Request, *, missing_ok: bool = False, partial_ok: bool = False) -> Answer:
        """Send a request that changes nothing, up to `attempts` times.

        Args:
            missing_ok: hand over the answer of a 404, which tells of deleted versions.
            partial_ok: hand over the answer to a batch of which some items failed, whatever its status.

        Raises:
            SecretStoreError: as the table in ``_errors`` says.
        """
        for attempt in range(1, self._attempts + 1):
            outcome, asked = self._outcome(request)
            if isinstance(outcome, Answer):
                return outcome
            if asked is not None and missing_ok and asked.status == 404 and not _is_unmounted(asked):
                return asked
            if asked is not None and partial_ok and "batch_results" in asked.data:
                return asked
            wait = _wait(asked, attempt)
            if not _worth_retrying(outcome) or attempt == self._attempts or wait > LONGEST_WAIT:
                raise outcome
            self._clock.sleep(wait)
        raise AssertionError("unreachable")

    def write(self, request: Request, performed: Callable[[], bool] = lambda: False) -> Answer | None:
        """Send a request once. If the answer is lost, `performed` reads back whether it took effect.

        Returns:
            The answer, or None if it was lost and the effect was found.

        Raises:
            SecretStoreError: refused, or unknown (``performed=None``): nothing of the effect was found, and a
                late request may still bring it about.
        """
        outcome, _ = self._outcome(request)
        if isinstance(outcome, Answer):
            self._index = outcome.index or self._index
            return outcome
        if outcome.performed is None and _found(performed):
            return None
        raise outcome

    def token(self) -> SecretValue:
        """The login that requests are made with now; one that is due is renewed or made anew.

        Raises:
            SecretStoreError: as ``AuthManager.token``.
        """
        return self._auth.token()

    @property
    def login(self) -> SecretValue | None:
        """The login in use; None before the first request."""
        return self._auth.held

    @property
    def used(self) -> SecretValue:
        """The login that this thread's last request was answered under."""
        used: SecretValue = self._last.token
        return used

    @property
    def login_due(self) -> float:
        """Monotonic seconds at which the login is to be renewed or made anew."""
        return self._auth.due

    @property
    def login_end(self) -> float:
        """Monotonic seconds at which the login ends if it is not renewed."""
        return self._auth.end

    def after_fork(self) -> None:
        """Drop connections and login; the child makes its own."""
        self._transport.after_fork()
        self._auth.after_fork()

    def leave(self) -> None:
        """Close the connections, and let our login live to its end: what was made under it ends with it."""
        self._auth.after_fork()
        self._transport.close()

    def close(self) -> None:
        """Revoke our own login and close the connections."""
        self._auth.close()
        self._transport.close()

    def _outcome(self, request: Request) -> tuple[Answer | SecretStoreError, Answer | None]:
        """The answer if it is a good one, else the error; and the answer as it came, if one came."""
        try:
            answer = self._authorised(request)
        except SecretStoreError as error:
            return error.with_traceback(None), None
        return (answer if answer.ok else answer.error(request)), answer

    def _authorised(self, request: Request) -> Answer:
        token = self._last.token = self._auth.token()
        answer = self._transport.send(request, token, self._index)
        if answer.status == 403 and self._auth.replaced(token):  # a 403 did nothing: sending again is safe
            token = self._last.token = self._auth.token()
            answer = self._transport.send(request, token, self._index)
        return answer


def _found(performed: Callable[[], bool]) -> bool:
    try:
        return performed()
    except SecretStoreError:
        return False


def _worth_retrying(error: SecretStoreError) -> bool:
    return isinstance(error, UnavailableError) and error.retryable


def _wait(answer: Answer | None, attempt: int) -> float:
    if answer is not None and answer.retry_after is not None:
        return answer.retry_after
    return float(_FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))  # noqa: S311  (jitter)


def _is_unmounted(answer: Answer) -> bool:
    return any("no handler for route" in text for text in answer.errors)
