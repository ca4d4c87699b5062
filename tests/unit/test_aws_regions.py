"""AWS's own replication, behind `native_replication`: on the strict double, whose copies lag and fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.backend import Backend, Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.layers.edge import edge
from strongroom.names import Name, StoreURL
from strongroom.native import CopyState, NativeReplication
from strongroom.testing.aws import Lag
from strongroom.testing.aws_faults import When
from strongroom.testing.clock import FakeClock
from strongroom_aws.fencing import SID
from strongroom_aws.secrets_manager import SecretsManager
from tests.canary import CANARY
from tests.unit.aws_support import FULL, KEY, backend, put_first, rotation, shown, value
from tests.unit.direct_aws import connect_directly
from tests.unit.strict_aws_support import OTHER, REGION, Aws, labels, refuses

THIRD = "ap-south-1"
OURS = f"arn:aws:kms:{OTHER}:123456789012:key/11111111-1111-1111-1111-111111111111"
THEIRS = f"arn:aws:kms:{OTHER}:123456789012:key/22222222-2222-2222-2222-222222222222"


def native(store: Backend) -> NativeReplication:
    """What the store offers."""
    found = store.native_replication()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def _aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def aws(_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An empty account."""
    _aws.renew()
    connect_directly(monkeypatch, _aws.server)
    return _aws


@pytest.fixture
def store(aws: Aws) -> Backend:
    """A store with one secret."""
    store = backend(aws)
    put_first(store)
    return store


def state(store: Backend) -> CopyState:
    """What the other region itself tells of the copy."""
    return native(store).copies(KEY, verify=True)[OTHER].state


@pytest.fixture
def sent(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Any]]:
    """Every call that arrives: its region, its action and its parameters."""
    arrived: list[tuple[str, str, Any]] = []
    call = aws.manager.call

    def noted(region: str, action: str, params: Any, **how: Any) -> Any:
        arrived.append((region, action, params))
        return call(region, action, params, **how)

    monkeypatch.setattr(aws.manager, "call", noted)
    return arrived


class TestCopying:
    def test_a_copy_has_the_versions_id_and_a_key_of_its_region(self, aws: Aws, store: Backend) -> None:
        """AWS copies the version itself; only the KMS key is the region's."""
        native(store).ensure(KEY, {OTHER: OURS})
        copy = native(store).copies(KEY, verify=True)[OTHER]
        assert (copy.state, copy.key) == (CopyState.IN_SYNC, OURS)
        assert copy.version == store.get(KEY, Stage.CURRENT).version
        assert shown(backend(aws, OTHER)) == "old"

    def test_a_second_ensure_writes_nothing(self, aws: Aws, store: Backend) -> None:
        """A plan that is applied twice costs one read."""
        native(store).ensure(KEY, {OTHER: OURS})
        aws.server.calls.clear()
        native(store).ensure(KEY, {OTHER: OURS})
        assert dict(aws.server.calls) == {"DescribeSecret": 1}

    def test_places_are_added_one_by_one(self, store: Backend) -> None:
        """What is not named stays: leaving a place out of a configuration deletes nothing there."""
        native(store).ensure(KEY, {OTHER: ""})
        native(store).ensure(KEY, {THIRD: ""})
        assert set(native(store).copies(KEY)) == {OTHER, THIRD}

    def test_a_copy_that_lags_is_not_in_sync(self, aws: Aws, store: Backend) -> None:
        """Neither while AWS says InProgress, nor where AWS says InSync of a version that is not current."""
        native(store).ensure(KEY, {OTHER: ""})
        aws.behaviour.replication = Lag(seconds=30)
        store.put(KEY, value("new"), None)
        assert state(store) is CopyState.COPYING
        aws.wait(30)
        assert state(store) is CopyState.IN_SYNC

    def test_in_sync_is_believed_of_the_current_version_alone(self, aws: Aws, store: Backend) -> None:
        """DescribeSecret in the region tells another version: it copies still, whatever the status says."""
        native(store).ensure(KEY, {OTHER: ""})
        replica = aws.manager._account.shelf(OTHER)[FULL]
        store.put(KEY, value("new"), None)
        assert state(store) is CopyState.IN_SYNC
        labels_there = replica.copy.labels  # type: ignore[union-attr]
        labels_there["AWSCURRENT"] = labels_there["AWSPREVIOUS"]
        assert native(store).copies(KEY)[OTHER].state is CopyState.IN_SYNC
        assert state(store) is CopyState.COPYING

    def test_a_first_copy_under_way_is_no_failure(self, aws: Aws, store: Backend) -> None:
        """The region does not know the secret yet."""
        aws.behaviour.replication = Lag(seconds=30)
        native(store).ensure(KEY, {OTHER: ""})
        assert state(store) is CopyState.COPYING

    def test_a_copy_that_is_gone_is_missing(self, aws: Aws, store: Backend) -> None:
        """The status says InSync; the region knows no such secret."""
        native(store).ensure(KEY, {OTHER: ""})
        del aws.manager._account.shelf(OTHER)[FULL]
        assert state(store) is CopyState.MISSING

    def test_the_key_of_a_copy_is_changed_in_its_region(self, store: Backend) -> None:
        """It is all that can be changed there."""
        native(store).ensure(KEY, {OTHER: OURS})
        native(store).ensure(KEY, {OTHER: THEIRS})
        assert native(store).copies(KEY)[OTHER].key == THEIRS

    def test_an_alias_is_not_taken_for_another_key(self, aws: Aws, store: Backend) -> None:
        """AWS may tell the key by its id: encrypting anew each time would never end."""
        native(store).ensure(KEY, {OTHER: OURS})
        native(store).ensure(KEY, {OTHER: "alias/strongroom"})
        assert aws.server.calls["UpdateSecret"] == 0

    def test_the_sources_own_region_is_refused(self, store: Backend) -> None:
        """Before anything is sent."""
        with pytest.raises(InvalidRequestError, match="the region of the source itself"):
            native(store).ensure(KEY, {REGION: ""})

    def test_a_replica_has_no_copies_of_its_own(self, aws: Aws, store: Backend) -> None:
        """The error says where the source is."""
        native(store).ensure(KEY, {OTHER: ""})
        with pytest.raises(InvalidRequestError, match="itself a replica") as caught:
            native(backend(aws, OTHER)).copies(KEY)
        assert REGION in (caught.value.hint or "")

    def test_a_missing_secret_is_not_found(self, store: Backend) -> None:
        """As everywhere."""
        with pytest.raises(SecretNotFoundError):
            native(store).copies(Name.parse("none"))

    def test_what_is_no_region_is_refused(self, store: Backend) -> None:
        """It would become part of a host name."""
        with pytest.raises(InvalidRequestError, match="not an AWS region"):
            native(store).ensure(KEY, {"evil.example": ""})

    @pytest.mark.parametrize(
        ("said", "means"),
        [
            ("Pending", CopyState.COPYING),
            ("Detached", CopyState.ALIEN),
            ("Failed", CopyState.FAILED),
            ("Whatever", CopyState.FAILED),
        ],
    )
    def test_every_status_of_the_model_has_a_meaning(
        self, aws: Aws, store: Backend, said: Any, means: CopyState
    ) -> None:
        """And one that no model had yet is no success."""
        native(store).ensure(KEY, {OTHER: ""})
        primary: Any = aws.manager._account.shelf(REGION)[FULL]
        primary.replicas[OTHER].status = said
        assert native(store).copies(KEY)[OTHER].state is means

    def test_the_clients_of_other_regions_are_closed_with_the_store(
        self, store: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And forgotten in a forked child, whose parent still uses them."""
        monkeypatch.undo()
        native(store).survey([OTHER])
        client = store.inner._elsewhere.at(OTHER)  # type: ignore[attr-defined]
        assert client._sdk is not None
        store.after_fork()
        assert client._sdk is None
        native(store).survey([OTHER])
        store.close()
        assert client._sdk is None


class TestStrangers:
    def test_a_name_that_is_taken_there_is_a_conflict(self, aws: Aws, store: Backend) -> None:
        """Nothing of theirs is touched, and no Failed entry is left that would keep ours from deletion."""
        put_first(backend(aws, OTHER), "theirs")
        with pytest.raises(SecretConflictError, match=f"stands in {OTHER}"):
            native(store).ensure(KEY, {OTHER: ""})
        assert native(store).copies(KEY) == {}
        assert shown(backend(aws, OTHER)) == "theirs"

    def test_a_stranger_that_may_not_be_looked_at_is_one_all_the_same(self, aws: Aws, store: Backend) -> None:
        """AWS fails the copy itself: its status is understood."""
        put_first(backend(aws, OTHER), "theirs")
        aws.client().replicate_secret_to_regions(SecretId=FULL, AddReplicaRegions=[{"Region": OTHER}])
        assert state(store) is CopyState.ALIEN
        with pytest.raises(SecretConflictError):
            native(store).ensure(KEY, {OTHER: ""})
        assert shown(backend(aws, OTHER)) == "theirs"

    def test_force_is_never_asked_for(self, store: Backend, sent: list[tuple[str, str, Any]]) -> None:
        """ForceOverwriteReplicaSecret destroys what stands there."""
        native(store).ensure(KEY, {OTHER: ""})
        [asked] = [params for _, action, params in sent if action == "ReplicateSecretToRegions"]
        assert not asked.get("ForceOverwriteReplicaSecret")


class TestFailures:
    def test_a_key_that_cannot_be_used_is_said_in_our_own_words(self, aws: Aws, store: Backend) -> None:
        """AWS's text may quote a request."""
        aws.behaviour.kms_denied.add(OURS)
        with pytest.raises(UnavailableError, match="its KMS key cannot be used"):
            native(store).ensure(KEY, {OTHER: OURS})
        copy = native(store).copies(KEY)[OTHER]
        assert (copy.state, copy.reason) == (CopyState.FAILED, "its KMS key cannot be used")

    def test_a_wedged_replication_is_taken_up_again(self, aws: Aws, store: Backend) -> None:
        """Readers there keep the old value until it is; the copy is not removed for it."""
        native(store).ensure(KEY, {OTHER: ""})
        assert state(store) is CopyState.IN_SYNC
        aws.manager._account.shelf(REGION)[FULL].replicas[OTHER].status = "Failed"  # type: ignore[union-attr]
        store.put(KEY, value("new"), None)
        assert state(store) is CopyState.FAILED
        assert shown(backend(aws, OTHER)) == "old"
        native(store).ensure(KEY, {OTHER: ""})
        assert state(store) is CopyState.IN_SYNC
        assert shown(backend(aws, OTHER)) == "new"

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_lost_answer_is_read_back(self, aws: Aws, store: Backend, when: Any) -> None:
        """It is done, or it is said to have failed and a repeat does it."""
        aws.faults.drop("ReplicateSecretToRegions", when)
        if when == "before":
            with pytest.raises(UnavailableError):
                native(store).ensure(KEY, {OTHER: ""})
        native(store).ensure(KEY, {OTHER: ""})
        assert state(store) is CopyState.IN_SYNC

    def test_a_region_that_does_not_answer_is_unavailable(self, aws: Aws, store: Backend) -> None:
        """Nobody can say what it holds."""
        native(store).ensure(KEY, {OTHER: ""})
        aws.faults.drop("DescribeSecret", skip=1, times=9)
        with pytest.raises(UnavailableError):
            native(store).copies(KEY, verify=True)


class TestDetaching:
    def test_a_detached_copy_is_a_secret_of_its_own(self, aws: Aws, store: Backend) -> None:
        """It takes writes, under the versions that it had."""
        native(store).ensure(KEY, {OTHER: ""})
        native(store).detach(KEY, OTHER)
        there = backend(aws, OTHER)
        there.put(KEY, value("own"), there.get(KEY, Stage.CURRENT).version)
        assert (shown(there), shown(store)) == ("own", "old")

    def test_a_second_detach_is_the_first(self, store: Backend) -> None:
        """A takeover is resumed."""
        native(store).ensure(KEY, {OTHER: ""})
        native(store).detach(KEY, OTHER)
        native(store).detach(KEY, OTHER)

    def test_a_lost_answer_is_read_back_there(self, aws: Aws, store: Backend) -> None:
        """The copy stands alone: that is what was asked for."""
        native(store).ensure(KEY, {OTHER: ""})
        aws.faults.drop("StopReplicationToReplica")
        native(store).detach(KEY, OTHER)

    def test_the_sources_region_is_not_asked(self, store: Backend, sent: list[tuple[str, str, Any]]) -> None:
        """A takeover is for when it does not answer."""
        native(store).ensure(KEY, {OTHER: ""})
        sent.clear()
        native(store).detach(KEY, OTHER)
        assert {region for region, *_ in sent} == {OTHER}

    def test_what_was_never_copied_is_not_found(self, store: Backend) -> None:
        """There is nothing to take over."""
        with pytest.raises(SecretNotFoundError):
            native(store).detach(KEY, OTHER)


class TestSurvey:
    def test_a_survey_costs_lists_alone(self, aws: Aws) -> None:
        """A drift check of many secrets reads none of them."""
        store = backend(aws)
        keys = [Name.parse(f"app/s{n}") for n in range(5)]
        for key in keys:
            store.put(key, value("x"), None)
            native(store).ensure(key, {OTHER: ""})
        aws.server.calls.clear()
        aws.behaviour.empty_pages = True
        found = native(store).survey([OTHER])[OTHER]
        assert dict(aws.server.calls) == {"ListSecrets": 2}
        newest = {info.key: info.newest.id for info in store.list_info("", detail=True) if info.newest}
        assert {key: copy.version for key, copy in found.items()} == newest

    def test_a_survey_tells_strangers_and_keeps_to_the_prefix(self, aws: Aws, store: Backend) -> None:
        """A secret of the prefix that is no copy; others' secrets are none of ours."""
        put_first(backend(aws, OTHER), "theirs")
        aws.client(OTHER).create_secret(Name="elsewhere/x", SecretString=f"{CANARY} x")
        found = native(store).survey([OTHER])[OTHER]
        assert {key: copy.state for key, copy in found.items()} == {KEY: CopyState.ALIEN}


class TestFence:
    def test_a_fenced_source_refuses_every_write(self, aws: Aws, store: Backend) -> None:
        """AWS's own policy refuses them, whoever writes; reads go on."""
        native(store).fence(KEY)
        current = store.get(KEY, Stage.CURRENT).version
        for write in (
            lambda: store.put(KEY, value("x"), None),
            lambda: store.put(KEY, value("x"), current),
            lambda: store.put_pending(KEY, rotation(), value("x"), current),
            lambda: store.delete(KEY),
        ):
            with pytest.raises(PermissionDeniedError):
                write()
        with refuses("AccessDeniedException"):
            aws.client().put_secret_value(SecretId=FULL, SecretString=f"{CANARY} x")
        assert shown(store) == "old"

    def test_a_fence_keeps_the_rest_of_the_policy(self, aws: Aws, store: Backend) -> None:
        """And lifting it leaves exactly what was there."""
        theirs = {
            "Sid": "Theirs",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "x",
            "Resource": "*",
        }
        before = {"Version": "2012-10-17", "Id": "mine", "Statement": theirs}
        aws.client().put_resource_policy(SecretId=FULL, ResourcePolicy=json.dumps(before))
        native(store).fence(KEY)
        native(store).fence(KEY)
        assert [each["Sid"] for each in _policy(aws)["Statement"]] == ["Theirs", SID]
        native(store).lift(KEY)
        native(store).lift(KEY)
        assert _policy(aws) == before | {"Statement": [theirs]}
        store.put(KEY, value("new"), None)

    def test_a_policy_of_nothing_else_goes_with_the_fence(self, aws: Aws, store: Backend) -> None:
        """Nothing of ours is left behind."""
        native(store).fence(KEY)
        native(store).lift(KEY)
        assert "ResourcePolicy" not in aws.client().get_resource_policy(SecretId=FULL)

    def test_the_fence_of_a_source_does_not_bind_the_copy_that_takes_over(
        self, aws: Aws, store: Backend
    ) -> None:
        """AWS copies policies too, and a detached copy keeps them: the fence is its region's."""
        native(store).ensure(KEY, {OTHER: ""})
        native(store).fence(KEY)
        native(store).detach(KEY, OTHER)
        there = backend(aws, OTHER)
        assert SID in aws.client(OTHER).get_resource_policy(SecretId=FULL)["ResourcePolicy"]
        there.put(KEY, value("own"), None)
        with pytest.raises(PermissionDeniedError):
            store.put(KEY, value("x"), None)

    def test_a_lost_answer_is_read_back(self, aws: Aws, store: Backend) -> None:
        """The policy stands, or is put again."""
        whens: tuple[When, ...] = ("before", "after")
        for when in whens:
            aws.faults.drop("PutResourcePolicy", when)
            native(store).fence(KEY)
            assert SID in json.dumps(_policy(aws))
            native(store).lift(KEY)


def _policy(aws: Aws) -> Any:
    return json.loads(aws.client().get_resource_policy(SecretId=FULL)["ResourcePolicy"])


class TestRecords:
    def test_the_record_of_a_waiting_value_is_never_swept(self, aws: Aws, store: Backend) -> None:
        """It was written with the value, and is all that tells where the value stands once it is promoted."""
        id_ = rotation()
        store.put_pending(KEY, id_, value("new"), store.get(KEY, Stage.CURRENT).version, "v1.1.2.new")
        store.inner._secrets.sweep_records(FULL)  # type: ignore[attr-defined]
        assert store.get_pending(KEY, id_).record == "v1.1.2.new"
        store.promote_pending(KEY, id_)
        assert store.get(KEY, Stage.CURRENT).record == "v1.1.2.new"

    def test_records_do_not_pile_up_over_promotes(self, aws: Aws, store: Backend) -> None:
        """A label keeps a version from AWS's own clearing; current and previous keep theirs."""
        for number in range(5):
            id_ = rotation()
            base = store.get(KEY, Stage.CURRENT).version
            store.put_pending(KEY, id_, value(f"v{number}"), base, f"v1.1.{number}")
            store.promote_pending(KEY, id_)
        records = sorted(label for label in labels(aws.client(), FULL) if "/record/" in label)
        assert [label.rpartition(".")[2] for label in records] == ["2", "3", "4"]

    def test_a_listing_tells_every_record(self, store: Backend) -> None:
        """So a drift check reads no value."""
        store.put(KEY, value("new"), None, "v1.1.7")
        [info] = store.list_info("", detail=True)
        assert store.lists_records
        assert info.record == "v1.1.7"

    def test_the_write_budget_is_one_version_in_ten_minutes(self, store: Backend) -> None:
        """AWS removes no version that is younger than a day; the replicator counts put and promote."""
        budget = store.write_budget
        assert budget is not None
        assert (budget.each, budget.seconds / budget.writes) == ("secret", 600.0)


def test_an_aws_endpoint_of_one_region_is_not_asked_for_another() -> None:
    """A VPC's endpoint serves its own region; what is not AWS's serves all."""
    own = "https://vpce-1.secretsmanager.eu-west-1.vpce.amazonaws.com"
    for endpoint, there in ((own, None), ("https://aws.internal.example:4566", "same")):
        settings = Settings(
            clock=FakeClock(),
            endpoint=endpoint,
            auth={"access_key_id": "a", "secret_access_key": f"{CANARY}"},
        )
        store = edge(SecretsManager.from_url(StoreURL.parse("aws-sm://eu-west-1/prod"), settings))
        client = store.inner._elsewhere.at(OTHER)  # type: ignore[attr-defined]
        assert client._access.endpoint == (endpoint if there else None)
        store.close()
