"""Secrets in the settings of Django (``pip install 'strongroom[django]'``).

::

    SECRET_KEY, SECRET_KEY_FALLBACKS = signing_keys(store, "django/secret-key")
    DATABASES = {"default": database(store, "db/password", ENGINE="django.db.backends.postgresql", ...)}
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.backend import Capability, Stage
from strongroom.clock import Clock
from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
)

from .database_login import DatabaseLogin, password

try:
    from django.conf import settings
    from django.core.signals import request_started
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("django is not installed", hint="pip install 'strongroom[django]'")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

KEY: Final = "STRONGROOM"
"""Where an entry of ``DATABASES`` says how its connections log in."""
_ENGINE: Final = "strongroom.integrations.django_database"
SETTLE: Final = 600.0
"""Seconds after which a new key signs, by default: more than any process takes to accept it."""


@final
class Chosen:
    """How the connections of a database log in. A copy of it is itself, as Django copies settings.

    Attributes:
        engine: the engine that connects.
        login: takes the password from the store.
    """

    def __init__(self, engine: str, login: DatabaseLogin):
        self.engine, self.login = engine, login

    def __deepcopy__(self, memo: object) -> Self:
        return self


def database(
    store: SecretStore,
    name: str,
    *,
    parts: Callable[[SecretValue], Mapping[str, str]] = password,
    **entry: Any,
) -> dict[str, Any]:
    """An entry of ``DATABASES`` whose connections log in with a secret; it holds no password.

    Each new connection takes the current one, and a refused login asks the store again.

    Args:
        store: has the secret.
        name: the secret's name.
        parts: as of ``use_secret``; ``user_and_password`` where the secret says both.
        entry: what Django takes: ``ENGINE``, ``NAME``, ``USER``, ``HOST`` and so on.

    Raises:
        InvalidRequestError: no ``ENGINE``, a ``PASSWORD``, or Django's pool.
    """
    engine = entry.pop("ENGINE", None)
    if not engine or "PASSWORD" in entry:
        raise InvalidRequestError("a database has an ENGINE, and its PASSWORD is the secret")
    if entry.get("OPTIONS", {}).get("pool"):
        raise InvalidRequestError(
            "Django's pool makes its own connections",
            hint='write OPTIONS={"pool": {"connection_class": connection_class(store, name)}}',
        )
    return {**entry, "ENGINE": _ENGINE, KEY: Chosen(engine, DatabaseLogin(store, name, parts=parts))}


def signing_keys(
    store: SecretStore, name: str, *, settle: float = SETTLE, clock: Clock | None = None
) -> tuple[str, list[str]]:
    """``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``: the current version signs, the previous one is accepted.

    Each request looks whether they are still these. A new key is accepted at once, and signs when every
    process has had time to accept it, so that no process refuses what another has signed.

    Args:
        store: has the key.
        name: the secret's name.
        settle: seconds from when a new key is seen until it signs; more than ``fresh`` of the store's cache.
        clock: injected in tests.

    Raises:
        SecretStoreError: the key cannot be read.
    """
    keys = _SigningKeys(store, name, settle, clock or Clock())
    request_started.connect(keys.look, weak=False, dispatch_uid=f"strongroom {name}")
    return keys.now()


@final
class _SigningKeys:
    def __init__(self, store: SecretStore, name: str, settle: float, clock: Clock):
        self._store, self._name, self._settle, self._clock = store, name, settle, clock
        self._newest = self._signs = store.get(name)
        self._since = clock.monotonic()
        self._fallbacks: list[SecretValue] = []
        self._fallbacks = self._previous()
        self._lock = threading.Lock()

    def now(self) -> tuple[str, list[str]]:
        """The key that signs, and the others that are accepted."""
        signs = self._signs.value.reveal_text()
        others = [self._newest.value, *self._fallbacks]
        return signs, [one.reveal_text() for one in others if one != self._signs.value]

    def look(self, **_: object) -> None:
        """Change the settings if the keys have changed; whatever the store refuses, they stay as they are."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._changed():
                settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = self.now()
        except SecretStoreError:
            pass
        finally:
            self._lock.release()

    def _changed(self) -> bool:
        found, now = self._store.get(self._name), self._clock.monotonic()
        if found.version != self._newest.version:
            self._fallbacks = [self._signs.value]
            self._newest, self._since = found, now
            return True
        if now - self._since < self._settle:
            return False
        # What was revoked or retired since is accepted no longer.
        self._fallbacks, self._signs, self._since = self._previous(), self._newest, now
        return True

    def _previous(self) -> list[SecretValue]:
        if Capability.VERSIONS not in self._store.capabilities:
            return []
        try:
            return [self._store.get(self._name, stage=Stage.PREVIOUS).value]
        except SecretNotFoundError:
            return []
        except SecretStoreError:  # an outage must log nobody out
            return self._fallbacks
