"""Google Secret Manager against the wire double: bare, holding only messages, and from an event loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.api_core.exceptions import NotFound

from strongroom.backend import Backend, Capability, Settings
from strongroom.registry import open_backend
from strongroom.testing.conformance_async import AsyncConformance
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Hasty, Ours, Suite, encrypted
from tests.servers import google

PREFIX = "app"


def gcp(server: google.Process, project: str) -> Backend:
    """A project of the double, below a prefix."""
    return open_backend(f"gcp-sm://{project}/{PREFIX}?endpoint={server.url}", Settings(clock=Hasty()))


def reader(server: google.Process, project: str) -> Iterator[NativeReader]:
    """What Google's own client returns for ``latest``, as everybody's code asks for it."""
    import grpc
    from google.cloud import secretmanager_v1 as api
    from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
        SecretManagerServiceGrpcTransport,
    )

    channel = grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)])
    client = api.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))

    def read(name: str) -> SecretValue | None:
        full = f"{PREFIX}/{name}".replace("/", "__")
        with not_ours():
            try:
                answer = client.access_secret_version(
                    name=f"projects/{project}/secrets/{full}/versions/latest"
                )
            except NotFound:
                return None
        return SecretValue(answer.payload.data)

    yield read
    channel.close()


class GoogleSuite(Suite):
    """One project for a class; every test has names of its own."""

    many = 120
    share = 25
    undeclared = Capability.DELETE | Capability.NATIVE_PENDING

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, google_process: google.Process) -> Iterator[Backend]:
        backend = gcp(google_process, "conformance")
        yield backend
        backend.close()

    @pytest.fixture
    def disposable(self, google_process: google.Process) -> Backend:
        return gcp(google_process, "conformance")


class TestGcp(GoogleSuite):
    """Pending values in a companion; the plain SDK is the native reader."""

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, google_process: google.Process) -> Iterator[NativeReader]:
        yield from reader(google_process, "conformance")


class TestGcpEncrypted(GoogleSuite, EncryptedSuite):
    """Messages in Google, the companion's under its own key."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, google_process: google.Process) -> Iterator[Backend]:
        backend = encrypted(gcp(google_process, "encrypted"))
        yield backend
        backend.close()

    @pytest.fixture
    def disposable(self, google_process: google.Process) -> Backend:
        return encrypted(gcp(google_process, "encrypted"))


class TestGcpAsync(Ours, AsyncConformance):
    """Every call awaited."""

    second_way = True

    undeclared = Capability.DELETE | Capability.NATIVE_PENDING

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, google_process: google.Process) -> Iterator[Backend]:
        backend = gcp(google_process, "async")
        yield backend
        backend.close()

    @pytest.fixture
    def disposable(self, google_process: google.Process) -> Backend:
        return gcp(google_process, "async")
