"""One boto client for one region: what it may talk to, with whose credentials, how often it asks again."""

from __future__ import annotations

import functools
import random
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, ProviderFault, SecretStoreError, UnavailableError
from strongroom.names import StoreURL, is_loopback
from strongroom.value import SecretValue

from ._errors import READS, code_in, translate

Answer = dict[str, Any]
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d{1,2}")
_AWS_HOST = re.compile(r"[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|api\.aws|amazonaws\.eu)")
_AUTH = frozenset({"profile", "access_key_id", "secret_access_key", "session_token"})
_EXPECTED = {
    "BatchGetSecretValue": "SecretValues",
    "CreateSecret": "ARN",
    "DeleteSecret": "ARN",
    "DescribeSecret": "ARN",
    "GetSecretValue": "VersionId",
    "ListSecretVersionIds": "Versions",
    "ListSecrets": "SecretList",
    "PutSecretValue": "VersionId",
    "RestoreSecret": "ARN",
    "UpdateSecretVersionStage": "ARN",
}
_METHODS = {
    action: re.sub(r"(?<!^)([A-Z])", r"_\1", action).lower()
    for action in (*_EXPECTED, "TagResource", "UntagResource")
}
_BACKOFF = 0.05
_CONNECTIONS = 50


class Client:
    """Secrets Manager in one region.

    Reads, and writes that carry an idempotency token (CreateSecret, PutSecretValue), are tried ``attempts``
    times. Every other write is tried again only if it certainly was not performed: a label move that is
    repeated after a lost answer can undo what another writer did since. The SDK's own retries are off, so
    that these rules and the injected clock hold.
    """

    def __init__(self, url: StoreURL, settings: Settings):
        self._region = _region(url.host)
        self._endpoint = _endpoint(url, settings)
        self._settings = settings
        self._auth = _auth(settings, self._endpoint)
        self._lock = threading.Lock()
        self._sdk: Any = None

    def read(self, action: str, **params: Any) -> Answer:
        """Do a read, again where it fails for the moment."""
        return self._repeat(action, None, params, again=True, operation="get")

    def write(
        self, action: str, value: SecretValue | None = None, *, token: bool = False, **params: Any
    ) -> Answer:
        """Do a write; after a lost answer again only if it carries a token, so that twice is once.

        Raises:
            UnavailableError: ``performed`` is None if any attempt's answer was lost.
        """
        return self._repeat(action, value, params, again=token, operation="put")

    def _repeat(
        self,
        action: str,
        value: SecretValue | None,
        params: Mapping[str, Any],
        *,
        again: bool,
        operation: str,
    ) -> Answer:
        unknown, attempts = False, max(1, self._settings.attempts)
        error = SecretStoreError("not tried")
        for attempt in range(1, attempts + 1):
            outcome = self._attempt(action, value, params, operation)
            if not isinstance(outcome, SecretStoreError):
                return outcome
            error, unknown = outcome, unknown or outcome.performed is None
            passing = isinstance(error, UnavailableError) and error.retryable
            if attempt == attempts or not passing or not (again or error.performed is False):
                break
            pause(self._settings, attempt)
        if unknown and not isinstance(error, UnavailableError):
            # The repeat was refused; whether the attempt before it arrived is the caller's to find out.
            error = UnavailableError("AWS did not answer")
        error.performed = None if unknown else error.performed
        raise error

    def _attempt(
        self, action: str, value: SecretValue | None, params: Mapping[str, Any], operation: str
    ) -> Answer | SecretStoreError:
        """The answer with its value sealed, or the error; the SDK's exception and its frames end here."""
        error: SecretStoreError | None
        try:
            answer = _sealed(getattr(self._connected(), _METHODS[action])(**params, **_field(value)))
            if _EXPECTED.get(action, "ResponseMetadata") in answer:
                return answer
            # With status 200 the SDK takes any bytes, such as a proxy's page, for an answer without fields.
            error, fault = (
                UnavailableError("AWS's answer makes no sense"),
                ProviderFault("NoFields", where=action),
            )
            error.performed = _unknown(operation)
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error, fault = translate(exc, operation), ProviderFault(type(exc).__name__, code=code_in(exc))
        if error is None:
            error = SecretStoreError("the AWS SDK failed unexpectedly", performed=_unknown(operation))
        error.__cause__ = fault
        return error

    def _connected(self) -> Any:
        if self._sdk is None:
            with self._lock:
                if self._sdk is None:
                    self._sdk = self._make()
        return self._sdk

    def _make(self) -> Any:
        settings, local = self._settings, self._endpoint is not None and is_loopback(self._endpoint)
        session = botocore.session.Session(profile=self._auth.get("profile"))
        session.register_component("data_loader", _models(session))
        options: dict[str, Any] = {
            "connect_timeout": settings.timeout,
            "read_timeout": settings.timeout,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": _CONNECTIONS,
            # Whoever can set AWS_ENDPOINT_URL could otherwise have every value sent to his own host.
            "ignore_configured_endpoint_urls": True,
            "user_agent_extra": "strongroom",
        }
        if local:
            options["proxies"] = {}
        return session.create_client(
            "secretsmanager",
            region_name=self._region,
            endpoint_url=self._endpoint,
            aws_access_key_id=_shown(self._auth.get("access_key_id")),
            aws_secret_access_key=_shown(self._auth.get("secret_access_key")),
            aws_session_token=_shown(self._auth.get("session_token")),
            verify=settings.ca,
            config=Config(**options),
        )

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
    """Wait before the next attempt: exponential, with full jitter, at most two seconds."""
    longest = min(2.0, _BACKOFF * 2**attempt)
    settings.clock.sleep(random.uniform(longest / 2, longest))  # noqa: S311  (spreads load, hides nothing)


@functools.cache
def _shared_models() -> list[Any]:
    return []


def _models(session: Any) -> Any:
    """One loader of AWS's API models for the process: parsing them takes most of a client's making."""
    shared = _shared_models()
    if not shared:
        shared.append(session.get_component("data_loader"))
    return shared[0]


def _unknown(operation: str) -> bool | None:
    return False if operation in READS else None


def _field(value: SecretValue | None) -> dict[str, Any]:
    if value is None:
        return {}
    return {"SecretString": value.reveal_text()} if value.kind == "text" else {"SecretBinary": value.reveal()}


def _sealed(answer: Answer) -> Answer:
    """Put every value in a SecretValue before the answer is a local of anything that may fail."""
    for entry in (answer, *answer.get("SecretValues", ())):
        text, blob = entry.pop("SecretString", None), entry.pop("SecretBinary", None)
        if text is not None or blob is not None:
            entry["Value"] = SecretValue(text if blob is None else blob)
    return answer


def _region(host: str) -> str:
    if not _REGION.fullmatch(host):  # it becomes part of a host name
        raise InvalidRequestError(
            f"not an AWS region: {host[:60]!r}",
            hint="write aws-sm://REGION/PREFIX, as in aws-sm://eu-west-1/prod",
        )
    return host


def _endpoint(url: StoreURL, settings: Settings) -> str | None:
    endpoint = url.endpoint or settings.endpoint
    if endpoint is None or is_loopback(endpoint):
        return endpoint
    if urlsplit(endpoint).scheme != "https":
        raise InvalidRequestError("plain HTTP is for loopback only", hint="use an https:// endpoint")
    return endpoint


def _auth(settings: Settings, endpoint: str | None) -> Mapping[str, Any]:
    unknown = sorted(settings.auth.keys() - _AUTH)
    if unknown:
        raise InvalidRequestError(
            f"unknown AWS credential setting {unknown[0]!r}", hint=f"known: {', '.join(sorted(_AUTH))}"
        )
    if settings.auth or endpoint is None:
        return settings.auth
    if is_loopback(endpoint):  # real credentials are not for whatever listens on this machine
        return {"access_key_id": "test", "secret_access_key": "test"}
    if not _AWS_HOST.fullmatch(urlsplit(endpoint).hostname or ""):
        raise InvalidRequestError(
            "ambient AWS credentials go only to AWS's own hosts", hint="give this store an auth table"
        )
    return {}


def _shown(secret: str | SecretValue | None) -> str | None:
    return secret.reveal_text() if isinstance(secret, SecretValue) else secret
