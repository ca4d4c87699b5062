"""Every exception of boto and every error code of the service has its place in the table."""

from __future__ import annotations

import inspect
from typing import Any

import botocore.exceptions
import botocore.parsers
import botocore.session
import pytest

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom_aws import _kms, _secrets, _ssm
from strongroom_aws._errors import CODES, meaning
from strongroom_aws._service import Service
from strongroom_aws.secrets_manager import SecretsManager
from tests.canary import CANARY, assert_no_canary_in

SERVICES = (_kms.SERVICE, _secrets.SERVICE, _ssm.SERVICE)
EXCEPTIONS = [
    found
    for module in (botocore.exceptions, botocore.parsers)
    for found in vars(module).values()
    if inspect.isclass(found) and issubclass(found, Exception) and not issubclass(found, Warning)
    if found.__module__ == module.__name__ and found is not botocore.exceptions.BotoCoreError
]
MODELS = {service.name: botocore.session.Session().get_service_model(service.name) for service in SERVICES}
SHAPES = {("secretsmanager", shape.name) for shape in MODELS["secretsmanager"].error_shapes} | {
    (service.name, shape.name)
    for service in SERVICES
    for action in service.answers
    for shape in MODELS[service.name].operation_model(action).error_shapes
}


def answer(code: str, message: str = "", status: int = 400) -> botocore.exceptions.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-1"},
    }
    return botocore.exceptions.ClientError(response, "GetSecretValue")


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_is_mapped(kind: type[Exception]) -> None:
    """A new one in a new botocore fails here, before it surprises anybody."""
    assert meaning(kind) is not None


@pytest.mark.parametrize(("name", "shape"), sorted(SHAPES))
def test_every_error_code_of_the_services_is_mapped(name: str, shape: str) -> None:
    """As the service's own model lists them for the actions that are called, of Secrets Manager all."""
    [service] = [service for service in SERVICES if service.name == name]
    assert shape in CODES or shape in service.codes


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_field_that_tells_an_answer_is_one_of_the_services(service: Service) -> None:
    """A typing error there would call every answer a stranger's."""
    for action, field in service.answers.items():
        output = MODELS[service.name].operation_model(action).output_shape
        assert output is not None
        assert field in output.members


@pytest.mark.parametrize(
    ("code", "operation", "kind", "performed"),
    [
        ("ResourceNotFoundException", "get", SecretNotFoundError, False),
        ("ResourceExistsException", "put", SecretConflictError, False),
        ("InvalidRequestException", "put", SecretConflictError, False),
        ("InvalidRequestException", "get", SecretNotFoundError, False),
        ("InvalidParameterException", "put", InvalidRequestError, False),
        ("AccessDeniedException", "get", PermissionDeniedError, False),
        ("ExpiredTokenException", "get", PermissionDeniedError, False),
        ("UnrecognizedClientException", "put", PermissionDeniedError, False),
        ("ThrottlingException", "put", UnavailableError, False),
        ("InternalServiceError", "put", UnavailableError, None),
        ("InternalServiceError", "get", UnavailableError, False),
        ("DecryptionFailure", "get", UnavailableError, False),
        ("LimitExceededException", "put", UnavailableError, False),
    ],
)
def test_codes_become_the_errors_of_the_tree(
    code: str, operation: str, kind: type[SecretStoreError], performed: bool | None
) -> None:
    """And a write says whether it can have happened."""
    error = SecretsManager.error_for(answer(code), operation)
    assert type(error) is kind
    assert (error.performed, error.request_id) == (performed, "req-1")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, UnavailableError), (429, UnavailableError), (403, PermissionDeniedError), (307, UnavailableError)],
)
def test_an_unknown_code_goes_by_its_status(status: int, kind: type[SecretStoreError]) -> None:
    """A proxy's or a front end's answer has a status at least."""
    assert type(SecretsManager.error_for(answer("Novel", status=status), "get")) is kind


def test_a_denial_names_the_grant_that_lacks() -> None:
    """The IAM action, or the KMS one where KMS refused."""
    denied = SecretsManager.error_for(answer("AccessDeniedException", "User is not authorized"), "get")
    assert denied
    assert "secretsmanager:GetSecretValue" in str(denied)
    kms = SecretsManager.error_for(answer("AccessDeniedException", "Access to KMS is not allowed"), "get")
    assert kms
    assert "kms:Decrypt" in str(kms)


@pytest.mark.parametrize("exc", [
    answer("ValidationException", f"Value '{CANARY}' at 'secretString' failed"),
    botocore.exceptions.ParamValidationError(report=f"Invalid type, value: {CANARY}"),
    botocore.exceptions.ReadTimeoutError(endpoint_url=CANARY),
])  # fmt: skip
def test_no_text_of_the_provider_gets_through(exc: Exception) -> None:
    """botocore's ParamValidationError prints the value it refuses, and AWS quotes requests."""
    error = SecretsManager.error_for(exc, "put")
    assert error
    assert_no_canary_in(error)


def test_what_is_not_botos_is_left_alone() -> None:
    """The table claims nothing else."""
    assert SecretsManager.error_for(KeyError("x"), "get") is None
