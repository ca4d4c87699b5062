"""`strongroom_secret`, its metadata and the function in real Terraforms; and the resource on other stores."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.config import Config
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend, Killed
from terraform.tests.nightly import on_each_by_night
from terraform.tests.test_secret_resource import NAME, Rig, _dies, said
from terraform.tests.tools import SOURCE, Terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY
from tests.scale import NIGHTLY
from tests.servers.openbao import OpenBao
from tests.unit.strict_aws_support import Aws

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "terraform-secrets.md"
ADDRESS = "strongroom_secret.one"
TOML = """
default = "prod"
[store.prod]
url = "local://{folder}/vault/s.db?create=keyset"
options = {{ keyset = "{folder}/keys/prod.json" }}
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
variable "value" {
  type      = string
  ephemeral = true
}
variable "round" {
  type = number
}
resource "strongroom_secret" "one" {
  name             = "db/password"
  value_wo         = var.value
  value_wo_version = var.round
  tags             = { team = "x" }
}
resource "terraform_data" "later" {}
# Its name is known at apply only.
resource "strongroom_secret" "two" {
  name             = "db/${terraform_data.later.id}"
  value_wo_base64  = base64encode(var.value)
  value_wo_version = 1
  on_destroy       = "purge"
}
data "strongroom_secret_metadata" "one" {
  name       = strongroom_secret.one.name
  depends_on = [strongroom_secret.one]
}
output "version" {
  value = data.strongroom_secret_metadata.one.version
}
output "reference" {
  value = provider::strongroom::reference("prod", "db/password", "/user")
}
"""
_PASSWORD = """
variable "password" {
  type      = string
  ephemeral = true
}
"""
_SCRIPT = """#!/bin/sh
exec {python} -m terraform.tests.mortal_put {folder}/die "$@"
"""


class Scene:
    """A configuration with one local store, and a provider that can be killed in a write."""

    def __init__(self, workspace: Workspace):
        self.workspace, folder = workspace, workspace.folder
        for name in ("vault", "keys", "provider"):
            (folder / name).mkdir(mode=0o700)
        self.config = Config.load(workspace.write(TOML.format(folder=folder), "strongroom.toml"))
        workspace.write(MAIN)
        workspace.write(_PASSWORD + PAGE.read_text().split("```hcl\n")[1].split("```")[0], "page.tf")
        workspace.env["PYTHONPATH"] = str(ROOT)
        script = folder / "provider" / "terraform-provider-strongroom"
        script.write_text(_SCRIPT.format(python=sys.executable, folder=folder))
        script.chmod(0o755)
        workspace.terraform = Terraform(workspace.terraform.program, {SOURCE: script.parent})

    def say(self, value: str, number: int) -> None:
        """What the configuration says from now on."""
        self.workspace.env |= {"TF_VAR_value": f"{CANARY} {value}", "TF_VAR_round": str(number)}
        self.workspace.env["TF_VAR_password"] = f"{CANARY} password"

    def killed(self) -> None:
        """An apply whose provider dies once a value is written."""
        (self.workspace.folder / "die").touch()
        failed = self.workspace.apply("-parallelism=1", check=False)
        assert failed.code == 1
        assert not (self.workspace.folder / "die").exists()

    @contextmanager
    def store(self) -> Iterator[SecretStore]:
        with strongroom.open("prod", config=self.config) as store:
            yield store

    def attributes(self) -> dict[str, Any]:
        """Of the first resource, from the state's file."""
        resources = self.workspace.state()["resources"]
        [found] = [one for one in resources if (one["type"], one["name"]) == ("strongroom_secret", "one")]
        attributes: dict[str, Any] = found["instances"][0]["attributes"]
        return attributes


@on_each_by_night
@pytest.mark.timeout(600)
def test_a_provider_killed_in_a_write_writes_once_when_applied_again(workspace: Workspace) -> None:
    """The first value of each secret, and the second of one; then nothing is to be done."""
    scene = Scene(workspace)
    scene.say("first", 1)
    scene.killed()
    workspace.apply()
    with scene.store() as store:
        names = list(store.list_names())
        assert [len(store.versions(name)) for name in names] == [1, 1, 1]
        version = store.get(NAME).version
    outputs = workspace.state()["outputs"]
    assert outputs["reference"]["value"] == "strongroom://prod/db/password#/user"
    assert outputs["version"]["value"] == scene.attributes()["version"] == version
    assert scene.attributes()["value_wo"] is None
    assert workspace.plan_is_empty()
    if NIGHTLY:
        _rest_of_its_life(scene)


def _rest_of_its_life(scene: Scene) -> None:
    """A killed update; a rotation that no apply undoes; an import; the end."""
    workspace = scene.workspace
    scene.say("second", 2)
    scene.killed()
    workspace.apply()
    with scene.store() as store:
        assert len(store.versions(NAME)) == 2
        rotated = store.put(NAME, f"{CANARY} rotated").id
    assert not _changed(workspace)
    scene.say("third", 3)
    refused = workspace.plan(check=False)
    assert (refused.code, rotated in refused.text, "value_wo_version" in refused.text) == (1, True, True)
    workspace.run("state", "rm", ADDRESS)
    refused = workspace.apply(check=False)
    assert "exists already" in refused.text
    workspace.run("import", "-input=false", ADDRESS, f"prod/{NAME}")
    assert "only recorded" in workspace.apply().text
    assert workspace.plan_is_empty()
    with scene.store() as store:
        assert store.get(NAME).version == rotated
    workspace.destroy()
    with scene.store() as store:
        assert list(store.list_names()) == []
        store.restore(NAME)
        assert store.get(NAME).version == rotated


def _changed(workspace: Workspace) -> list[str]:
    """The resources that a plan would change; an output that tells a rotation's version is none."""
    workspace.plan()
    changes = workspace.plan_json()["resource_changes"]
    return [one["address"] for one in changes if one["change"]["actions"] != ["no-op"]]


@contextmanager
def _at_aws() -> Iterator[str]:
    aws = Aws()
    with aws.server:
        yield f"aws-sm://eu-west-1/prod?endpoint={aws.server.url}"


@pytest.fixture(params=["OpenBao", "AWS"])
def elsewhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    """The resource over a real OpenBao, and over the strict double of Secrets Manager."""
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path))
    rig = Rig(tmp_path)
    with ExitStack() as opened:
        if request.param == "AWS":
            store = opened.enter_context(strongroom.open(opened.enter_context(_at_aws())))
        else:
            openbao: OpenBao = request.getfixturevalue("openbao_server")
            mount = request.getfixturevalue("kv2_mount")
            url = f"vault:///{mount}/prod?endpoint={openbao.address}"
            store = opened.enter_context(strongroom.open(url, auth={"token": openbao.token}))
        rig.faulty = FaultyBackend(store._backend)
        rig.prod = SecretStore(rig.faulty, cache=None, alias="prod")
        yield rig


def test_the_same_life_on_other_stores(elsewhere: Rig) -> None:
    """Made, killed, changed, rotated past, imported, let go."""
    rig, wanted = elsewhere, said("second", 2, tags={"team": "x"}, on_destroy="purge")
    rig.faulty.fault("put", Killed, after=True)
    assert _dies(partial(rig.life.apply, said(tags={"team": "x"})))
    rig.again().apply(said(tags={"team": "x"}))
    assert rig.again().is_empty(said(tags={"team": "x"}))
    rig.faulty.fault("put", Killed, after=True)
    assert _dies(partial(rig.again().apply, wanted))
    rig.again().apply(wanted)
    assert (rig.value(), len(rig.versions()), rig.again().is_empty(wanted)) == ("second", 2, True)
    rotated = rig.prod.put(NAME, "rotated").id
    assert rig.again().is_empty(wanted)
    third = said("third", 3, tags={"team": "x"}, on_destroy="purge")
    assert rig.refused(third)[1] == ("value_wo_version",)
    rig.again().apply({**third, "if_version": rotated})
    assert rig.value() == "third"
    rig.life.state = None
    rig.again().bring(f"prod/{NAME}")
    rig.life.apply(third)
    assert rig.again().is_empty(third)
    assert rig.life.state
    rig.life.resource.delete(rig.life.state.values, b"")
    assert list(rig.prod.list_names()) == []
