"""The strict Secrets Manager keeps AWS's documented rules, as the real SDK sees them over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.testing.aws import Lag
from tests.unit.strict_aws_support import OTHER, T1, T2, T3, Aws, labels, refuses


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def client(aws: Aws) -> Any:
    return aws.client()


@pytest.fixture
def db(client: Any) -> Any:
    """A client of an account with one secret, `db`, whose only version is T1."""
    client.create_secret(Name="db", SecretString="one", ClientRequestToken=T1)
    return client


class TestNamesAndValues:
    @pytest.mark.parametrize("name", ["a b", "ä", "a*", "x" * 513, "a!b"])
    def test_a_name_outside_the_alphabet_or_length_is_refused(self, client: Any, name: str) -> None:
        """Names are 1 to 512 of letters, digits and /_+=.@-."""
        with refuses("ValidationException"):
            client.create_secret(Name=name, SecretString="x")

    def test_every_allowed_character_is_allowed(self, client: Any) -> None:
        """/_+=.@- may stand in a name."""
        client.create_secret(Name="aZ0/_+=.@-", SecretString="x")

    def test_a_value_has_at_most_65536_bytes(self, client: Any) -> None:
        """The limit counts bytes, not characters."""
        client.create_secret(Name="full", SecretString="x" * 65_536)
        with refuses("ValidationException"):
            client.create_secret(Name="over", SecretString="é" * 32_769)
        with refuses("ValidationException"):
            client.create_secret(Name="over", SecretBinary=b"x" * 65_537)

    def test_binary_comes_back_as_it_went(self, client: Any) -> None:
        """SecretBinary holds any bytes."""
        client.create_secret(Name="key", SecretBinary=bytes(range(256)))
        assert client.get_secret_value(SecretId="key")["SecretBinary"] == bytes(range(256))

    def test_a_value_is_text_or_binary(self, db: Any) -> None:
        """Not both, and for a new version not neither."""
        with refuses("InvalidParameterException"):
            db.put_secret_value(SecretId="db", SecretString="x", SecretBinary=b"x")
        with refuses("InvalidParameterException"):
            db.put_secret_value(SecretId="db")

    def test_a_secret_is_found_by_name_and_arn(self, db: Any) -> None:
        """Also by the ARN without its random suffix; not by the start of a name."""
        arn = db.describe_secret(SecretId="db")["ARN"]
        assert [db.describe_secret(SecretId=i)["Name"] for i in (arn, arn[:-7])] == ["db", "db"]
        with refuses("ResourceNotFoundException"):
            db.describe_secret(SecretId="d")


class TestTokens:
    def test_the_token_is_the_version_id(self, db: Any) -> None:
        """ClientRequestToken becomes the VersionId."""
        assert db.get_secret_value(SecretId="db")["VersionId"] == T1

    def test_the_same_token_and_data_is_one_write(self, db: Any) -> None:
        """A repeated create or put succeeds and does nothing."""
        db.create_secret(Name="db", SecretString="one", ClientRequestToken=T1)
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
        db.put_secret_value(SecretId="db", SecretString="one", ClientRequestToken=T1)
        assert labels(db) == {"AWSCURRENT": T2, "AWSPREVIOUS": T1}

    @pytest.mark.parametrize("stages", [{}, {"VersionStages": ["AWSPENDING"]}, {"VersionStages": ["x"]}])
    def test_the_same_token_with_other_data_is_refused(self, db: Any, stages: Any) -> None:
        """Versions are immutable, whatever labels are asked for."""
        with refuses("ResourceExistsException"):
            db.put_secret_value(SecretId="db", SecretString="other", ClientRequestToken=T1, **stages)
        with refuses("ResourceExistsException"):
            db.create_secret(Name="db", SecretString="other", ClientRequestToken=T1)

    def test_a_name_that_exists_is_refused(self, db: Any) -> None:
        """Another token does not overwrite."""
        with refuses("ResourceExistsException"):
            db.create_secret(Name="db", SecretString="one", ClientRequestToken=T2)

    def test_update_secret_refuses_a_used_token(self, db: Any) -> None:
        """UpdateSecret, unlike PutSecretValue, is not idempotent."""
        with refuses("ResourceExistsException"):
            db.update_secret(SecretId="db", SecretString="one", ClientRequestToken=T1)

    def test_a_token_has_32_to_64_characters(self, db: Any) -> None:
        """The SDK checks the lower bound only."""
        with refuses("InvalidParameterException"):
            db.put_secret_value(SecretId="db", SecretString="x", ClientRequestToken="t" * 65)


class TestLabels:
    def test_a_put_moves_current_and_previous(self, db: Any) -> None:
        """Without VersionStages a put becomes current, and what was current becomes previous."""
        answer = db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
        assert answer["VersionStages"] == ["AWSCURRENT"]
        assert labels(db) == {"AWSCURRENT": T2, "AWSPREVIOUS": T1}

    def test_a_put_under_a_label_leaves_current_alone(self, db: Any) -> None:
        """A reader of the secret goes on to see the old value."""
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["mine"])
        assert db.get_secret_value(SecretId="db")["SecretString"] == "one"
        assert labels(db) == {"AWSCURRENT": T1, "mine": T2}

    def test_a_put_takes_its_label_from_another_version(self, db: Any) -> None:
        """A label stands on one version at most."""
        for token in (T2, T3):
            db.put_secret_value(
                SecretId="db", SecretString=token, ClientRequestToken=token, VersionStages=["mine"]
            )
        assert labels(db)["mine"] == T3

    def test_the_first_version_is_current_whatever_was_asked(self, client: Any) -> None:
        """So a pending value needs a current one first."""
        client.create_secret(Name="db")
        answer = client.put_secret_value(SecretId="db", SecretString="one", VersionStages=["AWSPENDING"])
        assert answer["VersionStages"] == ["AWSCURRENT", "AWSPENDING"]

    def test_moving_current_needs_its_holder(self, db: Any) -> None:
        """RemoveFromVersionId is a compare-and-set: missing or wrong, the move fails and changes nothing."""
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["mine"])
        move = {"SecretId": "db", "VersionStage": "AWSCURRENT", "MoveToVersionId": T2}
        with refuses("InvalidParameterException"):
            db.update_secret_version_stage(**move)
        with refuses("InvalidParameterException"):
            db.update_secret_version_stage(**move, RemoveFromVersionId=T2)
        assert labels(db)["AWSCURRENT"] == T1
        db.update_secret_version_stage(**move, RemoveFromVersionId=T1)
        assert labels(db) == {"AWSCURRENT": T2, "AWSPREVIOUS": T1, "mine": T2}

    @pytest.mark.parametrize("answer", ["refused", "moves"])
    def test_moving_a_held_label_without_its_holder_has_two_answers(
        self, aws: Aws, db: Any, answer: Any
    ) -> None:
        """The API model says both that it fails and that it moves; a program must live with either."""
        aws.behaviour.unnamed_move = answer
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["mine"])
        move = {"SecretId": "db", "VersionStage": "mine", "MoveToVersionId": T1}
        if answer == "refused":
            with refuses("InvalidParameterException"):
                db.update_secret_version_stage(**move)
        else:
            db.update_secret_version_stage(**move)
        assert labels(db)["mine"] == (T2 if answer == "refused" else T1)

    def test_current_cannot_be_taken_off(self, db: Any) -> None:
        """It can only be moved; any other label may be removed."""
        with refuses("InvalidParameterException", "can't be completely removed"):
            db.update_secret_version_stage(SecretId="db", VersionStage="AWSCURRENT", RemoveFromVersionId=T1)
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
        db.update_secret_version_stage(SecretId="db", VersionStage="AWSPREVIOUS", RemoveFromVersionId=T1)
        assert labels(db) == {"AWSCURRENT": T2}

    def test_moving_current_back_swaps_previous(self, db: Any) -> None:
        """The old current becomes previous, and the previous is no longer previous."""
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
        db.update_secret_version_stage(
            SecretId="db", VersionStage="AWSCURRENT", MoveToVersionId=T1, RemoveFromVersionId=T2
        )
        assert labels(db) == {"AWSCURRENT": T1, "AWSPREVIOUS": T2}

    def test_a_version_bears_at_most_20_labels(self, db: Any) -> None:
        """The 21st is refused and leaves no trace."""
        for n in range(19):
            db.update_secret_version_stage(SecretId="db", VersionStage=f"l{n}", MoveToVersionId=T1)
        with refuses("LimitExceededException"):
            db.update_secret_version_stage(SecretId="db", VersionStage="l19", MoveToVersionId=T1)
        assert len(labels(db)) == 20

    def test_a_move_to_a_missing_version_is_refused(self, db: Any) -> None:
        """The version must exist."""
        with refuses("ResourceNotFoundException"):
            db.update_secret_version_stage(SecretId="db", VersionStage="x", MoveToVersionId=T3)


def _count_versions(client: Any) -> int:
    """The SDK has no paginator for this operation."""
    more: dict[str, str] = {}
    count = 0
    while True:
        page = client.list_secret_version_ids(SecretId="db", IncludeDeprecated=True, **more)
        count += len(page["Versions"])
        if "NextToken" not in page:
            return count
        more = {"NextToken": page["NextToken"]}


class TestVersions:
    def test_a_stage_and_a_version_must_agree(self, db: Any) -> None:
        """GetSecretValue with both refuses a pair that does not belong together."""
        with refuses("InvalidRequestException"):
            db.get_secret_value(SecretId="db", VersionId=T1, VersionStage="AWSPENDING")

    def test_deprecated_versions_are_listed_on_request(self, db: Any) -> None:
        """A version without labels is hidden by default, and readable by id until AWS removes it."""
        for n, token in enumerate((T2, T3)):
            db.put_secret_value(SecretId="db", SecretString=f"{n}", ClientRequestToken=token)
        shown = db.list_secret_version_ids(SecretId="db")["Versions"]
        every = db.list_secret_version_ids(SecretId="db", IncludeDeprecated=True)["Versions"]
        assert {v["VersionId"] for v in shown} == {T2, T3}
        assert {v["VersionId"] for v in every} == {T1, T2, T3}
        assert T1 not in db.describe_secret(SecretId="db")["VersionIdsToStages"]
        assert db.get_secret_value(SecretId="db", VersionId=T1)["SecretString"] == "one"

    def test_deprecated_versions_beyond_100_go_after_a_day(self, aws: Aws, db: Any) -> None:
        """The newest 100 stay, and all that are younger than 24 hours."""
        for n in range(110):
            db.put_secret_value(SecretId="db", SecretString=f"{n}")
        assert _count_versions(db) == 111
        aws.wait(25 * 3600)
        db.put_secret_value(SecretId="db", SecretString="next")
        assert _count_versions(db) == 101

    def test_a_deprecated_version_may_vanish_at_once(self, aws: Aws, db: Any) -> None:
        """AWS says it "can be deleted", not when."""
        aws.behaviour.vanish = True
        for token in (T2, T3):
            db.put_secret_value(SecretId="db", SecretString=token, ClientRequestToken=token)
        with refuses("ResourceNotFoundException"):
            db.get_secret_value(SecretId="db", VersionId=T1)

    def test_a_reserved_version_has_a_label_and_no_value(self, aws: Aws, db: Any) -> None:
        """Rotation reserves an id before it has a value: described, not listed, not readable."""
        aws.manager.add_empty_version("eu-west-1", "db", T2, "AWSPENDING")
        assert labels(db)["AWSPENDING"] == T2
        assert len(db.list_secret_version_ids(SecretId="db", IncludeDeprecated=True)["Versions"]) == 1
        with refuses("ResourceNotFoundException"):
            db.get_secret_value(SecretId="db", VersionStage="AWSPENDING")
        db.put_secret_value(
            SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["AWSPENDING"]
        )
        assert db.get_secret_value(SecretId="db", VersionStage="AWSPENDING")["SecretString"] == "two"

    def test_too_many_versions_exceed_the_quota(self, aws: Aws, db: Any) -> None:
        """More puts than AWS cleans up run into a limit."""
        aws.behaviour.version_quota = 1
        with refuses("LimitExceededException"):
            db.put_secret_value(SecretId="db", SecretString="two")


class TestDeletion:
    def test_a_deleted_secret_refuses_reads_and_writes(self, db: Any) -> None:
        """Until it is restored; it can still be described."""
        db.delete_secret(SecretId="db", RecoveryWindowInDays=7)
        assert db.describe_secret(SecretId="db")["DeletedDate"]
        with refuses("InvalidRequestException", "marked for deletion"):
            db.get_secret_value(SecretId="db")
        with refuses("InvalidRequestException"):
            db.put_secret_value(SecretId="db", SecretString="x")
        with refuses("InvalidRequestException", "already scheduled for deletion"):
            db.create_secret(Name="db", SecretString="x")
        db.restore_secret(SecretId="db")
        assert db.get_secret_value(SecretId="db")["SecretString"] == "one"

    @pytest.mark.parametrize("days", [6, 31])
    def test_the_recovery_window_is_7_to_30_days(self, db: Any, days: int) -> None:
        """Others are refused, as is a window together with force."""
        with refuses("InvalidParameterException"):
            db.delete_secret(SecretId="db", RecoveryWindowInDays=days)
        with refuses("InvalidParameterException"):
            db.delete_secret(SecretId="db", RecoveryWindowInDays=7, ForceDeleteWithoutRecovery=True)

    def test_the_secret_is_gone_when_the_window_ends(self, aws: Aws, db: Any) -> None:
        """And its name is free."""
        db.delete_secret(SecretId="db")
        aws.wait(30 * 86400)
        with refuses("ResourceNotFoundException"):
            db.restore_secret(SecretId="db")
        db.create_secret(Name="db", SecretString="again")

    def test_a_forced_deletion_keeps_the_name_for_a_while(self, aws: Aws, db: Any) -> None:
        """AWS deletes in the background: creating at once is refused, later it works; no way back."""
        aws.behaviour.force_delete = Lag(seconds=5)
        db.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
        with refuses("InvalidRequestException"):
            db.create_secret(Name="db", SecretString="x")
        with refuses("InvalidRequestException"):
            db.restore_secret(SecretId="db")
        aws.wait(5)
        db.create_secret(Name="db", SecretString="x")

    def test_a_deleted_secret_may_be_forced_away(self, db: Any) -> None:
        """Force works on a secret in its recovery window and on a missing one."""
        db.delete_secret(SecretId="db")
        with refuses("InvalidRequestException"):
            db.delete_secret(SecretId="db")
        db.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
        db.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
        with refuses("ResourceNotFoundException"):
            db.delete_secret(SecretId="db")


class TestTags:
    def test_tags_are_added_and_removed_one_by_one(self, db: Any) -> None:
        """TagResource keeps the others, UntagResource ignores missing ones."""
        db.tag_resource(SecretId="db", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
        db.untag_resource(SecretId="db", TagKeys=["a", "zzz"])
        assert db.describe_secret(SecretId="db")["Tags"] == [{"Key": "b", "Value": ""}]

    @pytest.mark.parametrize(
        ("key", "value"), [("aws:x", "v"), ("k" * 129, "v"), ("k", "v" * 257), ("k{}", "v"), ("k", "v;")]
    )
    def test_tags_outside_the_limits_are_refused(self, db: Any, key: str, value: str) -> None:
        """128 and 256 characters, a small alphabet, and aws: is AWS's."""
        with pytest.raises(db.exceptions.ClientError):
            db.tag_resource(SecretId="db", Tags=[{"Key": key, "Value": value}])

    def test_a_secret_bears_at_most_50_tags(self, db: Any) -> None:
        """The 51st is refused."""
        db.tag_resource(SecretId="db", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
        with refuses("InvalidParameterException"):
            db.tag_resource(SecretId="db", Tags=[{"Key": "more", "Value": ""}])


class TestLists:
    def test_pages_are_followed_to_the_end(self, client: Any) -> None:
        """At most 100 a page; more needs the NextToken."""
        for n in range(120):
            client.create_secret(Name=f"s{n:03}", SecretString="x")
        first = client.list_secrets()
        assert len(first["SecretList"]) == 100
        rest = client.list_secrets(NextToken=first["NextToken"])
        assert len(rest["SecretList"]) == 20
        assert "NextToken" not in rest

    def test_a_page_may_be_empty_and_not_the_last(self, aws: Aws, db: Any) -> None:
        """An empty page with a NextToken is documented."""
        aws.behaviour.empty_pages = True
        first = db.list_secrets()
        assert first["SecretList"] == []
        assert [s["Name"] for s in db.list_secrets(NextToken=first["NextToken"])["SecretList"]] == ["db"]

    def test_a_foreign_token_is_refused(self, db: Any) -> None:
        """NextToken is opaque."""
        with refuses("InvalidNextTokenException"):
            db.list_secrets(NextToken="100")

    def test_name_filters_are_prefixes_and_can_be_negated(self, client: Any) -> None:
        """Values are alternatives, filters are conditions, and "!" negates."""
        for name in ("a/1", "a/2", "b/1", "A/1"):
            client.create_secret(Name=name, SecretString="x")
        listed = lambda *values: {  # noqa: E731
            s["Name"]
            for s in client.list_secrets(Filters=[{"Key": "name", "Values": list(values)}])["SecretList"]
        }
        assert listed("a/") == {"a/1", "a/2"}
        assert listed("a/1", "b/") == {"a/1", "b/1"}
        assert listed("!a/") == {"b/1", "A/1"}

    def test_deleted_secrets_are_listed_on_request(self, db: Any) -> None:
        """By default they are not."""
        db.delete_secret(SecretId="db")
        assert db.list_secrets()["SecretList"] == []
        assert len(db.list_secrets(IncludePlannedDeletion=True)["SecretList"]) == 1

    def test_a_batch_reads_20_and_reports_each_failure(self, aws: Aws, db: Any) -> None:
        """One missing, one denied, and the others come."""
        db.create_secret(Name="closed", SecretString="x")
        aws.manager.deny("GetSecretValue", "closed")
        answer = db.batch_get_secret_value(SecretIdList=["db", "closed", "missing"])
        assert [v["Name"] for v in answer["SecretValues"]] == ["db"]
        assert {e["SecretId"]: e["ErrorCode"] for e in answer["Errors"]} == {
            "closed": "AccessDeniedException",
            "missing": "ResourceNotFoundException",
        }
        with refuses("ValidationException"):
            db.batch_get_secret_value(SecretIdList=[f"s{n}" for n in range(21)])


class TestPermissions:
    def test_a_missing_secret_is_denied_too(self, aws: Aws, client: Any) -> None:
        """IAM decides before the service looks, so without permission missing looks like denied."""
        aws.manager.deny("GetSecretValue")
        with refuses("AccessDeniedException", "not authorized to perform: secretsmanager:GetSecretValue"):
            client.get_secret_value(SecretId="missing")

    def test_a_denial_may_concern_some_names(self, aws: Aws, db: Any) -> None:
        """By name and by ARN alike."""
        arn = db.create_secret(Name="closed/x", SecretString="x")["ARN"]
        aws.manager.deny("DescribeSecret", "closed/*")
        db.describe_secret(SecretId="db")
        for secret_id in ("closed/x", arn):
            with refuses("AccessDeniedException"):
                db.describe_secret(SecretId=secret_id)

    def test_tags_at_creation_need_their_own_permission(self, aws: Aws, client: Any) -> None:
        """CreateSecret with tags needs TagResource."""
        aws.manager.deny("TagResource")
        client.create_secret(Name="plain", SecretString="x")
        with refuses("AccessDeniedException", "TagResource"):
            client.create_secret(Name="tagged", SecretString="x", Tags=[{"Key": "a", "Value": "b"}])

    def test_a_denied_key_denies_its_secrets(self, aws: Aws, client: Any) -> None:
        """KMS refusals have their own text; a broken key is another error."""
        client.create_secret(Name="db", SecretString="x", KmsKeyId="alias/mine")
        aws.behaviour.kms_denied.add("alias/mine")
        with refuses("AccessDeniedException", "Access to KMS is not allowed"):
            client.get_secret_value(SecretId="db")
        aws.behaviour.kms_denied.clear()
        aws.behaviour.kms_broken.add("alias/mine")
        with refuses("DecryptionFailure"):
            client.get_secret_value(SecretId="db")
        with refuses("EncryptionFailure"):
            client.put_secret_value(SecretId="db", SecretString="y")


class TestReplicas:
    @pytest.fixture
    def replicated(self, db: Any) -> Any:
        db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": OTHER}])
        return db

    def test_a_replica_reads_the_same_version(self, aws: Aws, replicated: Any) -> None:
        """Value, version ids and labels are the primary's; the ARN has the other region."""
        got = aws.client(OTHER).get_secret_value(SecretId="db")
        assert (got["SecretString"], got["VersionId"]) == ("one", T1)
        assert f":{OTHER}:" in got["ARN"]
        assert aws.client(OTHER).describe_secret(SecretId="db")["PrimaryRegion"] == "eu-west-1"

    def test_a_replica_refuses_every_write(self, aws: Aws, replicated: Any) -> None:
        """Writes go to the primary's region."""
        other = aws.client(OTHER)
        for write in (
            lambda: other.put_secret_value(SecretId="db", SecretString="x"),
            lambda: other.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True),
            lambda: other.tag_resource(SecretId="db", Tags=[{"Key": "a", "Value": "b"}]),
            lambda: other.update_secret_version_stage(SecretId="db", VersionStage="x", MoveToVersionId=T1),
        ):
            with refuses("InvalidParameterException", "replica"):
                write()

    def test_a_primary_cannot_be_deleted_while_it_has_replicas(self, replicated: Any) -> None:
        """The replicas must go first."""
        with refuses("InvalidParameterException", OTHER):
            replicated.delete_secret(SecretId="db")
        replicated.remove_regions_from_replication(SecretId="db", RemoveReplicaRegions=[OTHER])
        replicated.delete_secret(SecretId="db")

    def test_a_replica_lags_until_in_sync(self, aws: Aws, replicated: Any) -> None:
        """After a write it is InProgress and shows the old value."""
        aws.behaviour.replication = Lag(seconds=10)
        replicated.put_secret_value(SecretId="db", SecretString="two")
        assert aws.client(OTHER).get_secret_value(SecretId="db")["SecretString"] == "one"
        assert _status(replicated) == "InProgress"
        aws.wait(10)
        assert _status(replicated) == "InSync"
        assert aws.client(OTHER).get_secret_value(SecretId="db")["SecretString"] == "two"

    def test_two_label_moves_without_waiting_can_wedge_replication(self, aws: Aws, replicated: Any) -> None:
        """A field report: between label moves, wait for InSync."""
        aws.behaviour.wedges, aws.behaviour.replication = True, Lag(seconds=10)
        for n in range(2):
            replicated.update_secret_version_stage(SecretId="db", VersionStage=f"l{n}", MoveToVersionId=T1)
        aws.wait(100)
        assert _status(replicated) == "Failed"

    def test_a_name_taken_in_the_other_region_fails(self, aws: Aws, db: Any) -> None:
        """The answer says so in a status, not as an error; force overwrites."""
        aws.client(OTHER).create_secret(Name="db", SecretString="theirs")
        db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": OTHER}])
        assert _status(db) == "Failed"
        assert aws.client(OTHER).get_secret_value(SecretId="db")["SecretString"] == "theirs"

    def test_a_stopped_replica_stands_alone(self, aws: Aws, replicated: Any) -> None:
        """StopReplicationToReplica makes it a primary in its region."""
        other = aws.client(OTHER)
        other.stop_replication_to_replica(SecretId="db")
        other.put_secret_value(SecretId="db", SecretString="own")
        assert replicated.get_secret_value(SecretId="db")["SecretString"] == "one"
        assert "ReplicationStatus" not in replicated.describe_secret(SecretId="db")

    def test_a_failed_replication_is_taken_up_again_with_the_copy_that_it_has(
        self, aws: Aws, replicated: Any
    ) -> None:
        """A second ReplicateSecretToRegions; its own replica is no name that is taken."""
        aws.manager._account.shelf("eu-west-1")["db"].replicas[OTHER].status = "Failed"  # type: ignore[union-attr]
        replicated.put_secret_value(SecretId="db", SecretString="two")
        replicated.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": OTHER}])
        assert _status(replicated) == "InSync"
        assert aws.client(OTHER).get_secret_value(SecretId="db")["SecretString"] == "two"

    def test_a_replicas_key_is_all_of_it_that_can_be_changed(self, aws: Aws, replicated: Any) -> None:
        """By UpdateSecret in its own region."""
        other = aws.client(OTHER)
        other.update_secret(SecretId="db", KmsKeyId="alias/there")
        [entry] = replicated.describe_secret(SecretId="db")["ReplicationStatus"]
        assert entry["KmsKeyId"] == "alias/there"
        with refuses("InvalidParameterException", "replica"):
            other.update_secret(SecretId="db", KmsKeyId="alias/there", SecretString="x")

    def test_a_key_that_cannot_be_used_there_fails_the_replication(self, aws: Aws, db: Any) -> None:
        """As a status, not as an error."""
        aws.behaviour.kms_broken.add("alias/there")
        wanted = {"Region": OTHER, "KmsKeyId": "alias/there"}
        db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[wanted])
        assert _status(db) == "Failed"


class TestPolicies:
    def test_an_explicit_deny_refuses_its_actions_alone(self, aws: Aws, db: Any) -> None:
        """Reads go on, and the policy can be taken away again."""
        db.put_resource_policy(SecretId="db", ResourcePolicy=_deny("secretsmanager:Put*"))
        with refuses("AccessDeniedException", "explicit deny"):
            db.put_secret_value(SecretId="db", SecretString="two")
        assert db.get_secret_value(SecretId="db")["SecretString"] == "one"
        with refuses("AccessDeniedException"):
            db.put_resource_policy(SecretId="db", ResourcePolicy=_deny("x:y"))
        db.delete_resource_policy(SecretId="db")
        db.put_secret_value(SecretId="db", SecretString="two")

    def test_a_policy_of_one_region_goes_with_the_copy_and_binds_nobody_there(
        self, aws: Aws, db: Any
    ) -> None:
        """Replicas have their primary's policy, and keep it when they stand alone."""
        policy = _deny("secretsmanager:PutSecretValue", "eu-west-1")
        db.put_resource_policy(SecretId="db", ResourcePolicy=policy)
        db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": OTHER}])
        other = aws.client(OTHER)
        other.stop_replication_to_replica(SecretId="db")
        assert other.get_resource_policy(SecretId="db")["ResourcePolicy"] == policy
        other.put_secret_value(SecretId="db", SecretString="two")
        with refuses("AccessDeniedException"):
            db.put_secret_value(SecretId="db", SecretString="two")

    def test_what_is_no_policy_is_refused(self, db: Any) -> None:
        """AWS checks the grammar."""
        for text in ("{", "[]", "{}"):
            with refuses("MalformedPolicyDocumentException"):
                db.put_resource_policy(SecretId="db", ResourcePolicy=text)


def _deny(action: str, region: str = "") -> str:
    condition = {"Condition": {"StringEquals": {"aws:RequestedRegion": region}}} if region else {}
    everybody = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [everybody | condition]})


def _status(client: Any) -> str:
    [entry] = client.describe_secret(SecretId="db")["ReplicationStatus"]
    return str(entry["Status"])


class TestConsistency:
    def test_reads_miss_a_change_until_the_delay_is_over(self, aws: Aws, db: Any) -> None:
        """Values, labels and new versions, all stale together; writes see the truth."""
        aws.behaviour.consistency = Lag(seconds=3)
        db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
        assert db.get_secret_value(SecretId="db")["SecretString"] == "one"
        assert labels(db) == {"AWSCURRENT": T1}
        with refuses("ResourceNotFoundException"):
            db.get_secret_value(SecretId="db", VersionId=T2)
        with refuses("InvalidParameterException"):
            db.update_secret_version_stage(
                SecretId="db", VersionStage="AWSCURRENT", MoveToVersionId=T1, RemoveFromVersionId=T1
            )
        aws.wait(3)
        assert labels(db) == {"AWSCURRENT": T2, "AWSPREVIOUS": T1}

    def test_the_delay_may_count_reads(self, aws: Aws, db: Any) -> None:
        """For tests without a clock."""
        aws.behaviour.consistency = Lag(reads=2)
        db.put_secret_value(SecretId="db", SecretString="two")
        seen = [db.get_secret_value(SecretId="db")["SecretString"] for _ in range(3)]
        assert seen == ["one", "one", "two"]

    def test_a_new_secret_may_not_be_there_yet(self, aws: Aws, client: Any) -> None:
        """Also its creation lags."""
        aws.behaviour.consistency = Lag(reads=1)
        client.create_secret(Name="db", SecretString="x")
        with refuses("ResourceNotFoundException"):
            client.get_secret_value(SecretId="db")
        client.get_secret_value(SecretId="db")

    def test_lists_lag_on_their_own(self, aws: Aws, db: Any) -> None:
        """ListSecrets may be minutes behind while DescribeSecret is not."""
        aws.behaviour.listing = Lag(seconds=300)
        db.create_secret(Name="new", SecretString="x")
        db.describe_secret(SecretId="new")
        assert [s["Name"] for s in db.list_secrets()["SecretList"]] == ["db"]
        aws.wait(300)
        assert len(db.list_secrets()["SecretList"]) == 2

    def test_regions_are_separate(self, aws: Aws, db: Any) -> None:
        """The region is the one the call was signed for."""
        with refuses("ResourceNotFoundException"):
            aws.client(OTHER).get_secret_value(SecretId="db")
