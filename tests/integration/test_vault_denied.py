"""Denied is PermissionDeniedError on every method, and the hint names the grant that is lacking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from strongroom.backend import ABSENT, Stage
from strongroom.errors import PermissionDeniedError
from strongroom.names import Name
from strongroom.value import SecretValue
from strongroom_vault.kv import VaultKV
from tests.canary import assert_no_canary_in
from tests.integration.vault_support import DB, PENDING, open_kv1, open_store, policy_token, text, token_auth
from tests.servers.openbao import OpenBao

NOTHING = 'path "nowhere" { capabilities = ["read"] }'

Call = Callable[[VaultKV], Any]
ID = "1.2026-01-01T00:00:00Z"
CALLS: dict[str, Call] = {
    "get": lambda store: store.get(DB, Stage.CURRENT),
    "get previous": lambda store: store.get(DB, Stage.PREVIOUS),
    "get version": lambda store: store.get(DB, ID),
    "put": lambda store: store.put(DB, text(), None),
    "put absent": lambda store: store.put(DB, text(), ABSENT),
    "put if_version": lambda store: store.put(DB, text(), ID),
    "purge": lambda store: store.purge(DB),
    "delete": lambda store: store.delete(DB),
    "restore": lambda store: store.restore(DB),
    "retire": lambda store: store.retire(DB, ID),
    "list": lambda store: list(store.list_info("")),
    "list detail": lambda store: list(store.list_info("db/", detail=True)),
    "versions": lambda store: store.versions(DB),
    "versions_after": lambda store: store.versions_after(DB, ID),
    "describe": lambda store: store.describe(DB),
    "set_tags": lambda store: store.set_tags(DB, {"a": "b"}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("exists", [True, False], ids=["exists", "missing"])
def test_without_any_grant_every_method_is_denied(
    openbao_server: OpenBao, kv2_mount: str, call: Call, exists: bool
) -> None:
    """Whether the secret exists or not."""
    prefix = "prod" if exists else "empty"
    if exists:
        open_store(openbao_server, kv2_mount).put(DB, text(), None)
    auth = token_auth(policy_token(openbao_server, NOTHING))
    with pytest.raises(PermissionDeniedError) as caught:
        call(open_store(openbao_server, kv2_mount, auth=auth, prefix=prefix))
    assert caught.value.performed is False
    assert f'path "{kv2_mount}/' in str(caught.value.hint)
    assert_no_canary_in(caught.value)


READS = 'path "{mount}/{kind}/prod/*" {{ capabilities = ["read", "list"] }}\n'
WRITES = {
    "put": ("data", CALLS["put"]),
    "delete": ("delete", CALLS["delete"]),
    "purge": ("metadata", CALLS["purge"]),
    "set_tags": ("metadata", CALLS["set_tags"]),
    "retire": ("destroy", lambda store: store.retire(DB, store.get(DB, Stage.CURRENT).version)),
}


@pytest.mark.parametrize("write", WRITES)
def test_who_may_only_read_is_denied_each_write_with_the_grant_it_lacks(
    openbao_server: OpenBao, kv2_mount: str, write: str
) -> None:
    """The hint is the policy's own line."""
    kind, call = WRITES[write]
    root = open_store(openbao_server, kv2_mount)
    version = root.put(DB, text(), None)
    policy = "".join(READS.format(mount=kv2_mount, kind=kind) for kind in ("data", "metadata"))
    store = open_store(openbao_server, kv2_mount, auth=token_auth(policy_token(openbao_server, policy)))
    with pytest.raises(PermissionDeniedError) as caught:
        call(store)
    assert f'path "{kv2_mount}/{kind}/prod/*"' in str(caught.value.hint)
    assert root.get(DB, Stage.CURRENT).version == version.id


def test_the_hint_is_the_grant_that_helps(openbao_server: OpenBao, kv2_mount: str) -> None:
    """Following the hints one after another ends in a put."""
    policy = ""
    for _ in range(4):
        auth = token_auth(policy_token(openbao_server, policy or NOTHING))
        try:
            open_store(openbao_server, kv2_mount, auth=auth).put(DB, text(), None)
            return
        except PermissionDeniedError as denied:
            policy += str(denied.hint).partition(": ")[2] + "\n"
    pytest.fail("the hints do not lead to a put")


def test_a_grant_on_the_prefix_lists_names_and_never_reaches_companions(
    openbao_server: OpenBao, kv2_mount: str
) -> None:
    """The reserved name space stands before the prefix."""
    root = open_store(openbao_server, kv2_mount)
    root.put(DB, text(), None)
    root.put(PENDING, SecretValue(b"x"), None)
    policy = "".join(READS.format(mount=kv2_mount, kind=kind) for kind in ("data", "metadata"))
    store = open_store(openbao_server, kv2_mount, auth=token_auth(policy_token(openbao_server, policy)))
    assert [info.key for info in store.list_info("")] == [DB]
    with pytest.raises(PermissionDeniedError) as caught:
        store.get(PENDING, Stage.CURRENT)
    assert f'"{kv2_mount}/data/_strongroom/pending/prod/*"' in str(caught.value.hint)


def test_who_may_read_metadata_alone_can_describe(openbao_server: OpenBao, kv2_mount: str) -> None:
    """Only replication's record needs the value's own grant."""
    name = Name("described")
    open_store(openbao_server, kv2_mount).put(name, text(), None, record="v1")
    policy = READS.format(mount=kv2_mount, kind="metadata")
    store = open_store(openbao_server, kv2_mount, auth=token_auth(policy_token(openbao_server, policy)))
    info = store.describe(name)
    assert info.newest is not None
    assert info.record is None
    with pytest.raises(PermissionDeniedError):
        store.get(name, Stage.CURRENT)


@pytest.mark.parametrize("call", [CALLS[name] for name in ("get", "put", "purge", "list")])
def test_kv1_denies_the_same(openbao_server: OpenBao, kv1_mount: str, call: Call) -> None:
    """With its shorter paths in the hint."""
    auth = token_auth(policy_token(openbao_server, NOTHING))
    with pytest.raises(PermissionDeniedError) as caught:
        call(open_kv1(openbao_server, kv1_mount, auth=auth))
    assert f'path "{kv1_mount}/prod/*"' in str(caught.value.hint)
