"""The ledger that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL
from strongroom.value import SecretValue

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from strongroom.backend import Backend
    from strongroom.clock import Clock

    from .ledger import Ledger
    from .rotator import Source


def open_ledger(
    url: str,
    *,
    user: str | None = None,
    password: Source | SecretValue | None = None,
    ca: str | os.PathLike[str] | None = None,
    stores: Callable[[str], Backend] | None = None,
    clock: Clock | None = None,
) -> Ledger:
    """Open ``sqlite:///PATH``, ``postgresql://HOST[:PORT]/DATABASE`` or ``strongroom://ALIAS``.

    Nothing is asked yet.

    Args:
        user: of PostgreSQL; None leaves it to libpq.
        password: of that user; a function is asked anew for each connection, since it is rotated too.
        ca: a PEM file with the authorities that PostgreSQL's certificate is verified by; else the system's.
        stores: opens the backend of an alias, which the ledger closes.
        clock: of SQLite and a store; PostgreSQL goes by its own.

    Raises:
        InvalidRequestError: the URL is no ledger's.
        UnsupportedOperationError: the store has no compare-and-set.
    """
    parsed = StoreURL.parse(url)
    parsed.allow()
    if parsed.scheme == "sqlite" and not parsed.host and parsed.path.startswith("/"):
        from .sqliteledger import SQLiteLedger

        return SQLiteLedger(parsed.path, clock)
    if parsed.scheme == "postgresql":
        return _postgres(url, user, password, ca)
    if parsed.scheme == "strongroom" and parsed.host and not parsed.path and stores:
        from .storeledger import StoreLedger

        return StoreLedger(stores(parsed.host), clock)
    raise InvalidRequestError(
        "not where a ledger is",
        hint="write sqlite:///path of a file, postgresql://HOST/DATABASE, or strongroom://ALIAS",
    )


def _postgres(
    url: str, user: str | None, password: Source | SecretValue | None, ca: str | os.PathLike[str] | None
) -> Ledger:
    from strongroom.postgres import Login

    from .pgledger import PostgresLedger

    source = (lambda: password) if isinstance(password, SecretValue) else password
    return PostgresLedger(Login(url, user, source, ca))
