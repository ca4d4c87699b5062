"""What a reader and an administrator do with a store through the library: every operation that is theirs.

The same for every provider; what one alone can do, and rotations, stand in its own test.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from strongroom.backend import ABSENT, Capability, Stage
from strongroom.errors import SecretNotFoundError
from strongroom.store import SecretStore
from tests.canary import CANARY

DB, API, NEW = "db/password", "exchange/api-key", "made/here"


def seed(put: Callable[[str, str], object]) -> None:
    """Two secrets, as a module makes them, with a version before."""
    for text in ("one", "two"):
        for name in (DB, API):
            put(name, f"{CANARY} {text}")


def read(store: SecretStore) -> None:
    """Everything that reads, whatever the values are by now."""
    current = store.get(DB)
    assert store.refresh(DB, rejected=current.version).version == current.version
    assert str(store.describe(DB).key) == DB
    assert store.get_many([DB, API])[DB].version == current.version
    assert {DB, API} <= set(store.list_names())
    if Capability.VERSIONS in store.capabilities:
        for version in store.versions(DB):
            store.get(DB, version=version.id)
        store.get(DB, stage=Stage.PREVIOUS)
    with pytest.raises(SecretNotFoundError):
        store.get("not/there")


def administrate(store: SecretStore) -> None:
    """Everything that writes: new names, over others, tags, pending values, the bin."""
    read(store)
    made = store.put(NEW, f"{CANARY} new", if_version=ABSENT)
    store.put(NEW, f"{CANARY} newer", if_version=made.id)
    store.put(NEW, f"{CANARY} newest")
    store.set_tags(NEW, {"owner": "ledger", "old": "x"})
    store.set_tags(NEW, {"old": None})
    if store.capabilities & (Capability.CAS | Capability.CAS_GUARDED):
        store.rollback(DB, if_version=store.get(DB).version)
        hold(store, API)
        hold(store, NEW)
    store.retire(NEW, version=made.id)
    if Capability.DELETE in store.capabilities:
        store.delete(NEW)
        store.restore(NEW)
    store.purge(NEW)
    assert NEW not in set(store.list_names())


def hold(store: SecretStore, name: str) -> None:
    """Pending values: one becomes current, one is dropped."""
    for ends in ("promote", "discard"):
        pending = store.pending(name, str(uuid.uuid4()))
        pending.put(f"{CANARY} {ends}", base_version=store.get(name).version)
        pending.get()
        getattr(pending, ends)()
