"""A secret, its target, and one resource `strongroom_rotation` over both."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from strongroom.config import Config
from strongroom.rotation.ledger import Entry
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.rotations import engine
from strongroom.testing.clock import FakeClock
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.rotation import RotationResource
from strongroom_terraform.schema import Values
from strongroom_terraform.stores import Stores
from terraform.tests.life import Life
from tests.unit.rotation_cli_support import NAME, Place

HOUR = 3600.0
SAID: Values = {"name": NAME, "trigger": "first"}


class Rig:
    """A secret, its target, and one resource over both."""

    def __init__(self, folder: Path):
        self.place, self.clock = Place(folder), FakeClock()
        self.life = Life(self.resource())

    def resource(self) -> RotationResource:
        """As a new provider process has it."""
        config = Config.load(self.place.folder / "strongroom.toml")
        return RotationResource(Stores(config, self.clock))

    def again(self) -> None:
        """Another provider process, with the state that Terraform has."""
        self.life = Life(self.resource(), self.life.state)

    def write(self, **facts: str) -> None:
        """Another configuration, and a provider that reads it."""
        self.place.write(**facts)
        self.again()

    def rotator(self, name: str) -> None:
        """Another rotator of ours, without options."""
        path = self.place.folder / "strongroom.toml"
        text = path.read_text()
        start, end = text.index("rotator = "), text.index("[ledger]")
        path.write_text(f'{text[:start]}rotator = "{name}"\n{text[end:]}')
        self.again()

    def later(self) -> None:
        """Every grace is over, and a worker has come by."""
        self.clock.advance(3 * HOUR)
        with engine(Config.load(self.place.folder / "strongroom.toml"), clock=self.clock) as worker:
            worker.tick()

    def ledger(self) -> list[Entry]:
        """All rotations, the newest first."""
        path = self.place.folder / "ledger.db"
        with closing(SQLiteLedger(path, clock=self.clock)) as ledger:
            return list(ledger.find())

    def refused(self, said: Values) -> tuple[str, str, tuple[str | int, ...]]:
        """Apply in vain: the summary, the hint, and what is blamed."""
        with pytest.raises(ProblemError) as failed:
            self.life.apply(said)
        [one] = failed.value.diagnostics
        return one.summary, one.detail, one.path

    def changes(self) -> int:
        """How often the target has got another credential."""
        return len(self.place.target.changes("change"))
