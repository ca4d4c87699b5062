"""The stores of one provider block: opened when first asked for, closed when Terraform is done."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.clock import Clock
from strongroom.config import Config
from strongroom.config import open as open_store

from .described import Described
from .unfinished import Unfinished

if TYPE_CHECKING:
    from strongroom.store import SecretStore


class Stores:
    """What a provider block is configured with; safe across threads.

    Args:
        config: the strongroom.toml, or nothing: then stores are named by URL only.
        clock: injected in tests.

    Attributes:
        stopping: set when the user interrupts; a block that only waits stops waiting.
    """

    def __init__(self, config: Config | None, clock: Clock | None = None) -> None:
        self.config, self.clock = config, clock or Clock()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._stores: dict[str, SecretStore] = {}
        self._described: dict[str, Described] = {}
        self.unfinished = Unfinished()

    def described(self, store: SecretStore) -> Described:
        """What is known of its secrets, asked for in batches."""
        with self._lock:
            return self._described.setdefault(store.alias, Described(store, self.clock))

    def store(self, target: str) -> SecretStore:
        """A store by alias or URL.

        Raises:
            SecretStoreError: as `strongroom.open` says.
        """
        with self._lock:
            if target not in self._stores:
                self._stores[target] = self._opened.enter_context(
                    open_store(target, config=_uncached(self.config or Config(), target), clock=self.clock)
                )
            return self._stores[target]

    def close(self) -> None:
        """Close every store; again does nothing."""
        with self._lock:
            self._stores.clear()
            self._described.clear()
            self._opened.close()


def _uncached(config: Config, target: str) -> Config:
    """With a store that asks its provider each time: what another has written, a rotation of the same apply
    among them, must be seen by the next block."""
    alone = replace(config.entry(target), cache=None)
    return replace(config, stores={**config.stores, target: alone})
