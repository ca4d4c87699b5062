"""Every exception of Google's SDKs has its place in the table, and none of their text gets through."""

from __future__ import annotations

import importlib
import inspect

import google.api_core.exceptions as api
import google.auth.exceptions as auth
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom_gcp._errors import CLASSES, CODES, ROLES, fault_of, meaning, translate
from strongroom_gcp.secret_manager import SecretManager
from tests.canary import CANARY, assert_no_canary_in

EXCEPTIONS = [
    found
    for module in (api, auth, grpc)
    for found in vars(module).values()
    if inspect.isclass(found) and issubclass(found, Exception) and not issubclass(found, Warning)
]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_of_the_sdks_is_mapped(kind: type[Exception]) -> None:
    """A new one in a new release fails here, before it surprises anybody."""
    assert f"{kind.__module__}.{kind.__qualname__}" in CLASSES
    assert meaning(kind) == CLASSES[f"{kind.__module__}.{kind.__qualname__}"]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_no_class_in_the_table_is_misspelt_or_gone_unnoticed(name: str) -> None:
    """A name that newer releases dropped may stay for the older ones, as long as its module exists."""
    module, _, _ = name.rpartition(".")
    importlib.import_module(module)


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_code_is_mapped(code: str) -> None:
    """As gRPC lists them."""
    assert code in CODES


@pytest.mark.parametrize(
    ("kind", "operation", "expected", "performed"),
    [
        (api.NotFound, "get", SecretNotFoundError, False),
        (api.AlreadyExists, "put", SecretConflictError, False),
        (api.FailedPrecondition, "put", SecretConflictError, False),
        (api.FailedPrecondition, "get", SecretNotFoundError, False),
        (api.Aborted, "put", UnavailableError, False),
        (api.InvalidArgument, "put", InvalidRequestError, False),
        (api.PermissionDenied, "get", PermissionDeniedError, False),
        (api.Unauthenticated, "put", PermissionDeniedError, False),
        (api.ResourceExhausted, "put", UnavailableError, False),
        (api.DeadlineExceeded, "put", UnavailableError, None),
        (api.DeadlineExceeded, "get", UnavailableError, False),
        (api.ServiceUnavailable, "put", UnavailableError, None),
        (api.InternalServerError, "put", UnavailableError, None),
        (api.MethodNotImplemented, "get", InvalidRequestError, False),
        (auth.DefaultCredentialsError, "get", PermissionDeniedError, False),
        (auth.RefreshError, "get", PermissionDeniedError, False),
        (auth.TransportError, "put", UnavailableError, False),
    ],
)
def test_exceptions_become_the_errors_of_the_tree(
    kind: type[Exception], operation: str, expected: type[SecretStoreError], performed: bool | None
) -> None:
    """And a write says whether it can have happened."""
    error = SecretManager.error_for(kind("why"), operation)
    assert type(error) is expected
    assert error.performed is performed


def test_a_call_that_found_no_connection_was_never_sent() -> None:
    """gRPC says UNAVAILABLE for both; what it says of itself tells them apart."""
    unsent = translate(_unavailable("failed to connect to all addresses; last error: refused"), "put")
    lost = translate(_unavailable("Socket closed"), "put")
    assert unsent
    assert lost
    assert (unsent.performed, lost.performed) == (False, None)


def _unavailable(message: str) -> api.ServiceUnavailable:
    return api.from_grpc_status(grpc.StatusCode.UNAVAILABLE, message)  # type: ignore[no-any-return]


def test_retry_info_is_what_the_caller_waits() -> None:
    """google.rpc.RetryInfo, to the fraction of a second."""
    wait = Duration(seconds=1, nanos=500_000_000)
    throttled = api.ResourceExhausted("slow", details=[error_details_pb2.RetryInfo(retry_delay=wait)])
    error = translate(throttled, "put")
    assert error
    assert error.retry_after == 1.5


@pytest.mark.parametrize("method", sorted(ROLES))
def test_a_denial_names_the_role_that_lacks(method: str) -> None:
    """The least of Google's own roles that holds the permission."""
    error = translate(api.PermissionDenied("no"), "get", ROLES[method])
    assert error
    assert f"grant roles/secretmanager.{ROLES[method].removeprefix('roles/secretmanager.')}" in str(error)


def test_a_disabled_api_is_told_from_a_lacking_role() -> None:
    """Both are PERMISSION_DENIED; the reason in ErrorInfo says which."""
    info = error_details_pb2.ErrorInfo(reason="SERVICE_DISABLED", domain="googleapis.com")
    denied = api.PermissionDenied("no", details=[info], error_info=info)
    error = translate(denied, "get", ROLES["GetSecret"])
    assert error
    assert "enable the API" in str(error)


def test_a_kms_key_that_cannot_be_used_is_no_missing_version() -> None:
    """FAILED_PRECONDITION stands for both; retrying helps neither."""
    error = translate(api.FailedPrecondition("Cloud KMS key is disabled"), "get")
    assert isinstance(error, UnavailableError)
    assert not error.retryable


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
def test_a_versions_state_is_kept_as_the_code(state: str) -> None:
    """It is one of two words, so it may be shown."""
    fault = fault_of(api.FailedPrecondition(f"Secret Version [projects/1/…] is in {state} state."))
    assert fault.code == state


@pytest.mark.parametrize("kind", [*api.GoogleAPICallError.__subclasses__(), auth.RefreshError])
def test_no_text_of_the_provider_gets_through(kind: type[Exception]) -> None:
    """Google quotes requests in its messages."""
    error = translate(kind(f"invalid payload {CANARY}"), "put")
    assert error
    assert_no_canary_in(error)


def test_what_is_not_googles_is_left_alone() -> None:
    """The table claims nothing else."""
    assert translate(KeyError("x"), "get") is None
