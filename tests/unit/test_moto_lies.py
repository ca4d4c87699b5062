"""Where moto 5.2 differs from AWS: if a test fails, moto was mended, and what works around it may go.

The truth is what the strict double says (tests/unit/test_strict_aws.py), from AWS's own API model.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.servers.boto import session
from tests.unit.strict_aws_support import T1, T2, T3, refuses

if TYPE_CHECKING:
    from tests.servers.moto import Moto

_NO_RETRY = Config(retries={"total_max_attempts": 1}, proxies={})


@pytest.fixture
def client(moto_server: Moto) -> Any:
    return moto_server.client("secretsmanager")


@pytest.fixture
def db(client: Any) -> Any:
    client.create_secret(Name="db", SecretString="one", ClientRequestToken=T1)
    return client


def _holders(client: Any, label: str) -> set[str]:
    stages = client.describe_secret(SecretId="db")["VersionIdsToStages"]
    return {version for version, labels in stages.items() if label in labels}


def _move(client: Any, label: str, **versions: str) -> None:
    client.update_secret_version_stage(SecretId="db", VersionStage=label, **versions)


def test_a_value_over_the_limit_is_accepted(client: Any) -> None:
    """AWS: at most 65,536 bytes."""
    client.create_secret(Name="big", SecretString="x" * 65_537)


def test_a_kms_key_that_does_not_exist_is_accepted(client: Any) -> None:
    """AWS: the key must exist and be allowed."""
    client.create_secret(Name="db", SecretString="x", KmsKeyId="alias/none")


def test_names_are_not_checked(client: Any) -> None:
    """AWS: letters, digits and /_+=.@- only."""
    client.create_secret(Name="a b*", SecretString="x")


def test_a_label_can_stand_on_two_versions(db: Any) -> None:
    """AWS: each label is on one version at most; here a move without RemoveFromVersionId copies it."""
    db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["x"])
    _move(db, "x", MoveToVersionId=T1)
    assert _holders(db, "x") == {T1, T2}


def test_a_used_token_is_accepted_for_a_pending_value(db: Any) -> None:
    """AWS: another value under a used token is ResourceExistsException, whatever the labels."""
    pending = {"SecretId": "db", "ClientRequestToken": T2, "VersionStages": ["AWSPENDING"]}
    db.put_secret_value(SecretString="two", **pending)
    db.put_secret_value(SecretString="other", **pending)
    assert db.get_secret_value(SecretId="db", VersionId=T2)["SecretString"] == "other"


def test_current_by_default_does_not_follow_a_label_move(db: Any) -> None:
    """AWS: without a stage GetSecretValue means AWSCURRENT; here it is what was last put as current."""
    db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["x"])
    _move(db, "AWSCURRENT", MoveToVersionId=T2, RemoveFromVersionId=T1)
    assert db.get_secret_value(SecretId="db", VersionStage="AWSCURRENT")["SecretString"] == "two"
    assert db.get_secret_value(SecretId="db")["SecretString"] == "one"
    [batched] = db.batch_get_secret_value(SecretIdList=["db"])["SecretValues"]
    assert batched["SecretString"] == "one"


def test_a_put_after_a_label_move_leaves_two_current_versions(db: Any) -> None:
    """AWS: a put takes AWSCURRENT from its holder; here from the version that was last put as current."""
    db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2, VersionStages=["x"])
    _move(db, "AWSCURRENT", MoveToVersionId=T2, RemoveFromVersionId=T1)
    db.put_secret_value(SecretId="db", SecretString="three", ClientRequestToken=T3)
    assert _holders(db, "AWSCURRENT") == {T2, T3}


def test_a_put_removes_the_other_labels_of_what_was_current(db: Any) -> None:
    """AWS: a put moves AWSCURRENT and AWSPREVIOUS only."""
    _move(db, "mine", MoveToVersionId=T1)
    db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
    assert _holders(db, "mine") == set()


def test_current_can_be_taken_off(db: Any) -> None:
    """AWS: AWSCURRENT can only be moved."""
    _move(db, "AWSCURRENT", RemoveFromVersionId=T1)
    assert _holders(db, "AWSCURRENT") == set()


def test_a_deleted_secret_takes_writes(db: Any) -> None:
    """AWS: InvalidRequestException for every write until it is restored."""
    db.delete_secret(SecretId="db")
    db.put_secret_value(SecretId="db", SecretString="two")
    db.tag_resource(SecretId="db", Tags=[{"Key": "a", "Value": "b"}])


def test_a_deleted_name_is_said_to_exist(db: Any) -> None:
    """AWS: InvalidRequestException, "already scheduled for deletion"."""
    db.delete_secret(SecretId="db")
    with refuses("ResourceExistsException"):
        db.create_secret(Name="db", SecretString="x")


def test_a_secret_that_is_not_deleted_can_be_forced_away_at_once(db: Any) -> None:
    """AWS: in the background, so that the name is taken for a while."""
    db.delete_secret(SecretId="db", ForceDeleteWithoutRecovery=True)
    db.create_secret(Name="db", SecretString="x")


def test_versions_have_no_creation_date_of_their_own(db: Any) -> None:
    """AWS: CreatedDate of a version; here the time of the call, so that no order follows from it."""
    db.put_secret_value(SecretId="db", SecretString="two", ClientRequestToken=T2)
    versions = db.list_secret_version_ids(SecretId="db")["Versions"]
    assert len({version["CreatedDate"] for version in versions}) == 1


def test_deprecated_versions_are_always_listed(db: Any) -> None:
    """AWS: only with IncludeDeprecated, and DescribeSecret never names them."""
    for token in (T2, T3):
        db.put_secret_value(SecretId="db", SecretString=token, ClientRequestToken=token)
    assert len(db.list_secret_version_ids(SecretId="db")["Versions"]) == 3
    assert db.describe_secret(SecretId="db")["VersionIdsToStages"][T1] == []


def test_the_versions_of_a_missing_secret_are_an_internal_error(moto_server: Moto) -> None:
    """AWS: ResourceNotFoundException."""
    client = session().client("secretsmanager", endpoint_url=moto_server.url, config=_NO_RETRY)
    with pytest.raises(ClientError) as caught:
        client.list_secret_version_ids(SecretId="missing")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_tags_have_no_limits(db: Any) -> None:
    """AWS: 50 tags, and aws: is reserved."""
    db.tag_resource(SecretId="db", Tags=[{"Key": f"aws:{n}", "Value": "x"} for n in range(60)])


def test_replicas_are_in_sync_at_once(db: Any) -> None:
    """AWS: InProgress first, and a write takes a while to arrive."""
    db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": "us-east-1"}])
    [status] = db.describe_secret(SecretId="db")["ReplicationStatus"]
    assert status["Status"] == "InSync"


def test_a_replica_cannot_be_promoted(moto_server: Moto, db: Any) -> None:
    """AWS: StopReplicationToReplica; here it is not implemented."""
    client = session("us-east-1").client("secretsmanager", endpoint_url=moto_server.url, config=_NO_RETRY)
    with pytest.raises(ClientError) as caught:
        client.stop_replication_to_replica(SecretId="db")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


@pytest.fixture
def replicated(db: Any) -> Any:
    """A secret with a replica, for which a key of its region was asked."""
    wanted = {"Region": "us-east-1", "KmsKeyId": "alias/there"}
    db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[wanted])
    return db


@pytest.fixture
def there(moto_server: Moto) -> Any:
    """A client of the replica's region."""
    return moto_server.client("secretsmanager", "us-east-1")


def test_a_replicas_key_is_dropped(replicated: Any) -> None:
    """AWS: keeps and tells the key that was asked for."""
    [status] = replicated.describe_secret(SecretId="db")["ReplicationStatus"]
    assert status["KmsKeyId"] == "alias/aws/secretsmanager"


def test_a_replicas_key_cannot_be_changed(replicated: Any, there: Any) -> None:
    """AWS: the encryption key is what can be changed of a replica."""
    with refuses("InvalidParameterException"):
        there.update_secret(SecretId="db", KmsKeyId="alias/other")


def test_a_second_replication_to_a_region_is_counted_twice(replicated: Any) -> None:
    """AWS: one entry for a region."""
    replicated.replicate_secret_to_regions(
        SecretId="db", AddReplicaRegions=[{"Region": "us-east-1"}], ForceOverwriteReplicaSecret=True
    )
    assert len(replicated.describe_secret(SecretId="db")["ReplicationStatus"]) == 2


def test_a_primary_does_not_tell_its_region(replicated: Any, there: Any) -> None:
    """AWS: PrimaryRegion stands in every description; here in the replica's alone."""
    assert "PrimaryRegion" not in replicated.describe_secret(SecretId="db")
    assert there.describe_secret(SecretId="db")["PrimaryRegion"] == "eu-west-1"


def test_a_replica_tells_the_status_of_its_primary(replicated: Any, there: Any) -> None:
    """AWS: ReplicationStatus is the primary's to tell."""
    assert there.describe_secret(SecretId="db")["ReplicationStatus"]


def test_the_answer_to_a_replication_names_no_arn(db: Any) -> None:
    """AWS: the primary's ARN; here whatever the request said."""
    answer = db.replicate_secret_to_regions(SecretId="db", AddReplicaRegions=[{"Region": "us-east-1"}])
    assert answer["ARN"] == "db"


def test_a_policy_is_not_enforced(db: Any) -> None:
    """AWS: an explicit Deny stands above every Allow."""
    everybody = {"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*", "Resource": "*"}
    db.put_resource_policy(SecretId="db", ResourcePolicy=json.dumps({"Statement": [everybody]}))
    db.put_secret_value(SecretId="db", SecretString="two")


def test_a_replica_has_no_policy(replicated: Any, there: Any) -> None:
    """AWS: copies the primary's policy with the secret."""
    with refuses("InvalidParameterException"):
        there.get_resource_policy(SecretId="db")


def test_rotation_without_a_function_is_accepted(db: Any) -> None:
    """AWS: a rotation needs a function."""
    db.rotate_secret(SecretId="db")


def test_the_rotation_in_progress_guard_is_inverted(db: Any) -> None:
    """AWS: AWSPENDING beside AWSCURRENT is a finished rotation, elsewhere one in progress."""
    _move(db, "AWSPENDING", MoveToVersionId=T1)
    with refuses("InvalidRequestException", "still in progress"):
        db.rotate_secret(SecretId="db")
    db.put_secret_value(SecretId="db", SecretString="two", VersionStages=["AWSPENDING"])
    db.rotate_secret(SecretId="db")


def test_a_rotation_schedule_is_dropped(db: Any) -> None:
    """AWS: keeps ScheduleExpression and Duration, and turns rotation on."""
    rules = {"ScheduleExpression": "rate(10 days)", "Duration": "2h"}
    db.rotate_secret(SecretId="db", RotationRules=rules)
    described = db.describe_secret(SecretId="db")
    assert described["RotationRules"] == {"AutomaticallyAfterDays": 0}
    assert described["RotationEnabled"] is False


@pytest.fixture
def kms(moto_server: Moto) -> Any:
    return moto_server.client("kms")


@pytest.mark.parametrize("disabled", [True, False], ids=["disabled", "pending deletion"])
def test_a_key_out_of_use_still_encrypts(kms: Any, disabled: bool) -> None:
    """AWS: DisabledException, KMSInvalidStateException."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    if disabled:
        kms.disable_key(KeyId=key)
    else:
        kms.schedule_key_deletion(KeyId=key)
    kms.encrypt(KeyId=key, Plaintext=b"x")


def test_a_ciphertext_of_another_key_is_denied(kms: Any) -> None:
    """AWS: IncorrectKeyException."""
    first, second = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    blob = kms.encrypt(KeyId=first, Plaintext=b"x")["CiphertextBlob"]
    with refuses("AccessDeniedException"):
        kms.decrypt(KeyId=second, CiphertextBlob=blob)


def test_a_dry_run_is_performed(kms: Any) -> None:
    """AWS: DryRunOperationException."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)["CiphertextBlob"]


def test_a_multi_region_key_cannot_decrypt(kms: Any) -> None:
    """AWS: it decrypts in each of its regions; here its id does not fit the ciphertext's header."""
    key = kms.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refuses("AccessDeniedException"):
        kms.decrypt(CiphertextBlob=blob)


def test_a_key_has_no_usage_unless_it_was_given_one(kms: Any) -> None:
    """AWS: ENCRYPT_DECRYPT."""
    assert kms.create_key()["KeyMetadata"].get("KeyUsage") is None


def test_contexts_are_told_apart_by_their_text_alone(kms: Any) -> None:
    """AWS: each pair is authenticated as a pair; here all of them run together."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "bc"})["CiphertextBlob"]
    opened = kms.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext={"ab": "c"})
    assert opened["Plaintext"] == b"x"


def test_a_changed_key_id_is_a_denial(kms: Any) -> None:
    """AWS: InvalidCiphertextException."""
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    with refuses("AccessDeniedException"):
        kms.decrypt(KeyId=key, CiphertextBlob=b"0" * 36 + blob[36:])


def test_rsa_keys_do_not_encrypt_with_rsa(kms: Any) -> None:
    """AWS: a ciphertext as long as the modulus, and no context; here AES, whatever is asked for."""
    key = kms.create_key(KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    asked = {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256", "EncryptionContext": {"a": "b"}}
    assert len(kms.encrypt(KeyId=key, Plaintext=b"x", **asked)["CiphertextBlob"]) < 256
    assert kms.generate_data_key(KeyId=key, NumberOfBytes=32)["Plaintext"]


def test_a_digest_is_hashed_again(kms: Any) -> None:
    """AWS: MessageType DIGEST signs the digest as it is."""
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    asked = {"KeyId": key, "Message": bytes(32), "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256"}
    signed = [kms.sign(**asked, MessageType=kind)["Signature"] for kind in ("RAW", "DIGEST")]
    assert signed[0] == signed[1]


def test_a_public_key_comes_without_the_arn(kms: Any) -> None:
    """AWS: KeyId is the ARN in every answer."""
    key = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
    assert kms.get_public_key(KeyId=key)["KeyId"] == key
