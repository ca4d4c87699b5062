"""What the tests of the Azure store share: stores on the double, and values with the canary in them."""

from __future__ import annotations

from typing import Any

from strongroom.backend import Backend, Settings
from strongroom.lease import Coordinator
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.servers.azure import Vault

DB = Name("db/password")
FLAT = "app--db--password"
"""What the store under test calls `DB` in the vault."""


def text(label: str = "") -> SecretValue:
    """A value that must not leak."""
    return SecretValue(f"{CANARY}{label}")


def open_store(vault: Vault, coordinator: Coordinator | None = None, **settings: Any) -> Backend:
    """The double below the prefix ``app``, on a clock that does not wait."""
    settings = {"clock": FakeClock(), "ca": str(vault.ca_file), **settings}
    return open_backend(
        f"azure-kv://example/app?endpoint={vault.url}", Settings(coordinator=coordinator, **settings)
    )
