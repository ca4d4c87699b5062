"""One rotator, unchanged, in the functions of all three providers, over each one's own SDK."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import azure.functions
import pytest
from cloudevents.http import CloudEvent

from strongroom.rotation.functions import aws_lambda, google
from strongroom.rotation.functions import azure as azure_function
from strongroom.testing.aws import StrictServer
from tests.function_support import NAME, Deployed, token
from tests.scale import NIGHTLY

if TYPE_CHECKING:
    from tests.servers.azure import Vault
    from tests.servers.google import Google

Rotate = Callable[[], Any]
# In the store itself a ledger costs hundreds of calls.
LEDGER = "strongroom://prod" if NIGHTLY else "strongroom://books"


def _books() -> str:
    return f'[store.books]\nurl = "memory://{uuid.uuid4()}"'


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[tuple[Deployed, Rotate]]:
    with StrictServer() as server:
        store = f'url = "aws-sm://eu-west-1/app?endpoint={server.url}"\ncache = false'
        deployed = Deployed.at(tmp_path, store, tables=_books(), ledger=LEDGER)
        function = aws_lambda.Function(config=deployed.config, clock=deployed.clock)
        manager = server.manager

        def rotate() -> None:
            made = token()
            manager.add_empty_version("eu-west-1", f"app/{NAME}", made, "AWSPENDING")
            arn = manager.call("eu-west-1", "DescribeSecret", {"SecretId": f"app/{NAME}"})["ARN"]
            for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
                function({"SecretId": arn, "ClientRequestToken": made, "Step": step})

        yield deployed, rotate


@pytest.fixture
def gcp(google_server: Google, tmp_path: Path) -> tuple[Deployed, Rotate]:
    project = f"p{uuid.uuid4().hex[:12]}"
    store = f'url = "gcp-sm://{project}/app?endpoint={google_server.url}"\ncache = false'
    deployed = Deployed.at(tmp_path, store, every="rate(30 days)", tables=_books(), ledger=LEDGER)
    function = google.Function(config=deployed.config, clock=deployed.clock)
    name = "projects/1234/secrets/app__db__password"
    attributes = {"eventType": "SECRET_ROTATE", "secretId": name}

    def rotate() -> None:
        message = {"attributes": attributes, "messageId": uuid.uuid4().hex}
        kinds = {
            "type": "google.cloud.pubsub.topic.v1.messagePublished",
            "source": "//pubsub.googleapis.com/x",
        }
        function(CloudEvent(kinds, {"message": message}))

    rotate()
    return deployed, rotate


@pytest.fixture
def vault(azure_server: Vault, tmp_path: Path) -> tuple[Deployed, Rotate]:
    url = f"azure-kv://example/app?endpoint={azure_server.url}"
    store = f'url = "{url}"\nca = "{azure_server.ca_file}"\ncache = false'
    guard = f'[coordinator]\nurl = "sqlite://{tmp_path}/guard.db"\n'
    deployed = Deployed.at(tmp_path, store, every="rate(30 days)", tables=guard + _books(), ledger=LEDGER)
    function = azure_function.Function(config=deployed.config, clock=deployed.clock)
    data: dict[str, object] = {"vaultName": "example", "objectName": "app--db--password"}

    def rotate() -> None:
        event: Any = azure.functions.EventGridEvent(
            id=uuid.uuid4().hex,
            data=data,
            topic="t",
            subject="s",
            event_type="Microsoft.KeyVault.SecretNearExpiry",
            event_time=None,
            data_version="1",
        )
        function(event)

    rotate()
    return deployed, rotate


@pytest.mark.parametrize("provider", ["aws", "gcp", "vault"])
def test_one_rotator_runs_unchanged_in_all_three_functions(
    request: pytest.FixtureRequest, provider: str
) -> None:
    """The same class with the same options: a new value is current and accepted, the old one ends."""
    deployed, rotate = request.getfixturevalue(provider)
    first = deployed.value()
    deployed.wait(days=30)
    rotate()
    second = deployed.value()
    assert second != first
    assert deployed.target.accepts(first)
    assert deployed.target.accepts(second)
    deployed.wait(days=30)
    rotate()
    assert not deployed.target.accepts(first)
    assert deployed.value() not in (first, second)
    assert deployed.rotated() == 2
