"""One boto client for one service in one region: how often it asks, and what comes back."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from botocore import xform_name

from strongroom import retry
from strongroom.backend import Settings
from strongroom.errors import ProviderFault, SecretStoreError, UnavailableError
from strongroom.names import StoreURL
from strongroom.value import SecretValue

from ._access import Access
from ._errors import READS, code_in, translate
from ._service import Answer, Service

__all__ = ["Answer", "Client", "pause"]


class Client:
    """One service in one region.

    Reads, and writes that carry an idempotency token (CreateSecret, PutSecretValue), are tried ``attempts``
    times. Every other write is tried again only if it certainly was not performed: a label move that is
    repeated after a lost answer can undo what another writer did since. The SDK's own retries are off, so
    that these rules and the injected clock hold.
    """

    def __init__(self, service: Service, url: StoreURL, settings: Settings):
        self._service = service
        self._access = Access(url, settings, service.example)
        self._settings = settings
        self._sdk: Any = None
        self._lock = threading.Lock()

    def read(self, action: str, value: SecretValue | None = None, /, **params: Any) -> Answer:
        """Do what changes nothing, again where it fails for the moment."""
        attempt = partial(self._attempt, action, value, params, "get")
        return retry.attempts(self._settings, attempt, again=True)

    def write(
        self, action: str, value: SecretValue | None = None, *, token: bool = False, **params: Any
    ) -> Answer:
        """Do a write; after a lost answer again only if it carries a token, so that twice is once.

        Raises:
            UnavailableError: ``performed`` is None if any attempt's answer was lost.
        """
        attempt = partial(self._attempt, action, value, params, "put")
        return retry.attempts(self._settings, attempt, again=token)

    def once(
        self, action: str, value: SecretValue | None = None, /, **params: Any
    ) -> Answer | SecretStoreError:
        """One attempt of a write, for a caller that counts them himself: the answer, or its error."""
        return self._attempt(action, value, params, "put")

    def _attempt(
        self, action: str, value: SecretValue | None, params: Mapping[str, Any], operation: str
    ) -> Answer | SecretStoreError:
        """The answer with its values sealed, or the error; the SDK's exception and its frames end here."""
        try:
            return self._checked(self._call(action, value, params), action, operation)
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error = translate(exc, operation, self._service)
            fault = ProviderFault(type(exc).__name__, code=code_in(exc, self._service))
        if error is None:
            error = SecretStoreError("the AWS SDK failed unexpectedly", performed=_unknown(operation))
        error.__cause__ = fault
        return error

    def _call(self, action: str, value: SecretValue | None, params: Mapping[str, Any]) -> Answer:
        method = getattr(self._connected(), xform_name(action))
        if value is None:
            return self._service.seal(method(**_sent(params)))
        return self._service.seal(method(**_sent(params), **self._service.value_field(value)))

    def _checked(self, answer: Answer, action: str, operation: str) -> Answer | SecretStoreError:
        if self._service.answers.get(action, "ResponseMetadata") in answer:
            return answer
        error = UnavailableError("AWS's answer makes no sense", performed=_unknown(operation))
        error.__cause__ = ProviderFault("NoFields", where=action)
        return error

    def _connected(self) -> Any:
        if self._sdk is None:
            with self._lock:
                if self._sdk is None:
                    self._sdk = self._access.connect(self._service.name)
        return self._sdk

    def after_fork(self) -> None:
        """Forget the parent's connections without closing them."""
        self._lock = threading.Lock()
        self._sdk = None

    def close(self) -> None:
        """Close the connections."""
        sdk, self._sdk = self._sdk, None
        if sdk is not None:
            sdk.close()


def pause(settings: Settings, attempt: int) -> None:
    """Wait before the next attempt of a loop over calls: exponential, with jitter, at most two seconds."""
    settings.clock.sleep(retry.pause(attempt))


def _sent(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: given.reveal_text() if isinstance(given, SecretValue) else given
        for name, given in params.items()
    }


def _unknown(operation: str) -> bool | None:
    return False if operation in READS else None
