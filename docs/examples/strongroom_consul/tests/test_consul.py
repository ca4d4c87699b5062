"""The conformance suite on Consul: everything a third party writes to test its backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from consul_double import TOKEN, ConsulDouble

from strongroom.backend import Backend, Settings
from strongroom.registry import open_backend
from strongroom.testing import BackendConformance
from strongroom.value import SecretValue


def opened(consul: ConsulDouble, token: str) -> Backend:
    """The backend, found by its entry point."""
    return open_backend(f"consul://{consul.host}/app", Settings(auth={"token": SecretValue(token)}))


@pytest.fixture(scope="module")
def consul() -> Iterator[ConsulDouble]:
    with ConsulDouble() as double:
        yield double


class TestConsul(BackendConformance):
    """Every case."""

    @pytest.fixture
    def backend(self, consul: ConsulDouble) -> Backend:
        return opened(consul, TOKEN)

    @pytest.fixture
    def refused(self, consul: ConsulDouble) -> Backend:
        return opened(consul, "another-token")
