"""redis-py clients that log in with a secret (``pip install 'strongroom[redis]'``).

::

    client = redis.Redis("cache.example.net", credential_provider=SecretCredentials(store, "redis/password"))

Each new connection takes the password from the store, and a rotated one is picked up without a restart.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, final

from strongroom.aio import AsyncSecretStore
from strongroom.clock import Clock
from strongroom.errors import BackendNotInstalledError, UnavailableError

from .database_login import password

try:
    from redis.credentials import CredentialProvider
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("redis-py is not installed", hint="pip install 'strongroom[redis]'")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.backend import Secret
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

AGAIN: Final = 5.0
"""Seconds in which whoever asks again was probably refused: redis-py waits at most one before it does."""


class _Given(NamedTuple):
    provider: object
    version: str
    at: float


_given: ContextVar[_Given | None] = ContextVar("given", default=None)
"""What this thread, or this task, got last: redis-py does not say that the server refused it."""


@final
class Hidden(str):
    """A password that shows itself to its encoder only: redis-py keeps it in the frames of its errors."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<redacted>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a password cannot be pickled")


@final
class SecretCredentials(CredentialProvider):
    """Gives each new connection the current password; for sync and for asyncio clients.

    redis-py repeats a refused login ten times within some four seconds (its ``retry``), and asks again each
    time. So whoever asks again for a version that it got a moment ago is taken for refused, and the store
    reads what is current: at most once a second for all threads together. Connections that exist stay, since
    Redis asks for a password at the beginning of a session only.

    Args:
        store: has the secret.
        name: the secret's name.
        username: the ACL user; None is Redis's ``default``, or whom ``parts`` gives as ``user``.
        parts: what of the secret is the password; ``user_and_password`` is for JSON or a URL with both.
        clock: injected in tests.
    """

    def __init__(
        self,
        store: SecretStore,
        name: str,
        *,
        username: str | None = None,
        parts: Callable[[SecretValue], Mapping[str, str]] = password,
        clock: Clock | None = None,
    ):
        self._store, self._name, self._username = store, name, username
        self._parts, self._clock = parts, clock or Clock()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """What redis-py logs in with.

        Raises:
            SecretStoreError: the store does not give the secret.
        """
        if refused := self._refused():
            with suppress(UnavailableError):  # it may have been another reason: what is cached is still good
                return self._take(self._store.refresh(self._name, rejected=refused))
        return self._take(self._store.get(self._name))

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As ``get_credentials``; a warm password does not leave the event loop's thread."""
        store = AsyncSecretStore(self._store)
        if refused := self._refused():
            with suppress(UnavailableError):
                return self._take(await store.refresh(self._name, rejected=refused))
        return self._take(await store.get(self._name))

    def __repr__(self) -> str:
        return f"<SecretCredentials {self._name} of {self._store!r}>"

    def _refused(self) -> str | None:
        last = _given.get()
        if not last or last.provider is not self or self._clock.monotonic() - last.at > AGAIN:
            return None
        return last.version

    def _take(self, secret: Secret) -> tuple[str] | tuple[str, str]:
        parts = self._parts(secret.value)
        hidden, user = Hidden(parts["password"]), parts.get("user") or self._username
        _given.set(_Given(self, secret.version, self._clock.monotonic()))
        return (user, hidden) if user else (hidden,)
