"""asyncpg connections and pools that log in with a secret (``pip install 'strongroom[asyncpg]'``).

::

    logged_in = connect_with(store, "db/password")
    pool = await asyncpg.create_pool("postgresql://app@db.example.net/app", connect=logged_in)

Each new connection takes the password from the store, and a rotated one is picked up without a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendNotInstalledError
from strongroom.value import SecretValue

from .database_login import DatabaseLogin

try:
    import asyncpg
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("asyncpg is not installed", hint="pip install 'strongroom[asyncpg]'")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from strongroom.store import SecretStore


def connect_with(store: SecretStore, name: str, **login: Any) -> Callable[..., Awaitable[Any]]:
    """What connects as ``asyncpg.connect`` does, by itself or as a pool's ``connect``, with a secret.

    A refused login asks the store again, and is repeated once another version is current: whoever waits for
    a connection meanwhile fails no query.

    Args:
        store: has the secret.
        name: the secret's name.
        login: ``parts``, ``patience``, ``refused`` and ``clock``, as ``DatabaseLogin`` takes them.
    """
    chosen = DatabaseLogin(store, name, **login)

    async def connect(*where: Any, **options: Any) -> Any:
        return await chosen.connect_async(
            lambda parts: asyncpg.connect(*where, **{**options, **_late(parts)})
        )

    return connect


def _late(parts: Mapping[str, str]) -> dict[str, Any]:
    """With a password that asyncpg asks for when it needs it: the connection keeps what it was given."""
    secret = SecretValue(parts["password"])
    return {**parts, "password": secret.reveal_text}
