"""One table from what Google's SDKs raise to Strongroom's errors. Its text may quote requests and ends here.

Codes: https://cloud.google.com/apis/design/errors and google/rpc/code.proto. Texts are only compared.
"""

from __future__ import annotations

import re
from typing import Any, Final

import grpc
from google.api_core import exceptions as api_core

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

WRITES: Final = frozenset(
    {"put", "purge", "delete", "restore", "retire", "set_tags", "put_pending", "promote_pending"}
    | {"discard_pending"}
)
"""The interface's operations that change something."""

_LOST = "lost"
CODES: Final[dict[str, str]] = {
    "ABORTED": "raced",
    "ALREADY_EXISTS": "exists",
    "CANCELLED": _LOST,
    "DATA_LOSS": _LOST,
    "DEADLINE_EXCEEDED": _LOST,
    "FAILED_PRECONDITION": "state",
    "INTERNAL": _LOST,
    "INVALID_ARGUMENT": "request",
    "NOT_FOUND": "missing",
    "OUT_OF_RANGE": "request",
    "PERMISSION_DENIED": "denied",
    "RESOURCE_EXHAUSTED": "throttled",
    "UNAUTHENTICATED": "credentials",
    "UNAVAILABLE": _LOST,
    "UNIMPLEMENTED": "endpoint",
    "UNKNOWN": _LOST,
}
"""What each status code but OK means. UNAVAILABLE may come after the request was sent."""

_API: Final = {
    "raced": "Aborted",
    "exists": "AlreadyExists Conflict",
    _LOST: "BadGateway Cancelled DataLoss DeadlineExceeded GatewayTimeout InternalServerError RetryError "
    "ServerError ServiceUnavailable Unknown ResumableTransferError TransferStalledError GoogleAPICallError",
    "state": "FailedPrecondition PreconditionFailed",
    "request": "BadRequest ClientError InvalidArgument LengthRequired MethodNotAllowed OutOfRange "
    "RequestRangeNotSatisfiable",
    "missing": "NotFound",
    "denied": "Forbidden PermissionDenied",
    "throttled": "ResourceExhausted TooManyRequests",
    "credentials": "Unauthenticated Unauthorized",
    "endpoint": "MethodNotImplemented",
    "redirected": "MovedPermanently NotModified Redirection ResumeIncomplete TemporaryRedirect",
    "misuse": "AsyncRestUnsupportedParameterError DuplicateCredentialArgs GoogleAPIError "
    "MissingStatusHeaderError UnseekableStreamError UploadCancelledError",
}
_AUTH: Final = {
    "no credentials": "GoogleAuthError RefreshError DefaultCredentialsError UserAccessTokenError "
    "ReauthFailError ReauthSamlChallengeFailError ImpersonateError OAuthError",
    "unreachable": "TransportError TimeoutError InvalidOperation ResponseError",
    "misuse": "ClientCertError MutualTLSChannelError InvalidResource InvalidType InvalidValue "
    "MalformedError OSError",
}
CLASSES: Final[dict[str, str]] = {
    **{f"google.api_core.exceptions.{name}": kind for kind, names in _API.items() for name in names.split()},
    **{f"google.auth.exceptions.{name}": kind for kind, names in _AUTH.items() for name in names.split()},
    "grpc.RpcError": _LOST,
    "grpc.FutureCancelledError": _LOST,
    "grpc.FutureTimeoutError": _LOST,
}
"""What each of the SDKs' exceptions means; a class that is not named means what its nearest base does."""

_NEVER_SENT: Final = re.compile(
    r"failed to connect to all addresses|connections to all backends failing|(dns|name) resolution fail",
    re.IGNORECASE,
)
"""What gRPC itself says of a call that found no connection (grpc/src/core/load_balancing)."""
_STATE: Final = re.compile(r"\bin (DISABLED|DESTROYED) state")
_KEY: Final = re.compile(r"\b(KMS|CMEK|CryptoKey)", re.IGNORECASE)

_SECRET = "roles/secretmanager."  # noqa: S105  https://cloud.google.com/secret-manager/docs/access-control
ROLES: Final[dict[str, str]] = {
    "AccessSecretVersion": _SECRET + "secretAccessor",
    "AddSecretVersion": _SECRET + "secretVersionAdder",
    "CreateSecret": _SECRET + "admin",
    "DeleteSecret": _SECRET + "admin",
    "DestroySecretVersion": _SECRET + "secretVersionManager",
    "GetSecret": _SECRET + "viewer",
    "GetSecretVersion": _SECRET + "viewer",
    "ListSecretVersions": _SECRET + "viewer",
    "ListSecrets": _SECRET + "viewer on the project",
    "UpdateSecret": _SECRET + "admin",
}
"""The least of Google's own roles that grants a method of Secret Manager."""


def meaning(kind: type[BaseException]) -> str | None:
    """What a class of exception means, by the nearest named one in its order of resolution."""
    names = (_qualified(base) for base in kind.__mro__)
    return next((CLASSES[name] for name in names if name in CLASSES), None)


def code_in(exc: BaseException) -> str | None:
    """The name of the gRPC status in an exception, if it has one; it is safe to show."""
    status = getattr(exc, "grpc_status_code", None)
    if isinstance(exc, grpc.RpcError) and callable(getattr(exc, "code", None)):
        status = exc.code()
    return status.name if isinstance(status, grpc.StatusCode) else None


def fault_of(exc: BaseException) -> ProviderFault:
    """What may be said of an exception; its code is a version's state where that was the reason."""
    found = _STATE.search(_text(exc))
    return ProviderFault(type(exc).__name__, code=found[1] if found else code_in(exc))


def code_of(error: SecretStoreError) -> str | None:
    """The code behind an error of ours."""
    return error.__cause__.code if isinstance(error.__cause__, ProviderFault) else None


def translate(exc: BaseException, operation: str, role: str | None = None) -> SecretStoreError | None:
    """The error for what an SDK of Google's raised; None for what is not theirs.

    Args:
        exc: the exception.
        operation: of the interface; says whether something may have been changed.
        role: what to grant if it was a denial.
    """
    if isinstance(exc, grpc.RpcError):
        unfold: Any = api_core.from_grpc_error
        exc = unfold(exc)  # it finds the details of Google's error model in the answer
    found = CODES.get(code_in(exc) or "") or meaning(type(exc))
    if found is None:
        return None
    text = _text(exc)
    if found == _LOST and code_in(exc) == "UNAVAILABLE" and _NEVER_SENT.match(text):
        found = "unreachable"
    error = _error(found, type(exc).__name__, text, operation in WRITES)
    if found == "denied":
        error.hint = _lacking(exc, role)
    error.retry_after = _retry_after(exc)
    return error


def _error(found: str, kind: str, text: str, writes: bool) -> SecretStoreError:
    if found in _MISTAKES:
        error, message, hint = _MISTAKES[found]
        return error(f"{message} ({kind})" if found == "misuse" else message, hint=hint)
    if found == "state":
        return _by_state(text, writes)
    if found == _LOST:
        return UnavailableError("Google did not answer", performed=None if writes else False)
    return UnavailableError("Google answered with a redirect, which is not followed", retryable=False)


_MISTAKES: Final[dict[str, tuple[type[SecretStoreError], str, str | None]]] = {
    "credentials": (PermissionDeniedError, "Google did not accept the credentials", "log in again"),
    "denied": (PermissionDeniedError, "Google denied the request", None),
    "endpoint": (
        InvalidRequestError,
        "the service at this endpoint does not have the method",
        "check the endpoint",
    ),
    "exists": (SecretConflictError, "exists already", None),
    "misuse": (InvalidRequestError, "Google's SDK refused the request or its configuration", None),
    "missing": (SecretNotFoundError, "no such secret or version", None),
    "no credentials": (
        PermissionDeniedError,
        "no usable Google credentials",
        "run `gcloud auth application-default login`, or name credentials in strongroom.toml",
    ),
    "raced": (UnavailableError, "another request to the same resource came between", None),
    "request": (InvalidRequestError, "Google refused the request's parameters", None),
    "throttled": (UnavailableError, "Google throttles this project", "call less often, or raise the quota"),
    "unreachable": (UnavailableError, "Google cannot be reached", "check endpoint and network"),
}


def _by_state(text: str, writes: bool) -> SecretStoreError:
    if _KEY.search(text):
        return UnavailableError(
            "the secret's KMS key cannot be used", retryable=False, hint="is it enabled, and granted?"
        )
    if writes:
        return SecretConflictError("the secret is not in the state the request needs", hint="read it again")
    hint = "enable it, or put a new one" if "DISABLED" in text else None
    return SecretNotFoundError("the version is disabled or destroyed", hint=hint)


def _lacking(exc: BaseException, role: str | None) -> str:
    if getattr(exc, "reason", None) == "SERVICE_DISABLED":
        return "enable the API in the project"
    return f"grant {role}" if role else "grant the role that the operation needs"


def _retry_after(exc: BaseException) -> float | None:
    """Seconds, as google.rpc.RetryInfo in the answer asks."""
    for detail in getattr(exc, "details", None) or ():
        delay: Any = getattr(detail, "retry_delay", None)
        if delay is not None:
            return float(delay.seconds) + float(delay.nanos) / 1e9
    return None


def _text(exc: BaseException) -> str:
    if isinstance(exc, grpc.RpcError):
        details = getattr(exc, "details", None)
        return str(details() if callable(details) else "")
    return str(getattr(exc, "message", ""))


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
