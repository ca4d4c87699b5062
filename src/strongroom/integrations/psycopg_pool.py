"""psycopg connections and pools that log in with a secret (``pip install 'strongroom[psycopg]'``).

::

    logged_in = connection_class(store, "db/password")
    pool = ConnectionPool("host=db.example.net user=app", connection_class=logged_in)

Each new connection takes the password from the store, and a rotated one is picked up without a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import BackendNotInstalledError

from .database_login import DatabaseLogin

try:
    import psycopg
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("psycopg is not installed", hint="pip install 'strongroom[psycopg]'")

if TYPE_CHECKING:
    from typing import Self

    from strongroom.store import SecretStore


def connection_class(
    store: SecretStore, name: str, *, base: type[psycopg.Connection[Any]] = psycopg.Connection, **login: Any
) -> type[psycopg.Connection[Any]]:
    """A connection class, for ``ConnectionPool`` or by itself, whose ``connect`` logs in with a secret.

    A refused login asks the store again, and is repeated once another version is current: a pool whose
    clients wait for a connection meanwhile fails none of their queries.

    Args:
        store: has the secret.
        name: the secret's name.
        base: the class to derive from.
        login: ``parts``, ``patience``, ``refused`` and ``clock``, as ``DatabaseLogin`` takes them.
    """
    chosen = DatabaseLogin(store, name, **login)

    class SecretConnection(base):  # type: ignore[valid-type, misc]
        """Logs in with a secret."""

        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Self:
            """As the base's, but for what the secret gives."""
            plain = super().connect
            return chosen.connect(lambda parts: plain(conninfo, **{**options, **parts}))  # type: ignore[no-any-return]

    return SecretConnection


def async_connection_class(
    store: SecretStore,
    name: str,
    *,
    base: type[psycopg.AsyncConnection[Any]] = psycopg.AsyncConnection,
    **login: Any,
) -> type[psycopg.AsyncConnection[Any]]:
    """As ``connection_class``, for ``AsyncConnectionPool``."""
    chosen = DatabaseLogin(store, name, **login)

    class SecretConnection(base):  # type: ignore[valid-type, misc]
        """Logs in with a secret."""

        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> Self:
            """As the base's, but for what the secret gives."""
            plain = super().connect
            return await chosen.connect_async(lambda parts: plain(conninfo, **{**options, **parts}))

    return SecretConnection
