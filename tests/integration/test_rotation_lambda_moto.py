"""moto's own RotateSecret calls the function: its four steps, its bare name for SecretId, its labels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.awslambda.models import LambdaBackend
from moto.server import ThreadedMotoServer

from strongroom.rotation.functions.aws_lambda import Function
from tests.canary import not_ours
from tests.function_support import NAME, Deployed, token
from tests.servers.boto import REGION, session
from tests.servers.process import free_port

ARN = f"arn:aws:lambda:{REGION}:123456789012:function:rotate"


@pytest.fixture
def moto_url() -> Iterator[str]:
    """moto in this process, so that its RotateSecret reaches the function without Docker."""
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def deployed(moto_url: str, tmp_path: Path) -> Deployed:
    store = f'url = "aws-sm://{REGION}/prod?endpoint={moto_url}"\ncache = false'
    tables = f'[store.books]\nurl = "memory://{token()}"'
    return Deployed.at(tmp_path, store, tables=tables, ledger="strongroom://books")


@pytest.fixture
def calls(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The function in the place of Docker; the steps it was called for."""
    function, steps = Function(config=deployed.config), list[str]()

    def invoke(self: LambdaBackend, name: str, qualifier: Any, body: str, *_: Any, **__: Any) -> str:
        event = json.loads(body)
        steps.append(event["Step"])
        return json.dumps(function(event))

    monkeypatch.setattr(LambdaBackend, "invoke", invoke)
    monkeypatch.setattr(LambdaBackend, "get_function", lambda *_: object())
    return steps


def _client(url: str) -> Any:
    return session(REGION).client("secretsmanager", endpoint_url=url)


def test_rotate_secret_of_moto_rotates(moto_url: str, deployed: Deployed, calls: list[str]) -> None:
    """First only tried, which changes nothing; then to AWSCURRENT on the version that RotateSecret made."""
    old, client, asked = deployed.value(), _client(moto_url), {"SecretId": f"prod/{NAME}"}
    with not_ours():
        client.rotate_secret(**asked, RotationLambdaARN=ARN, RotateImmediately=False)
    assert calls == ["testSecret"]
    assert deployed.value() == old
    assert deployed.entries() == []
    calls.clear()
    with not_ours():
        made = client.rotate_secret(**asked, RotationLambdaARN=ARN)["VersionId"]
    assert calls == ["createSecret", "setSecret", "testSecret", "finishSecret"]
    current = deployed.value()
    assert current != old
    assert deployed.target.accepts(current)
    [entry] = deployed.entries()
    assert (entry.id, entry.version) == (made, made)
