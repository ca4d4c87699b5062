"""A queue of Azure Storage, to which Event Grid delivers what changed in a vault.

Event Grid itself pushes to endpoints that are open to it; a queue between lets a program fetch instead. Such
queues have no long poll: an empty one is asked again every two seconds.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient

from strongroom.backend import Settings
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL, is_loopback
from strongroom.notices import LARGEST, Message, Receiver, parsed

from ._client import LOGGERS
from ._credentials import check_auth, credential
from ._errors import fault_of, translate
from ._transport import Transport
from ._vault import Vault

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

T = TypeVar("T")
_EXAMPLE: Final = "azure-queue://account/changes"
_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_QUEUE: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
# https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints
_CLOUDS: Final = {
    ".queue.core.windows.net": "login.microsoftonline.com",
    ".queue.core.chinacloudapi.cn": "login.chinacloudapi.cn",
    ".queue.core.usgovcloudapi.net": "login.microsoftonline.us",
}
_BATCH: Final = 32
"""Get Messages gives at most so many: https://learn.microsoft.com/rest/api/storageservices/get-messages."""
_EMPTY: Final = 2.0
_HIDDEN: Final = 60
"""Seconds until a message that was received and not deleted comes again."""
_SCOPE: Final = "https://storage.azure.com/.default"
_CHANGE: Final = "microsoft.keyvault.secretnewversioncreated"


class _StorageOnly:
    """Gives tokens for Azure Storage alone: the SDK asks for one of whatever service an answer names.

    Args:
        inner: what gives any token.
    """

    def __init__(self, inner: TokenCredential):
        self._inner = inner

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token.

        Raises:
            PermissionDeniedError: it would open another service, such as a vault.
        """
        if scopes != (_SCOPE,):
            raise PermissionDeniedError("the queue asks for a token of another service; none was sent")
        return self._inner.get_token(*scopes, **options)


class StorageQueue(Receiver):
    """Behind ``azure-queue://ACCOUNT/QUEUE[?endpoint=https://127.0.0.1:PORT]``.

    ACCOUNT is a storage account's name, or its queues' host in another of Azure's clouds. It needs the role
    ``Storage Queue Data Message Processor`` on the queue. Credentials are found as for ``azure-kv``.
    """

    loggers: ClassVar[tuple[str, ...]] = LOGGERS
    _sdk: QueueClient | None = None

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        self._place = _place(url, settings)
        if not _QUEUE.fullmatch(url.path):
            raise InvalidRequestError(f"not a queue: {url.path[:100]!r}", hint=f"write {_EXAMPLE}")
        check_auth(settings, self._place)
        self._queue, self._settings = url.path, settings
        self._closed = threading.Event()
        self.origin = f"azure-queue://{self._place.name}/{self._queue}"

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what the Azure SDKs raise."""
        return translate(exc, operation)

    def receive(self, timeout: float) -> Sequence[Message]:
        clock = self._settings.clock
        until = clock.monotonic() + timeout
        while not (found := self._call(_received)):
            left = until - clock.monotonic()
            if left <= 0 or clock.wait(self._closed, min(left, _EMPTY)):
                return []
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._call(lambda sdk, one=message: _deleted(sdk, one))  # type: ignore[misc]

    def resources(self, message: Message) -> frozenset[str]:
        found = parsed(_text(message.body))
        return frozenset(
            one for event in (found if isinstance(found, list) else [found]) for one in _named(event)
        )

    def resource(self, location: str) -> str:
        return _secret(location)

    def close(self) -> None:
        self._closed.set()
        sdk, self._sdk = self._sdk, None
        if sdk is not None:
            sdk.close()

    def after_fork(self) -> None:
        self._sdk = None

    def _call(self, call: Callable[[QueueClient], T]) -> T:
        """One attempt; the SDK's exception and its frames end here."""
        try:
            sdk = self._sdk = self._sdk or self._connect()
            return call(sdk)
        except SecretStoreError:
            raise
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error, fault = _translated(exc), fault_of(exc)
        error.__cause__ = fault
        raise error

    def _connect(self) -> QueueClient:
        return QueueClient(
            self._place.endpoint,
            self._queue,
            _StorageOnly(credential(self._settings, self._place)),
            transport=Transport(self._place, self._settings),
            retry_total=0,
            permit_redirects=False,
            user_agent="strongroom",
        )


def _place(url: StoreURL, settings: Settings) -> Vault:
    """The account's queues, under the rules that hold for vaults: HTTPS, and no credential to a stranger."""
    name = url.host.lower()
    host = name if "." in name else f"{name}.queue.core.windows.net"
    if not _ACCOUNT.fullmatch(name.partition(".")[0]) or _login(host) is None:
        raise InvalidRequestError(f"not a storage account: {url.host[:60]!r}", hint=f"write {_EXAMPLE}")
    endpoint = url.endpoint or settings.endpoint or f"https://{host}"
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        raise InvalidRequestError("a queue's endpoint is https://HOST:PORT", hint="leave the rest out")
    return Vault(name, f"https://{parts.netloc.lower()}", is_loopback(endpoint), _login(parts.hostname))


def _login(host: str) -> str | None:
    return next((login for suffix, login in _CLOUDS.items() if host.endswith(suffix)), None)


def _received(sdk: QueueClient) -> list[Message]:
    found = sdk.receive_messages(messages_per_page=_BATCH, max_messages=_BATCH, visibility_timeout=_HIDDEN)
    return [Message(one.content, (one.id, one.pop_receipt)) for one in found]


def _deleted(sdk: QueueClient, message: Message) -> None:
    handle: Any = message.handle
    with suppress(ResourceNotFoundError, ResourceExistsError):  # it took too long, and was given out again
        sdk.delete_message(*handle)


def _text(body: object) -> object:
    """Event Grid writes Base64; another sender may write JSON as it is."""
    if not isinstance(body, str) or len(body) > 2 * LARGEST or body.lstrip()[:1] in ("{", "["):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return None


def _named(event: Any) -> Iterator[str]:
    """The secret of an event in Event Grid's schema or CloudEvents'; the case of keys differs by source."""
    fields = _lower(event)
    data = _lower(fields.get("data"))
    kind = fields.get("eventtype", fields.get("type"))
    if isinstance(kind, str) and kind.lower() == _CHANGE and isinstance(data.get("id"), str):
        yield from filter(None, [_secret(data["id"])])


def _lower(table: Any) -> dict[str, Any]:
    return {key.lower(): value for key, value in table.items()} if isinstance(table, dict) else {}


def _secret(identifier: str) -> str:
    """Host and name; names know no case, and versions follow them."""
    try:
        parts = urlsplit(identifier.lower())
    except ValueError:  # brackets that enclose no address
        return ""
    folder, _, rest = parts.path.strip("/").partition("/")
    name = rest.partition("/")[0]
    return f"{parts.netloc}/{name}" if folder == "secrets" and parts.netloc and name else ""


def _translated(exc: Exception) -> SecretStoreError:
    status = exc.status_code if isinstance(exc, HttpResponseError) else None
    if status in (401, 403):
        return PermissionDeniedError(
            "the queue may not be read", hint="grant Storage Queue Data Message Processor on it"
        )
    if status == 404:
        return InvalidRequestError("there is no such queue", hint="check its name and account")
    if isinstance(exc, AzureError):
        return UnavailableError("the queue does not answer", hint="check account, endpoint and network")
    return translate(exc, "get") or SecretStoreError("the Azure SDK failed unexpectedly", performed=False)
