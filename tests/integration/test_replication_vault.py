"""A replica in a real OpenBao: what is edited by hand is found, though the record beside it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.replication.plan import Action
from tests.canary import CANARY, not_ours
from tests.integration.vault_support import open_store
from tests.servers.openbao import OpenBao
from tests.unit.replication_support import DB, Counted, Pair, actions, store


@pytest.fixture
def two(tmp_path: Path, openbao_server: OpenBao, kv2_mount: str) -> Iterator[Pair]:
    """A source in memory, and a prefix in OpenBao."""
    with closing(open_store(openbao_server, kv2_mount)) as vault:
        yield Pair(store("memory", tmp_path, "here"), Counted(vault))


def edit(server: OpenBao, mount: str, text: str) -> None:
    """As the server's own pages do it: one field is another, all others are written back."""
    with not_ours():
        kv = server.client().secrets.kv.v2
        path = "prod/db/password"
        answer = kv.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
        kv.create_or_update_secret(path, {**answer["data"]["data"], "value": text}, mount_point=mount)


def test_create_update_delete_and_restore_reach_it(two: Pair) -> None:
    """Through the companion, one version for each of the source's."""
    two.write()
    two.sync()
    two.write(text="two")
    assert actions(two.sync().done) == {"db/password": "update"}
    assert two.at_replica() == "two"
    assert len(two.there.versions(DB)) == 2
    two.app.delete(DB)
    assert actions(two.sync().done) == {"db/password": "delete"}
    assert two.at_replica() is None
    two.app.restore(DB)
    two.sync()
    assert two.at_replica() == "two"
    two.forget_calls()
    assert not two.sync().done
    assert two.there.calls["writes"] == 0


def test_a_value_edited_by_hand_is_found(two: Pair, openbao_server: OpenBao, kv2_mount: str) -> None:
    """The record beside it is of another value."""
    two.write()
    two.sync()
    edit(openbao_server, kv2_mount, f"{CANARY}-edited")
    [step] = two.replicator().plan().steps
    assert step.action is Action.FOREIGN
    assert not two.replicator().adopt(["db/password"]).failed
    assert two.at_replica() == "one"


def test_a_value_edited_by_hand_at_the_source_is_carried(
    tmp_path: Path, openbao_server: OpenBao, kv2_mount: str
) -> None:
    """It gets a record of its own."""
    with closing(open_store(openbao_server, kv2_mount)) as vault:
        two = Pair(Counted(vault), store("memory", tmp_path, "there"))
        two.write()
        two.sync()
        edit(openbao_server, kv2_mount, f"{CANARY}-edited")
        assert actions(two.sync().done) == {"db/password": "update"}
        assert two.at_replica() == "edited"
        assert not two.replicator().plan().due
