"""AWS Secrets Manager against moto, mended where its lies (pinned in `tests/unit`) leave no right way."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import aws, reader
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Suite, encrypted
from tests.servers.moto import Moto


class TestAwsMoto(Suite):
    """The same backend, another implementation of AWS: the strict double has more of its rules."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, mended_moto: Moto) -> Backend:
        return aws(mended_moto.url)

    @pytest.fixture
    def disposable(self, mended_moto: Moto) -> Backend:
        return aws(mended_moto.url)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, mended_moto: Moto) -> NativeReader:
        return reader(mended_moto.url)


class TestAwsMotoEncrypted(EncryptedSuite):
    """The same, holding only messages."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, mended_moto: Moto) -> Backend:
        return encrypted(aws(mended_moto.url))

    @pytest.fixture
    def disposable(self, mended_moto: Moto) -> Backend:
        return encrypted(aws(mended_moto.url))
