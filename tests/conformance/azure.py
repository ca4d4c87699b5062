"""What the Azure runs share: opening the backend, and reading as a plain SDK program does."""

from __future__ import annotations

from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from strongroom.backend import Backend, Settings
from strongroom.names import Name, flat_name
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.support import Hasty
from tests.servers.azure import Vault

PREFIX = "conformance"


def azure(vault: Vault, **settings: Any) -> Backend:
    """Key Vault's double, below a prefix."""
    found = Settings(ca=str(vault.ca_file), clock=Hasty(), **settings)
    return open_backend(f"azure-kv://example/{PREFIX}?endpoint={vault.url}", found)


def flat(name: str) -> str:
    """What a name is called in the vault."""
    return flat_name(Name(name), PREFIX, "-")


def reader(vault: Vault) -> NativeReader:
    """What ``SecretClient`` returns for a secret's name alone, as everybody's code asks for it."""
    client = vault.client()

    def read(name: str) -> SecretValue | None:
        with not_ours():
            try:
                answer = client.get_secret(flat(name))
            except ResourceNotFoundError:
                return None
        return SecretValue(answer.value)

    return read
