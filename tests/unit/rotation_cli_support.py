"""Rotators that a strongroom.toml of the tests names, and a folder with such a file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.errors import UnavailableError
from strongroom.passwords import Policy
from strongroom.rotation.rotator import Rotation, Rotator, Source
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import assert_no_canary
from tests.rotation_target import OneSlot, Target, credential
from tests.unit.cli_support import Result, library, new_store_url

NAME = "db/password"


class FileUser(OneSlot):
    """One user of a target in a file; `down` is a file that makes it unavailable while it exists."""

    def __init__(self, *, path: str, down: str = "", admin: Source | None = None):
        super().__init__(Target(Path(path)))
        self.down, self.admin = down, admin

    def change(self, r: Rotation, session: Any, pending: SecretValue) -> None:
        """As its base, if the target is up and the administrator's credential can be read."""
        if self.down and Path(self.down).exists():
            raise UnavailableError("down")
        if self.admin:
            self.admin()
        super().change(r, session, pending)


class Options(Rotator):
    """Remembers what it was made with."""

    def __init__(
        self,
        *,
        login: Source,
        host: str = "",
        port: int = 0,
        wait: timedelta | None = None,
        policy: Policy | None = None,
        names: Sequence[str] = (),
        tls: bool = True,
    ):
        self.given = {"login": login, "host": host, "port": port, "wait": wait}
        self.given |= {"policy": policy, "names": names, "tls": tls}

    def create_secret(self, r: Rotation) -> str:
        """Not used."""
        return "x"

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Not used."""


class Place:
    """A folder with a strongroom.toml, a store with one secret, and the target that it opens."""

    def __init__(self, folder: Path):
        self.folder, self.url, self.down = folder, new_store_url(), folder / "down"
        self.target = Target(folder / "target.db")
        self.write()
        first = credential("app")
        self.target.issue("app", first)
        with self.store() as store:
            store.put(NAME, first)

    def write(self, *, schedule: str = "", more: str = "", user: str = "") -> None:
        """The configuration."""
        options = f'path = "{self.folder}/target.db", down = "{self.down}"{user}'
        (self.folder / "strongroom.toml").write_text(
            f'default = "prod"\n[store.prod]\nurl = "{self.url}"\ncache = false\n'
            f'[rotation.db]\nnames = ["{NAME}"]\nrotator = "tests.unit.rotation_cli_support:FileUser"\n'
            f"options = {{ {options} }}\n{schedule}\n"
            f'[ledger]\nurl = "sqlite://{self.folder}/ledger.db"\n{more}'
        )

    def store(self) -> SecretStore:
        """The store, through the library."""
        return library(self.url)

    def __call__(self, *args: str) -> Result:
        """Run ``strongroom rotation ARGS``, or a command of its own if the first word begins with a slash."""
        words = [args[0][1:], *args[1:]] if args[0].startswith("/") else ["rotation", *args]
        arguments = ["--config", str(self.folder / "strongroom.toml"), *words]
        done = CliRunner().invoke(cli, arguments, prog_name="strongroom")
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        assert_no_canary(done.stdout + done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    def works(self) -> bool:
        """Whether the target accepts what a reader gets."""
        with self.store() as store:
            return self.target.accepts(store.get(NAME).value)

    def later(self, hours: float) -> None:
        """Let time pass for the ledger: everything that it remembers was so much earlier."""
        by = int(hours * 3600 * 1_000_000)
        moved = {
            "strongroom_secret": ["next_due", "last_success"],
            "strongroom_rotation": ["due", "started", "updated", "lease_until", "promoted", "quiet_until"],
        }
        with closing(sqlite3.connect(self.folder / "ledger.db")) as database, database:
            for table, columns in moved.items():
                changes = ", ".join(f"{column} = {column} - {by}" for column in columns)
                database.execute(f"UPDATE {table} SET {changes}")


def entries(result: Result) -> list[dict[str, Any]]:
    """The rotations in JSON."""
    document = json.loads(result.out)
    found: list[dict[str, Any]] = document.get("rotations", [document])
    return found
