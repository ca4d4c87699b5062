"""What the providers of Google and Azure write is taken over by the library: the first value, and others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import ABSENT
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretConflictError, SecretNotFoundError
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, not_ours
from tests.integration import azure_support, gcp_support
from tests.servers.azure import Vault
from tests.servers.google import Google

DB = "db/password"
ROTATION = "0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10"
TAGS = {"owner": "ledger", "description": "The application's login"}


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    with Google() as server:
        yield server


def test_a_google_secret_without_a_value_is_created_by_the_first_put(google: Google) -> None:
    """As for a name that was never written: Terraform's tags are there, and ABSENT matches once."""
    google.reset()
    with not_ours():
        gcp_support.made(google.secret_client(), annotations=TAGS)
    with gcp_support.store_of(google) as store:
        with pytest.raises(SecretNotFoundError):
            store.get(DB)
        store.put(DB, f"{CANARY} first", if_version=ABSENT)
        assert store.get(DB).value.matches(f"{CANARY} first")
        assert store.describe(DB).tags == TAGS
        with pytest.raises(SecretConflictError):
            store.put(DB, f"{CANARY} second", if_version=ABSENT)


def test_a_google_value_of_terraforms_counts_whenever_it_is_written(google: Google) -> None:
    """Before the library has written, and after: each new number in value_versions is current."""
    google.reset()
    with not_ours():
        client = google.secret_client()
        gcp_support.made(client, annotations=TAGS)
        gcp_support.added(client, f"{CANARY} 1")
    with gcp_support.store_of(google) as store:
        _rotate(store, f"{CANARY} 1")
        with not_ours():
            gcp_support.added(client, f"{CANARY} 2")
        assert store.get(DB).value.matches(f"{CANARY} 2")
        assert store.describe(DB).tags == TAGS


@pytest.fixture
def azure(azure_server: Vault, tmp_path: Path) -> Iterator[SecretStore]:
    with closing(SQLiteCoordinator(tmp_path / "leases.db", FakeClock())) as coordinator:
        backend = azure_support.open_store(azure_server, coordinator)
        with SecretStore(backend, cache=None) as store:
            yield store


def test_an_azure_value_of_terraforms_is_rotated(azure_server: Vault, azure: SecretStore) -> None:
    """The first version has none of the library's tags; its own stay."""
    with azure_server.client() as client, not_ours():
        client.set_secret(azure_support.FLAT, f"{CANARY} 1", content_type="text/plain", tags=TAGS)
    _rotate(azure, f"{CANARY} 1")
    assert azure.describe(DB).tags == TAGS


def test_an_azure_value_under_the_tags_of_the_one_before_counts(
    azure_server: Vault, azure: SecretStore
) -> None:
    """Azure's provider puts the tags that it last saw on each value, the library's book of a version too."""
    azure.put(DB, f"{CANARY} 1")
    azure.put(DB, f"{CANARY} 2")
    with azure_server.client() as client, not_ours():
        found: Any = client.get_secret(azure_support.FLAT).properties
        client.set_secret(azure_support.FLAT, f"{CANARY} of Terraform", tags=found.tags)
    _rotate(azure, f"{CANARY} of Terraform")
    assert len(azure.versions(DB)) == 4


def _rotate(store: SecretStore, before: str) -> None:
    current = store.get(DB)
    assert current.value.matches(before)
    pending = store.pending(DB, ROTATION)
    pending.put(f"{CANARY} rotated", base_version=current.version)
    pending.promote()
    assert store.get(DB).value.matches(f"{CANARY} rotated")
