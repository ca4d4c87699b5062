"""Airflow's secrets backend in Airflow itself, which has an environment of its own: made by ``make nightly``.

Airflow's own backend for AWS stands beside ours, before the same answers of Secrets Manager.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.canary import CANARY, assert_no_canary
from tests.scale import NIGHTLY

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".airflow" / "bin" / "python"
OURS = "strongroom.integrations.airflow_secrets.StrongroomBackend"
PEERS = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
DATABASE = json.dumps(
    {"engine": "postgres", "username": "app", "password": CANARY, "host": "db", "dbname": "a"}
)
Scene = Callable[..., Any]


class SecretsManager(ThreadingHTTPServer):
    """Answers GetSecretValue as it is told to, for any caller, and counts.

    Attributes:
        answers: by name, a text, or the code of an error.
        calls: the names that were asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.calls: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: SecretsManager

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["SecretId"]
        self.server.calls.append(asked)
        answer = self.server.answers.get(asked, "ResourceNotFoundException")
        failed = answer.endswith(("Exception", "Failure", "Error"))
        document: dict[str, Any] = {"__type": answer, "message": "no"}
        if not failed:
            document = {
                "ARN": f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{asked}-aaaaaa",
                "Name": asked,
                "VersionId": "11111111-1111-4111-8111-111111111111",
                "VersionStages": ["AWSCURRENT"],
                "SecretString": answer,
                "CreatedDate": 1700000000.0,
            }
        body = json.dumps(document).encode()
        self.send_response({True: 500 if answer == "InternalServiceError" else 400, False: 200}[failed])
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def provider() -> Iterator[SecretsManager]:
    """Secrets Manager, on loopback."""
    with SecretsManager() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def scene(provider: SecretsManager, tmp_path: Path) -> Scene:
    """Runs a scene under a backend; gives what it prints."""
    endpoint = f"http://127.0.0.1:{provider.server_address[1]}"
    config = tmp_path / "strongroom.toml"
    config.write_text(f'[store.prod]\nurl = "aws-sm://eu-west-1/?endpoint={endpoint}"\n')
    arguments = {
        OURS: {"store": "prod", "config": str(config)},
        PEERS: {
            "connections_prefix": "airflow/connections",
            "variables_prefix": "airflow/variables",
            "region_name": "eu-west-1",
            "endpoint_url": endpoint,
        },
    }

    def run(backend: str, *args: str, **more: str) -> Any:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "AIRFLOW_", "STRONGROOM_"))}
        variables = {
            **kept,
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__SECRETS__BACKEND": backend,
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(arguments[backend]),
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_EC2_METADATA_DISABLED": "true",
            "EXPECTED": CANARY,
            **more,
        }
        command = [str(PYTHON), str(Path(__file__).with_name("airflow_scene.py")), *args]
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rstrip().rpartition("\n")[2])

    return run


if NIGHTLY:

    def test_a_task_finds_what_a_rotation_writes(scene: Scene, provider: SecretsManager) -> None:
        """As JSON of a database, as a URI; a variable, and an option of airflow.cfg."""
        provider.answers |= {
            "airflow/connections/warehouse": DATABASE,
            "airflow/connections/uri": f"http://app:{CANARY}@example.net",
            "airflow/variables/key": CANARY,
            "airflow/config/fernet": CANARY,
        }
        assert scene(OURS, "connection", "warehouse") == "postgres app db a True"
        assert scene(OURS, "server", "warehouse") == "app"
        assert scene(OURS, "connection", "uri").startswith("http app example.net")
        assert scene(OURS, "variable", "key") == "True"
        assert scene(OURS, "option", AIRFLOW__CORE__FERNET_KEY_SECRET="fernet") == "True"

    @pytest.mark.parametrize("code", ["DecryptionFailure", "AccessDeniedException", "InternalServiceError"])
    def test_no_answer_is_told_as_no_answer(scene: Scene, provider: SecretsManager, code: str) -> None:
        """Airflow's own backend has the task told that the connection is not defined; ours, what failed."""
        provider.answers["airflow/connections/warehouse"] = code
        for way in ("connection", "server"):
            theirs = scene(PEERS, way, "warehouse")
            assert theirs == "AirflowNotFoundException: The conn_id `warehouse` isn't defined"
            ours = scene(OURS, way, "warehouse")
            assert ours.startswith("SecretUnanswered: strongroom: ")
            assert "airflow/connections/warehouse" in ours

    def test_another_backend_has_the_rest(scene: Scene, provider: SecretsManager) -> None:
        """What is not there, or can be no secret's name, is a variable's; what was denied is nobody's."""
        other = {"AIRFLOW_CONN_MY_OLD": "http://old@example.net", "AIRFLOW_CONN_WAREHOUSE": "http://wrong@x"}
        assert scene(OURS, "connection", "MY_OLD", **other).startswith("http old")
        provider.answers["airflow/connections/warehouse"] = "AccessDeniedException"
        assert scene(PEERS, "connection", "warehouse", **other).startswith("http wrong")
        assert scene(OURS, "connection", "warehouse", **other).startswith("SecretUnanswered")

    def test_a_hundred_lookups_of_a_process_are_one_call(scene: Scene, provider: SecretsManager) -> None:
        """Airflow's own backend asks each time, as often as Airflow asks it."""
        provider.answers["airflow/connections/warehouse"] = DATABASE
        scene(PEERS, "many", "warehouse")
        theirs = len(provider.calls)
        provider.calls.clear()
        assert scene(OURS, "many", "warehouse") == ["app", "postgres app db a True"]
        assert (theirs, len(provider.calls)) == (100, 1)

    @pytest.mark.parametrize(("kept", "calls"), [("False", 3), ("True", 1)])
    def test_a_file_is_parsed_in_a_new_process_each_time(
        scene: Scene, provider: SecretsManager, kept: str, calls: int
    ) -> None:
        """No cache of a process outlives it: across parses that is Airflow's own, which is off by default."""
        provider.answers["airflow/connections/warehouse"] = DATABASE
        told = scene(OURS, "parses", "warehouse", AIRFLOW__SECRETS__USE_CACHE=kept)
        assert told == ["postgres app db a True"] * 3
        assert len(provider.calls) == calls

    def test_operators_are_airflows(scene: Scene) -> None:
        """Those that rotate, in the same environment."""
        assert scene(OURS, "operators") == ["RotationTickOperator", "RotateSecretOperator"]

    def test_nothing_of_a_value_is_in_an_error(scene: Scene, provider: SecretsManager) -> None:
        """A text that is no connection."""
        provider.answers["airflow/connections/warehouse"] = '{"password": "' + CANARY
        told = scene(OURS, "connection", "warehouse")
        assert told.startswith("SecretUnanswered")
        assert_no_canary(told)


def test_airflows_own_backend_is_met_with_what_it_gets_from_aws(provider: SecretsManager) -> None:
    """The double of Secrets Manager that both are measured by speaks to AWS's own SDK."""
    import boto3

    client = boto3.client(
        "secretsmanager",
        region_name="eu-west-1",
        endpoint_url=f"http://127.0.0.1:{provider.server_address[1]}",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    provider.answers |= {"a": "DecryptionFailure", "b": "text"}
    with pytest.raises(client.exceptions.DecryptionFailure):
        client.get_secret_value(SecretId="a")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_secret_value(SecretId="c")
    assert client.get_secret_value(SecretId="b")["SecretString"] == "text"
    client.close()
