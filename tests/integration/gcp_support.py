"""What the tests of the Google store share: opening it, a plain client, and another program's writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.backend import Backend, Clock, Settings
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock

if TYPE_CHECKING:
    from tests.servers.google import Google

PROJECT = "strongroom-tests"
PARENT = f"projects/{PROJECT}"
NAME = "db/password"
SECRET = f"{PARENT}/secrets/app__db__password"
TIMEOUT = 5.0


def opened(server: Google, clock: Clock | None = None, query: str = "", **settings: Any) -> Backend:
    """The store below the prefix ``app``; nobody waits for real."""
    url = f"gcp-sm://{PROJECT}/app?endpoint={server.url}{query}"
    return open_backend(url, Settings(clock=clock or FakeClock(), timeout=TIMEOUT, **settings))


def store_of(server: Google, clock: Clock | None = None, query: str = "", **settings: Any) -> SecretStore:
    """The same as users see it, without a cache."""
    return SecretStore(opened(server, clock, query, **settings), cache=None)


def native(server: Google) -> Any:
    """Another program's client, which repeats nothing by itself."""
    client: Any = server.secret_client()
    for wrapped in client.transport._wrapped_methods.values():
        wrapped._retry = None
    return client


def made(client: Any, secret: str = SECRET, **fields: Any) -> Any:
    """A secret that another program made, without a version."""
    parent, _, secret_id = secret.rpartition("/secrets/")
    fields = {"replication": {"automatic": {}}, **fields}
    return client.create_secret(parent=parent, secret_id=secret_id, secret=fields)


def added(client: Any, data: bytes | str, secret: str = SECRET) -> int:
    """A version that another program added; its number."""
    payload = data.encode() if isinstance(data, str) else data
    answer = client.add_secret_version(parent=secret, payload={"data": payload})
    return int(answer.name.rpartition("/")[2])


def shown(client: Any, secret: str = SECRET, version: str | int = "latest") -> bytes:
    """What any reader of the provider gets."""
    data: bytes = client.access_secret_version(name=f"{secret}/versions/{version}").payload.data
    return data
