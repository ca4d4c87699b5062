"""The three roles at work on a strict Secrets Manager, each under its own policy and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.rotation.functions.aws_lambda import Function
from strongroom.store import SecretStore
from strongroom.testing.aws import AwsError, StrictServer
from strongroom.testing.clock import FakeClock
from tests.canary import not_ours
from tests.rotation_target import Target, credential
from tests.scale import by_day
from tests.servers.boto import session

from . import roles
from .aws_calls import ACCOUNT, Recorder

HOME, AWAY, PREFIX = "eu-west-1", "us-east-1", "prod"
ROTATED = ("svc/one", "svc/two")
KEYS = {region: f"arn:aws:kms:{region}:{ACCOUNT}:key/mrk-{'1' * 32}" for region in (HOME, AWAY)}
AWS_OWN = ""
DIGEST_KEY = f"_strongroom/digest-key/{PREFIX}/replication"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@dataclass
class Scene:
    """An account with a store in it, and the files of those who use it.

    Attributes:
        folder: for strongroom.toml, the coordinator and the target.
        recorder: judges the calls.
        replicated: whether Secrets Manager copies the secrets to another region.
        books: whether rotations are recorded in the store; or else in a file.
    """

    folder: Path
    recorder: Recorder
    server: StrictServer
    replicated: bool = False
    books: bool = True
    target: Target = field(init=False)

    def __post_init__(self) -> None:
        self.target = Target(self.folder / "target.db")
        copied, self.replicated = self.replicated, False  # Terraform makes secrets, and no records of ours
        self.configure()
        with self.store() as store:
            for slot, name in enumerate(ROTATED):
                first = credential(f"app-{slot}")
                self.target.issue(f"app-{slot}", first)
                store.put(name, first)
            roles.seed(store.put)
        self.replicated = copied
        self.configure()

    @property
    def _file_ledger(self) -> str:
        return f"sqlite://{self.folder}/ledger.db"

    @property
    def file(self) -> Path:
        """strongroom.toml."""
        return self.folder / "strongroom.toml"

    def configure(self, source: str = "home", key: str = KEYS[AWAY]) -> None:
        """Write strongroom.toml; `source` is the store that takes writes."""
        stores = "".join(
            f'[store.{alias}]\nurl = "aws-sm://{region}/{PREFIX}?endpoint={self.server.url}"\ncache = false\n'
            for alias, region in (("home", HOME), ("away", AWAY))
        )
        rotation = (
            f'[ledger]\nurl = "{"strongroom://" + source if self.books else self._file_ledger}"\n'
            f'[rotation.db]\nnames = {json.dumps(ROTATED)}\nstore = "{source}"\ngrace = "2h"\n'
            f'rotator = "tests.function_support:TwoAt"\noptions = {{ target = "{self.target.path}" }}\n'
        )
        copies = f'[coordinator]\nurl = "sqlite://{self.folder}/coordinator.db"\n' + (
            f'[replica.away]\nsource = "home"\nnative = true\nregions = {{ {AWAY} = "{key}" }}\n'
            if source == "home"
            else '[replica.home]\nsource = "away"\ndomain = "home"\n'
        )
        other = "away" if source == "home" else "home"
        copies += f'[store.app]\nfailover = ["{source}", "{other}"]\n'
        self.file.write_text(f'default = "{source}"\n{stores}{rotation}{copies if self.replicated else ""}')

    def store(self, alias: str = "home") -> SecretStore:
        """As an application opens it."""
        return open_store(alias, config=Config.load(self.file))

    def command(self, *args: str) -> None:
        """The program, which does what it was asked to do."""
        done = CliRunner().invoke(cli, [*args, "--config", str(self.file)])
        assert done.exit_code in (0, 10), done.output

    @contextmanager
    def away(self) -> Iterator[None]:
        """The first region answers nothing but errors."""
        call = self.server.manager.call

        def refused(region: str, *args: Any, **how: Any) -> Any:
            if region == HOME:
                raise AwsError("InternalServiceError", "down", 500)
            return call(region, *args, **how)

        with patch.object(self.server.manager, "call", refused):
            yield

    def rotate(self, function: Function, name: str) -> None:
        """What Secrets Manager does: it makes a version without a value, and calls four times."""
        made = str(uuid.uuid4())
        self.server.manager.add_empty_version(HOME, f"{PREFIX}/{name}", made, "AWSPENDING")
        for step in STEPS:
            function({"SecretId": self.arn(name), "ClientRequestToken": made, "Step": step})

    def arn(self, name: str) -> str:
        """Whole, as Secrets Manager's events have it; the test itself asks."""
        client = session(HOME).client("secretsmanager", endpoint_url=self.server.url)
        with self.recorder.off(), not_ours():
            return str(client.describe_secret(SecretId=f"{PREFIX}/{name}")["ARN"])


def key_of(region: str, name: str) -> str | None:
    """The key of what Terraform made, and of copies; what our code makes lies under AWS's own."""
    if name.startswith(f"{PREFIX}/") or (region == AWAY and name == DIGEST_KEY):
        return KEYS[region]
    return None


def reads(scene: Scene) -> None:
    """In every region that has the secrets; and while the first one is away."""
    with scene.store() as store:
        roles.read(store)
    if scene.replicated:
        for alias in ("away", "app"):
            with scene.store(alias) as store:
                roles.read(store)
        with scene.away(), scene.store("app") as store:
            assert store.get(roles.DB).degraded


def rotates(scene: Scene) -> None:
    """Both ways to call the function: Secrets Manager's four steps, and a timer, which ends the grace."""
    clock = FakeClock()
    function = Function(config=Config.load(scene.file), clock=clock)
    for name in ROTATED if scene.books else by_day("rotations beside copies", ROTATED, _first):
        scene.rotate(function, name)
        clock.advance(3 * 3600)
        function({"source": "aws.events"})


def _first(name: str) -> bool:
    return name == ROTATED[0]


def administrates(scene: Scene) -> None:
    """Every write; and where there are copies: that they come about, change their key, and take over."""
    with scene.store() as store:
        roles.administrate(store)
    if scene.replicated:
        _replicates(scene)
        scene.configure("away")
        with scene.store("away") as store:
            roles.administrate(store)


def _replicates(scene: Scene) -> None:
    scene.configure(key=AWS_OWN)
    scene.command("replica", "sync")
    scene.configure()
    for verb in ("plan", "sync", "status"):
        scene.command("replica", verb)
    for refusal in ("--deny-old", "--allow-old"):
        scene.command("replica", "takeover", "away", refusal, "--yes")


ACTS: dict[str, Callable[[Scene], None]] = {
    "reader": reads,
    "rotator": rotates,
    "administrator": administrates,
}
