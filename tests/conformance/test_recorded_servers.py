"""The layer `Recorded` over what orders writes in another way than memory: labels, check-and-set, an intent.

By night only: each is a whole run of the suite over a server that has one of its own by day.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend, Capability
from strongroom.layers.edge import edge
from strongroom.layers.recorded import Recorded
from strongroom.testing.aws import StrictServer
from tests.conformance.aws import aws
from tests.conformance.test_aws_strict import StrictSuite
from tests.conformance.test_gcp import gcp
from tests.conformance.test_recorded import Recording
from tests.conformance.test_vault import vault
from tests.scale import NIGHTLY, scaled
from tests.servers import google
from tests.servers.openbao import OpenBao


def recorded(backend: Backend) -> Backend:
    return Recorded(edge(backend), "conformance", alias="prod")


class Nightly(Recording):
    """A tenth of the races: a write takes three reads more, and each store has run them all by itself."""

    second_way = False

    def count(self, nightly: int) -> int:
        return scaled(max(1, nightly // 10))


if NIGHTLY:

    class TestRecordedAws(Nightly, StrictSuite):
        """Staging labels; a rotation's value bears its record while it waits."""

        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls, server: StrictServer) -> Backend:
            return recorded(aws(server.url))

        @pytest.fixture
        def disposable(self, server: StrictServer) -> Backend:
            return recorded(aws(server.url))

    class TestRecordedVault(Nightly):
        """Check-and-set, and a companion."""

        undeclared = Capability.NATIVE_PENDING

        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls, openbao_server: OpenBao, kv2_mount: str) -> Backend:
            return recorded(vault(openbao_server, kv2_mount))

        @pytest.fixture
        def disposable(self, openbao_server: OpenBao, kv2_mount: str) -> Backend:
            return recorded(vault(openbao_server, kv2_mount))

    class TestRecordedGoogle(Nightly):
        """The intent under the secret's etag, and the record in the patch that clears it."""

        undeclared = Capability.DELETE | Capability.NATIVE_PENDING

        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls, google_process: google.Process) -> Iterator[Backend]:
            backend = recorded(gcp(google_process, "recorded"))
            yield backend
            backend.close()

        @pytest.fixture
        def disposable(self, google_process: google.Process) -> Backend:
            return recorded(gcp(google_process, "recorded"))
