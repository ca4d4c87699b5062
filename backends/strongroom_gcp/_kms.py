"""Cloud KMS as key wrappers and signers share it: which key is meant, its calls, what its refusals mean.

What is sent carries its CRC32C, and what comes back is checked against its own, both ways:
https://cloud.google.com/kms/docs/data-integrity-guidelines. An answer that was damaged is thrown away and
asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL
from strongroom.retry import attempts

from ._channel import Address, Connection
from ._errors import code_in, fault_of, translate

import google_crc32c  # isort: skip
from google.cloud import kms_v1 as api  # isort: skip  (grpc is imported by _channel first)
from google.cloud.kms_v1.services.key_management_service.transports import (  # isort: skip
    KeyManagementServiceGrpcTransport,
)

T = TypeVar("T")
PROVIDER_ID: Final = "strongroom-gcp-kms"
LOGGERS: Final = ("google", "grpc", "urllib3")
LIMIT: Final = 65_536
"""Bytes in one call: EncryptRequest.plaintext, "Must be no larger than 64KiB"."""

_HOST: Final = "cloudkms.googleapis.com"
_PART: Final = "[A-Za-z0-9_-][A-Za-z0-9._:-]*"
_NAME: Final = re.compile(
    f"(projects/{_PART}/locations/{_PART}/keyRings/{_PART}/cryptoKeys/{_PART})(/cryptoKeyVersions/[0-9]+)?"
)
_METHODS: Final = {
    "AsymmetricSign": "asymmetric_sign",
    "Decrypt": "decrypt",
    "Encrypt": "encrypt",
    "GetCryptoKeyVersion": "get_crypto_key_version",
    "GetPublicKey": "get_public_key",
    "MacSign": "mac_sign",
}
_ROLE: Final = "roles/cloudkms."
_ROLES: Final[Mapping[str, str]] = {
    "AsymmetricSign": _ROLE + "signer",
    "Decrypt": _ROLE + "cryptoKeyDecrypter",
    "Encrypt": _ROLE + "cryptoKeyEncrypter",
    "GetCryptoKeyVersion": _ROLE + "viewer, or set the option algorithm",
    "GetPublicKey": _ROLE + "publicKeyViewer",
    "MacSign": _ROLE + "signer",
}
"""The least of Google's own roles: https://cloud.google.com/kms/docs/reference/permissions-and-roles."""


class CryptoKey:
    """One key of Cloud KMS, or one version of it. Every call made here may be repeated: it changes nothing.

    Attributes:
        key: the key's resource name.
        version: the name of the version that the URL names, if it names one.
    """

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        match = _NAME.fullmatch(f"{url.host}/{url.path}")
        if match is None:
            raise InvalidRequestError(
                "the URL does not name a Cloud KMS key",
                hint="write gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K",
            )
        self.key = match[1]
        self.version = match[0] if match[2] else None
        self._settings = settings
        self._connection = Connection(_connect, Address.of(url, settings, _HOST), settings)
        self.after_fork, self.close = self._connection.after_fork, self._connection.close

    def call(self, method: str, request: Callable[[], Any], read: Callable[[Any], T | None]) -> T:
        """Call a method.

        Args:
            method: as the API names it.
            request: makes the request, in a frame that ends with the attempt: it may hold a data key.
            read: takes what is wanted from the answer; None if the answer was damaged on its way.

        Raises:
            SecretStoreError: as Cloud KMS says.
        """
        return attempts(self._settings, lambda: self._attempt(method, request, read), again=True)

    def _attempt(
        self, method: str, request: Callable[[], Any], read: Callable[[Any], T | None]
    ) -> T | SecretStoreError:
        """The answer, read; or the error: the SDK's exception and its frames end here."""
        try:
            call = getattr(self._connection.get(), _METHODS[method])
            answer = read(call(request=request(), retry=None, timeout=self._settings.timeout))
            return _damaged() if answer is None else answer
        except SecretStoreError as exc:
            return exc.with_traceback(None)
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error = _explained(exc, method) or translate(exc, "get", _ROLES[method])
            fault = fault_of(exc)
        error = error or SecretStoreError("Google's SDK failed unexpectedly", performed=False)
        error.__cause__ = fault
        return error

    def is_of_this_key(self, name: str) -> bool:
        """Whether an answer is about this key (the version, if the URL names one).

        A project has an id and a number; the URL may say one and the answer the other.
        """
        wanted, found = (_in_project(text) for text in (self.version or self.key, name))
        return found == wanted or (self.version is None and found.startswith(f"{wanted}/cryptoKeyVersions/"))


def crc32c(data: bytes) -> int:
    """The checksum that Cloud KMS sends and takes."""
    return int(google_crc32c.value(data))


def is_intact(data: bytes, checksum: int | None) -> bool:
    """Whether `data` arrived as it was sent; an answer without its checksum is not known to have."""
    return checksum == crc32c(data)


def _connect(channel: Any) -> Any:
    return api.KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))


def _in_project(name: str) -> str:
    return name.partition("/locations/")[2]


def _damaged() -> UnavailableError:
    return UnavailableError("what was sent to Cloud KMS, or its answer, was damaged on the way")


def _explained(exc: Exception, method: str) -> SecretStoreError | None:
    """What Cloud KMS alone can mean; None for what is the same with every service of Google's.

    A key that was disabled, destroyed or never there is denied rather than unavailable: somebody decided so,
    hence no cached value outlives it, and another key of the message is tried all the same.
    """
    code, text = code_in(exc), str(getattr(exc, "message", "")).lower()
    if code == "NOT_FOUND":
        return PermissionDeniedError("no such Cloud KMS key", hint="check project, location, ring and key")
    if code == "FAILED_PRECONDITION" and (method != "GetPublicKey" or "not enabled" in text):
        return PermissionDeniedError(
            "the Cloud KMS key's version is not enabled", hint="enable or restore it, or use another key"
        )
    if code not in ("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
        return None
    if "checksum" in text:
        return _damaged()
    if method == "Decrypt":
        return IntegrityError(
            "the wrapped data key does not verify under this Cloud KMS key",
            hint="the message or its context was changed, or it was made under another key",
        )
    return InvalidRequestError(
        "Cloud KMS does not do this with this key",
        hint="check its purpose and algorithm; an HSM key takes 8 KiB with the context",
    )
