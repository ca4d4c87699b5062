"""AWS's own replication over moto's wire: the shapes of its answers. The rules are the strict double's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from strongroom.backend import Backend, Settings, Stage
from strongroom.errors import SecretConflictError
from strongroom.names import Name
from strongroom.native import CopyState
from strongroom.registry import open_backend
from strongroom.replication.member import Member
from strongroom.replication.native import NativeReplicator
from strongroom.value import SecretValue
from strongroom_aws.fencing import SID
from tests.canary import CANARY

if TYPE_CHECKING:
    from tests.servers.moto import Moto

DB, THERE = Name("db/password"), "us-east-1"


@pytest.fixture
def members(moto_server: Moto) -> tuple[Member, Member]:
    """A source with one secret, and the store in the other region."""
    source, replica = (opened(moto_server, region) for region in ("eu-west-1", THERE))
    source.put(DB, SecretValue(f"{CANARY} one"), None)
    return Member("prod-eu", source, "prod"), Member("prod-us", replica, "prod")


def opened(server: Moto, region: str) -> Backend:
    return open_backend(f"aws-sm://{region}/prod?endpoint={server.url}", Settings())


def test_a_sync_copies_and_the_next_finds_nothing(members: tuple[Member, Member]) -> None:
    """The version is the source's own, and its value is read in the other region."""
    source, replica = (member.backend for member in members)
    replicator = NativeReplicator(*members)
    assert [step.name for step in replicator.sync().done] == [str(DB)]
    source.put(DB, SecretValue(f"{CANARY} two"), None)
    assert not replicator.plan().due
    assert replica.get(DB, Stage.CURRENT).value.matches(f"{CANARY} two")
    assert replica.get(DB, Stage.CURRENT).version == source.get(DB, Stage.CURRENT).version
    assert replicator.status().healthy


def test_a_taken_name_is_told_by_the_list_and_by_the_status(
    members: tuple[Member, Member], moto_server: Moto
) -> None:
    """Both ways, since a list may lag."""
    native = members[0].backend.native_replication()
    assert native is not None
    members[1].backend.put(DB, SecretValue(f"{CANARY} theirs"), None)
    assert native.survey([THERE])[THERE][DB].state is CopyState.ALIEN
    with pytest.raises(SecretConflictError):
        native.ensure(DB, {THERE: ""})
    there = {"Region": THERE}
    moto_server.client("secretsmanager").replicate_secret_to_regions(
        SecretId="prod/db/password", AddReplicaRegions=[there]
    )
    assert native.copies(DB)[THERE].state is CopyState.ALIEN


def test_a_fence_is_written_and_lifted(members: tuple[Member, Member], moto_server: Moto) -> None:
    """moto keeps the policy, and does not follow it."""
    native, client = members[0].backend.native_replication(), moto_server.client("secretsmanager")
    assert native is not None
    native.fence(DB)
    assert SID in client.get_resource_policy(SecretId="prod/db/password")["ResourcePolicy"]
    native.lift(DB)
    assert "ResourcePolicy" not in client.get_resource_policy(SecretId="prod/db/password")
