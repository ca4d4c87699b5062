"""What wrappers and signers of a transit key share: which key is meant, what it is, its calls."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import InvalidRequestError, PermissionDeniedError

from ._errors import garbage
from .address import Address
from .client import VaultClient
from .transport import Answer, Request

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL
    from strongroom.value import SecretValue

LOGGERS = ("urllib3", "requests")
PROVIDER = "strongroom-vault-transit"
_TEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})", re.ASCII)


class Facts(NamedTuple):
    """What the server says of a key, when it was first asked.

    Attributes:
        type: such as ``aes256-gcm96``.
        derived: whether each context has a key of its own, derived from this one.
        version: the latest then.
        public_key: of that version; PEM, base64 for ed25519, empty if it has none.
    """

    type: str
    derived: bool
    version: int
    public_key: str


class TransitEngineKey:
    """One key of a transit engine. Safe across threads.

    Raises:
        InvalidRequestError: the URL or a setting is wrong.
    """

    def __init__(self, url: StoreURL, settings: Settings, *options: str):
        unknown = sorted(settings.options.keys() - {"namespace", *options})
        if unknown:
            known = ", ".join(("namespace", *options))
            raise InvalidRequestError(f"unknown option {unknown[0]!r}", hint=f"known: {known}")
        self._address = Address.of_key(url, settings)
        self._client = VaultClient(self._address, settings)
        self._facts: Facts | None = None
        self.after_fork, self.close = self._client.after_fork, self._client.close

    @property
    def id(self) -> str:
        """Server, namespace, mount and name: what a message records. No credential."""
        place = self._address
        return "/".join(part for part in (place.server, place.namespace, place.mount, place.prefix) if part)

    def facts(self, operation: str) -> Facts:
        """What the key is, asked once: a key's type and derivation never change.

        It is asked before the first use also because Vault makes a key that is missing when it is told to
        encrypt under it, for whoever has "create" there.

        Raises:
            PermissionDeniedError: there is no such key, or it may not be read.
        """
        if self._facts is None:
            path = f"{self._address.mount}/keys/{self._address.prefix}"
            answer = self._client.read(Request(operation, "GET", path, grant=path), missing_ok=True)
            if answer.status == 404:
                raise PermissionDeniedError("no such transit key", hint=f"make it: bao write {path} type=…")
            self._facts = _facts(answer, operation)
        return self._facts

    def call(self, operation: str, verb: str, body: SecretValue, *, partial_ok: bool = False) -> Answer:
        """Use the key; repeated while the server does not answer, since nothing is changed by it."""
        path = f"{self._address.mount}/{verb}/{self._address.prefix}"
        request = Request(operation, "POST", path, body, grant=path, needs='"update"')
        return self._client.read(request, partial_ok=partial_ok)


def _facts(answer: Answer, operation: str) -> Facts:
    data = answer.data
    kind, version, versions = data.get("type"), data.get("latest_version"), data.get("keys") or {}
    if not isinstance(kind, str) or not isinstance(version, int) or not isinstance(versions, dict):
        raise garbage(operation)
    latest = versions.get(str(version))
    public = latest.get("public_key") if isinstance(latest, dict) else None
    return Facts(kind, data.get("derived") is True, version, str(public or ""))


def b64(data: bytes) -> str:
    """Base64, as Vault's JSON carries bytes."""
    return base64.b64encode(data).decode()


def bytes_in(data: Any, field: str, operation: str) -> bytes:
    """The bytes of a base64 field of an answer.

    Raises:
        UnavailableError: it is not there, or is none.
    """
    found = unb64(data.get(field))
    if found is None:
        raise garbage(operation)
    return found


def unb64(text: object) -> bytes | None:
    """The bytes, or None if this is not their one base64 form: Vault's decoder takes others for the same."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        return None
    return data if data is not None and b64(data) == text else None


def versioned(text: object) -> tuple[int, bytes] | None:
    """Key version and bytes of ``vault:vN:BASE64``, or None if this is not its one form (v0 reads as v1)."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    data = unb64(match[2]) if match else None
    return (int(match[1]), data) if match and data is not None else None
