"""A subscription of Google Pub/Sub, to whose topic Secret Manager publishes what changed.

It speaks HTTP, not gRPC: a thread that always waits in a gRPC call would keep this process from forking, and
its channels to Secret Manager with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

import requests
from requests.utils import get_environ_proxies

from strongroom.backend import Settings
from strongroom.errors import (
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL
from strongroom.notices import Message, Receiver

from ._channel import Address, check_auth, credentials_for
from ._errors import fault_of, translate

from google.auth.credentials import AnonymousCredentials  # isort: skip  (grpc is imported by _channel first)
from google.pubsub_v1.services.subscriber import SubscriberClient  # isort: skip
from google.pubsub_v1.services.subscriber.transports import SubscriberRestTransport  # isort: skip

_HOST: Final = "pubsub.googleapis.com"
_EXAMPLE: Final = "pubsub://acme-prod/changes"
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")
_SUBSCRIPTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_BATCH: Final = 100
_ROLE: Final = "roles/pubsub.subscriber on the subscription"
_CHANGES: Final = frozenset(
    {"SECRET_DELETE", "SECRET_VERSION_ADD", "SECRET_VERSION_DESTROY", "SECRET_VERSION_DISABLE"}
    | {"SECRET_VERSION_ENABLE"}
)
"""What changes what a read gives: https://cloud.google.com/secret-manager/docs/event-notifications."""
_SECRET: Final = re.compile(r"projects/[^/]+/((?:locations/[^/]+/)?secrets/[^/]+)(?:/.*)?")


class Subscription(Receiver):
    """Behind ``pubsub://PROJECT/SUBSCRIPTION[?endpoint=http://127.0.0.1:PORT]``.

    It needs ``roles/pubsub.subscriber`` on the subscription. Credentials are found as for ``gcp-sm``.
    """

    loggers: ClassVar[tuple[str, ...]] = ("google", "grpc", "requests", "urllib3")
    _sdk: SubscriberClient | None = None

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        if not (_PROJECT.fullmatch(url.host) and _SUBSCRIPTION.fullmatch(url.path)):
            raise InvalidRequestError("not a Pub/Sub subscription", hint=f"write {_EXAMPLE}")
        self._address, self._settings = Address.of(url, settings, _HOST), settings
        check_auth(self._address, settings)
        self._name = f"projects/{url.host}/subscriptions/{url.path}"
        self.origin = f"pubsub://{url.host}/{url.path}"

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Google's SDKs raise."""
        return translate(exc, operation)

    def receive(self, timeout: float) -> Sequence[Message]:
        request = {"subscription": self._name, "max_messages": _BATCH}
        try:
            pulled = self._call("pull", request, max(timeout, 0.1))
        except requests.exceptions.ReadTimeout:  # nothing came while it was held open
            return []
        return [Message(dict(one.message.attributes), one.ack_id) for one in pulled.received_messages]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        request = {"subscription": self._name, "ack_ids": [message.handle for message in messages]}
        self._call("acknowledge", request, self._settings.timeout)

    def resources(self, message: Message) -> frozenset[str]:
        attributes = message.body if isinstance(message.body, dict) else {}
        found = _SECRET.fullmatch(str(attributes.get("secretId", ""))[:1000])
        return frozenset({found[1]} if found and attributes.get("eventType") in _CHANGES else ())

    def resource(self, location: str) -> str:
        """Without the project: a notice has its number, and a store its id."""
        found = _SECRET.fullmatch(location.removeprefix("//secretmanager.googleapis.com/"))
        return found[1] if found else ""

    def close(self) -> None:
        sdk, self._sdk = self._sdk, None
        if sdk is not None:
            sdk.transport.close()  # type: ignore[no-untyped-call]

    def after_fork(self) -> None:
        self._sdk = None

    def _call(self, method: str, request: dict[str, Any], seconds: float) -> Any:
        """One attempt, with the SDK's own off; the SDK's exception and its frames end here."""
        try:
            sdk = self._sdk = self._sdk or self._connect()
            return getattr(sdk, method)(request=request, retry=None, timeout=seconds)
        except (SecretStoreError, requests.exceptions.ReadTimeout):
            raise
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error, fault = _translated(exc), fault_of(exc)
        error.__cause__ = fault
        raise error

    def _connect(self) -> SubscriberClient:
        local = self._address.local and not self._settings.auth
        transport = SubscriberRestTransport(
            host=self._address.target,
            credentials=AnonymousCredentials() if local else credentials_for(self._settings.auth),  # type: ignore[no-untyped-call]
            url_scheme="https" if self._address.secure else "http",
        )
        self._restrain(transport._session)  # noqa: SLF001  (the SDK gives no other way to it)
        return SubscriberClient(transport=transport)

    def _restrain(self, session: Any) -> None:
        """Our own rules for connections, of the requests and of those that fetch their tokens."""
        scheme = "https" if self._address.secure else "http"
        outside = get_environ_proxies(f"{scheme}://{self._address.target}")
        for one in (session, session._auth_request.session):  # noqa: SLF001
            # With trust_env REQUESTS_CA_BUNDLE would replace `ca`, and ~/.netrc would add a header.
            one.trust_env = False
            one.proxies = {} if self._address.local else outside
            one.max_redirects = 0  # a redirect would carry the token
            if self._settings.ca:
                one.verify = self._settings.ca


def _translated(exc: Exception) -> SecretStoreError:
    if isinstance(exc, requests.exceptions.RequestException):
        return UnavailableError("Pub/Sub cannot be reached", hint="check endpoint and network")
    error = translate(exc, "get", _ROLE)
    if isinstance(error, SecretNotFoundError):
        return InvalidRequestError("there is no such subscription", hint="check its name and project")
    return error or SecretStoreError("Google's SDK failed unexpectedly", performed=False)
