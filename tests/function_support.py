"""What the tests of rotation functions share: rotators that a function names, a target, a configuration."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from strongroom.config import Config
from strongroom.config import open as open_store
from strongroom.rotation.ledger import Entry, Ledger
from strongroom.rotations import rotations
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.rotation_target import OneSlot, Target, TwoSlots, credential

NAME = "db/password"
TARGET = "STRONGROOM_TEST_TARGET"


class OneAt(OneSlot):
    """Rotates one user of the target in a file."""

    def __init__(self, *, target: str = ""):
        super().__init__(Target(Path(target or os.environ[TARGET])))


class TwoAt(TwoSlots):
    """Rotates keys of the target in a file."""

    def __init__(self, *, target: str = ""):
        super().__init__(Target(Path(target or os.environ[TARGET])))


def token() -> str:
    """A rotation id, as Secrets Manager makes one."""
    return str(uuid.uuid4())


@dataclass
class Deployed:
    """One secret, where it is kept, and the target that accepts it; the functions stand before it.

    Attributes:
        config: what a function is packed with.
        target: accepts the current value.
        clock: of the store, the ledger and the function.
    """

    config: Config
    target: Target
    clock: FakeClock

    @classmethod
    def at(
        cls,
        folder: Path,
        store: str,
        *,
        slots: str = "two",
        every: str = "",
        window: str = "",
        tables: str = "",
        grace: str = "2h",
        ledger: str = "strongroom://prod",
    ) -> Deployed:
        """With a current value that the target accepts.

        Args:
            folder: for the target and the configuration.
            store: the body of ``[store.prod]``.
            slots: ``one`` or ``two``.
            every: the schedule.
            window: its window, as in ``, window = "2h"``.
            tables: further tables.
        """
        path = folder / "target.db"
        schedule = f"schedule = {{ every = {json.dumps(every)}{window} }}" if every else ""
        file = folder / "strongroom.toml"
        file.write_text(
            f'{tables}\n[store.prod]\n{store}\n[ledger]\nurl = "{ledger}"\n'
            f'[rotation.db]\nnames = ["{NAME}"]\nstore = "prod"\ngrace = "{grace}"\n{schedule}\n'
            f'rotator = "tests.function_support:{slots.capitalize()}At"\n'
            f'options = {{ target = "{path}" }}\n'
        )
        made = cls(Config.load(file), Target(path), FakeClock())
        first = credential("app")
        made.target.issue("app", first)
        with made.store() as opened:
            opened.put(NAME, first)
        return made

    def store(self) -> SecretStore:
        """The store as an application opens it."""
        return open_store("prod", config=self.config, clock=self.clock)

    def value(self) -> SecretValue:
        """What is current."""
        with self.store() as opened:
            return opened.get(NAME).value

    def rotated(self) -> int:
        """How many new values the target has got."""
        return len(self.target.changes("change")) + len(self.target.changes("issue")) - 1

    def entries(self) -> list[Entry]:
        """What the ledger says."""
        with rotations(self.config, clock=self.clock) as found:
            ledger: Ledger = found.ledger
            return list(ledger.find())

    def wait(self, **length: Any) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(**length).total_seconds())
