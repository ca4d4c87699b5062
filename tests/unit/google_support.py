"""What the tests of the Google double share: a client, a secret, and reading an error."""

from __future__ import annotations

import uuid
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


def made_key(address: str, algorithm: str = "GOOGLE_SYMMETRIC_ENCRYPTION") -> str:
    """A fresh key of the double that listens at `address`; the name of its first version."""
    import grpc
    from google.cloud import kms_v1
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport,
    )

    location, ring = "projects/p/locations/europe-west6", uuid.uuid4().hex
    with grpc.insecure_channel(address) as channel:
        transport = KeyManagementServiceGrpcTransport(channel=channel)
        client: Any = kms_v1.KeyManagementServiceClient(transport=transport)
        parent = client.create_key_ring(parent=location, key_ring_id=ring, key_ring={}).name
        purpose = {"GOOGLE_SYMMETRIC_ENCRYPTION": "ENCRYPT_DECRYPT", "HMAC_SHA256": "MAC"}
        level = "HSM" if algorithm == "EC_SIGN_SECP256K1_SHA256" else "SOFTWARE"
        key = {
            "purpose": purpose.get(algorithm, "ASYMMETRIC_SIGN"),
            "version_template": {"algorithm": algorithm, "protection_level": level},
        }
        made = client.create_crypto_key(parent=parent, crypto_key_id="key", crypto_key=key)
    return f"{made.name}/cryptoKeyVersions/1"
