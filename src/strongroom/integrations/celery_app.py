"""Celery apps that log in to their Redis broker and result backend with a secret
(``pip install 'strongroom[celery,redis]'``).

::

    app = Celery("shop", broker="redis://redis.example.net/0", backend="redis://redis.example.net/1")
    broker_login(app, store, "redis/password", username="celery")
    result_login(app, store, "redis/password", username="celery")

Workers and senders pick up a rotated password without a restart. Rotations as tasks are `celery_task`'s.
"""

from __future__ import annotations

import re
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

from .redis_credentials import SecretCredentials

try:
    import celery
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("celery is not installed", hint="pip install 'strongroom[celery,redis]'")

if TYPE_CHECKING:
    from strongroom.store import SecretStore

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+]{1,19}")
SENDS: Final = 10
"""How often a task is sent again at least, in some six seconds: Celery's 3 end after 0.6, which is less than
a rotation may take from setting the password to promoting it."""


def broker_login(app: celery.Celery, store: SecretStore, name: str, **login: Any) -> None:
    """Have an app's connections to its Redis broker log in with a secret.

    A store that was opened before a worker forks is the children's too: a fork drops caches and sessions.
    Sending a task is repeated at least `SENDS` times (``task_publish_retry_policy``).

    Args:
        app: the Celery app, before its first connection; its broker URL has neither user nor password.
        store: has the secret.
        name: the secret's name.
        login: ``username`` and ``parts``, as ``SecretCredentials`` takes them.

    Raises:
        InvalidRequestError: the broker is not Redis, or its URL has a password of its own.
        BackendNotInstalledError: kombu is older than 5.7.
    """
    _check(app.conf.broker_write_url or app.conf.broker_url, "broker")
    _check(app.conf.broker_read_url, "broker")
    credentials = SecretCredentials(store, name, **login)
    # Celery has a setting for the result backend's provider, and none for the broker's (celery/celery#5433).
    connection = app.amqp.Connection
    if "credential_provider" not in signature(connection).parameters:  # it would be dropped in silence
        raise BackendNotInstalledError(
            "this kombu knows no credential providers", hint="pip install 'kombu>=5.7'"
        )
    app.amqp.Connection = partial(connection, credential_provider=credentials)
    # kombu lends one pool to all apps with the same URL and options, whatever their credential providers are.
    options = {
        **(app.conf.broker_transport_options or {}),
        "strongroom": f"{credentials!r} {id(credentials)}",
    }
    app.conf.broker_transport_options = options
    policy = app.conf.task_publish_retry_policy or {}
    if (given := policy.get("max_retries", 0)) is not None:  # None tries for ever
        app.conf.task_publish_retry_policy = {**policy, "max_retries": max(given, SENDS)}


def result_login(app: celery.Celery, store: SecretStore, name: str, **login: Any) -> None:
    """As ``broker_login``, for the result backend.

    Raises:
        InvalidRequestError: the result backend is not Redis, or its URL has a password of its own.
    """
    _check(app.conf.result_backend, "result backend")
    app.conf.redis_backend_credential_provider = SecretCredentials(store, name, **login)


def _check(urls: str | list[str] | tuple[str, ...] | None, what: str) -> None:
    """Several URLs stand in a list, or are joined by semicolons."""
    for url in urls.split(";") if isinstance(urls, str) else urls or ():
        scheme, mark, rest = url.partition("://")
        if scheme.partition("+")[0] not in ("redis", "rediss"):
            # What stands where a scheme belongs may be a login: what is none is not shown.
            shown = f": {scheme!r}" if mark and _SCHEME.fullmatch(scheme) else ""
            raise InvalidRequestError(f"the {what} is not Redis{shown}", hint="use redis:// or rediss://")
        if "@" in rest:
            raise InvalidRequestError(
                f"the {what}'s URL holds a login", hint="leave only host, port and number"
            )
