"""`strongroom_rotation` in real Terraforms: made, killed, applied again, imported, destroyed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import strongroom
from strongroom.config import Config
from terraform.tests.nightly import on_each_by_night
from terraform.tests.workspace import Workspace
from tests.rotation_target import Target, credential
from tests.scale import NIGHTLY

ROOT = Path(__file__).parents[2]
NAME, ADDRESS = "db/password", "strongroom_rotation.db"
TOML = """
default = "prod"
[store.prod]
url = "local://{folder}/vault/s.db?create=keyset"
options = {{ keyset = "{folder}/keys/prod.json" }}
[rotation.db]
names = ["db/password"]
rotator = "terraform.tests.mortal:MortalUser"
options = {{ path = "{folder}/target.db", die = "{folder}/die" }}
[ledger]
url = "sqlite://{folder}/ledger.db"
"""
MAIN = """
terraform {
  required_providers {
    strongroom = { source = "strongroom/strongroom" }
  }
}
provider "strongroom" {
  config = "strongroom.toml"
}
variable "trigger" {
  type = string
}
resource "strongroom_rotation" "db" {
  name    = "db/password"
  trigger = var.trigger
}
# Before the rotation nobody reads it, and after it what is current.
ephemeral "strongroom_secret" "db" {
  name  = "db/password"
  after = strongroom_rotation.db.rotation_id
}
"""

pytestmark = on_each_by_night


class Rig:
    """A secret and its target, in the folder of a workspace."""

    def __init__(self, workspace: Workspace):
        self.workspace, folder = workspace, workspace.folder
        for name in ("vault", "keys"):
            (folder / name).mkdir(mode=0o700)
        self.config = Config.load(workspace.write(TOML.format(folder=folder), "strongroom.toml"))
        workspace.write(MAIN)
        workspace.env["PYTHONPATH"] = str(ROOT)
        self.target, first = Target(folder / "target.db"), credential("app")
        self.target.issue("app", first)
        with strongroom.open("prod", config=self.config) as store:
            store.put(NAME, first)

    def trigger(self, text: str) -> None:
        """What the configuration says from now on."""
        self.workspace.env["TF_VAR_trigger"] = text

    def works(self) -> bool:
        """Whether the target accepts what a reader gets."""
        with strongroom.open("prod", config=self.config) as store:
            return self.target.accepts(store.get(NAME).value)

    def changes(self) -> int:
        """How often the target has got another credential."""
        return len(self.target.changes("change"))

    def states(self) -> list[str]:
        """Of all rotations that the ledger has, in the order of their beginning."""
        with closing(sqlite3.connect(self.workspace.folder / "ledger.db")) as ledger:
            rows = ledger.execute("select state from strongroom_rotation order by started").fetchall()
        return [state for (state,) in rows]

    def later(self) -> None:
        """Let the lease of whoever died end: no test waits a minute for it."""
        hour = 3600 * 1_000_000
        with closing(sqlite3.connect(self.workspace.folder / "ledger.db")) as ledger, ledger:
            moved = ", ".join(f"{name} = {name} - {hour}" for name in ("lease_until", "quiet_until", "due"))
            ledger.execute(f"update strongroom_rotation set {moved}")


def test_a_provider_killed_in_a_rotation_rotates_once_when_applied_again(workspace: Workspace) -> None:
    """The killed apply leaves nothing in state; the next one goes on with the same rotation."""
    rig = Rig(workspace)
    rig.trigger("first")
    _killed(rig)
    assert (rig.changes(), rig.states()) == (1, ["created"])
    workspace.apply()
    first = _attributes(workspace)
    assert (first["state"], first["policy"]) == ("done", "db")
    assert (rig.changes(), rig.states(), rig.works()) == (1, ["done"], True)
    if NIGHTLY:
        _killed_in_an_update(rig, first)
        _rest_of_its_life(rig)


def _killed(rig: Rig) -> None:
    """An apply whose provider dies once the target has changed; then the lease of the dead ends."""
    (rig.workspace.folder / "die").touch()
    assert rig.workspace.apply(check=False).code == 1
    rig.later()


def _killed_in_an_update(rig: Rig, first: dict[str, Any]) -> None:
    """State keeps what was before."""
    rig.trigger("second")
    _killed(rig)
    assert (rig.changes(), rig.states(), _attributes(rig.workspace)) == (2, ["done", "created"], first)
    rig.workspace.apply()
    assert (rig.changes(), rig.states(), rig.works()) == (2, ["done", "done"], True)


def _rest_of_its_life(rig: Rig) -> None:
    """Nothing to do, forgotten, imported, its trigger recorded, destroyed: the target notices none of it."""
    workspace = rig.workspace
    assert workspace.plan_is_empty()
    before = _attributes(workspace)
    workspace.run("state", "rm", ADDRESS)
    workspace.run("import", "-input=false", ADDRESS, f"prod/{NAME}")
    assert _attributes(workspace) == {**before, "trigger": None}
    assert "only recorded" in workspace.apply().text
    assert workspace.plan_is_empty()
    workspace.destroy()
    assert (rig.works(), rig.changes()) == (True, 2)


def _attributes(workspace: Workspace) -> dict[str, Any]:
    """Of the resource, from the state's file: `terraform show` starts two processes."""
    [found] = [one for one in workspace.state()["resources"] if one["type"] == "strongroom_rotation"]
    attributes: dict[str, Any] = found["instances"][0]["attributes"]
    return attributes
