"""Where moto 5.2's Parameter Store differs from AWS: if a test fails, moto was mended there.

The truth is botocore's API model of ssm 2014-11-06, by operation and member. What no test of a backend could
otherwise see, `tests/servers/moto_mended_ssm.py` mends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.strict_aws_support import refuses

if TYPE_CHECKING:
    from tests.servers.moto import Moto


@pytest.fixture
def ssm(moto_server: Moto) -> Any:
    client = moto_server.client("ssm")
    client.put_parameter(Name="/a/b", Value="one", Type="SecureString", Description="users")
    return client


def _put(ssm: Any, **request: Any) -> Any:
    return ssm.put_parameter(
        **{"Name": "/a/b", "Value": "x", "Type": "SecureString", "Overwrite": True} | request
    )


def test_a_standard_parameter_takes_any_size(ssm: Any) -> None:
    """AWS: 4 KB, 8 KB as an advanced one (PutParameter: Tier). Mended."""
    assert _put(ssm, Value="x" * 100_000, Tier="Standard")["Tier"] == "Standard"


def test_a_nested_parameter_is_stored(ssm: Any) -> None:
    """AWS: "You can't include values wrapped in double brackets" (PutParameter: Value). Mended."""
    assert _put(ssm, Value="{{ssm:other}}")["Version"] == 2


def test_a_name_is_anything(ssm: Any) -> None:
    """AWS: letters, digits and _.-/ (PutParameter: Name). Mended."""
    assert _put(ssm, Name="/ä b")["Version"] == 1


def test_a_hierarchy_has_any_depth(ssm: Any) -> None:
    """AWS: fifteen levels (HierarchyLevelLimitExceededException). Mended."""
    assert _put(ssm, Name="/a" * 16)["Version"] == 1


def test_a_parameter_changes_its_type(ssm: Any) -> None:
    """AWS: "doesn't support changing a parameter type" (HierarchyTypeMismatchException). Mended."""
    assert _put(ssm, Type="String")["Version"] == 2


def test_an_advanced_parameter_becomes_a_standard_one(ssm: Any) -> None:
    """AWS: "you can't revert an advanced parameter to a standard parameter" (PutParameter: Tier). Mended."""
    _put(ssm, Tier="Advanced")
    assert _put(ssm, Tier="Standard")["Tier"] == "Standard"


def test_a_put_without_a_key_keeps_the_last_key(ssm: Any) -> None:
    """AWS: "If you don't specify a key ID, the system uses the default key" (PutParameter: KeyId). Mended."""
    _put(ssm, KeyId="alias/mine")
    _put(ssm)
    assert ssm.describe_parameters()["Parameters"][0]["KeyId"] == "alias/mine"


def test_a_key_need_not_exist(ssm: Any) -> None:
    """AWS: InvalidKeyId (PutParameter: errors)."""
    assert _put(ssm, KeyId="alias/no-such-key")["Version"] == 2


def test_a_pattern_is_not_looked_at(ssm: Any) -> None:
    """AWS: the value is validated against it (PutParameter: AllowedPattern)."""
    assert _put(ssm, Value="letters", AllowedPattern=r"^\d+$")["Version"] == 2


def test_a_put_without_a_description_keeps_the_last_one(ssm: Any) -> None:
    """AWS does not say; the console saves the one it shows. A mark counts on its own version only."""
    _put(ssm)
    history = ssm.get_parameter_history(Name="/a/b")["Parameters"]
    assert [version["Description"] for version in history] == ["users", "users"]


def test_the_intelligent_tier_stays_unresolved(ssm: Any) -> None:
    """AWS: decides for standard or advanced, and tells (PutParameter: Tier)."""
    assert _put(ssm, Tier="Intelligent-Tiering")["Tier"] == "Intelligent-Tiering"


def test_a_deleted_name_is_free_at_once(ssm: Any) -> None:
    """AWS: "wait for at least 30 seconds to create a parameter with the same name" (DeleteParameter)."""
    ssm.delete_parameter(Name="/a/b")
    assert _put(ssm, Overwrite=False)["Version"] == 1


def test_a_reserved_label_is_taken_in_capitals(ssm: Any) -> None:
    """AWS: "Labels can't begin with a number, aws or ssm (not case sensitive)" (LabelParameterVersion)."""
    assert ssm.label_parameter_version(Name="/a/b", Labels=["aws-x"])["InvalidLabels"] == ["aws-x"]
    assert ssm.label_parameter_version(Name="/a/b", Labels=["AWS-x"])["InvalidLabels"] == []


def test_a_label_that_is_too_long_is_raised(ssm: Any) -> None:
    """AWS: it is listed in InvalidLabels like any other bad one (LabelParameterVersion)."""
    with refuses("ValidationException"):
        ssm.label_parameter_version(Name="/a/b", Labels=["x" * 101])


def test_a_label_for_what_is_missing_breaks_the_name(ssm: Any) -> None:
    """AWS: ParameterNotFound, now and later; here every later read is an internal error. Mended."""
    with refuses("ParameterNotFound"):
        ssm.label_parameter_version(Name="/missing/x", Labels=["x"])
    with pytest.raises(ClientError) as caught:
        ssm.get_parameter(Name="/missing/x")
    assert caught.value.response["Error"]["Code"] != "ParameterNotFound"


def test_a_page_of_descriptions_has_ten_whatever_is_asked(ssm: Any) -> None:
    """AWS: up to 50 (DescribeParameters: MaxResults)."""
    for number in range(11):
        _put(ssm, Name=f"/many/{number}")
    assert len(ssm.describe_parameters(MaxResults=50)["Parameters"]) == 10


def test_tags_of_a_one_level_parameter_outlive_it(ssm: Any) -> None:
    """AWS: a deleted parameter leaves nothing."""
    resource = {"ResourceType": "Parameter", "ResourceId": "/top"}
    _put(ssm, Name="/top")
    ssm.add_tags_to_resource(**resource, Tags=[{"Key": "team", "Value": "core"}])
    ssm.delete_parameter(Name="/top")
    _put(ssm, Name="/top")
    assert ssm.list_tags_for_resource(**resource)["TagList"] == [{"Key": "team", "Value": "core"}]


def test_what_moto_gets_right(ssm: Any) -> None:
    """Create-only, empty values, and the label that blocks the hundred-and-first version."""
    with refuses("ParameterAlreadyExists"):
        _put(ssm, Overwrite=False)
    with refuses("ValidationException"):
        _put(ssm, Value="")
    ssm.label_parameter_version(Name="/a/b", ParameterVersion=1, Labels=["keep"])
    for _ in range(99):
        _put(ssm)
    with refuses("ParameterMaxVersionLimitExceeded"):
        _put(ssm)
