"""AWS Secrets Manager against the strict double, which states AWS's rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend
from strongroom.testing.aws import AwsError, StrictServer
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import aws, reader
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Suite, encrypted


class StrictSuite(Suite):
    """One account and one client for a class, since boto3 takes a third of a second to make one.

    `refused` is an identity to which AWS itself says no.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[StrictServer]:
        with StrictServer() as server:
            yield server

    @pytest.fixture(scope="class")
    @classmethod
    def gate(cls, server: StrictServer) -> Iterator[StrictServer]:
        """Another door to the same account, which admits nobody."""
        with StrictServer(server.manager) as gate:
            denial = AwsError("AccessDeniedException", "User is not authorized to perform this")
            gate.faults.error("*", denial, times=1 << 30)
            yield gate


class TestAwsStrict(StrictSuite):
    """Native pending values by staging labels."""

    many = 120

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, server: StrictServer) -> Backend:
        return aws(server.url)

    @pytest.fixture
    def disposable(self, server: StrictServer) -> Backend:
        return aws(server.url)

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, gate: StrictServer) -> Backend:
        return aws(gate.url)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, server: StrictServer) -> NativeReader:
        return reader(server.url)


class TestAwsStrictEncrypted(StrictSuite, EncryptedSuite):
    """The same, holding only messages."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, server: StrictServer) -> Backend:
        return encrypted(aws(server.url))

    @pytest.fixture
    def disposable(self, server: StrictServer) -> Backend:
        return encrypted(aws(server.url))

    @pytest.fixture(scope="class")
    @classmethod
    def refused(cls, gate: StrictServer) -> Backend:
        return encrypted(aws(gate.url))
