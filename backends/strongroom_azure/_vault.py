"""Which vault a URL names, and what its tokens and its login service may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from strongroom.errors import InvalidRequestError
from strongroom.names import is_loopback

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

# Cloud by cloud: https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes
# and https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
_LOGIN = {
    ".vault.azure.net": "login.microsoftonline.com",
    ".managedhsm.azure.net": "login.microsoftonline.com",
    ".vault.azure.cn": "login.chinacloudapi.cn",
    ".vault.usgovcloudapi.net": "login.microsoftonline.us",
}
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,22}[a-z0-9])")


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault or managed HSM.

    Attributes:
        name: as the URL gives it; it says where answers came from.
        endpoint: ``https://HOST`` or ``https://HOST:PORT``, always TLS.
        loopback: whether it is a double or an emulator on this machine.
        login: the host that issues tokens for its cloud; None where the cloud is not known.
    """

    name: str
    endpoint: str
    loopback: bool
    login: str | None

    @classmethod
    def of(cls, url: StoreURL, settings: Settings) -> Vault:
        """Read ``//VAULT`` (a name, or a host of one of Azure's clouds) and the endpoint, without I/O.

        Raises:
            InvalidRequestError: no vault can have this name, or the endpoint is not HTTPS.
        """
        name = url.host.lower()
        host = name if "." in name else f"{name}.vault.azure.net"
        if not _NAME.fullmatch(name.partition(".")[0]) or _login(host) is None:
            raise InvalidRequestError(
                f"not a vault: {url.host[:60]!r}",
                hint="write its name, as in azure-kv://my-vault/prod, or its host in another cloud of Azure",
            )
        endpoint = _origin(url.endpoint or settings.endpoint or f"https://{host}")
        return cls(name, endpoint, is_loopback(endpoint), _login(urlsplit(endpoint).hostname or ""))


def origin(url: str) -> str:
    """Scheme, host and port: who may see a token that was meant for a URL of the same origin."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 443}"


def _origin(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or "\\" in parts.netloc:
        raise InvalidRequestError("Key Vault speaks only HTTPS", hint="use an https:// endpoint")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidRequestError("an endpoint is a scheme, a host and a port", hint="leave the path out")
    return f"https://{parts.netloc.lower()}"


def _login(host: str) -> str | None:
    return next((login for suffix, login in _LOGIN.items() if host.endswith(suffix)), None)
