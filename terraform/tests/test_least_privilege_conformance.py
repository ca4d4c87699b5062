"""By night: the whole conformance suite on Secrets Manager, under the administrator's policy and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.backend import Backend
from strongroom.testing.aws import StrictServer
from strongroom.testing.conformance_base import NativeReader
from tests.conformance.aws import PREFIX, aws, reader
from tests.conformance.test_aws_strict import StrictSuite
from tests.scale import NIGHTLY
from tests.servers.boto import REGION

from .aws_calls import ACCOUNT, Recorder
from .iam import Policy
from .rendering import rendered

if NIGHTLY:

    class TestUnderTheAdministratorsPolicy(StrictSuite):
        """Every operation, the unhappy cases first, with every call asked about."""

        many = 120

        @pytest.fixture(scope="class", autouse=True)
        @classmethod
        def judged(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
            """What was refused in any case is shown at the end."""
            given = {"name": PREFIX, "account_id": ACCOUNT, "region": REGION}
            outputs = rendered(
                tmp_path_factory.mktemp("it"), "aws-secret-store/modules/policies", {"it": given}
            )
            recorder = Recorder(lambda region, name: None)
            with pytest.MonkeyPatch.context() as patch:
                recorder.install(patch)
                with recorder.under(Policy(outputs["it"]["administrator_policy"])):
                    yield
            assert set(recorder.refused) == set()

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
