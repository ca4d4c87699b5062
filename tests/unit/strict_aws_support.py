"""A strict Secrets Manager, a clock, and plain boto3 clients as any other program has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from strongroom.testing.aws import Behaviour, Faults, StrictSecretsManager, StrictServer
from tests.servers.boto import session

REGION, OTHER = "eu-west-1", "us-east-1"
T1, T2, T3 = (f"{n}" * 32 for n in (1, 2, 3))
_CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5, proxies={})


@dataclass
class Aws:
    """A running double; ``now`` is its clock."""

    now: list[float] = field(default_factory=lambda: [1_800_000_000.0])
    behaviour: Behaviour = field(default_factory=Behaviour)

    def __post_init__(self) -> None:
        self.manager = StrictSecretsManager(self.behaviour, lambda: self.now[0])
        self.server = StrictServer(self.manager)
        self.sdks: dict[str, Any] = {}

    def renew(self) -> None:
        """An empty account at the same address."""
        self.behaviour = Behaviour()
        self.manager = self.server.manager = StrictSecretsManager(self.behaviour, lambda: self.now[0])
        self.faults.clear()
        self.server.calls.clear()

    @property
    def faults(self) -> Faults:
        return self.server.faults

    def client(self, region: str = REGION) -> Any:
        return session(region).client("secretsmanager", endpoint_url=self.server.url, config=_CONFIG)

    def wait(self, seconds: float) -> None:
        self.now[0] += seconds


@contextmanager
def refuses(code: str, text: str = "") -> Iterator[Any]:
    """The block must end in a ClientError with this code."""
    with pytest.raises(ClientError) as caught:
        yield caught
    assert caught.value.response["Error"]["Code"] == code
    assert text in caught.value.response["Error"]["Message"]


def labels(client: Any, name: str = "db") -> dict[str, str]:
    """Which version holds each label."""
    stages = client.describe_secret(SecretId=name)["VersionIdsToStages"]
    held = [(label, version) for version, names in stages.items() for label in names]
    assert len(dict(held)) == len(held), "a label stands on two versions"
    return dict(held)
