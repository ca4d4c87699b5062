"""What the tests of the data seams share: a Redis user whose password a store has, and its rotation."""

from __future__ import annotations

from collections.abc import Callable

from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY
from tests.servers.redis import Redis

NAME = "redis/password"
ROTATION = "00000000-0000-4000-8000-000000000{:03d}"


class Cache:
    """A user of Redis, and the store that has its password."""

    def __init__(self, server: Redis):
        self.server = server
        self.backend = FaultyBackend(MemoryBackend())
        self.store = SecretStore(self.backend)
        self.user = server.new_user(f"{CANARY}-0")
        self.store.put(NAME, f"{CANARY}-0")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.server.port}/0"

    def rotate(self, number: int, between: Callable[[], object] = lambda: None) -> None:
        """Hold the new password, set it at Redis, promote it: `between` is the moment of the gap."""
        new = f"{CANARY}-{number}"
        pending = self.store.pending(NAME, ROTATION.format(number))
        pending.put(new, base_version=self.store.get(NAME).version)
        self.server.set_password(self.user, new)
        between()
        pending.promote()

    def rotated_elsewhere(self, number: int) -> None:
        """Another process rotates: this store's cache does not know of it."""
        self.server.set_password(self.user, f"{CANARY}-{number}")
        SecretStore(self.backend.inner).put(NAME, f"{CANARY}-{number}")

    def refused_once_more(self) -> None:
        """Wait until the server has refused another login."""
        before = self.server.refusals()
        while self.server.refusals() == before:
            pass
