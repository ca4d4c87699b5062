"""The table of errors: whole, free of provider text, and right about what was performed."""

from __future__ import annotations

import inspect
import ssl
from types import ModuleType

import hvac.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom_vault._errors import WRITES, error_for, error_for_status
from strongroom_vault.kv import VaultKV
from tests.canary import CANARY, assert_no_canary_in


def _classes(module: ModuleType) -> list[type[Exception]]:
    found = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, Exception)]
    ours = [cls for cls in found if cls.__module__.startswith(module.__name__.split(".")[0])]
    return [cls for cls in ours if not issubclass(cls, Warning)]


def _made(cls: type[Exception]) -> Exception:
    exc = cls.__new__(cls)
    exc.args = (CANARY,)
    if isinstance(exc, hvac.exceptions.VaultError):
        exc.errors, exc.text = [CANARY], CANARY
    return exc


EXCEPTIONS = [
    *_classes(hvac.exceptions),
    *_classes(requests.exceptions),
    *_classes(urllib3.exceptions),
    ssl.SSLError,
    TimeoutError,
    ConnectionResetError,
]


@pytest.mark.parametrize("cls", EXCEPTIONS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_exception_of_the_sdk_has_its_error(cls: type[Exception]) -> None:
    """And the error holds nothing of what the exception holds."""
    for operation in ("get", "put"):
        error = VaultKV.error_for(_made(cls), operation)
        assert isinstance(error, SecretStoreError)
        assert_no_canary_in(error)


def test_the_walk_finds_the_classes() -> None:
    """Or the test above would hold of nothing."""
    assert {hvac.exceptions.Forbidden, requests.exceptions.ReadTimeout} <= set(EXCEPTIONS)
    assert len(EXCEPTIONS) > 50


def test_what_is_not_the_sdks_has_no_error() -> None:
    """A bug of ours is not an outage of theirs."""
    assert error_for(KeyError("x"), "get") is None
    assert error_for(ZeroDivisionError(), "put") is None


STATUSES = [
    (400, InvalidRequestError),
    (401, PermissionDeniedError),
    (403, PermissionDeniedError),
    (404, SecretNotFoundError),
    (405, InvalidRequestError),
    (412, UnavailableError),
    (413, InvalidRequestError),
    (418, InvalidRequestError),
    (429, UnavailableError),
    (500, UnavailableError),
    (501, UnavailableError),
    (502, UnavailableError),
    (503, UnavailableError),
    (504, UnavailableError),
    (599, UnavailableError),
    (301, UnavailableError),
    (307, UnavailableError),
]


@pytest.mark.parametrize(("status", "error"), STATUSES)
def test_a_status_means_one_error(status: int, error: type[SecretStoreError]) -> None:
    """Whatever the text beside it."""
    assert type(error_for_status(status, "get", [CANARY])) is error
    assert_no_canary_in(error_for_status(status, "get", [CANARY]))


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (400, "check-and-set parameter did not match the current version", SecretConflictError),
        (400, "Upgrading from non-versioned to versioned data", UnavailableError),
        (404, 'no handler for route "x/data/y". route entry not found.', InvalidRequestError),
        (503, "Vault is sealed", UnavailableError),
    ],
)
def test_a_text_narrows_its_status_only(status: int, text: str, error: type[SecretStoreError]) -> None:
    """The same words under another status mean nothing."""
    assert type(error_for_status(status, "put", [text])) is error
    assert type(error_for_status(403, "put", [text])) is PermissionDeniedError


@pytest.mark.parametrize("status", [status for status, _ in STATUSES])
@pytest.mark.parametrize("operation", ["get", *sorted(WRITES)])
def test_performed_is_unknown_only_where_a_write_may_have_happened(status: int, operation: str) -> None:
    """Vault answers 500 after a write if an audit device fails; gateways answer 502 to 504 for it."""
    lost = status in (500, 502, 503, 504, 599) and operation in WRITES
    assert error_for_status(status, operation).performed is (None if lost else False)


def test_a_sealed_server_performed_nothing() -> None:
    """It says so itself, unlike a gateway's 503; and it may be unsealed."""
    error = error_for_status(503, "put", ["Vault is sealed"])
    assert (error.performed, error.retryable) == (False, True)
    assert "unseal" in str(error.hint)


def _wrapped(inner: Exception) -> requests.exceptions.ConnectionError:
    reason = urllib3.exceptions.MaxRetryError(None, "/", inner)  # type: ignore[arg-type]
    return requests.exceptions.ConnectionError(reason)


@pytest.mark.parametrize(
    ("exc", "performed"),
    [
        (requests.exceptions.ConnectTimeout(), False),
        (_wrapped(urllib3.exceptions.NewConnectionError(None, "refused")), False),  # type: ignore[arg-type]
        (_wrapped(urllib3.exceptions.NameResolutionError("h", None, OSError())), False),  # type: ignore[arg-type]
        (requests.exceptions.ReadTimeout(), None),
        (_wrapped(urllib3.exceptions.ProtocolError("reset")), None),
        (requests.exceptions.ChunkedEncodingError(), None),
        (requests.exceptions.InvalidURL(), False),
        (ssl.SSLCertVerificationError(), False),
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError()), False),
        (requests.exceptions.SSLError(ssl.SSLEOFError(8, "EOF occurred in violation of protocol")), None),
        (ConnectionRefusedError(), False),
        (ConnectionResetError(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_write_that_never_left_was_not_performed(exc: Exception, performed: bool | None) -> None:
    """One whose answer was lost may have been. A read performs nothing ever."""
    write, read = error_for(exc, "put"), error_for(exc, "get")
    assert write is not None
    assert read is not None
    assert (write.performed, read.performed) == (performed, False)


def test_a_denial_names_the_grant() -> None:
    """Other errors keep their own hints."""
    assert error_for_status(403, "get", hint="grant").hint == "grant"
    assert error_for_status(404, "get", hint="grant").hint != "grant"
