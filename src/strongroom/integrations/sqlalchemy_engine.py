"""SQLAlchemy engines that log in with a secret (``pip install 'strongroom[sqlalchemy]'``).

::

    engine = create_engine("postgresql+psycopg://app@db.example.net/app")
    use_secret(engine, store, "db/password")

Each new connection takes the password from the store, and a rotated one is picked up without a restart.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendNotInstalledError

from .database_login import PATIENCE, DatabaseLogin, is_refusal, password

try:
    from sqlalchemy import event
    from sqlalchemy.util import await_only
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("SQLAlchemy is not installed", hint="pip install 'strongroom[sqlalchemy]'")

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    from strongroom.clock import Clock
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue


def use_secret(
    engine: Engine | AsyncEngine,
    store: SecretStore,
    name: str,
    *,
    parts: Callable[[SecretValue], Mapping[str, str]] = password,
    patience: float = PATIENCE,
    refused: Callable[[BaseException], bool] = is_refusal,
    clock: Clock | None = None,
) -> None:
    """Have an engine's new connections log in with a secret; what it has pooled stays as it is.

    A refused login asks the store again, and is repeated once another version is current.

    Args:
        engine: from ``create_engine`` or ``create_async_engine``; its URL has no password.
        store: has the secret.
        name: the secret's name.
        parts: what of the secret becomes which argument of the driver's ``connect``; by default all of it is
            the password, and ``user_and_password`` is for JSON or a URL with both.
        patience: seconds a new connection waits for another version, once the current one was refused: at
            least as long as a rotation takes from changing the password to promoting it.
        refused: whether an error of the driver is a refused login.
        clock: injected in tests.
    """
    login = DatabaseLogin(store, name, parts=parts, patience=patience, refused=refused, clock=clock)
    listened = getattr(engine, "sync_engine", engine)

    def connect(dialect: Dialect, _record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        run = _in_thread if dialect.is_async else _here
        return login.connect(lambda parts: dialect.connect(*args, **{**options, **parts}), run)

    event.listen(listened, "do_connect", connect)


def _here(call: Callable[[], Any]) -> Any:
    return call()


def _in_thread(call: Callable[[], Any]) -> Any:
    """From the greenlet in which an async engine connects: its event loop goes on meanwhile."""
    return await_only(asyncio.to_thread(call))
