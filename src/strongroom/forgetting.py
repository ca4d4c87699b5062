"""What this process remembers of a secret is dropped, in whichever of its stores."""

from __future__ import annotations

from .names import Name
from .opened import stores


def forget(name: str) -> None:
    """Drop a secret from the cache of every open store of this process; the next read asks the provider.

    By its name alone: a replica or a failover has the same value under another address, and what is dropped
    for nothing costs one request. Nothing is sent.
    """
    for store in list(stores):
        store._reads.drop(Name(name))  # noqa: SLF001  (no application needs it)
