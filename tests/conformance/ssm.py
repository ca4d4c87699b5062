"""What the Parameter Store runs share: opening the backend, and reading as a plain boto3 program does."""

from __future__ import annotations

from typing import Any

from strongroom.backend import Backend, Settings
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.aws import PREFIX
from tests.conformance.support import Hasty
from tests.servers.boto import REGION, session


def ssm(endpoint: str, **settings: Any) -> Backend:
    """Parameter Store at a loopback endpoint; patient, so that a busy machine ends no lease."""
    url = f"aws-ssm://{REGION}/{PREFIX}?endpoint={endpoint}"
    return open_backend(url, Settings(clock=Hasty(), timeout=30.0, **settings))


def reader(endpoint: str) -> NativeReader:
    """What ``boto3`` returns for a parameter's name alone, as everybody's code asks for it."""
    client = session(REGION).client("ssm", endpoint_url=endpoint)

    def read(name: str) -> SecretValue | None:
        with not_ours():
            try:
                answer = client.get_parameter(Name=f"/{PREFIX}/{name}", WithDecryption=True)
            except client.exceptions.ParameterNotFound:
                return None
        return SecretValue(answer["Parameter"]["Value"])

    return read
