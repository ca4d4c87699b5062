"""AWS Secrets Manager against moto, whose lies are pinned beside the AWS backend's own tests."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import aws, reader
from tests.conformance.support import Suite
from tests.servers.moto import Moto


class TestAwsMoto(Suite):
    """The same backend, another implementation of AWS."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _moto: Moto) -> Backend:
        return aws(_moto.url)

    @pytest.fixture
    def disposable(self, _moto: Moto) -> Backend:
        return aws(_moto.url)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, _moto: Moto) -> NativeReader:
        return reader(_moto.url)
