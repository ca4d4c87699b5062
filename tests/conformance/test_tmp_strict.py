"""AWS Secrets Manager against the strict double, which states AWS's rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend
from strongroom.testing.aws import AwsError, StrictServer
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import aws, reader
from tests.conformance.support import Suite, encrypted


class StrictSuite(Suite):
    """A fresh account for each test; `refused` is an identity to which AWS itself says no."""

    @pytest.fixture
    def server(self) -> Iterator[StrictServer]:
        with StrictServer() as server:
            yield server

    @pytest.fixture
    def native_reader(self, server: StrictServer) -> NativeReader:
        return reader(server.url)

    @pytest.fixture
    def refused(self, server: StrictServer) -> Iterator[Backend]:
        with StrictServer(server.manager) as gate:
            denial = AwsError("AccessDeniedException", "User is not authorized to perform this")
            gate.faults.error("*", denial, times=1 << 30)
            yield aws(gate.url)


class TestAwsStrict(StrictSuite):
    """Native pending values by staging labels."""

    many = 120

    @pytest.fixture
    def backend(self, server: StrictServer) -> Backend:
        return aws(server.url)


class TestAwsStrictEncrypted(StrictSuite):
    """The same, holding only messages."""

    @pytest.fixture
    def backend(self, server: StrictServer) -> Backend:
        return encrypted(aws(server.url))

    @pytest.fixture
    def native_reader(self, backend: Backend) -> NativeReader:
        return lambda name: self.read_by_backend(backend, name)

    @pytest.fixture
    def refused(self, server: StrictServer) -> Iterator[Backend]:
        with StrictServer(server.manager) as gate:
            gate.faults.error("*", AwsError("AccessDeniedException", "User is not authorized"), times=1 << 30)
            yield encrypted(aws(gate.url))
