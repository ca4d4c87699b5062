"""How a rotator reaches a Vault: with a login of its own for each hook, within the hook's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.names import check_prefix
from strongroom.quiet import hushed

from .address import Address
from .client import VaultClient
from .transport import Answer, Request

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

_LOGGERS: Final = ("hvac", "requests", "urllib3")
_SECRET_OF: Final = {"approle": "secret_id", "jwt": "jwt", "token": "token", "userpass": "password"}


class Operator:
    """One engine or auth method of a Vault, as the rotator's own identity.

    Args:
        address: ``https://HOST:PORT``; plain HTTP on loopback alone.
        mount: where the engine or auth method is.
        credential: the secret part of the login: a token, the ``secret_id`` of ``approle``, the ``password``
            of ``userpass``, the ``jwt`` of ``jwt``. Without, ``VAULT_TOKEN`` if ``VAULT_ADDR`` is this one.
        auth: the rest of it, as a store's: ``{"method": "approle", "role_id": …}``.
        namespace: of HashiCorp Vault Enterprise or OpenBao.
        ca: path of a PEM file with the authorities to trust instead of the system's.
        timeout: seconds for one request.

    Raises:
        InvalidRequestError: an address, mount or login that cannot be.
    """

    def __init__(
        self,
        address: str,
        mount: str,
        *,
        credential: Source | None = None,
        auth: Mapping[str, str] | None = None,
        namespace: str = "",
        ca: str | None = None,
        timeout: float = 4.0,
    ):
        self._address = Address.of_mount(address, mount, namespace)
        self._auth, self._credential = dict(auth or {}), credential
        self._settings = Settings(ca=ca, timeout=timeout, attempts=1)
        method = self._auth.get("method", "token")
        if credential and method not in _SECRET_OF:
            raise InvalidRequestError(
                f"a login by {method!r} takes no credential", hint=f"it is for {', '.join(_SECRET_OF)}"
            )
        self.clock, self.mount = self._settings.clock, self._address.mount

    @contextmanager
    def client(
        self, r: Rotation, auth: Mapping[str, str | SecretValue] | None = None
    ) -> Iterator[VaultClient]:
        """A client that logs in when it is first used, and out at the end; with `auth`, as somebody else."""
        longest = max(0.5, r.remaining() / 8)  # a hook has some four requests, each connected and answered
        settings = replace(
            self._settings,
            auth=self._login() if auth is None else auth,
            timeout=min(longest, self._settings.timeout),
        )
        with hushed(_LOGGERS), closing(VaultClient(self._address, settings)) as client:
            yield client

    def read(
        self, vault: VaultClient, path: str, body: SecretValue | None = None, *, method: str = ""
    ) -> Answer | None:
        """Ask, which changes nothing; None if the server has no such thing."""
        request = self._request("get", method or ("POST" if body else "GET"), path, body)
        answer = vault.read(request, missing_ok=True)
        return None if answer.status in (204, 404) else answer

    def write(self, vault: VaultClient, path: str, body: SecretValue) -> Answer:
        """Have something done, once."""
        answer = vault.write(self._request("put", "POST", path, body))
        assert answer is not None
        return answer

    def judge(self, r: Rotation, path: str, body: SecretValue | None = None) -> Answer | None:
        """As `read`, to find out whether a value is refused: a refusal of the rotator itself is none of it.

        Raises:
            UnavailableError: the rotator may not ask.
        """
        try:
            with self.client(r) as vault:
                return self.read(vault, path, body)
        except PermissionDeniedError as error:
            hint = error.hint
        raise UnavailableError("the rotator may not ask Vault about a credential", hint=hint)

    def _request(self, operation: str, method: str, path: str, body: SecretValue | None) -> Request:
        full = f"{self.mount}/{path}"
        needs = '"list"' if method == "LIST" else '"update"' if body is not None else '"read"'
        return Request(operation, method, full, body, grant=full, needs=needs)

    def _login(self) -> dict[str, str | SecretValue]:
        login: dict[str, str | SecretValue] = {**self._auth}
        if self._credential:
            login[_SECRET_OF[self._auth.get("method", "token")]] = self._credential()
        return login


def segment(name: str, what: str) -> str:
    """A name that becomes one part of a path.

    Raises:
        InvalidRequestError: it could climb, or be two parts.
    """
    if "/" in name or not name:
        raise InvalidRequestError(f"{what} is one name, without '/'")
    return check_prefix(name, "native")
