"""One HTTP exchange with Vault through hvac's adapter: TLS verified, no redirects, no secret in frames."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.value import SecretValue

from ._errors import error_for, error_for_status, no_answer
from .address import Address

_POOL = 16
_NOTHING: Mapping[str, Any] = {}
_LEASE = ("lease_id", "lease_duration", "renewable")


@dataclass(frozen=True, slots=True)
class Request:
    """A request, ready to send.

    Attributes:
        operation: the interface method it serves; says what a lost answer means.
        body: JSON, kept out of reprs and so out of tracebacks with locals.
        grant: the policy path that would allow it, for the hint when it is denied.
        needs: the capabilities that the policy lacks then, where the method does not tell.
    """

    operation: str
    method: str
    path: str
    body: SecretValue | None = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    content_type: str = "application/json"
    grant: str = ""
    needs: str = ""

    @property
    def hint(self) -> str | None:
        """The policy statement that is lacking."""
        words = {"GET": '"read"', "LIST": '"list"', "POST": '"create", "update"', "PATCH": '"patch"'}
        can = self.needs or words.get(self.method, '"delete"')
        return f'the policy needs: path "{self.grant}" {{ capabilities = [{can}] }}' if self.grant else None


class Answer:
    """What the server said. Its repr shows the status alone."""

    __slots__ = ("auth", "data", "date", "errors", "index", "lease", "retry_after", "status")

    def __init__(self, status: int, content: Mapping[str, Any], headers: Mapping[str, str]):
        self.status = status
        self.data: Mapping[str, Any] = _mapping(content.get("data"))
        self.auth: Mapping[str, Any] = _mapping(content.get("auth"))
        self.lease = {name: content.get(name) for name in _LEASE}
        self.errors = [str(text) for text in content.get("errors") or ()]
        self.date = _date(headers.get("Date"))
        self.retry_after = _seconds(headers.get("Retry-After"))
        self.index = headers.get("X-Vault-Index")

    @property
    def ok(self) -> bool:
        """Whether the request did what it asked."""
        return 200 <= self.status < 300

    def error(self, request: Request) -> SecretStoreError:
        """The error this answer stands for."""
        return error_for_status(self.status, request.operation, self.errors, request.hint)

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Transport:
    """Sends requests, one attempt each.

    Args:
        address: the server.
        timeout: seconds to connect, and to wait for each part of an answer.
        ca: PEM file of the authorities to trust instead of certifi's.
        certificate: PEM files of a client certificate and its key.

    Raises:
        InvalidRequestError: a PEM file cannot be read.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        ca: str | None = None,
        certificate: tuple[str, str] | None = None,
    ):
        self._address = address
        self._timeout = timeout
        self._ca = ca
        self._tls = _tls_context(ca, certificate)
        self.after_fork()

    def send(self, request: Request, token: SecretValue | None, index: str | None = None) -> Answer:
        """Send once. Any HTTP status is an answer.

        Raises:
            SecretStoreError: no answer; ``performed`` says whether a write can have happened.
        """
        outcome = self._exchange(request, token, index)
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def after_fork(self) -> None:
        """Use new connections; those of before are left open, for the parent still uses them."""
        self._adapter = RawAdapter(
            base_uri=self._address.endpoint,
            session=_session(self._tls, self._ca, self._address),
            timeout=self._timeout,  # type: ignore[arg-type]  # requests takes a float
            namespace=self._address.namespace or None,
            allow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._adapter.close()

    def _exchange(
        self, request: Request, token: SecretValue | None, index: str | None
    ) -> Answer | SecretStoreError:
        try:
            response = self._adapter.request(
                request.method,
                f"/v1/{quote(request.path)}",
                headers=_headers(request, token, index),
                raise_exception=False,
                data=request.body.reveal() if request.body else None,
                params=dict(request.params),
            )
            return Answer(response.status_code, _content(response), response.headers)
        except Exception as exc:  # noqa: BLE001  (whatever it is, its frames hold the token and the value)
            return error_for(exc, request.operation) or no_answer(exc, request.operation)


def json_body(content: Mapping[str, Any]) -> SecretValue:
    """JSON that does not show itself."""
    return SecretValue(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


class _Adapter(HTTPAdapter):
    """Every connection under our own TLS context."""

    def __init__(self, tls: ssl.SSLContext):
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=_POOL, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, **kwargs, ssl_context=self._tls)


def _session(tls: ssl.SSLContext, ca: str | None, address: Address) -> requests.Session:
    session = requests.Session()
    # With trust_env REQUESTS_CA_BUNDLE would replace `ca`, and ~/.netrc would add an Authorization header.
    session.trust_env = False
    session.verify = ca or True
    session.proxies = {} if address.loopback else get_environ_proxies(address.endpoint)
    session.mount("https://", _Adapter(tls))
    return session


def _tls_context(ca: str | None, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    unreadable = None
    try:
        if ca:
            unreadable = f"cannot read certificate authorities from {ca}"
            context.load_verify_locations(cafile=ca)
        if certificate:
            unreadable = f"cannot read a client certificate and its key from {' and '.join(certificate)}"
            _load_certificate(context, certificate)
        return context
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        pass
    raise InvalidRequestError(str(unreadable), hint="PEM files, readable, the key without a password")


def _load_certificate(context: ssl.SSLContext, certificate: tuple[str, str]) -> None:
    for path in certificate:
        Path(path).open("rb").close()

    def no_password() -> str:
        raise ValueError  # OpenSSL would ask at the terminal

    context.load_cert_chain(*certificate, password=no_password)


def _headers(request: Request, token: SecretValue | None, index: str | None) -> dict[str, str]:
    headers = {"Content-Type": request.content_type} if request.body else {}
    if token is not None:
        headers["X-Vault-Token"] = token.reveal_text()
    if index is not None:
        headers["X-Vault-Index"] = index
    return headers


def _content(response: requests.Response) -> Mapping[str, Any]:
    """The JSON of an answer. A 2xx answer that is not JSON is an error: it does not come from Vault."""
    if not response.content:
        return _NOTHING
    try:
        return _mapping(json.loads(response.content))
    except ValueError:
        if not response.ok or response.is_redirect:
            return _NOTHING  # a gateway's page; the status says enough
        raise requests.exceptions.InvalidJSONError from None


def _mapping(thing: Any) -> Mapping[str, Any]:
    return thing if isinstance(thing, dict) else _NOTHING


def _date(header: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(header) if header else None
    except ValueError:
        return None


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdecimal() else None
