"""Native replicas as strongroom.toml names them, under the commands that people type."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import strongroom.config  # noqa: F401  (the command line would load it in the middle of a test)
from strongroom.cli.main import cli
from strongroom.errors import InvalidRequestError, UnsupportedOperationError
from strongroom.replicas import replicas
from strongroom.replication.native import NativeReplicator
from strongroom.toml.file import Config, read_text
from tests.canary import CANARY, assert_no_canary
from tests.unit.strict_aws_support import OTHER, REGION, Aws

Run = Callable[..., tuple[int, Any]]
NATIVE = '[replica.prod-us]\nsource = "prod-eu"\nnative = true\n'


@pytest.fixture(scope="module")
def _aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def aws(_aws: Aws) -> Aws:
    """An empty account."""
    _aws.renew()
    return _aws


@pytest.fixture
def config(aws: Aws, tmp_path: Path) -> Callable[[str], Path]:
    """A configuration: two regions of AWS, another prefix, a memory store; and what a test adds."""

    def written(more: str) -> Path:
        urls = {"prod-eu": f"aws-sm://{REGION}/prod", "prod-us": f"aws-sm://{OTHER}/prod"}
        urls |= {"live-us": f"aws-sm://{OTHER}/live"}
        lines = [f'[store.{a}]\nurl = "{url}?endpoint={aws.server.url}"' for a, url in urls.items()]
        path = tmp_path / "strongroom.toml"
        path.write_text("\n".join([*lines, '[store.dr]\nurl = "memory://dr"', more]))
        return path

    return written


@pytest.fixture
def run(config: Callable[[str], Path], tmp_path: Path) -> Run:
    coordinator = f'[coordinator]\nurl = "sqlite://{tmp_path}/coordinator.db"\n'

    def ran(*args: str, stdin: str = "", replica: str = NATIVE) -> tuple[int, Any]:
        path = config(coordinator + replica)
        done = CliRunner().invoke(cli, ["--config", str(path), "--json", *args], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert_no_canary(done.output)
        return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    return ran


def read(path: Path) -> Config:
    return read_text(path, path.read_text(), "")


def test_the_commands_are_those_of_every_replica(run: Run, aws: Aws) -> None:
    """plan finds it, sync does it, status tells of it, and plan finds nothing any more."""
    code, _ = run("put", "db/password", "--store", "prod-eu", stdin=f"{CANARY}-one")
    assert code == 0
    code, plan = run("replica", "plan")
    [step] = plan["replicas"]["prod-us"]["steps"]
    assert (code, step["action"], step["reason"]) == (10, "create", f"not in {OTHER} yet")
    code, report = run("replica", "sync")
    assert (code, [step["name"] for step in report["replicas"]["prod-us"]["done"]]) == (0, ["db/password"])
    got = aws.manager.call(OTHER, "GetSecretValue", {"SecretId": "prod/db/password"})
    assert got["SecretString"] == f"{CANARY}-one"
    assert run("replica", "plan")[0] == 0
    code, status = run("replica", "status")
    assert code == 0
    assert status["replicas"]["prod-us"]["in_sync"] == 1


def test_a_takeover_detaches_the_copies_and_the_way_back_is_a_fresh_replication(run: Run, aws: Aws) -> None:
    """The old source refuses every writer until it is to follow; then it has what the new one has."""
    assert run("put", "db/password", "--store", "prod-eu", stdin=f"{CANARY}-one")[0] == 0
    assert run("replica", "sync")[0] == 0
    code, taken = run("replica", "takeover", "prod-us", "--deny-old", "--yes")
    assert (code, taken["epoch"], taken["fenced"], taken["failed"]) == (0, 2, ["prod-eu"], {})
    back = '[replica.prod-eu]\nsource = "prod-us"\ndomain = "prod-eu"\n'
    assert run("put", "db/password", "--store", "prod-us", stdin=f"{CANARY}-two", replica=back)[0] == 0
    code, report = run("replica", "sync", replica=back)
    assert (code, list(report["replicas"]["prod-eu"]["failed"])) == (8, ["db/password"])
    assert run("replica", "takeover", "prod-us", "--allow-old", "--yes", replica=back)[0] == 0
    assert run("replica", "sync", replica=back)[0] == 0
    values = [
        aws.manager.call(region, "GetSecretValue", {"SecretId": "prod/db/password"})["SecretString"]
        for region in (REGION, OTHER)
    ]
    assert values == [f"{CANARY}-two"] * 2


def test_the_keys_of_the_regions_are_the_configurations(config: Callable[[str], Path], aws: Aws) -> None:
    """One replica in several places, each under its own."""
    regions = f'regions = {{ {OTHER} = "alias/there", ap-south-1 = "" }}\n'
    with replicas(read(config(NATIVE + regions))) as found:
        replicator = found["prod-us"]
        assert isinstance(replicator, NativeReplicator)
        aws.client().create_secret(Name="prod/a", SecretString=f"{CANARY}-x")
        assert not replicator.sync().failed
    entries = aws.client().describe_secret(SecretId="prod/a")["ReplicationStatus"]
    keys = {entry["Region"]: entry["KmsKeyId"] for entry in entries}
    assert keys == {OTHER: "alias/there", "ap-south-1": "alias/aws/secretsmanager"}


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (NATIVE.replace("prod-us", "live-us"), InvalidRequestError, "otherwise than its source"),
        (NATIVE.replace("prod-us", "dr"), UnsupportedOperationError, "no replication of its own"),
        (NATIVE.replace("prod-eu", "dr"), UnsupportedOperationError, "no replication of its own"),
    ],
)
def test_what_cannot_be_replicated_natively_is_said_before_anything_is_sent(
    config: Callable[[str], Path], aws: Aws, text: str, error: Any, said: str
) -> None:
    """Another prefix, or a provider that has none."""
    with pytest.raises(error, match=said), replicas(read(config(text))):
        pass
    assert not aws.server.calls


KEYS = '[key.eu]\nurl = "local-key:///eu"\n[key.us]\nurl = "local-key:///us"\n[key.hsm]\nurl = "local-key:///h"\n'


@pytest.mark.parametrize(
    ("source", "replica", "opens"),
    [
        ('keys = ["eu"]', 'keys = ["us"]', False),
        ('keys = ["eu", "us"]', 'keys = ["us"]', True),
        ('keys = ["eu", "hsm"]', 'keys = ["us", "hsm"]', True),
        ('keys = ["eu"]', 'keys = ["us"], old_keys = ["eu"]', True),
        ('keys = ["eu"]', "", False),
        ("", 'keys = ["us"]', False),
        ("", "", True),
    ],
)
def test_a_copy_that_the_replica_could_not_open_is_refused_with_its_line(
    tmp_path: Path, source: str, replica: str, opens: bool
) -> None:
    """The provider copies what is stored: nobody encrypts it anew under the replica's own keys."""
    text = KEYS + NATIVE
    for alias, region, keys in (("prod-eu", REGION, source), ("prod-us", OTHER, replica)):
        encrypt = f'encrypt = {{ {keys}, domain = "prod" }}\n' if keys else ""
        text += f'[store.{alias}]\nurl = "aws-sm://{region}/prod"\n{encrypt}'
    if opens:
        assert read_text(tmp_path / "c.toml", text, "").replicas["prod-us"].native
    else:
        with pytest.raises(InvalidRequestError, match="could not open what the provider copies"):
            read_text(tmp_path / "c.toml", text, "")
