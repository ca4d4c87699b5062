"""HTTPS to one host and no other, under our own TLS rules."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.util import Retry, Timeout

from strongroom.errors import InvalidRequestError

from ._vault import origin

if TYPE_CHECKING:
    from strongroom.backend import Settings

    from ._vault import Vault

_CONNECTIONS = 64


class ElsewhereError(ServiceRequestError):
    """The SDK was about to send a request, and its token, to a host that is not the vault."""


class Transport(RequestsTransport):  # type: ignore[misc]  # azure-core hides it from type checkers
    """What the SDK sends through. It refuses every host but the vault's.

    The SDK follows a list's next link wherever it points, and a redirect if it may; both come from the
    answer, so that whoever can forge one could have tokens and values sent to himself.

    Raises:
        InvalidRequestError: the file of certificate authorities cannot be read.
    """

    def __init__(self, vault: Vault, settings: Settings):
        self._origin = origin(vault.endpoint)
        super().__init__(
            session=_session(vault, settings),
            connection_verify=settings.ca or True,
        )

    def send(self, request: Any, **kwargs: Any) -> Any:
        """Send once."""
        if origin(request.url) != self._origin:
            raise ElsewhereError("the answer names another host")
        return super().send(request, **kwargs)


class _Adapter(HTTPAdapter):
    """Every connection under our own TLS context, every request within one time for all its parts.

    A guarded write counts on that time: the SDK's two timeouts, to connect and to be answered, add up.
    """

    def __init__(self, tls: ssl.SSLContext, seconds: float):
        self._tls, self._seconds = tls, seconds
        once = Retry(total=False, redirect=False, raise_on_status=False)
        super().__init__(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=once)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = Timeout(total=self._seconds)
        return super().send(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._tls)


def _session(vault: Vault, settings: Settings) -> requests.Session:
    session = requests.Session()
    # With trust_env REQUESTS_CA_BUNDLE would replace `ca`, and ~/.netrc would add an Authorization header.
    session.trust_env = False
    session.proxies = {} if vault.loopback else get_environ_proxies(vault.endpoint)
    session.mount("https://", _Adapter(_tls(settings.ca), settings.timeout))
    return session


def _tls(ca: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        return context
    try:
        Path(ca).open("rb").close()
        context.load_verify_locations(cafile=ca)
        return context
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        pass
    raise InvalidRequestError(f"cannot read certificate authorities from {ca}", hint="a PEM file, readable")
