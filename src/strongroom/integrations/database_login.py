"""Logging in to a database with a secret that may be rotated at any moment.

A rotation changes the password at the database and then promotes the new value, so that for a moment the
store's current value is refused. Connections that exist survive it; a new one asks the store for what is
current instead of the version that was refused, waits for it a little if need be, and tries again.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from strongroom.aio import AsyncSecretStore
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from strongroom.backend import Secret
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

T = TypeVar("T")
PATIENCE: Final = 5.0
"""Seconds a new connection waits by default between the refusal of a password and its successor."""
_PAUSE: Final = 0.25
"""Seconds between two looks at what is current; of these `refresh` lets one a second go to the provider."""
_ACCESS_DENIED: Final = 1045
"""MySQL's and MariaDB's ER_ACCESS_DENIED_ERROR (MySQL reference, server error messages)."""
_PHRASES: Final = (
    "password authentication failed",
    "is not permitted to log in",
    "ORA-01017",
    "Login failed for user",
)
"""PostgreSQL's libpq (which tells no SQLSTATE of a refused connection), Oracle, SQL Server (18456)."""
_DROPPED: Final = re.compile(r'role "[^"]*" does not exist')
"""PostgreSQL, of who logs in: a leased user that is dropped between its password and its session."""
_ACCEPTED: Final = (
    "too many",
    "connection slots",
    "does not exist",
    "starting up",
    "shutting down",
    "recovery",
)
"""What PostgreSQL says in English to those whose password it has accepted, or never looked at."""


def password(value: SecretValue) -> Mapping[str, str]:
    """The secret is the password; the user stands in the URL."""
    return {"password": value.reveal_text()}


def user_and_password(value: SecretValue) -> Mapping[str, str]:
    """The secret says both: JSON with ``username`` and ``password``, as AWS writes it, or a URL.

    Raises:
        InvalidRequestError: it does not.
    """
    from strongroom.rotation.generating import login

    found = login(value)
    if not found.user:
        raise InvalidRequestError("the secret names no user", hint="take its password alone")
    return {"user": found.user, "password": found.password.reveal_text()}


def is_refusal(error: BaseException) -> bool:
    """Whether a driver's error says that the database refused the login, as far as drivers tell.

    psycopg tells that the connection used a password and did not come about, whatever the server's language
    (in English, what it says excludes other reasons). Others tell SQLSTATE class 28 (invalid authorization
    specification), MySQL's 1045, or the English text of the server.
    """
    text = str(error)
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    if (
        str(state).startswith("28")
        or _ACCESS_DENIED in error.args
        or any(phrase in text for phrase in _PHRASES)
        or _DROPPED.search(text)
    ):
        return True
    used = getattr(getattr(error, "pgconn", None), "used_password", False)
    return bool(used) and not any(phrase in text for phrase in _ACCEPTED)


@final
class DatabaseLogin:
    """Connects with a secret, and once more with its successor if it is refused.

    A successor may be refused too, and then has one of its own, until the patience is over.

    Args:
        store: has the secret.
        name: the secret's name.
        parts: what of the secret becomes which argument of the driver's ``connect``.
        patience: seconds from the first refusal during which another version is waited for and tried.
        refused: whether an error of the driver is a refused login.
        clock: injected in tests.
    """

    def __init__(
        self,
        store: SecretStore,
        name: str,
        *,
        parts: Callable[[SecretValue], Mapping[str, str]] = password,
        patience: float = PATIENCE,
        refused: Callable[[BaseException], bool] = is_refusal,
        clock: Clock | None = None,
    ):
        self._store, self._name, self._parts = store, name, parts
        self._patience, self._refused, self._clock = patience, refused, clock or Clock()

    def connect(
        self,
        attempt: Callable[[Mapping[str, str]], T],
        run: Callable[[Callable[[], Any]], Any] = lambda call: call(),
    ) -> T:
        """Connect by ``attempt``, which takes the secret's parts; ``run`` runs what may wait for the store.

        Raises:
            SecretStoreError: the store does not give the secret.
            Exception: the driver's, without what it knows of the password.
        """
        secret: Secret | None = self._current() if self._store.is_warm(self._name) else run(self._current)
        patience = _Patience(self._clock, self._patience)
        while secret:
            try:
                return attempt(self._parts(secret.value))
            except Exception as raised:  # noqa: BLE001  (any driver's)
                error = raised
            version, again = secret.version, self._refused(error) and patience.lasts()
            secret = run(lambda: self._successor(version, patience)) if again else None  # noqa: B023  (run at once)
        raise bare(error)

    async def connect_async(self, attempt: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """As ``connect``."""
        secret: Secret | None = await AsyncSecretStore(self._store).get(self._name)
        patience = _Patience(self._clock, self._patience)
        while secret:
            try:
                return await attempt(self._parts(secret.value))
            except Exception as raised:  # noqa: BLE001  (any driver's)
                error = raised
            again = self._refused(error) and patience.lasts()
            secret = await asyncio.to_thread(self._successor, secret.version, patience) if again else None
        raise bare(error)

    def _current(self) -> Secret:
        return self._store.get(self._name)

    def _successor(self, rejected: str, patience: _Patience) -> Secret | None:
        while (secret := self._store.refresh(self._name, rejected=rejected)).version == rejected:
            if not patience.lasts():
                return None
            self._clock.sleep(_PAUSE)
        return secret


class _Patience:
    """A time that begins when it is first asked for, and is not over then, however short."""

    def __init__(self, clock: Clock, seconds: float):
        self._clock, self._seconds, self._until = clock, seconds, math.inf

    def lasts(self) -> bool:
        now = self._clock.monotonic()
        if self._until == math.inf:
            self._until = now + self._seconds
            return True
        return now < self._until


def bare(error: Exception) -> Exception:
    """The error without the frames it passed, and without the connection that failed: both show the password.

    psycopg's errors have it in ``pgconn``, whose repr prints every option of the connection.
    """
    shown = type(error)(*error.args) if getattr(error, "pgconn", None) else error.with_traceback(None)
    shown.__cause__ = shown.__context__ = None
    return shown
