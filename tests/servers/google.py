"""Google Secret Manager and Cloud KMS on a loopback port, over gRPC, for the real SDK clients.

A wire double: it states the rules that Google documents, each with its source beside it, and plays faults.
What Google does beyond its documentation it cannot know.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.cloud import kms_v1, secretmanager_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)
from google.iam.v1 import iam_policy_pb2

from strongroom.backend import Clock
from tests.servers.google_faults import Faults
from tests.servers.google_kms import KeyManagement
from tests.servers.google_rpc import Call, Listener, Method, Wire, snake
from tests.servers.google_versions import SecretManager
from tests.servers.process import free_port, listens, running, wait_for_interrupt
from tests.servers.relay import Relay
from tests.session import note

PROJECT = "strongroom-tests"

# Each method's permission: https://cloud.google.com/secret-manager/docs/access-control
_SECRET_PERMISSIONS = {
    "CreateSecret": "secretmanager.secrets.create",
    "GetSecret": "secretmanager.secrets.get",
    "UpdateSecret": "secretmanager.secrets.update",
    "DeleteSecret": "secretmanager.secrets.delete",
    "ListSecrets": "secretmanager.secrets.list",
    "AddSecretVersion": "secretmanager.versions.add",
    "AccessSecretVersion": "secretmanager.versions.access",
    "GetSecretVersion": "secretmanager.versions.get",
    "ListSecretVersions": "secretmanager.versions.list",
    "EnableSecretVersion": "secretmanager.versions.enable",
    "DisableSecretVersion": "secretmanager.versions.disable",
    "DestroySecretVersion": "secretmanager.versions.destroy",
    "SetIamPolicy": "secretmanager.secrets.setIamPolicy",
    "GetIamPolicy": "secretmanager.secrets.getIamPolicy",
    "TestIamPermissions": "",
}
# Each method's permission: https://cloud.google.com/kms/docs/reference/permissions-and-roles
_KEY_PERMISSIONS = {
    "CreateKeyRing": "cloudkms.keyRings.create",
    "CreateCryptoKey": "cloudkms.cryptoKeys.create",
    "GetCryptoKey": "cloudkms.cryptoKeys.get",
    "CreateCryptoKeyVersion": "cloudkms.cryptoKeyVersions.create",
    "GetCryptoKeyVersion": "cloudkms.cryptoKeyVersions.get",
    "UpdateCryptoKeyVersion": "cloudkms.cryptoKeyVersions.update",
    "UpdateCryptoKeyPrimaryVersion": "cloudkms.cryptoKeys.update",
    "DestroyCryptoKeyVersion": "cloudkms.cryptoKeyVersions.destroy",
    "RestoreCryptoKeyVersion": "cloudkms.cryptoKeyVersions.restore",
    "Encrypt": "cloudkms.cryptoKeyVersions.useToEncrypt",
    "Decrypt": "cloudkms.cryptoKeyVersions.useToDecrypt",
    "AsymmetricSign": "cloudkms.cryptoKeyVersions.useToSign",
    "MacSign": "cloudkms.cryptoKeyVersions.useToSign",
    "GetPublicKey": "cloudkms.cryptoKeyVersions.viewPublicKey",
}


class Google:
    """A running double; use it as a context manager.

    Attributes:
        secrets: Secret Manager's rules and data; `quota`, `freeze` and `default_page` are there.
        keys: Cloud KMS's; `make` makes a key.
        faults: what to do to coming calls, of both services.
        calls: how often each method was called.
        seen: the last calls with their requests and metadata.
    """

    def __init__(self, clock: Clock | None = None, port: int = 0):
        self.secrets = SecretManager(clock or Clock())
        self.keys = KeyManagement(self.secrets.clock)
        self._wire = Wire(self.secrets.lock)
        self.faults: Faults = self._wire.faults
        self.calls: Counter[str] = self._wire.calls
        self.seen: deque[Call] = self._wire.seen
        self._channels: list[Any] = []
        self._listener = Listener([self._secret_manager(), self._key_management()], port)
        note("servers", name="Google double (gRPC)")

    @property
    def address(self) -> str:
        """Host and port, as gRPC wants them."""
        return f"127.0.0.1:{self._listener.port}"

    @property
    def url(self) -> str:
        """The endpoint to give to a store or key URL; it speaks gRPC without TLS."""
        return f"http://{self.address}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.faults.clear()  # held calls would keep their threads
        for channel in self._channels:
            channel.close()
        self._listener.close()

    def reset(self, clock: Clock | None = None) -> None:
        """Forget all data, faults and counts; from now on `clock` tells the time."""
        self.faults.clear()
        self.secrets.reset(clock or Clock())
        self.keys.reset(self.secrets.clock)
        self.calls.clear()
        self.seen.clear()

    def relay(self) -> Relay:
        """A relay to this server, to be used as a context manager: `cut` breaks its connections."""
        return Relay(self._listener.port)

    def secret_client(self, port: int = 0) -> secretmanager_v1.SecretManagerServiceClient:
        """A plain SDK client, as another program would use; closed with the server. `port` is a relay's."""
        transport = SecretManagerServiceGrpcTransport(channel=self._channel(port))
        return secretmanager_v1.SecretManagerServiceClient(transport=transport)

    def key_client(self, port: int = 0) -> kms_v1.KeyManagementServiceClient:
        """The same for Cloud KMS."""
        transport = KeyManagementServiceGrpcTransport(channel=self._channel(port))
        return kms_v1.KeyManagementServiceClient(transport=transport)

    def _channel(self, port: int = 0) -> Any:
        options = [("grpc.enable_http_proxy", 0)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port or self._listener.port}", options=options)
        self._channels.append(channel)
        return channel

    def _secret_manager(self) -> grpc.GenericRpcHandler:
        methods = {
            name: Method(self._do(name), _request(name), permission)
            for name, permission in _SECRET_PERMISSIONS.items()
        }
        return self._wire.handler("google.cloud.secretmanager.v1.SecretManagerService", methods)

    def _key_management(self) -> grpc.GenericRpcHandler:
        methods = {
            name: Method(getattr(self.keys, snake(name)), getattr(kms_v1, f"{name}Request"), permission)
            for name, permission in _KEY_PERMISSIONS.items()
        }
        return self._wire.handler("google.cloud.kms.v1.KeyManagementService", methods)

    def _do(self, name: str) -> Any:
        return self._permissions if name == "TestIamPermissions" else getattr(self.secrets, snake(name))

    def _permissions(
        self, request: iam_policy_pb2.TestIamPermissionsRequest
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """TestIamPermissions: those asked for that are not denied; it needs no permission itself."""
        granted = [name for name in request.permissions if not self.faults.denies(name)]
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)


def _request(name: str) -> Any:
    borrowed = getattr(iam_policy_pb2, f"{name}Request", None)
    return borrowed or getattr(secretmanager_v1, f"{name}Request")


@dataclass(frozen=True)
class Process:
    """A double in a process of its own, for tests that fork and for benches. It plays no faults."""

    address: str

    @property
    def url(self) -> str:
        """The endpoint to give to a store or key URL."""
        return f"http://{self.address}"


@contextmanager
def process(*, denying: bool = False) -> Iterator[Process]:
    """A double in its own process, without any state; it may deny everything."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.servers.google", "--port", str(port), *["--deny"] * denying]
    with running("Google double (gRPC)", argv, lambda: listens(port)):
        yield Process(f"127.0.0.1:{port}")


_KEY = f"projects/{PROJECT}/locations/global/keyRings/ring/cryptoKeys/key"
_CONFIG = """\
[store.google]
url = "gcp-sm://{project}/app?endpoint={url}"

[store.sealed]
url = "gcp-sm://{project}/sealed?endpoint={url}"
encrypt = {{ keys = ["kek"], domain = "try" }}

[key.kek]
url = "gcp-kms://{key}?endpoint={url}"
"""


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.google", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--deny", action="store_true", help="deny every permission")
    args = parser.parse_args()
    with Google(port=args.port) as server:
        if args.deny:
            server.faults.deny("*")
        server.keys.make(_KEY)
        config = _CONFIG.format(project=PROJECT, key=_KEY, url=server.url)
        use = "printf s3cret | strongroom put db/password --store google; strongroom list --store google"
        wait_for_interrupt(["# strongroom.toml", config, "# then:", use])


if __name__ == "__main__":
    main()
