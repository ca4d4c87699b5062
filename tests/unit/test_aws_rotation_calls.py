"""What a rotation function needs of the AWS backend: the RotationToken, and replicas that follow."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.errors import SecretStoreError, UnavailableError
from strongroom.testing.aws import Lag
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.aws_support import FULL, KEY, backend, put_first, rotation, shown, value
from tests.unit.strict_aws_support import OTHER, Aws

TOKEN = f"{uuid.UUID(int=7)}-{CANARY}"


@pytest.fixture(scope="module")
def served() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def aws(served: Aws) -> Aws:
    served.renew()
    return served


@pytest.fixture
def puts(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters of each PutSecretValue."""
    seen: list[dict[str, Any]] = []
    call = aws.manager.call

    def noted(region: str, operation: str, params: dict[str, Any], *, stale: bool = False) -> dict[str, Any]:
        if operation == "PutSecretValue":
            seen.append(params)
        return call(region, operation, params, stale=stale)

    monkeypatch.setattr(aws.manager, "call", noted)
    return seen


def test_the_rotation_token_goes_with_each_put_of_a_rotation_and_with_no_other(
    aws: Aws, puts: list[dict[str, Any]]
) -> None:
    """AWS asks for it across accounts; on the put of a ledger's record it would be wrong."""
    store = backend(aws, auth={"rotation_token": SecretValue(TOKEN)})
    base = put_first(store)
    store.put_pending(KEY, rotation(), value("new"), base.id)
    ours = [params for params in puts if params.get("RotationToken") == TOKEN]
    assert len(ours) == 2
    assert all("strongroom/" in params["VersionStages"][0] for params in ours)
    assert not any("RotationToken" in params for params in puts if params not in ours)


def test_a_refused_put_shows_no_rotation_token(aws: Aws) -> None:
    """It is as good as a permission: not in the error, nor in the frames below it."""
    store = backend(aws, auth={"rotation_token": SecretValue(TOKEN)})
    base = put_first(store)
    aws.manager.deny("PutSecretValue")
    with pytest.raises(SecretStoreError) as refused:
        store.put_pending(KEY, rotation(), value("new"), base.id)
    assert_no_canary_in(refused.value)


def test_a_pending_version_that_aws_made_without_a_value_is_filled_and_promoted(aws: Aws) -> None:
    """RotateSecret makes it, under AWSPENDING, before it calls the function; its id is the rotation's."""
    store, token = backend(aws), rotation()
    base = put_first(store)
    aws.manager.add_empty_version("eu-west-1", FULL, token, "AWSPENDING")
    assert store.describe(KEY).foreign == token
    store.put_pending(KEY, token, value("new"), base.id)
    assert store.describe(KEY).foreign is None
    assert shown(store) == "old"
    assert store.promote_pending(KEY, token).id == token
    assert shown(store) == "new"


def _replicated(aws: Aws) -> Any:
    client = aws.client()
    client.replicate_secret_to_regions(SecretId=FULL, AddReplicaRegions=[{"Region": OTHER}])
    return client


def _status(client: Any) -> str:
    return str(client.describe_secret(SecretId=FULL)["ReplicationStatus"][0]["Status"])


def test_no_label_moves_while_a_replica_copies(aws: Aws) -> None:
    """Two moves in a row would end its replication for good."""
    store = backend(aws)
    base = put_first(store)
    client = _replicated(aws)
    aws.behaviour.wedges, aws.behaviour.replication = True, Lag(reads=3)
    token = rotation()
    store.put_pending(KEY, token, value("new"), base.id)
    store.promote_pending(KEY, token)
    while _status(client) == "InProgress":
        pass
    assert _status(client) == "InSync"
    replica = aws.client(OTHER).get_secret_value(SecretId=FULL)
    assert replica["SecretString"] == value("new").reveal_text()


def test_a_replica_that_stays_behind_stops_the_promote_and_nothing_was_done(aws: Aws) -> None:
    """It is tried again later; the current value stays what it is."""
    store, token = backend(aws), rotation()
    base = put_first(store)
    _replicated(aws)
    store.put_pending(KEY, token, value("new"), base.id)
    aws.behaviour.replication = Lag(seconds=1e6)
    aws.client().put_secret_value(SecretId=FULL, SecretString="x", VersionStages=["other"])
    with pytest.raises(UnavailableError, match="us-east-1 still copies") as late:
        store.promote_pending(KEY, token)
    assert late.value.performed is False
    assert shown(store) == "old"


def test_a_failed_replica_keeps_a_rotation_from_being_promoted(aws: Aws) -> None:
    """Its readers would keep the value that is about to be revoked."""
    store, token = backend(aws), rotation()
    base = put_first(store)
    aws.client(OTHER).create_secret(Name=FULL, SecretString="theirs")
    _replicated(aws)
    store.put_pending(KEY, token, value("new"), base.id)
    with pytest.raises(UnavailableError, match="the replication to us-east-1 has failed"):
        store.promote_pending(KEY, token)
    assert shown(store) == "old"


def test_a_secret_without_replicas_is_not_described_before_each_move(aws: Aws) -> None:
    """The wait costs nothing where there is nothing to wait for."""
    store, token = backend(aws), rotation()
    base = put_first(store)
    store.put_pending(KEY, token, value("new"), base.id)
    aws.server.calls.clear()
    store.promote_pending(KEY, token)
    assert aws.server.calls["DescribeSecret"] == 1
