"""Keys in the Azure double, and wrappers and signers on them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from strongroom.backend import Settings
from strongroom.keys import KeyWrapper, Signer
from strongroom.registry import open_key, open_signer
from tests.servers.azure import Vault
from tests.servers.https import Authority
from tests.servers.process import free_port


def settings(authority: Authority, **options: Any) -> Settings:
    """For a double under `authority`."""
    return Settings(ca=str(authority.ca_file), options=options, attempts=2)


def url(endpoint: str, name: str) -> str:
    """A key of the vault "example", at a loopback endpoint."""
    return f"azure-key://example/{name}?endpoint={endpoint}"


def nowhere() -> str:
    """An endpoint where nobody listens."""
    return f"https://127.0.0.1:{free_port()}"


@contextmanager
def wrapper(authority: Authority, endpoint: str, name: str, **options: Any) -> Iterator[KeyWrapper]:
    """An open key encryption key, closed in the end."""
    found = open_key(url(endpoint, name), settings(authority, **options))
    yield found
    found.close()


@contextmanager
def signer(authority: Authority, endpoint: str, name: str, **options: Any) -> Iterator[Signer]:
    """An open signing key, closed in the end."""
    found = open_signer(url(endpoint, name), settings(authority, **options))
    yield found
    found.close()


def add_key(vault: Vault, name: str, kind: str, **facts: Any) -> str:
    """Make a key of a kind ("RSA", "oct-HSM", or a curve) in the double, and return its version."""
    with vault.key_client() as client:
        if kind == "RSA":
            made = client.import_key(name, _rsa(name), **facts)
        elif kind == "oct-HSM":
            vault.keys.managed_hsm = True
            made = client.create_oct_key(name, size=256, hardware_protected=True, **facts)
        else:
            made = client.create_ec_key(name, curve=kind, **facts)
    return str(made.properties.version)


@functools.cache
def _rsa(name: str) -> Any:
    """One key per name and process: making one takes longer than the test that wants it."""
    from azure.keyvault.keys import JsonWebKey

    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    public = numbers.public_numbers
    members = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
    members |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    octets = {name: value.to_bytes((value.bit_length() + 7) // 8, "big") for name, value in members.items()}
    operations = ["sign", "verify", "wrapKey", "unwrapKey"]
    return JsonWebKey(kty="RSA", key_ops=operations, **octets)
