"""One key of a vault as wrappers and signers share it: its calls, and what their refusals mean.

The service does all the work. The SDK's CryptographyClient is not used: where it can read a public key it
wraps on its own side, for ever under the version it saw first, enabled or not; and of a symmetric key, whose
bytes no vault releases, it makes up random ones and wraps under those.
(`SymmetricKey.__init__` in azure-keyvault-keys 4.11.3; tests/unit/test_azure_keys.py shows it.)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretStoreError,
    UnavailableError,
)

from ._client import Client
from ._vault import Vault

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_EXAMPLE = "azure-key://VAULT/KEY or azure-key://VAULT/KEY/VERSION"
# https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#object-identifiers
_NAME = re.compile(r"[0-9a-z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")
_ROLE = "grant the role 'Key Vault Crypto User' ('Managed HSM Crypto User'), or keys/{} in the access policy"
_PERMISSIONS = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}


class Used(NamedTuple):
    """What an operation gave, and the version of the key that it was done with."""

    version: str
    value: bytes


class Key:
    """A key and all its versions. Every call is repeatable: wrapping or signing twice changes nothing.

    Attributes:
        id: ``HOST/keys/NAME``, by the vault's own host whatever the endpoint; names have no case.
        version: the one the URL names, or None for the newest.
    """

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        name, _, version = url.path.lower().partition("/")
        if not _NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
            raise InvalidRequestError(f"not a key of a vault: {url.path[:80]!r}", hint=f"write {_EXAMPLE}")
        vault = Vault.of(url, settings)
        host = vault.name if "." in vault.name else f"{vault.name}.vault.azure.net"
        self.id, self.version = f"{host}/keys/{name}", version or None
        self._name = name
        self._client = _Client(vault, settings)
        self.after_fork, self.close = self._client.after_fork, self._client.close

    def use(self, action: str, algorithm: str, value: bytes, version: str | None = None) -> Used:
        """Have the service do `action` (``wrapkey``, ``unwrapkey``, ``sign``) with a version, or the newest.

        Raises:
            IntegrityError: the service answered for another key; ``unwrapkey``: the value is not this key's.
        """
        body = {"alg": algorithm, "value": _encoded(value)}
        answer = self._client.read(action, lambda sdk: _asked(sdk, self._path(version, action), body, action))
        return Used(self._version_in(answer.get("kid"), version), _decoded(answer.get("value")))

    def describe(self, version: str | None = None) -> tuple[str, Mapping[str, Any]]:
        """The version and its public half as a JSON Web Key."""
        answer = self._client.read("get", lambda sdk: _asked(sdk, self._path(version), None, "get"))
        found = answer.get("key")
        jwk: Mapping[str, Any] = found if isinstance(found, dict) else {}
        return self._version_in(jwk.get("kid"), version), jwk

    def version_in(self, info: bytes) -> str | None:
        """The version in ``HOST/keys/NAME/VERSION`` if that is of this key."""
        base, _, version = info.decode("ascii", "replace").rpartition("/")
        return version if base == self.id and _VERSION.fullmatch(version) else None

    def _path(self, version: str | None, action: str = "") -> str:
        return "/".join(part for part in ("/keys", self._name, version, action) if part)

    def _version_in(self, kid: object, asked: str | None) -> str:
        """From the service's answer: its host is the endpoint, which TLS has vouched for."""
        path, _, version = str(kid).lower().rpartition("/")
        if not path.endswith(f"/keys/{self._name}") or not _VERSION.fullmatch(version):
            raise _nonsense()
        if asked not in {None, version}:
            raise IntegrityError("Key Vault answered for another version of the key than it was asked to use")
        return version


class _Client(Client):
    """The keys of one vault, under the same rules as its secrets."""

    def _make(self) -> Any:
        from azure.keyvault.keys import KeyClient

        return self._open(KeyClient)


def _asked(sdk: Any, path: str, body: Mapping[str, str] | None, action: str) -> dict[str, Any]:
    method = "GET" if body is None else "POST"
    response = sdk.send_request(HttpRequest(method, path, json=body))
    if response.status_code != 200:
        refusal = HttpResponseError(response=response)
        raise _explained(refusal, action) or refusal
    answer = response.json()
    if not isinstance(answer, dict):
        raise _nonsense()
    return answer


def _explained(refusal: HttpResponseError, action: str) -> SecretStoreError | None:
    """What only a refusal to use a key can mean; None leaves it to the vault's table.

    A key that is disabled, deleted or not there is denied rather than unavailable: somebody decided so, hence
    no cached value outlives it, and another key of the message is tried all the same.
    """
    code = _code(refusal)
    error = _of_code(code, action) or _of_status(refusal.status_code, code, action)
    if error is not None:
        error.__cause__ = ProviderFault(type(refusal).__name__, code=code)
    return error


def _of_code(code: str | None, action: str) -> SecretStoreError | None:
    if code == "KeyDisabled":
        return PermissionDeniedError("the key is disabled", hint="enable this version, or use another key")
    if code in {"KeyExpired", "KeyNotYetValid", "KeyNotYetValidOrExpired"}:
        return PermissionDeniedError(
            "the key is outside the time it is valid for", hint="make a new version of it, or move its dates"
        )
    if code == "KeyOperationForbidden":
        return PermissionDeniedError(
            f"the key does not permit {_PERMISSIONS.get(action, action)}",
            hint="see the key's permitted operations (key_ops)",
        )
    return None


def _of_status(status: int | None, code: str | None, action: str) -> SecretStoreError | None:
    if status == 403 and code not in {"ForbiddenByFirewall", "ForbiddenByConnection"}:
        return PermissionDeniedError(
            "Key Vault denied the request", hint=_ROLE.format(_PERMISSIONS.get(action, action))
        )
    if action == "unwrapkey" and status in {400, 404}:
        return IntegrityError(
            "the wrapped data key does not open under this key of the vault",
            hint="the message was changed, or the version that made it was purged",
        )
    if status == 404:
        return PermissionDeniedError("no such key", hint="check its name; recover it if it is in the bin")
    if status == 400:
        return InvalidRequestError(
            "the key is not made for this", hint="check its type, and the option algorithm"
        )
    return None


def _code(refusal: HttpResponseError) -> str | None:
    """The inner code, else the outer one; it is safe to show if it looks like one."""
    error: Any = refusal.error
    inner = getattr(error, "innererror", None)
    code = (inner or {}).get("code") if isinstance(inner, Mapping) or not inner else None
    found = str(code or getattr(error, "code", ""))
    return found if found.isalnum() and len(found) <= 60 else None


def _nonsense() -> UnavailableError:
    return UnavailableError("Key Vault's answer makes no sense", hint="is it Key Vault?")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text) + "=" * (-len(str(text)) % 4), b"-_", validate=True)
    except ValueError:
        pass
    raise _nonsense()
