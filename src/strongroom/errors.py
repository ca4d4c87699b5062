"""Every error Strongroom raises, one meaning on all backends.

::

    SecretStoreError
    ├── SecretNotFoundError         missing, deleted, disabled, or no such version
    ├── SecretConflictError         exists already, if_version did not match, pending held, name in the bin
    ├── PermissionDeniedError       the provider said no, or authentication failed; never "missing"
    ├── InvalidRequestError         the caller's fault (name, size, scheme, configuration); never retry
    ├── UnavailableError            timeout, throttled, 5xx, sealed, disk full; usually worth a retry
    ├── IntegrityError              ciphertext, context, keyset, database or audit log does not verify
    ├── UnsupportedOperationError   the backend lacks the capability
    ├── BackendNotInstalledError    an SDK is missing; the hint says what to install
    └── PartialFailureError         a batch: what worked and what did not

No error ever holds a secret value, a token, or text a provider sent, since providers echo requests
(botocore's ParamValidationError prints the value it refuses).
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProviderFault(Exception):  # noqa: N818  (a fact about an exception, never raised itself)
    """What may be said of a provider's exception: its class, code, request id and where it was raised.

    It stands as ``__cause__`` in place of the SDK's exception, which would carry request bodies
    in its attributes and in the locals of its frames.
    """

    def __init__(
        self, kind: str, *, code: str | None = None, request_id: str | None = None, where: str | None = None
    ):
        parts = [
            kind,
            code,
            f"request {request_id}" if request_id else None,
            f"at {where}" if where else None,
        ]
        super().__init__(", ".join(part for part in parts if part))
        self.kind = kind
        self.code = code
        self.request_id = request_id
        self.where = where


class SecretStoreError(Exception):
    """The base of all errors.

    Attributes:
        operation: the interface method that failed, such as ``"put"``.
        name: the secret's name, as the caller gave it.
        backend: the scheme or alias of the store that answered.
        retryable: whether the same call may succeed later.
        performed: for writes: True if the effect happened, False if it did not, None if that is unknown.
        hint: what a person can do about it.
        request_id: the provider's id for the request, for its support desk.
        retry_after: seconds the provider asked to wait before another attempt, if it did.
    """

    default_retryable: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913  (facts of one error, all by keyword)
        self,
        message: str,
        *,
        operation: str | None = None,
        name: str | None = None,
        backend: str | None = None,
        retryable: bool | None = None,
        performed: bool | None = False,
        hint: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.name = name
        self.backend = backend
        self.retryable = self.default_retryable if retryable is None else retryable
        self.performed = performed
        self.hint = hint
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        """One line: where, what, and what to do."""
        where = " ".join(part for part in (self.operation, self.name) if part)
        line = f"{where}: {self.message}" if where else self.message
        return f"{line} ({self.hint})" if self.hint else line


class SecretNotFoundError(SecretStoreError):
    """The secret or version is missing, deleted, disabled or destroyed."""


class SecretConflictError(SecretStoreError):
    """The secret is not in the state the write required; nothing of ours became current."""


class PermissionDeniedError(SecretStoreError):
    """The provider refused the identity, or did not accept it; the hint names the grant that is lacking."""


class InvalidRequestError(SecretStoreError):
    """The caller's fault: a name, a size, a scheme, a configuration. A retry never helps."""


class UnavailableError(SecretStoreError):
    """The provider did not answer usefully: timeout, throttled, 5xx, sealed, disk full."""

    default_retryable = True


class IntegrityError(SecretStoreError):
    """Ciphertext, encryption context, keyset, database or audit log does not verify."""


class UnsupportedOperationError(SecretStoreError):
    """The backend does not have the capability; no request was sent."""


class BackendNotInstalledError(SecretStoreError):
    """The backend's SDK is not installed; the hint is the command that installs it."""


class PartialFailureError(SecretStoreError):
    """Some items of a batch failed.

    Attributes:
        results: what worked, by name.
        errors: a SecretStoreError for each name that did not.
    """

    def __init__(
        self,
        message: str,
        *,
        results: Mapping[str, Any],
        errors: Mapping[str, SecretStoreError],
        **facts: Any,
    ):
        super().__init__(message, **facts)
        self.results = results
        self.errors = errors

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]
