"""From the table ``[coordinator]`` to a coordinator; loaded where there is such a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .names import StoreURL

if TYPE_CHECKING:
    from collections.abc import Callable

    from .backend import Backend, Clock
    from .lease import Coordinator
    from .toml.credentials import Fetch
    from .toml.entries import CoordinatorEntry


def open_coordinator(
    entry: CoordinatorEntry, fetch: Fetch, stored: Callable[[str], Backend], clock: Clock
) -> Coordinator:
    """The coordinator of an entry; the caller closes it.

    Args:
        entry: the table.
        fetch: gives a password that a store keeps; asked for each connection.
        stored: opens the backend of an alias.
        clock: injected in tests; PostgreSQL goes by its own.

    Raises:
        InvalidRequestError: its store has no compare-and-set.
        SecretStoreError: as its store says.
    """
    from .coordinator import SQLiteCoordinator, StoreCoordinator

    url, password = StoreURL.parse(entry.url), entry.password
    if url.scheme == "sqlite":
        return SQLiteCoordinator(url.path, clock)
    if url.scheme == "postgresql":
        from .pgcoordinator import PostgresCoordinator
        from .postgres import Login

        source = (lambda: password.read(fetch)) if password else None
        return PostgresCoordinator(Login(entry.url, entry.user or None, source, entry.ca or None))
    return StoreCoordinator(stored(url.host), clock)
