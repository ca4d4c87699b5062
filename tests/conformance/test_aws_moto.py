"""AWS Secrets Manager against moto, mended where its lies (pinned in `tests/unit`) leave no right way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import aws, reader
from tests.conformance.encryption import EncryptedSuite
from tests.conformance.support import Suite, encrypted
from tests.servers import moto_mended
from tests.servers.moto import Moto


@pytest.fixture(scope="session")
def _mended() -> Iterator[Moto]:
    with moto_mended.server() as server:
        yield server


class TestAwsMoto(Suite):
    """The same backend, another implementation of AWS: the strict double has more of its rules."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _mended: Moto) -> Backend:
        return aws(_mended.url)

    @pytest.fixture
    def disposable(self, _mended: Moto) -> Backend:
        return aws(_mended.url)

    @pytest.fixture(scope="class")
    @classmethod
    def native_reader(cls, _mended: Moto) -> NativeReader:
        return reader(_mended.url)


class TestAwsMotoEncrypted(EncryptedSuite):
    """The same, holding only messages."""

    second_way = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, _mended: Moto) -> Backend:
        return encrypted(aws(_mended.url))

    @pytest.fixture
    def disposable(self, _mended: Moto) -> Backend:
        return encrypted(aws(_mended.url))
