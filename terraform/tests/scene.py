"""A store and its replica, the files of those who use them, and the three roles at their work.

Of providers whose replicas Strongroom itself keeps; AWS's own are in `aws_roles`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.rotations import engine
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY
from tests.rotation_target import Target, credential

from . import roles

STORE, REPLICA = "prod", "dr"
ROTATED = ("svc/one", "svc/two")


@dataclass
class Scene:
    """Two secrets that are rotated, two that are not.

    Attributes:
        folder: for strongroom.toml, the coordinator and the target of rotations.
        stores: the bodies of ``[store.prod]`` and ``[store.dr]``, by alias.
        tables: further tables, such as keys.
        ledger: where rotations are recorded, if not in the store.
        patterns: whether rotations name a prefix.
        replicated: whether the second store is the first one's replica.
        coordinated: whether writes need a coordinator.
        make: writes a value as Terraform does, where a record of ours would be missed or be in the way.
    """

    folder: Path
    stores: Mapping[str, str]
    tables: str = ""
    ledger: str = ""
    patterns: bool = False
    replicated: bool = False
    coordinated: bool = False
    make: Callable[[str, str], object] | None = None

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.target = Target(self.folder / "target.db")
        copied, self.replicated = self.replicated, False  # Terraform makes secrets, and no records of ours
        self.configure()
        with self.store() as store:
            self._seed(self.make or store.put)
        self.replicated = copied
        self.configure()

    def _seed(self, put: Callable[[str, str], object]) -> None:
        for slot, name in enumerate(ROTATED):
            first = credential(f"app-{slot}")
            self.target.issue(f"app-{slot}", first)
            put(name, first.reveal_text())
        roles.seed(put)

    @property
    def file(self) -> Path:
        """strongroom.toml."""
        return self.folder / "strongroom.toml"

    def configure(self, source: str = STORE) -> None:
        """Write strongroom.toml; `source` is the store that takes writes."""
        stores = "".join(f"[store.{alias}]\n{body}\ncache = false\n" for alias, body in self.stores.items())
        names = json.dumps(["svc/**"] if self.patterns else ROTATED)
        rotation = (
            f'[ledger]\nurl = "{self.ledger or "strongroom://" + source}"\n'
            f'[rotation.db]\nnames = {names}\nstore = "{source}"\ngrace = "2h"\n'
            f'rotator = "tests.function_support:TwoAt"\noptions = {{ target = "{self.target.path}" }}\n'
        )
        coordinator = f'[coordinator]\nurl = "sqlite://{self.folder}/coordinator.db"\n'
        other = REPLICA if source == STORE else STORE
        copies = f'[replica.{other}]\nsource = "{source}"\ndomain = "prod"\n' if self.replicated else ""
        needed = coordinator if self.replicated or self.coordinated else ""
        self.file.write_text(f"{stores}{self.tables}{rotation}{needed}{copies}")

    def store(self) -> SecretStore:
        """As an application opens it."""
        return open_store(STORE, config=Config.load(self.file), clock=self.clock)

    def command(self, *args: str) -> None:
        """The program, which does what it was asked to do."""
        done = CliRunner().invoke(cli, [*args, "--config", str(self.file)])
        assert done.exit_code in (0, 10), done.output


def reads(scene: Scene) -> None:
    """Everything that reads."""
    with scene.store() as store:
        roles.read(store)


def rotates(scene: Scene) -> None:
    """Both secrets, to the end of their grace."""
    with engine(Config.load(scene.file), clock=scene.clock) as found:
        for name in ROTATED:
            found.advance(found.start(f"{STORE}:{name}").id)
        scene.clock.advance(3 * 3600)
        found.tick(10)


def administrates(scene: Scene) -> None:
    """Every write; and that a replica comes about, takes over, and what only the old source had is found."""
    with scene.store() as store:
        roles.administrate(store)
    if not scene.replicated:
        return
    for verb in ("plan", "sync", "status"):
        scene.command("replica", verb)
    with scene.store() as store:
        store.put(roles.API, f"{CANARY} not copied")
    scene.command("replica", "takeover", REPLICA, "--lost", "--yes")
    scene.configure(source=REPLICA)
    scene.command("replica", "sync")
    scene.command("replica", "divergence", roles.API, "--discard", "--yes")


ACTS: dict[str, Callable[[Scene], None]] = {
    "reader": reads,
    "rotator": rotates,
    "administrator": administrates,
}
