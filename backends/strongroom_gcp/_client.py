"""Secret Manager's methods through Google's own client, with our attempts, errors and checksums."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.retry import Pace, attempts
from strongroom.value import SecretValue

from ._channel import Address, Connection
from ._errors import ROLES, code_of, fault_of, translate
from ._port import Gone

import google_crc32c  # isort: skip
from google.cloud import secretmanager_v1 as api  # isort: skip  (grpc is imported by _channel first)
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (  # isort: skip
    SecretManagerServiceGrpcTransport,
)

T = TypeVar("T")
_PAGE: Final = 1000
LATEST: Final = "latest"
_WRITES: Final = {"global": 2, "regional": 80}
"""New versions of one secret in a second, and updates: https://cloud.google.com/secret-manager/quotas."""


class Added(NamedTuple):
    """A version that was just added."""

    number: int
    created: datetime | None


class Client:
    """One project, or one location of it.

    Args:
        address: where.
        settings: how to get there.
        creation: what new secrets are given beside their annotations: replication and keys.
        regional: the secrets of one location have another quota.
    """

    def __init__(self, address: Address, settings: Settings, creation: Mapping[str, Any], *, regional: bool):
        self._settings = settings
        self._creation = creation
        self._connection = Connection(_connect, address, settings)
        writes = _WRITES["regional" if regional else "global"]
        self._adds, self._updates = (Pace(writes, 1.0, settings.clock) for _ in range(2))

    def access(self, name: str, version: str | int) -> tuple[int, SecretValue]:
        """A version's number and payload.

        Raises:
            IntegrityError: twice in a row the payload did not match its checksum.
        """
        for _ in range(2):
            found = self._do("AccessSecretVersion", lambda: _accessing(name, version), _payload)
            if found is not None:
                return found
        raise IntegrityError("the value does not match Google's checksum of it", hint="read it again")

    def read(self, name: str, number: int) -> SecretValue | Gone | None:
        """A payload by its number: strongly consistent. Says why there is none."""
        try:
            return self.access(name, number)[1]
        except SecretNotFoundError as exc:
            code = code_of(exc)
        if code == "NOT_FOUND":
            return None
        return Gone.DESTROYED if code == Gone.DESTROYED.name else Gone.DISABLED

    def secret(self, name: str) -> Any | None:
        """The secret, as protocol buffer; None if there is none."""
        try:
            return self._do("GetSecret", lambda: api.GetSecretRequest(name=name), api.Secret.pb)
        except SecretNotFoundError:
            return None

    def version(self, name: str, version: str | int) -> Any:
        """A version's metadata."""
        full = f"{name}/versions/{version}"
        return self._do(
            "GetSecretVersion", lambda: api.GetSecretVersionRequest(name=full), api.SecretVersion.pb
        )

    def create(self, name: str, annotations: Mapping[str, str]) -> Any | None:
        """Create a secret; None if it exists."""
        parent, _, secret_id = name.rpartition("/secrets/")
        secret = api.Secret(annotations=dict(annotations), **self._creation)
        request = api.CreateSecretRequest(parent=parent, secret_id=secret_id, secret=secret)
        try:
            return self._do("CreateSecret", lambda: request, api.Secret.pb, writes=True)
        except SecretConflictError:
            return None

    def annotate(self, name: str, etag: str, annotations: Mapping[str, str]) -> Any | None:
        """Replace the annotations and nothing else; None if the etag is another, or the secret gone.

        Not faster than Google allows: each put makes two updates.
        """
        return self._update("annotations", name=name, etag=etag, annotations=dict(annotations))

    def replicate(self, name: str, etag: str, replication: Any) -> Any | None:
        """Replace the replication policy, of which only the keys may differ; None as for `annotate`."""
        return self._update("replication", name=name, etag=etag, replication=replication)

    def _update(self, field: str, **secret: Any) -> Any | None:
        request = api.UpdateSecretRequest(secret=api.Secret(**secret), update_mask={"paths": [field]})
        self._updates.wait(secret["name"])
        try:
            return self._do("UpdateSecret", lambda: request, api.Secret.pb, writes=True)
        except (SecretConflictError, SecretNotFoundError):
            return None

    def add(self, name: str, payload: SecretValue) -> Added:
        """Add a version, not faster than Google allows.

        Raises:
            IntegrityError: Google did not get the checksum, and what it keeps is not what was sent.
        """
        self._adds.wait(name)
        added, checked = self._do("AddSecretVersion", lambda: _adding(name, payload), _added, writes=True)
        if not checked and self.read(name, added.number) != payload:
            raise IntegrityError("Google keeps another value than was sent", performed=True)
        return added

    def delete(self, name: str, etag: str) -> bool:
        """Delete a secret for ever; False if the etag is another by now, or it is gone."""
        request = api.DeleteSecretRequest(name=name, etag=etag)
        try:
            self._do("DeleteSecret", lambda: request, type, writes=True)
        except (SecretConflictError, SecretNotFoundError):
            return False
        return True

    def destroy(self, name: str, number: int) -> None:
        """Destroy a version's payload; that it is destroyed already is no error."""
        request = api.DestroySecretVersionRequest(name=f"{name}/versions/{number}")
        try:
            self._do("DestroySecretVersion", lambda: request, type, writes=True)
        except (SecretConflictError, SecretNotFoundError):
            return

    def secrets(self, parent: str, part: str) -> Iterator[Any]:
        """Every secret whose name contains `part`, all pages."""
        request = api.ListSecretsRequest(parent=parent, filter=f'name:"{part}"' if part else "")
        return self._pages("ListSecrets", request, "secrets")

    def versions(self, name: str) -> Iterator[Any]:
        """Every version, whatever its state, newest first."""
        return self._pages("ListSecretVersions", api.ListSecretVersionsRequest(parent=name), "versions")

    def _pages(self, method: str, request: Any, field: str) -> Iterator[Any]:
        request.page_size = _PAGE
        while True:
            page = self._do(method, lambda: request, _page)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _do(
        self, method: str, make: Callable[[], Any], shape: Callable[[Any], T], *, writes: bool = False
    ) -> T:
        """Call a method with the request that `make` makes: only where its frames end may it hold a value."""

        def attempt() -> T | SecretStoreError:
            return self._attempt(method, make, shape, writes)

        return attempts(self._settings, attempt, again=not writes)

    def _attempt(
        self, method: str, make: Callable[[], Any], shape: Callable[[Any], T], writes: bool
    ) -> T | SecretStoreError:
        """The answer, shaped; or the error: the SDK's exception and its frames end here."""
        try:
            return shape(self._connection.get()[method](make(), self._settings.timeout))
        except SecretStoreError as exc:
            return exc.with_traceback(None)
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error = translate(exc, "put" if writes else "get", ROLES.get(method))
            fault = fault_of(exc)
        if error is None:
            error = SecretStoreError("Google's SDK failed unexpectedly", performed=None if writes else False)
        error.__cause__ = fault
        return error

    def after_fork(self) -> None:
        """Forget the parent's channel and calls."""
        self._connection.after_fork()
        self._adds.after_fork()
        self._updates.after_fork()

    def close(self) -> None:
        """Close the channel."""
        self._connection.close()


_Method = Callable[[Any, float], Any]
_ACCESS: Final = "/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion"
_Access: Final = api.AccessSecretVersionRequest.pb()
_Accessed: Final = api.AccessSecretVersionResponse.pb()


def _connect(channel: Any) -> dict[str, _Method]:
    """Each method by its name in the API, with the SDK's own attempts off.

    Reading a value calls the SDK's stub itself, without the client's wrapping and its proto-plus messages,
    which take half as long again as the call.
    """
    client = api.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))
    stub = channel.unary_unary(_ACCESS, _Access.SerializeToString, _Accessed.FromString)

    def access(request: Any, timeout: float) -> Any:
        # Google routes by this header: https://google.aip.dev/client-libraries/4222
        return stub(request, timeout, (("x-goog-request-params", f"name={request.name}"),))

    names = {method: re.sub(r"(?<!^)([A-Z])", r"_\1", method).lower() for method in ROLES}
    calls = {method: _through(getattr(client, name)) for method, name in names.items()}
    return {**calls, "AccessSecretVersion": access}


def _through(call: Callable[..., Any]) -> _Method:
    return lambda request, timeout: call(request=request, retry=None, timeout=timeout)


def _accessing(name: str, version: str | int) -> Any:
    return _Access(name=f"{name}/versions/{version}")


def _adding(name: str, payload: SecretValue) -> Any:
    checksum = google_crc32c.value(payload.reveal())
    content = api.SecretPayload(data=payload.reveal(), data_crc32c=checksum)
    return api.AddSecretVersionRequest(parent=name, payload=content)


def _payload(answer: Any) -> tuple[int, SecretValue] | None:
    """The number and the sealed payload; None if it does not match its checksum.

    Versions encrypted under CMEK before July 2021 have none (secret-manager/docs/data-integrity).
    """
    payload = answer.payload
    if payload.HasField("data_crc32c") and google_crc32c.value(payload.data) != payload.data_crc32c:
        return None
    return _number_in(answer.name), SecretValue(payload.data)


def _added(answer: Any) -> tuple[Added, bool]:
    found = api.SecretVersion.pb(answer)
    added = Added(_number_in(found.name), moment(found.create_time))
    return added, bool(found.client_specified_payload_checksum)


def _page(pager: Any) -> Any:
    """One page as protocol buffer: the SDK's pager would fetch the next one itself, without our attempts."""
    page = next(pager.pages)
    return type(page).pb(page)


def _number_in(name: str) -> int:
    _, found, text = name.rpartition("/versions/")
    if not found or not text.isdecimal():
        raise UnavailableError("Google's answer does not tell which version it is about", performed=None)
    return int(text)


def moment(time: Any) -> datetime | None:
    """A protocol buffer's time in UTC, cut to microseconds; None if it is not set."""
    return time.ToDatetime(UTC) if time.seconds else None
