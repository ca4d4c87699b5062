"""What the tests of the Google double share: a client, a secret, and reading an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.servers.google import Google

PARENT = "projects/strongroom-tests"
NAME = f"{PARENT}/secrets/db"
AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}


def made(client: Any, name: str = "db", **fields: Any) -> Any:
    """A new secret with automatic replication."""
    return client.create_secret(parent=PARENT, secret_id=name, secret=AUTOMATIC | fields)


def added(client: Any, data: bytes = b"one", secret: str = NAME) -> Any:
    """A new version."""
    return client.add_secret_version(parent=secret, payload={"data": data})


def code(call: Any, *args: Any, **kwargs: Any) -> str:
    """The gRPC status that a call ends with."""
    from google.api_core.exceptions import GoogleAPICallError

    with pytest.raises(GoogleAPICallError) as caught:
        call(*args, **kwargs)
    status = caught.value.grpc_status_code
    assert status is not None
    return str(status.name)


def client_of(server: Google) -> Any:
    """A client that repeats nothing by itself."""
    return _without_retries(server.secret_client())


def key_client_of(server: Google) -> Any:
    """The same for Cloud KMS."""
    return _without_retries(server.key_client())


def _without_retries(client: Any) -> Any:
    for wrapped in client.transport._wrapped_methods.values():
        wrapped._retry = None
    return client
