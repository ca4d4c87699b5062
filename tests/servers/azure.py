"""A wire double of Azure Key Vault: secrets and keys over HTTPS with challenge authentication.

The real SDK clients talk to it. Each documented rule it keeps stands in the module of its kind, with its
source. It is one vault, and its host is whatever the client called. Where the service is not documented it
chooses: versions are listed in the order of their ids, tags end at 256 characters, a purge is at once.
"""

from __future__ import annotations

import argparse
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from strongroom.backend import Clock
from tests.servers.azure_collection import Collection
from tests.servers.azure_faults import Faults
from tests.servers.azure_identity import Identity
from tests.servers.azure_keys import Keys
from tests.servers.azure_secrets import Secrets
from tests.servers.azure_wire import Call, RefusedError, answer
from tests.servers.https import Authority, Request, Response, Server, serving
from tests.servers.process import wait_for_interrupt
from tests.session import note

HOSTS = ("*.vault.azure.net", "*.managedhsm.azure.net", "login.microsoftonline.com")


class Vault:
    """The double's inside, for tests.

    Attributes:
        url, ca_file: where it is, and whom to trust for it.
        requests: every request as it came, tokens included.
        secrets, keys: what is behind the API; `keys.managed_hsm` makes it a Managed HSM.
        faults: what is to go wrong next.
        identity: tokens and challenges.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.faults = Faults(self.clock)
        self.identity = Identity()
        self.secrets, self.keys = Secrets(self.clock), Keys(self.clock)
        self.server: Server | None = None
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        """https://127.0.0.1:PORT."""
        assert self.server
        return self.server.url

    @property
    def ca_file(self) -> Path:
        """The authority's certificate."""
        assert self.server
        assert self.server.ca_file
        return self.server.ca_file

    @property
    def requests(self) -> list[Request]:
        """Everything it was sent."""
        assert self.server
        return self.server.requests

    @property
    def calls(self) -> Counter[str]:
        """How often each operation was asked for; a first request without a token is "challenge"."""
        return self.faults.calls

    def reset(self) -> None:
        """An empty vault that behaves."""
        with self._lock:
            self.faults.clear()
            self.identity = Identity()
            self.secrets, self.keys = Secrets(self.clock), Keys(self.clock)
            self.requests.clear()

    def client(self, **options: Any) -> Any:
        """A plain SecretClient of the public SDK, as another program would use."""
        from azure.keyvault.secrets import SecretClient

        return SecretClient(self.url, Anybody(), **self._transport(), **options)

    def key_client(self, **options: Any) -> Any:
        """A plain KeyClient of the public SDK."""
        from azure.keyvault.keys import KeyClient

        return KeyClient(self.url, Anybody(), **self._transport(), **options)

    def crypto_client(self, key_id: str, **options: Any) -> Any:
        """A plain CryptographyClient of the public SDK for one key; it wraps and verifies on its own side."""
        from azure.keyvault.keys.crypto import CryptographyClient

        return CryptographyClient(key_id, Anybody(), **self._transport(), **options)

    def respond(self, request: Request) -> Response:
        """Answer one request."""
        call = Call.of(request)
        try:
            return self._respond(call)
        except RefusedError as refused:
            return refused.response

    def _transport(self) -> Mapping[str, Any]:
        return {"connection_verify": str(self.ca_file), "verify_challenge_resource": False}

    def _respond(self, call: Call) -> Response:
        token = self.identity.answer(call)
        if token is not None:
            self.calls["token"] += 1
            return answer(token)
        self._authenticate(call)
        call.check_version()
        collection, action, arguments = _route(call)
        instead, perform = self.faults.before(f"{collection}.{_label(action)}")
        if instead is not None and not perform:
            return _redirected(instead, call)
        with self._lock:
            body = getattr(self._collection(collection), action)(call, *arguments)
        return instead or answer(body, 204 if body is None else 200)

    def _collection(self, name: str) -> Collection:
        return self.keys if name.endswith("keys") else self.secrets

    def _authenticate(self, call: Call) -> None:
        try:
            self.identity.check(call)
        except RefusedError:
            self.calls["challenge"] += 1
            raise


class Anybody:
    """A credential the double lets in."""

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token that means nothing."""
        from azure.core.credentials import AccessToken

        return AccessToken("anybody", 2**31)


def _label(action: str) -> str:
    return action.removesuffix("_deleted").rstrip("_")


def _redirected(response: Response, call: Call) -> Response:
    if response.status != 307:
        return response
    path = "/".join(("", *call.parts)) + f"?api-version={call.query['api-version']}"
    return Response(307, b"", {"Location": response.headers["Location"] + path})


_KIND, _NAME, _VERSION = "(secrets|keys)", r"/([^/]+)", r"(?:/([^/]+))?"
_BIN = "(deletedsecrets|deletedkeys)"
_ROUTES = tuple(
    (method, re.compile(path + r"\Z"), action)
    for method, path, action in (
        ("GET", _KIND, "list"),
        ("GET", f"{_KIND}{_NAME}/versions", "versions"),
        ("GET", f"{_KIND}{_NAME}{_VERSION}", "get"),
        ("PATCH", f"{_KIND}{_NAME}{_VERSION}", "update"),
        ("DELETE", f"{_KIND}{_NAME}", "delete"),
        ("GET", _BIN, "list_deleted"),
        ("GET", f"{_BIN}{_NAME}", "get_deleted"),
        ("DELETE", f"{_BIN}{_NAME}", "purge"),
        ("POST", f"{_BIN}{_NAME}/recover", "recover"),
        ("PUT", f"(secrets){_NAME}", "set"),
        ("PUT", f"(keys){_NAME}", "import_"),
        ("POST", f"(keys){_NAME}/create", "create"),
        ("POST", f"(keys){_NAME}/rotate", "rotate"),
        *(
            ("POST", f"(keys){_NAME}{_VERSION}/{action}", action)
            for action in ("wrapkey", "unwrapkey", "sign", "verify")
        ),
    )
)


def _route(call: Call) -> tuple[str, str, list[str]]:
    """Collection, action and the arguments in the path."""
    for method, pattern, action in _ROUTES:
        if call.method == method and (found := pattern.match("/".join(call.parts))):
            collection, *arguments = found.groups()
            return collection, action, [argument for argument in arguments if argument is not None]
    raise RefusedError(404, "NotFound", "The resource was not found")


@contextmanager
def server(authority: Authority, clock: Clock | None = None, port: int = 0) -> Iterator[Vault]:
    """A running vault; its certificate also stands for Azure's own host names (see `dialled`)."""
    note("servers", name="Azure Key Vault double (HTTPS)")
    vault = Vault(clock)
    with serving(vault.respond, authority, authority.server_context("localhost", *HOSTS), port) as running:
        vault.server = running
        yield vault


@contextmanager
def dialled(vault: Vault) -> Iterator[None]:
    """Whoever connects to a host of Azure's in this process gets `vault`, under the host's own name.

    So credentials, challenges and certificates are checked as in production.
    """
    from urllib3.util import connection

    suffixes = tuple(host.removeprefix("*") for host in HOSTS)
    port, dial = int(vault.url.rpartition(":")[2]), connection.create_connection

    def create(address: tuple[str, int], *args: Any, **options: Any) -> Any:
        return dial(("127.0.0.1", port) if address[0].endswith(suffixes) else address, *args, **options)

    connection.create_connection = create
    try:
        yield
    finally:
        connection.create_connection = dial


_CONFIG = """\
[store.azure]
url = "azure-kv://example/app?endpoint={url}"
ca = "{ca}"

[store.sealed]
url = "azure-kv://example/sealed?endpoint={url}"
ca = "{ca}"
encrypt = {{ keys = ["kek"], domain = "try", forgeable = true }}

[key.kek]
url = "azure-key://example/kek?endpoint={url}"
ca = "{ca}"
"""


def _main() -> None:
    parser = argparse.ArgumentParser("python -m tests.servers.azure", description="Azure Key Vault's double")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: a free one)")
    authority = Authority()
    with server(authority, port=parser.parse_args().port) as vault:
        with vault.key_client() as keys:
            keys.create_rsa_key("kek")
        config = _CONFIG.format(url=vault.url, ca=vault.ca_file)
        use = "printf s3cret | strongroom put db/password --store azure; strongroom list --store azure"
        wait_for_interrupt(["# strongroom.toml", config, "# then:", use])
    authority.close()


if __name__ == "__main__":
    _main()
