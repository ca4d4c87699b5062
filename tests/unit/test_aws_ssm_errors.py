"""Every refusal of Parameter Store has its place in the tree of errors; how a store opens is checked."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from strongroom.backend import Capability, Settings
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import Companion, Name
from strongroom.registry import open_backend
from strongroom_aws._errors import CODES
from strongroom_aws._ssm import CODES as OWN
from strongroom_aws.parameter_store import ParameterStore
from tests.canary import CANARY, assert_no_canary_in

MODEL = botocore.session.Session().get_service_model("ssm")
CALLS = (
    "AddTagsToResource", "DeleteParameter", "DescribeParameters", "GetParameter", "GetParameterHistory",
    "GetParameters", "ListTagsForResource", "PutParameter", "RemoveTagsFromResource",
)  # fmt: skip
SHAPES = sorted({shape.name for call in CALLS for shape in MODEL.operation_model(call).error_shapes})


def _error(
    code: str, operation: str = "put", action: str = "PutParameter", headers: dict[str, str] | None = None
) -> SecretStoreError:
    answered: Any = {
        "Error": {"Code": code, "Message": CANARY},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "req-1", "HTTPHeaders": headers or {}},
    }
    error = ParameterStore.error_for(ClientError(answered, action), operation)
    assert error
    assert_no_canary_in(error)
    return error


@pytest.mark.parametrize("shape", SHAPES)
def test_every_error_of_the_calls_we_make_is_mapped(shape: str) -> None:
    """As the service's own model lists them for these operations."""
    assert shape in OWN or shape in CODES


@pytest.mark.parametrize(("code", "kind", "performed"), [
    ("ParameterNotFound", SecretNotFoundError, False),
    ("ParameterVersionNotFound", SecretNotFoundError, False),
    ("InvalidResourceId", SecretNotFoundError, False),
    ("ParameterAlreadyExists", SecretConflictError, False),
    ("HierarchyTypeMismatchException", InvalidRequestError, False),
    ("HierarchyLevelLimitExceededException", InvalidRequestError, False),
    ("ParameterPatternMismatchException", InvalidRequestError, False),
    ("ValidationException", InvalidRequestError, False),
    ("AccessDeniedException", PermissionDeniedError, False),
    ("InvalidKeyId", UnavailableError, False),
    ("ParameterLimitExceeded", UnavailableError, False),
    ("ParameterMaxVersionLimitExceeded", UnavailableError, False),
    ("TooManyUpdates", UnavailableError, False),
    ("ThrottlingException", UnavailableError, False),
    ("InternalServerError", UnavailableError, None),
])  # fmt: skip
def test_codes_become_the_errors_of_the_tree(
    code: str, kind: type[SecretStoreError], performed: bool | None
) -> None:
    """And a write says whether it can have happened."""
    error = _error(code)
    assert (type(error), error.performed, error.request_id) == (kind, performed, "req-1")


@pytest.mark.parametrize(("code", "retryable"), [
    ("TooManyUpdates", True), ("ThrottlingException", True), ("InternalServerError", True),
    ("InvalidKeyId", False), ("ParameterLimitExceeded", False), ("ParameterMaxVersionLimitExceeded", False),
])  # fmt: skip
def test_what_passes_by_itself_is_told_from_what_does_not(code: str, retryable: bool) -> None:
    """A label, a quota and a key need a person."""
    assert _error(code).retryable is retryable


@pytest.mark.parametrize("action", ["GetParameter", "GetParameters", "GetParameterHistory", "PutParameter"])
def test_a_denial_names_the_action_that_lacks(action: str) -> None:
    """Each way to read values is authorised by its own action."""
    assert f"allow ssm:{action}" in (_error("AccessDeniedException", "get", action).hint or "")


def test_a_denied_listing_says_that_it_cannot_be_narrowed() -> None:
    """DescribeParameters is granted for all parameters or none."""
    hint = _error("AccessDeniedException", "list", "DescribeParameters").hint or ""
    assert "ssm:DescribeParameters" in hint
    assert '"*"' in hint


def test_how_long_aws_asks_to_wait_is_told() -> None:
    """Whole seconds; a date, or anything else, is left aside."""
    assert _error("ThrottlingException", headers={"retry-after": "7"}).retry_after == 7.0
    assert _error("ThrottlingException", headers={"retry-after": "Wed, 21 Oct 2026"}).retry_after is None
    assert _error("ThrottlingException").retry_after is None


class TestOpening:
    @pytest.mark.parametrize("url", [
        "aws-ssm://evil.example.com/x", "aws-ssm:///x", "aws-ssm://eu-west-1/a/../b", "aws-ssm://eu-west-1/aws",
        "aws-ssm://eu-west-1/x?tier=advanced", "aws-ssm://eu-west-1/x?endpoint=https://example.com",
        "aws-ssm://eu-west-1/_strongroom",
    ])  # fmt: skip
    def test_a_wrong_url_is_refused(self, url: str) -> None:
        """Before anything is sent; a place that no parameter may have, too."""
        with pytest.raises(InvalidRequestError):
            open_backend(url)

    @pytest.mark.parametrize("options", [
        {"tier": "premium"}, {"key_id": "a b"}, {"key_id": 1}, {"account": "123"}, {"account": 123456789012},
        {"label": "x"},
    ])  # fmt: skip
    def test_a_wrong_option_is_refused(self, options: dict[str, Any]) -> None:
        """With what there is."""
        with pytest.raises(InvalidRequestError):
            open_backend("aws-ssm://eu-west-1/x", Settings(options=options))

    @pytest.mark.parametrize(
        ("tier", "limit"), [("standard", 3072), ("advanced", 7168), ("intelligent", 7168)]
    )
    def test_the_limit_leaves_room_for_a_companions_frame(self, tier: str, limit: int) -> None:
        """4 or 8 KB, less what a rotation adds; a companion may take it all."""
        store = open_backend("aws-ssm://eu-west-1/x", Settings(options={"tier": tier}))
        name = Name("db/password")
        assert (store.limit(name), store.limit(Companion(name))) == (limit, limit + 1024)

    def test_what_it_can_do_depends_on_a_coordinator(self) -> None:
        """There is no bin, and no staging label that holds a pending value."""
        alone = open_backend("aws-ssm://eu-west-1/x").capabilities
        assert Capability.CREATE_ONLY in alone
        assert not alone & (Capability.CAS_GUARDED | Capability.CAS | Capability.DELETE)

    def test_an_account_tells_two_stores_of_one_coordinator_apart(self) -> None:
        """A lease is taken on the canonical place."""
        stores = [
            open_backend("aws-ssm://eu-west-1/x", Settings(options={"account": account}))
            for account in ("111111111111", "222222222222")
        ]
        assert len({store.locate(Name("db")) for store in stores}) == 2


def test_a_key_that_is_denied_is_named_and_not_the_parameter() -> None:
    """KMS refuses in the words of Parameter Store's own code."""
    answered: Any = {
        "Error": {
            "Code": "AccessDeniedException",
            "Message": f"not authorized: kms:Decrypt {CANARY}",
        },
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }
    error = ParameterStore.error_for(ClientError(answered, "GetParameter"), "get")
    assert isinstance(error, PermissionDeniedError)
    assert "kms:Decrypt" in str(error)
    assert_no_canary_in(error)
