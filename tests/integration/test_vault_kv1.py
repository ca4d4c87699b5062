"""KV version 1 on the real OpenBao."""

from __future__ import annotations

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.names import Name
from strongroom.value import SecretValue
from strongroom_vault.kv1 import VaultKV1
from tests.canary import CANARY, CANARY_BYTES, not_ours
from tests.integration.vault_support import DB, open_kv1, text
from tests.servers.openbao import OpenBao


@pytest.fixture
def store(openbao_server: OpenBao, kv1_mount: str) -> VaultKV1:
    return open_kv1(openbao_server, kv1_mount)


@pytest.mark.parametrize("value", [CANARY, "", b"", CANARY_BYTES + b"\xff\0", "\x01\u2028"])
def test_a_value_comes_back_with_its_kind_and_record(store: VaultKV1, value: str | bytes) -> None:
    """Each put has an id of its own."""
    first = store.put(DB, SecretValue(value), None, record="v1.1.1.w.d")
    read = store.get(DB, Stage.CURRENT)
    assert (read.value, read.value.kind) == (SecretValue(value), SecretValue(value).kind)
    assert (read.version, read.record) == (first.id, "v1.1.1.w.d")
    assert store.get(DB, first.id).value == SecretValue(value)
    assert store.put(DB, SecretValue(value), None).id != first.id
    with pytest.raises(SecretNotFoundError):
        store.get(DB, first.id)
    with pytest.raises(SecretNotFoundError):
        store.get(DB, Stage.PREVIOUS)


def test_others_read_what_we_wrote_and_we_what_they_wrote(
    store: VaultKV1, openbao_server: OpenBao, kv1_mount: str
) -> None:
    """A foreign value has an id that changes when it does."""
    store.put(DB, text(), None)
    assert openbao_server.cli(
        "kv", "get", "-field=value", f"-mount={kv1_mount}", "prod/db/password"
    ).strip() == (CANARY)
    ids = []
    for password in ("a", "a", "b"):
        with not_ours():
            openbao_server.client().secrets.kv.v1.create_or_update_secret(
                "prod/foreign", {"password": password}, mount_point=kv1_mount
            )
        read = store.get(Name("foreign"), Stage.CURRENT)
        assert read.value.reveal_json("/password") == password
        ids.append(read.version)
    assert ids[0] == ids[1] != ids[2]


def test_names_are_listed_and_purged(store: VaultKV1) -> None:
    """A second purge finds nothing."""
    other = Name("list/other")
    store.put(DB, text(), None)
    written = store.put(other, text(), None, record="v1")
    assert {DB, other} <= {info.key for info in store.list_info("")}
    (info,) = store.list_info("list/", detail=True)
    assert info.newest is not None
    assert (info.key, info.record, info.newest.id) == (other, "v1", written.id)
    store.purge(other)
    with pytest.raises(SecretNotFoundError):
        store.purge(other)
    assert list(store.list_info("list/")) == []


def test_what_it_cannot_do_it_does_not_try(store: VaultKV1) -> None:
    """No versions, no bin, no tags."""
    assert store.capabilities == Capability.LIST | Capability.PUT | Capability.PURGE
    for call in (store.delete, store.restore, store.versions, store.describe):
        with pytest.raises(UnsupportedOperationError):
            call(DB)
    with pytest.raises(UnsupportedOperationError):
        store.set_tags(DB, {"a": "b"})
    store.retire(DB, "1")
