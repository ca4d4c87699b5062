"""One table from what the Azure SDKs raise to Strongroom's errors. Azure's text quotes callers and requests:
none gets by.

Codes: https://learn.microsoft.com/azure/key-vault/general/rest-error-codes and common-error-codes.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests.exceptions
import urllib3.exceptions

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)

READS: Final = frozenset(
    {"get", "get_many", "list", "versions", "versions_after", "describe", "get_pending", "open", "close"}
)
"""The interface's operations that change nothing."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[SecretStoreError]
    message: str
    hint: str | None = None
    lost: bool = False  # a write may have happened all the same
    retryable: bool | None = None


_REQUEST = _Meaning(InvalidRequestError, "Key Vault refused the request's parameters")
_CREDENTIALS = _Meaning(PermissionDeniedError, "Azure did not accept the credentials", "log in again")
_NO_CREDENTIALS = _Meaning(
    PermissionDeniedError,
    "no usable Azure credentials",
    "log in (az login), run with a managed identity, or name credentials in strongroom.toml",
)
_DENIED = _Meaning(PermissionDeniedError, "Key Vault denied the request")
_FIREWALL = _Meaning(
    PermissionDeniedError,
    "the vault's firewall does not admit this address",
    "admit it, or use its private link",
)
_MISSING = _Meaning(SecretNotFoundError, "no such secret or version")
_DISABLED = _Meaning(
    SecretNotFoundError, "the version is disabled", "enable it again, or write a new version"
)
_IN_THE_BIN = _Meaning(SecretConflictError, "the name is in the bin", "restore or purge it first")
_MOVING = _Meaning(
    SecretConflictError,
    "the name is on its way into or out of the bin",
    "wait some seconds; restore or purge it if it stays there",
    retryable=True,
)
_CONFLICT = _Meaning(
    SecretConflictError, "another operation on this secret is under way", "try again", retryable=True
)
_THROTTLED = _Meaning(UnavailableError, "Key Vault throttles this vault", "call less often")
_FAULT = _Meaning(UnavailableError, "Key Vault has a fault", lost=True)
_REDIRECT = _Meaning(
    UnavailableError,
    "the answer names another host, which is not followed",
    "check the endpoint",
    retryable=False,
)
_GARBAGE = _Meaning(UnavailableError, "Key Vault's answer makes no sense", "is it Key Vault?", lost=True)
_LOST = _Meaning(UnavailableError, "Key Vault did not answer", lost=True)
_UNREACHABLE = _Meaning(
    UnavailableError, "Key Vault cannot be reached", "check vault name, endpoint and network"
)
_TLS = _Meaning(
    UnavailableError,
    "no trusted TLS 1.2+ connection: the certificate does not verify or the server's TLS is too old",
    "set `ca` to the file of its certificate authority, and check host name and TLS version",
    retryable=False,
)
_MISUSE = _Meaning(InvalidRequestError, "the Azure SDK refused the request or its configuration")
_CHALLENGE = _Meaning(
    PermissionDeniedError,
    "the vault asks for a token of another service; none was sent",
    "check the endpoint: is it a vault of this cloud?",
)

CODES: dict[str, _Meaning] = {
    "AccessDenied": _DENIED,
    "BadParameter": _REQUEST,
    "Conflict": _CONFLICT,
    "Forbidden": _DENIED,
    "ForbiddenByConnection": _FIREWALL,
    "ForbiddenByFirewall": _FIREWALL,
    "ForbiddenByPolicy": _DENIED,
    "ForbiddenByRbac": _DENIED,
    "ObjectIsBeingDeleted": _MOVING,
    "ObjectIsBeingRecovered": _MOVING,
    "ObjectIsDeletedButRecoverable": _IN_THE_BIN,
    "SecretDisabled": _DISABLED,
    "SecretNotFound": _MISSING,
    "Throttled": _THROTTLED,
    "Unauthorized": _CREDENTIALS,
}
"""What each error code of the service means, the inner one before the outer one."""

_BY_STATUS = {
    400: _REQUEST, 401: _CREDENTIALS, 403: _DENIED, 404: _MISSING, 408: _LOST, 409: _CONFLICT,
    429: _THROTTLED,
}  # fmt: skip

CLASSES: dict[str, _Meaning | None] = {
    "AzureError": _LOST,
    "ServiceRequestError": _LOST,  # narrowed below: the transport also calls a lost answer so
    "ServiceResponseError": _LOST,
    "HttpResponseError": None,  # an answer: by its code and status
    "DecodeError": _GARBAGE,
    "ResponseNotReadError": _LOST,
    "StreamClosedError": _LOST,
    "StreamConsumedError": _LOST,
    "DeserializationError": _GARBAGE,
    "SerializationError": _MISUSE,
    "ElsewhereError": _REDIRECT,
    "ClientAuthenticationError": None,
    "CredentialUnavailableError": _NO_CREDENTIALS,
    "MsalError": _CREDENTIALS,
    "IdTokenError": _CREDENTIALS,
    "ManagedIdentityError": _NO_CREDENTIALS,
    "BrowserInteractionTimeoutError": _NO_CREDENTIALS,
    "RedirectUriError": _MISUSE,
    "TokenTypeError": _CREDENTIALS,
    "RequestException": _LOST,
    "HTTPError": _LOST,
    "JSONDecodeError": _GARBAGE,
    "BadResponse": _GARBAGE,  # the last three are of azure-core's pollers
    "BadStatus": _GARBAGE,
    "OperationFailed": _FAULT,
}
"""What each exception of azure-core, azure-identity, msal and their HTTP libraries means, by its name.

A class that is not named means what its base does; None: an answer of the service tells.
"""

_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
    ConnectionRefusedError,
)
_HANDSHAKE = ("CERTIFICATE", "PROTOCOL", "VERSION", "HANDSHAKE", "CIPHER", "UNKNOWN_CA")
_ROLES = {
    "get": "Key Vault Secrets User",
    "list": "Key Vault Secrets User",
}
_OFFICER = "Key Vault Secrets Officer"


def named(kind: type[BaseException]) -> str | None:
    """The class in the table that this one is or derives from, the nearest first."""
    return next((base.__name__ for base in kind.__mro__ if base.__name__ in CLASSES), None)


def translate(exc: BaseException, operation: str, action: str = "") -> SecretStoreError | None:
    """The error for what the SDK raised; None for what is not its own.

    Args:
        operation: of the interface; says whether a lost answer leaves a write in doubt.
        action: of Key Vault, such as ``set``, for the hint when it was denied.
    """
    writes = operation not in READS
    if _is_challenge(exc):
        return _error(_CHALLENGE, writes=writes)
    name = named(type(exc))
    if name is None:
        return None
    meaning = CLASSES[name]
    if meaning is None:
        return _answered(exc, action, writes=writes)
    return _error(_narrowed(exc, meaning), writes=writes)


def garbage() -> SecretStoreError:
    """The error for an answer of the wrong shape; a write may have happened all the same."""
    return _error(_GARBAGE, writes=True)


def code_in(exc: BaseException) -> str | None:
    """Key Vault's code in an exception of the SDK, if it is one of the known ones; it is safe to show."""
    return next((code for code in _codes(exc) if code in CODES), None)


def _is_challenge(exc: BaseException) -> bool:
    """azure-keyvault's challenge policy raises a bare ValueError before it asks for a token."""
    return type(exc) is ValueError and str(exc).startswith("The challenge ")


def _answered(exc: BaseException, action: str, *, writes: bool) -> SecretStoreError:
    status = getattr(exc, "status_code", None)
    code = code_in(exc)
    meaning = CODES[code] if code else _by_status(status, exc)
    if meaning is _DENIED:
        return _denied(action)
    error = _error(meaning, writes=writes)
    headers = _headers(exc)
    error.request_id = _plain(headers.get("x-ms-request-id"))
    if meaning is _THROTTLED or status == 503:
        error.retry_after = _retry_after(headers)
    return error


def _by_status(status: int | None, exc: BaseException) -> _Meaning:
    if status is None or status < 300:  # azure-identity's refusals have no response, or the login service's
        return _CREDENTIALS if named(type(exc)) == "ClientAuthenticationError" else _GARBAGE
    if status >= 500:
        return _FAULT
    if named(type(exc)) == "ClientAuthenticationError" and status != 429:
        return _CREDENTIALS
    return _REDIRECT if status < 400 else _BY_STATUS.get(status, _REQUEST)


def _denied(action: str) -> PermissionDeniedError:
    role = _ROLES.get(action, _OFFICER)
    also = ", and see whether the vault has purge protection" if action == "purge" else ""
    hint = f"grant the role {role!r}, or secrets/{action or 'get'} in the vault's access policy{also}"
    return PermissionDeniedError(_DENIED.message, hint=hint)


def _narrowed(exc: BaseException, meaning: _Meaning) -> _Meaning:
    """A lost answer, unless the exception inside shows that nothing was sent."""
    if meaning is not _LOST:
        return meaning
    inner = list(_chain(exc))
    if any(_in_handshake(one) for one in inner):
        return _TLS
    return _UNREACHABLE if any(isinstance(one, _NEVER_SENT) for one in inner) else _LOST


def _in_handshake(exc: BaseException) -> bool:
    """Whether TLS failed before the request went out; an SSL error may also cut off an answer."""
    reason = str(getattr(exc, "reason", "") or "").upper() if isinstance(exc, ssl.SSLError) else ""
    return isinstance(exc, ssl.SSLCertVerificationError) or any(word in reason for word in _HANDSHAKE)


def _chain(exc: object, depth: int = 8) -> Iterator[BaseException]:
    """`exc` and what it wraps, which each library keeps in another place."""
    if not isinstance(exc, BaseException) or not depth:
        return
    yield exc
    wrapped = getattr(exc, "inner_exception", None), getattr(exc, "reason", None), exc.__context__
    for inner in {id(one): one for one in (*exc.args, *wrapped)}.values():
        yield from _chain(inner, depth - 1)


def _error(meaning: _Meaning, *, writes: bool) -> SecretStoreError:
    performed = None if meaning.lost and writes else False
    return meaning.error(meaning.message, hint=meaning.hint, retryable=meaning.retryable, performed=performed)


def code_of(error: SecretStoreError) -> str | None:
    """Key Vault's code behind an error of ours."""
    return error.__cause__.code if isinstance(error.__cause__, ProviderFault) else None


def fault_of(exc: BaseException) -> ProviderFault:
    """What may be said of an exception of the SDK."""
    return ProviderFault(type(exc).__name__, code=code_in(exc))


def _codes(exc: BaseException) -> Iterator[str]:
    """The inner codes of Key Vault's error body, then the outer one."""
    error = getattr(exc, "error", None)
    inner = getattr(error, "innererror", None)
    while isinstance(inner, Mapping):
        yield str(inner.get("code"))
        inner = inner.get("innererror")
    yield str(getattr(error, "code", None))


def _headers(exc: BaseException) -> Mapping[str, str]:
    headers: Any = getattr(getattr(exc, "response", None), "headers", None) or {}
    return {str(name).lower(): str(text) for name, text in headers.items()}


def _plain(text: str | None) -> str | None:
    return text if text and len(text) <= 80 and text.replace("-", "").isalnum() else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date counts from the answer's own Date, since clocks differ."""
    text = headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())
