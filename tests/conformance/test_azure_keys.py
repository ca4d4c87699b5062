"""Azure's keys pass the suites of KEKs and of signing keys, against the HTTPS double."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from strongroom.keys import KeyWrapper, Signer
from tests.conformance import azure_keys
from tests.conformance.support import SignerSuite, WrapperSuite
from tests.servers import azure
from tests.servers.https import Authority


@pytest.fixture(scope="session")
def denying(authority: Authority) -> Iterator[str]:
    """A vault that denies everything."""
    with azure.server(authority) as vault:
        vault.faults.deny("*")
        yield vault.url


class AzureWrapper(WrapperSuite):
    """Fixtures for a key of one algorithm."""

    kind: ClassVar[str]
    chosen: ClassVar[str]

    @pytest.fixture
    def wrapper(self, authority: Authority, azure_server: azure.Vault) -> Iterator[KeyWrapper]:
        yield from self.opened(authority, azure_server, "kek")

    @pytest.fixture
    def other(self, authority: Authority, azure_server: azure.Vault) -> Iterator[KeyWrapper]:
        yield from self.opened(authority, azure_server, "other")

    @pytest.fixture
    def refused(self, authority: Authority, denying: str) -> Iterator[KeyWrapper]:
        with azure_keys.wrapper(authority, denying, "kek", algorithm=self.chosen) as key:
            yield key

    @pytest.fixture
    def unreachable(self, authority: Authority) -> Iterator[KeyWrapper]:
        with azure_keys.wrapper(authority, azure_keys.nowhere(), "kek", algorithm=self.chosen) as key:
            yield key

    def opened(self, authority: Authority, vault: azure.Vault, name: str) -> Iterator[KeyWrapper]:
        azure_keys.add_key(vault, name, self.kind)
        with azure_keys.wrapper(authority, vault.url, name, algorithm=self.chosen) as key:
            yield key


class TestRSA(AzureWrapper):
    """RSA-OAEP-256: whoever has the public key can wrap."""

    kind, chosen, symmetric = "RSA", "RSA-OAEP-256", False


class TestManagedHSM(AzureWrapper):
    """A256KW with a key that never leaves the HSM."""

    kind, chosen = "oct-HSM", "A256KW"


class AzureSigner(SignerSuite):
    """Fixtures for a key of one algorithm."""

    kind: ClassVar[str]

    @pytest.fixture
    def signer(self, authority: Authority, azure_server: azure.Vault) -> Iterator[Signer]:
        yield from self.opened(authority, azure_server, "signer")

    @pytest.fixture
    def other(self, authority: Authority, azure_server: azure.Vault) -> Iterator[Signer]:
        yield from self.opened(authority, azure_server, "other")

    @pytest.fixture
    def refused(self, authority: Authority, denying: str) -> Iterator[Signer]:
        with azure_keys.signer(authority, denying, "signer", algorithm=self.algorithm) as key:
            yield key

    @pytest.fixture
    def unreachable(self, authority: Authority) -> Iterator[Signer]:
        with azure_keys.signer(authority, azure_keys.nowhere(), "signer", algorithm=self.algorithm) as key:
            yield key

    def opened(self, authority: Authority, vault: azure.Vault, name: str) -> Iterator[Signer]:
        azure_keys.add_key(vault, name, self.kind)
        with azure_keys.signer(authority, vault.url, name, **self.options()) as key:
            key.public_key()
            yield key

    def options(self) -> dict[str, str]:
        return {}


class TestES256(AzureSigner):
    """P-256."""

    algorithm, kind = "ES256", "P-256"


class TestES384(AzureSigner):
    """P-384."""

    second_way = True

    algorithm, kind = "ES384", "P-384"


class TestES256K(AzureSigner):
    """secp256k1; the double always answers with the high s."""

    algorithm, kind = "ES256K", "P-256K"


class TestPS256(AzureSigner):
    """RSA's default."""

    algorithm, kind = "PS256", "RSA"


class TestRS256(AzureSigner):
    """RSA where the option says so."""

    second_way = True

    algorithm, kind = "RS256", "RSA"

    def options(self) -> dict[str, str]:
        return {"algorithm": "RS256"}
