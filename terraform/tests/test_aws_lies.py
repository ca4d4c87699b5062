"""What moto 5.2 forgets, so that a plan would never be empty: if a test fails, `aws.py` need not mend it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.servers.moto import Moto

_DEAD = "arn:aws:sqs:eu-west-1:123456789012:dead"


def test_a_rotations_schedule_is_forgotten(moto_server: Moto) -> None:
    """AWS: tells the rules as they were given, and that rotation is on."""
    client = moto_server.client("secretsmanager")
    client.create_secret(Name="db", SecretString="one")
    client.rotate_secret(SecretId="db", RotationRules={"ScheduleExpression": "rate(30 days)"})
    told = client.describe_secret(SecretId="db")
    assert (told["RotationEnabled"], told["RotationRules"]) == (False, {"AutomaticallyAfterDays": 0})


def test_a_functions_dead_letters_are_forgotten(moto_server: Moto) -> None:
    """AWS: tells where they go."""
    moto_server.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument="{}")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("main.py", "")
    client = moto_server.client("lambda")
    client.create_function(
        FunctionName="rotate", Runtime="python3.13", Role="arn:aws:iam::123456789012:role/function",
        Handler="main.handler", Code={"ZipFile": code.getvalue()}, DeadLetterConfig={"TargetArn": _DEAD},
    )  # fmt: skip
    assert "DeadLetterConfig" not in client.get_function_configuration(FunctionName="rotate")


@pytest.fixture
def keys(moto_server: Moto) -> tuple[Any, Any, str]:
    """Clients of two regions, and the id of a multi-Region key with an alias in the first and a replica."""
    here, there = moto_server.client("kms"), moto_server.client("kms", "us-east-1")
    key = here.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    here.create_alias(AliasName="alias/app", TargetKeyId=key)
    policy = json.dumps({"Statement": []})
    here.replicate_key(KeyId=key, ReplicaRegion="us-east-1", Policy=policy, Description="There")
    return here, there, key


def test_a_replica_takes_the_keys_being_primary_away(keys: tuple[Any, Any, str]) -> None:
    """AWS: the key that was replicated stays the primary."""
    here, there, key = keys
    there.describe_key(KeyId=key)
    told = here.describe_key(KeyId=key)["KeyMetadata"]["MultiRegionConfiguration"]
    assert told["MultiRegionKeyType"] == "REPLICA"


def test_a_replica_has_the_primarys_policy_description_and_aliases(keys: tuple[Any, Any, str]) -> None:
    """AWS: has those that ReplicateKey was given, and no alias in its region."""
    _, there, key = keys
    assert json.loads(there.get_key_policy(KeyId=key, PolicyName="default")["Policy"])["Statement"]
    assert there.describe_key(KeyId=key)["KeyMetadata"]["Description"] != "There"
    with pytest.raises(there.exceptions.AlreadyExistsException):
        there.create_alias(AliasName="alias/app", TargetKeyId=key)
