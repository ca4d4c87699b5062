"""The module for AWS whole: real Terraform, the real AWS provider, moto, and the packed function."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.rotation.functions import wheels
from strongroom.rotation.functions.packaging import Request, package
from terraform.tests import aws
from terraform.tests.tools import AWS_SOURCE, TERRAFORMS, Terraform, any_terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY, assert_no_canary, not_ours
from tests.scale import NIGHTLY, by_day

ROOT = Path(__file__).parents[1]
HOME, AWAY = "eu-west-1", "us-east-1"
STEPS = ["createSecret", "setSecret", "testSecret", "finishSecret"]
MOVE = "migrate-to-write-only"
OLD = "prod/db/password"
ROLE = "arn:aws:iam::123456789012:role/application"
pytestmark = pytest.mark.timeout(900)
# A provider of 1,500 resources is started a dozen times, and collecting its garbage is a fifth of that.
FAST = {"GOGC": "400"}
THERE = [program for program in TERRAFORMS if not program.missing]
PROGRAMS = THERE if NIGHTLY else THERE[:1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[aws.Aws]:
    """An empty AWS whose functions run."""
    folder = tmp_path / "functions"
    folder.mkdir()
    with aws.server(folder) as found:
        yield found


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def example(request: pytest.FixtureRequest, tmp_path: Path, aws_provider: Path) -> Iterator[Workspace]:
    """Examples and modules, copied, and a Terraform to run one; at the end nothing holds the canary.

    No trace is written: the AWS provider's holds request bodies, values too.
    """
    shutil.copytree(ROOT / "modules", tmp_path / "modules")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    # Overridden, it is not hashed anew at every run: it has 700 MB.
    [folder] = (aws_provider / AWS_SOURCE).glob("*/*_*")
    program = Terraform(request.param, {AWS_SOURCE: folder}, seconds=400)
    workspace = Workspace(tmp_path / "examples", program, trace=False)
    yield workspace
    workspace.assert_no_canary()


@pytest.fixture
def regions(example: Workspace, server: aws.Aws, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The example with two regions, pointed at the server, with the function packed as its page says.

    pip's part of the packing is left out: this function needs no wheel.
    """
    example.folder = here = example.folder / "aws-two-regions"
    example.write(server.provider(HOME) + server.provider(AWAY, "us"), "override.tf")
    config = here / "strongroom.toml"
    config.write_text(config.read_text().replace(f"{HOME}/prod", f"{HOME}/prod?endpoint={server.moto.url}"))
    monkeypatch.setattr(wheels, "fetch", lambda *_: {})
    (here / "rotate.zip").write_bytes(package(Request("aws-lambda", config=config)).data)
    with not_ours():
        made = server.moto.client("iam")
        made.create_role(RoleName="application", AssumeRolePolicyDocument="{}")
    example.env = {"TF_VAR_readers": f'["{ROLE}"]', "TF_VAR_mail_api_key": CANARY, **FAST}
    return example


def test_two_regions_are_applied_rotated_planned_and_destroyed(regions: Workspace, server: aws.Aws) -> None:
    """An apply rotates once, by the zip's own code; a second plan is empty; values stand nowhere."""
    regions.run("get")
    regions.apply()
    assert [step for _, step in server.steps()] == STEPS
    assert regions.plan_is_empty()
    config = _config(regions, server)
    with (
        open_store("prod-eu-west-1", config=config) as store,
        open_store("prod-us-east-1", config=config) as copy,
    ):
        assert store.get("mail/api-key").value.matches(CANARY)
        rotated = store.get("session/key")
        assert rotated.value.matches(copy.get("session/key").value.reveal())
        assert store.versions("session/key")[0].id == rotated.version
        assert len(store.versions("session/key")) == 2
    with not_ours():
        server.tick("prod-rotation")
    assert '"OldestValueAge"' in server.logged()
    assert_no_canary(server.logged())
    regions.destroy("-refresh=false")
    assert regions.state()["resources"] == []


def _config(workspace: Workspace, server: aws.Aws) -> Config:
    """What an application makes of the module's output, at the server."""
    text = workspace.state()["outputs"]["strongroom_toml"]["value"]
    for region in (HOME, AWAY):
        text = text.replace(f'{region}/prod"', f'{region}/prod?endpoint={server.moto.url}"')
    file = workspace.folder / "application.toml"
    file.write_text(text)
    return Config.load(file)


@dataclass
class Reader:
    """An application that reads one secret all the while, in its own thread."""

    client: Any
    seen: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def reading(self, secret: str) -> Iterator[None]:
        """While the block runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._read, args=(secret, done))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _read(self, secret: str, done: threading.Event) -> None:
        with not_ours():
            while not done.wait(0.05):
                try:
                    self.seen.append(self.client.get_secret_value(SecretId=secret)["SecretString"])
                except Exception as exc:  # whatever it is, it is without its value
                    self.failed.append(type(exc).__name__)


def _labels(client: Any) -> dict[str, list[str]]:
    with not_ours():
        described: dict[str, list[str]] = client.describe_secret(SecretId=OLD)["VersionIdsToStages"]
    return described


@pytest.mark.parametrize("step", ["before", "after"])
def test_the_move_to_write_only_is_valid(step: str, short_folder: Path, aws_standin: Path) -> None:
    """Both of its configurations, by day too."""
    for part in ("modules", "examples"):
        shutil.copytree(ROOT / part, short_folder / part)
    place = short_folder / "examples" / MOVE / step
    terraform = Terraform(any_terraform(), mirrors=[aws_standin])
    terraform.run(place, "init", "-backend=false", "-no-color")
    terraform.run(place, "validate", "-no-color")


if by_day("moves to write-only on real Terraform and AWS's provider: a minute each", THERE, lambda _: False):

    def test_a_secret_moves_to_write_only_and_is_read_all_the_while(
        example: Workspace, server: aws.Aws
    ) -> None:
        """The move puts nothing; a new value is one version, and never in state, where the old one was."""
        root = example.folder / MOVE
        for step in ("before", "after"):
            example.write(server.provider(HOME), f"{MOVE}/{step}/override.tf")
        example.folder, example.env = root / "before", {"TF_VAR_db_password": "DEMO-before", **FAST}
        example.run("get")
        example.apply()
        client, state = server.moto.client("secretsmanager"), root / "after" / "terraform.tfstate"
        reader, old = Reader(client), _labels(client)
        state.write_bytes((root / "before" / "terraform.tfstate").read_bytes())
        assert "DEMO-before" in state.read_text()
        example.folder, example.env = root / "after", dict(FAST)
        with reader.reading(OLD):
            example.run("get")
            example.apply()
            assert _labels(client) == old
            assert "DEMO-before" not in state.read_text()
            example.env = {"TF_VAR_db_password": CANARY, "TF_VAR_db_password_version": "1", **FAST}
            example.apply()
        now = _labels(client)
        assert reader.failed == []
        assert set(reader.seen) <= {"DEMO-before", CANARY}
        assert len(now) == len(old) + 1
        assert [labels for version, labels in now.items() if version in old] == [["AWSPREVIOUS"]]
        example.env = {"TF_VAR_db_password_version": "1", **FAST}
        assert example.plan_is_empty(), "without a value, too"
