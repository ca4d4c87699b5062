"""AWS Secrets Manager: on the strict double, with each answer that AWS leaves open, and on moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from strongroom.backend import Backend
from strongroom.registry import open_backend
from strongroom.testing.aws import Behaviour, Lag, StrictSecretsManager, StrictServer
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.support import Suite
from tests.servers import moto_mended

REGION = "eu-west-1"
_SESSION: Any = boto3.Session("test", "test", region_name=REGION)


def native(url: str, name: str) -> SecretValue | None:
    """What plain boto3 gets that asks for the secret."""
    with not_ours():
        client = _SESSION.client("secretsmanager", endpoint_url=url)
        try:
            answer = client.get_secret_value(SecretId=f"prod/{name}")
        except (client.exceptions.ResourceNotFoundException, client.exceptions.InvalidRequestException):
            return None
    return SecretValue(answer["SecretString"] if "SecretString" in answer else answer["SecretBinary"])


class Aws(Suite):
    many = 130

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def backend(self, url: str) -> Iterator[Backend]:
        backend = open_backend(f"aws-sm://{REGION}/prod?endpoint={url}")
        yield backend
        backend.close()

    @pytest.fixture
    def native_reader(self, url: str) -> NativeReader:
        return lambda name: native(url, name)


class TestStrictAws(Aws):
    """Everything AWS documents, at once."""

    behaviour: dict[str, Any] = {}

    @pytest.fixture
    def server(self) -> Iterator[StrictServer]:
        with StrictServer(StrictSecretsManager(Behaviour(**self.behaviour))) as server:
            yield server

    @pytest.fixture
    def url(self, server: StrictServer) -> str:
        return server.url

    @pytest.fixture
    def refused(self, server: StrictServer, backend: Backend) -> Backend:
        server.manager.deny("*")
        return backend


class TestOtherAnswers(TestStrictAws):
    """The other of AWS's two answers to an unnamed label move, deprecated versions gone late, odd pages."""

    behaviour = {"unnamed_move": "moves", "empty_pages": True, "force_delete": Lag(reads=3)}


class TestMoto(Aws):
    """moto, whose wire format is by others than us."""

    @pytest.fixture(scope="class")
    def moto(self) -> Iterator[str]:
        with moto_mended.server() as server:
            yield server.url

    @pytest.fixture
    def url(self, moto: str) -> str:
        return moto
