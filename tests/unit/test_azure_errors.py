"""Every exception of the Azure SDKs and every code of Key Vault has its place in the table."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import ssl
from collections.abc import Mapping
from typing import Any

import azure.core
import azure.identity
import azure.keyvault.secrets
import msal  # type: ignore[import-untyped]
import pytest
import requests.exceptions
import urllib3.exceptions
from azure.core.exceptions import (
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom_azure._errors import CODES, code_in, named, translate
from strongroom_azure.key_vault import KeyVault
from tests.canary import CANARY, assert_no_canary_in


def _exceptions(package: Any) -> list[type[Exception]]:
    """Every public exception that a package defines, in whichever of its modules can be imported here."""
    found: dict[str, type[Exception]] = {}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _: None):
        if ".aio" in info.name or info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:  # an optional extra, such as the aiohttp transport or the Windows broker
            continue
        for name, kind in vars(module).items():
            if _is_own(kind, package.__name__) and not name.startswith("_"):
                found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return [found[name] for name in sorted(found)]


def _is_own(kind: Any, package: str) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__.startswith(package)
    )


EXCEPTIONS = [
    kind
    for package in (azure.core, azure.identity, azure.keyvault.secrets, msal)
    for kind in _exceptions(package)
]


class _Answer:
    """A response as the SDK's exceptions see it."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]):
        self.status_code, self.reason = status, "because"
        self.headers = {"x-ms-request-id": "5d0c-1", **headers}
        self._body = json.dumps(body) if body is not None else "<html>"

    def text(self) -> str:
        return self._body


def answered(
    status: int,
    code: str = "",
    inner: str = "",
    kind: type[HttpResponseError] = HttpResponseError,
    headers: Mapping[str, str] | None = None,
) -> HttpResponseError:
    error: dict[str, Any] = {"code": code, "message": f"The caller {CANARY} may not"}
    if inner:
        error["innererror"] = {"code": inner}
    answer: Any = _Answer(status, {"error": error} if code else None, headers or {})
    return kind(response=answer)


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_of_the_sdks_is_mapped(kind: type[Exception]) -> None:
    """A new one in a new release fails here, before it surprises anybody."""
    assert named(kind) is not None


def test_the_walk_finds_what_it_is_for() -> None:
    """Of each package at least the ones that everybody meets."""
    names = {kind.__name__ for kind in EXCEPTIONS}
    assert {"HttpResponseError", "ServiceRequestError", "CredentialUnavailableError", "MsalError"} <= names


@pytest.mark.parametrize(
    ("exc", "operation", "kind", "performed"),
    [
        (answered(404, "SecretNotFound", kind=ResourceNotFoundError), "get", SecretNotFoundError, False),
        (answered(403, "Forbidden", "SecretDisabled"), "get", SecretNotFoundError, False),
        (answered(403, "Forbidden", "ForbiddenByRbac"), "put", PermissionDeniedError, False),
        (answered(403, "Forbidden", "ForbiddenByPolicy"), "get", PermissionDeniedError, False),
        (answered(403, "Forbidden", "ForbiddenByFirewall"), "get", PermissionDeniedError, False),
        (answered(403, "Forbidden", "AccessDenied"), "get", PermissionDeniedError, False),
        (answered(401, "Unauthorized", kind=ClientAuthenticationError), "get", PermissionDeniedError, False),
        (answered(409, "Conflict", "ObjectIsDeletedButRecoverable", ResourceExistsError), "put",
         SecretConflictError, False),
        (answered(409, "Conflict", "ObjectIsBeingDeleted"), "put", SecretConflictError, False),
        (answered(409, "Conflict", kind=ResourceExistsError), "put", SecretConflictError, False),
        (answered(400, "BadParameter"), "put", InvalidRequestError, False),
        (answered(429, "Throttled"), "put", UnavailableError, False),
        (answered(500, "InternalServerError"), "put", UnavailableError, None),
        (answered(500), "get", UnavailableError, False),
        (answered(307), "put", UnavailableError, False),
        (answered(429), "get", UnavailableError, False),
        (ServiceResponseError("gone"), "put", UnavailableError, None),
        (DecodeError("no JSON"), "put", UnavailableError, None),
        (ClientAuthenticationError("no login"), "put", PermissionDeniedError, False),
    ],
)  # fmt: skip
def test_answers_become_the_errors_of_the_tree(
    exc: Exception, operation: str, kind: type[SecretStoreError], performed: bool | None
) -> None:
    """And a write says whether it can have happened."""
    error = KeyVault.error_for(exc, operation)
    assert type(error) is kind
    assert error.performed is performed
    assert_no_canary_in(error)


@pytest.mark.parametrize(("action", "role", "right"), [
    ("get", "Key Vault Secrets User", "secrets/get"), ("list", "Key Vault Secrets User", "secrets/list"),
    ("set", "Key Vault Secrets Officer", "secrets/set"),
    ("purge", "Key Vault Secrets Officer", "secrets/purge"),
    ("recover", "Key Vault Secrets Officer", "secrets/recover"),
])  # fmt: skip
def test_a_denial_names_the_role_and_the_right_that_lack(action: str, role: str, right: str) -> None:
    """Vaults work by roles or by access policies: whoever reads it has one of the two."""
    error = translate(answered(403, "Forbidden", "ForbiddenByRbac"), "put", action)
    assert error
    assert role in str(error)
    assert right in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 9.0),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_time_to_wait_is_taken_from_the_answer(headers: dict[str, str], seconds: float | None) -> None:
    """In seconds, or as a date beside the answer's own, so that clocks may differ."""
    error = translate(answered(429, "Throttled", headers=headers), "get")
    assert error
    assert error.retry_after == seconds


def _wrapped(inner: Exception) -> ServiceRequestError:
    """As the SDK's transport does it: requests around urllib3, the SDK around requests."""
    return ServiceRequestError("m", error=requests.exceptions.ConnectionError(inner))


@pytest.mark.parametrize(
    ("exc", "performed", "message"),
    [
        (_wrapped(urllib3.exceptions.NewConnectionError(None, "refused")), False, "cannot be reached"),  # type: ignore[arg-type]
        (_wrapped(ssl.SSLCertVerificationError(1, "bad certificate")), False, "TLS"),
        (_wrapped(urllib3.exceptions.ReadTimeoutError(None, "/", "slow body")), None, "did not answer"),  # type: ignore[arg-type]
        (_wrapped(urllib3.exceptions.ProtocolError("reset", ConnectionResetError())), None, "did not answer"),
        (ServiceRequestError("whatever"), None, "did not answer"),
    ],
)
def test_only_what_shows_that_nothing_was_sent_says_so(
    exc: Exception, performed: bool | None, message: str
) -> None:
    """The SDK says ServiceRequestError for an answer that broke off too: its name proves nothing."""
    error = translate(exc, "put")
    assert isinstance(error, UnavailableError)
    assert error.performed is performed
    assert message in error.message


def test_a_challenge_for_another_service_is_a_denial() -> None:
    """azure-keyvault refuses it with a bare ValueError, before it asks for a token."""
    error = translate(ValueError("The challenge resource 'x' does not match the requested domain."), "get")
    assert isinstance(error, PermissionDeniedError)
    assert translate(ValueError("anything else"), "get") is None


def test_what_is_not_azures_is_left_alone() -> None:
    """The table claims nothing else."""
    assert translate(KeyError("x"), "get") is None


def test_the_code_that_is_shown_is_a_known_one() -> None:
    """Anything else might be text of a caller's."""
    assert code_in(answered(403, "Forbidden", "SecretDisabled")) == "SecretDisabled"
    assert code_in(answered(400, CANARY)) is None
    assert set(CODES) >= {"SecretNotFound", "SecretDisabled", "ObjectIsDeletedButRecoverable"}
