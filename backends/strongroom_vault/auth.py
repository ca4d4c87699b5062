"""The one login that all threads of a client share: renewed in time, made anew when it ends.

Renewal happens on use, at two thirds of the token's life; a login that nobody uses may end, and the next use
logs in again. A background thread would keep a token alive in programs that need it no more.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue

from .login import Login
from .transport import Answer, Request, json_body

if TYPE_CHECKING:
    from strongroom.backend import Clock

    from .transport import Transport

RELOGIN_INTERVAL = 30.0
"""Seconds between two logins that a refused request caused: a policy that forbids both the secret and
``lookup-self`` would otherwise cost a login for each read (external-secrets issue 376: such a loop took a
cluster down). A token that was seen to look itself up is replaced at once: it can only be dead."""

_NO_CREDENTIALS = "give credentials in strongroom.toml, or VAULT_TOKEN with VAULT_ADDR naming this server"


@dataclass(frozen=True, slots=True)
class _Lease:
    """A token and, on the monotonic clock, when to renew it and when it ends."""

    token: SecretValue
    renew_at: float = math.inf
    ends_at: float = math.inf
    full: float = 0.0  # seconds it was first given: less at a renewal means that the maximum is near
    renewable: bool = False


class AuthManager:
    """Keeps a token valid.

    Args:
        login: how to get one; None where `token` was given, which is renewed but never replaced.
    """

    def __init__(self, transport: Transport, clock: Clock, login: Login | None, token: SecretValue | None):
        self._transport = transport
        self._clock = clock
        self._login = login
        self._given = token
        self._lease: _Lease | None = None
        self.after_fork()

    def token(self) -> SecretValue:
        """A token believed valid. Without I/O, but when it has to be made or renewed.

        Raises:
            PermissionDeniedError: the login was refused, or there are no credentials.
            UnavailableError: the server does not answer and the token has ended; nothing was performed.
        """
        lease = self._lease
        if lease is not None and self._clock.monotonic() < lease.renew_at:
            return lease.token
        with self._lock:
            lease = self._lease = self._current()
            return lease.token

    @property
    def held(self) -> SecretValue | None:
        """The token in use, whether or not something is due; None before the first one."""
        lease = self._lease
        return lease.token if lease else None

    @property
    def due(self) -> float:
        """Monotonic seconds at which ``token`` has something to do."""
        lease = self._lease
        return lease.renew_at if lease else math.inf

    @property
    def end(self) -> float:
        """Monotonic seconds at which the token ends if it is not renewed."""
        lease = self._lease
        return lease.ends_at if lease else math.inf

    def replaced(self, refused: SecretValue) -> bool:
        """After a 403: whether there is another token to try now.

        Asks the server whether the refused token lives; if so the denial stands.

        Raises:
            PermissionDeniedError: the token is not accepted any more and cannot be replaced.
        """
        with self._lock:
            if self._lease is None or self._lease.token is not refused:
                return True  # another thread was faster
            if self._is_alive(refused):
                return False
            return self._replace()

    def close(self) -> None:
        """Revoke the token, if it was our own login. Best effort: it would end by itself."""
        with self._lock:
            lease, self._lease = self._lease, None
            if lease is not None and self._login is not None:
                with suppress(SecretStoreError):
                    self._send("POST", "revoke-self", lease.token)

    def after_fork(self) -> None:
        """Forget the parent's login without revoking it; the child makes its own."""
        self._lock = threading.Lock()
        self._lease = None
        self._replaced_at, self._tells = -math.inf, False

    def _current(self) -> _Lease:
        lease, now = self._lease, self._clock.monotonic()
        if lease is None:
            return self._begin()
        if now < lease.renew_at:
            return lease
        return self._renewed(lease, now) or self._begin()

    def _begin(self) -> _Lease:
        if self._login is not None:
            return self._log_in(self._login)
        if self._given is None:
            raise PermissionDeniedError("there are no credentials for this Vault", hint=_NO_CREDENTIALS)
        return self._adopt(self._given)

    def _log_in(self, login: Login) -> _Lease:
        request = Request("login", "POST", login.path, login.body())
        answer = self._transport.send(request, None)
        token = _token_in(answer)
        if answer.ok and token is not None:
            return self._lease_of(token, answer.auth, "lease_duration")
        if answer.ok or answer.status in (400, 401, 403, 404):
            raise PermissionDeniedError(
                f"login by {login.method} was refused",
                hint=f"check role, credentials and the auth mount in {login.path!r}",
            )
        raise answer.error(request)

    def _adopt(self, token: SecretValue) -> _Lease:
        """A token that was given to us: learn how long it lives, if it may tell."""
        answer = self._send("GET", "lookup-self", token)
        if answer.ok:
            return self._lease_of(token, answer.data, "ttl")
        if answer.status in (401, 403, 404):
            return _Lease(token)  # the request itself will show what it may do
        raise answer.error(Request("login", "GET", ""))

    def _renewed(self, lease: _Lease, now: float) -> _Lease | None:
        """The lease renewed, or None if only a new login helps."""
        try:
            answer = self._send("POST", "renew-self", lease.token) if lease.renewable else None
        except UnavailableError:
            answer = None
            if now < lease.ends_at:
                return _later(lease, now)
        if answer is not None and answer.ok:
            return self._extended(lease, answer)
        if answer is not None and (answer.status == 429 or answer.status >= 500) and now < lease.ends_at:
            return _later(lease, now)
        return None if self._login is not None else _Lease(lease.token)

    def _extended(self, lease: _Lease, answer: Answer) -> _Lease | None:
        renewed = self._lease_of(lease.token, answer.auth, "lease_duration", lease.full)
        nearing_end = renewed.ends_at - self._clock.monotonic() < lease.full / 2
        return None if nearing_end and self._login is not None else renewed

    def _lease_of(self, token: SecretValue, facts: object, key: str, full: float = 0.0) -> _Lease:
        answered: dict[str, object] = facts if isinstance(facts, dict) else {}
        seconds = answered.get(key)
        if not isinstance(seconds, int | float) or seconds <= 0:
            return _Lease(token)  # a root token never ends
        now = self._clock.monotonic()
        renewable = answered.get("renewable") is True
        # What cannot be renewed is used to its end, less a little for requests under way.
        renew_at = now + seconds * (2 / 3 if renewable else 0.95)
        return _Lease(token, renew_at, now + seconds, full or float(seconds), renewable)

    def _is_alive(self, token: SecretValue) -> bool:
        answer = self._send("GET", "lookup-self", token)
        return answer.status not in (401, 403)

    def _is_known(self, token: SecretValue) -> bool:
        """Whether a new token may look itself up: once it cannot, it is dead, and no policy is to blame."""
        try:
            return self._send("GET", "lookup-self", token).ok
        except SecretStoreError:
            return False

    def _replace(self) -> bool:
        if self._login is None:
            raise PermissionDeniedError(
                "the server does not accept the token",
                hint="it has ended, was revoked, or is another server's; give a new one",
            )
        if not self._tells and self._clock.monotonic() - self._replaced_at < RELOGIN_INTERVAL:
            return False
        self._replaced_at = self._clock.monotonic()
        self._lease = self._log_in(self._login)
        self._tells = self._is_known(self._lease.token)
        return True

    def _send(self, method: str, what: str, token: SecretValue) -> Answer:
        body = json_body({}) if method == "POST" else None
        return self._transport.send(Request("login", method, f"auth/token/{what}", body), token)


def _token_in(answer: Answer) -> SecretValue | None:
    token = answer.auth.get("client_token")
    return SecretValue(token) if isinstance(token, str) and token else None


def _later(lease: _Lease, now: float) -> _Lease:
    """The server does not answer, but the token lives: use it, and try again before it ends."""
    again = now + max(1.0, (lease.ends_at - now) / 4)
    return _Lease(lease.token, min(again, lease.ends_at), lease.ends_at, lease.full, lease.renewable)
