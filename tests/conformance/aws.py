"""What the AWS runs share: opening the backend, and reading as a plain boto3 program does."""

from __future__ import annotations

from strongroom.backend import Backend, Settings
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.conformance.support import Hasty
from tests.servers.boto import REGION, session

PREFIX = "conformance"


def aws(endpoint: str) -> Backend:
    """Secrets Manager at a loopback endpoint, below a prefix."""
    return open_backend(f"aws-sm://{REGION}/{PREFIX}?endpoint={endpoint}", Settings(clock=Hasty()))


def reader(endpoint: str) -> NativeReader:
    """What ``boto3`` returns for a secret id alone, as everybody's code asks for it."""
    client = session(REGION).client("secretsmanager", endpoint_url=endpoint)

    def read(name: str) -> SecretValue | None:
        with not_ours():
            try:
                answer = client.get_secret_value(SecretId=f"{PREFIX}/{name}")
            except (client.exceptions.ResourceNotFoundException, client.exceptions.InvalidRequestException):
                return None
        return SecretValue(answer["SecretString"] if "SecretString" in answer else answer["SecretBinary"])

    return read
