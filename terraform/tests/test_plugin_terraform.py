"""The provider's core under real Terraforms: a life, crashes, the log at TRACE."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

import strongroom
from strongroom_terraform.install import NAME, install, semantic
from strongroom_terraform.pages import page
from strongroom_terraform.provider import provider
from terraform.tests.plugin_client import ROOT
from terraform.tests.tools import Terraform
from terraform.tests.workspace import TRACE, Workspace
from tests.canary import CANARY, plaintext
from tests.scale import NIGHTLY

PAGE = ROOT / "docs" / "terraform-provider.md"
TOY = "registry.terraform.io/strongroom/toy"
MAIN = """
terraform {
  required_providers {
    toy = { source = "strongroom/toy" }
  }
}
variable "name" { default = "a" }
variable "number" {
  type    = number
  default = 1
}
ephemeral "toy_token" "it" {}
resource "toy_thing" "it" {
  name             = var.name
  value_wo         = ephemeral.toy_token.it.value
  value_wo_version = var.number
  size             = 1.1
  tags             = { x = "y" }
}
data "toy_look" "it" { name = toy_thing.it.name }
output "half" { value = provider::toy::half(3, 4, 1.5) }
output "there" { value = data.toy_look.it.there }
"""
BROKEN = """
terraform {
  required_providers {
    toy = { source = "strongroom/toy" }
  }
}
ephemeral "toy_token" "it" {}
resource "toy_thing" "it" {
  for_each = toset(["leaky", "half", "whole"])
  name     = each.key
  value_wo = ephemeral.toy_token.it.value
}
"""
PROBE = """
terraform {
  required_providers {
    strongroom = { source = "strongroom/strongroom" }
  }
}
provider "strongroom" {}
ephemeral "strongroom_random" "it" { length = 20 }
"""


def _with_toy(workspace: Workspace, tmp_path: Path) -> Workspace:
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "terraform-provider-toy"
    script.write_text(f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m terraform.tests.toy\n")
    script.chmod(0o755)
    plaintext(tmp_path / "toy", "the toy keeps its values as they are").mkdir()
    workspace.terraform = replace(workspace.terraform, dev_overrides={TOY: folder})
    workspace.env["STRONGROOM_TOY"] = str(tmp_path / "toy")
    return workspace


@pytest.fixture
def toys(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Each Terraform with the toy provider."""
    return _with_toy(workspace, tmp_path)


@pytest.fixture
def one_toys(one_workspace: Workspace, tmp_path: Path) -> Workspace:
    """One Terraform with the toy provider."""
    return _with_toy(one_workspace, tmp_path)


@pytest.fixture
def things(tmp_path: Path) -> Path:
    """Where the toy keeps what it was given."""
    return tmp_path / "toy"


@pytest.mark.timeout(600 if NIGHTLY else 120)
def test_a_thing_lives_from_creation_to_destruction(toys: Workspace, things: Path) -> None:
    """Made, planned empty, destroyed; its value stands nowhere but in its file, and the log that is searched
    for it has our calls. By night it is begun by a provider that dies, changed, replaced and imported too."""
    toys.write(MAIN)
    if NIGHTLY:
        _killed_once(toys, things)
    made = toys.apply()
    assert (things / "a").read_text() == CANARY
    assert "half = 4.25" in made.text
    assert "there = true" in made.text
    assert "OpenEphemeralResource" in (toys.folder / TRACE).read_text()
    assert toys.plan_is_empty()
    if NIGHTLY:
        _changed_replaced_and_imported(toys, things)
    toys.destroy()
    assert [each.name for each in things.iterdir()] == ["calls"]


def _killed_once(toys: Workspace, things: Path) -> None:
    """Terraform learns nothing of the effect, and the next apply makes it whole."""
    (things / "die").touch()
    assert toys.apply(check=False).code == 1
    assert (things / "a").exists()


def _changed_replaced_and_imported(toys: Workspace, things: Path) -> None:
    toys.apply("-var=number=2")
    assert toys.attributes("toy_thing.it")["written"] == 2
    toys.apply("-var=name=b", "-var=number=3")
    assert not (things / "a").exists()
    assert toys.attributes("toy_thing.it")["written"] == 1
    toys.run("state", "rm", "-no-color", "toy_thing.it")
    toys.run("import", "-no-color", "-var=name=b", "toy_thing.it", "b")
    assert toys.attributes("toy_thing.it")["colour"] == "blue"


def test_errors_of_an_apply_keep_what_was_done(one_toys: Workspace) -> None:
    """One that fails is not in state, one that is done in part is tainted, and the third is made."""
    one_toys.write(BROKEN)
    failed = one_toys.apply(check=False)
    assert "RuntimeError in" in failed.text
    assert "only half of it is done" in failed.text
    kept = {one["index_key"]: one.get("status") for one in one_toys.state()["resources"][0]["instances"]}
    assert kept == {"half": "tainted", "whole": None}


@pytest.fixture
def debugged() -> Iterator[dict[str, str]]:
    """Our provider served by hand; what Terraform is told of it."""
    command = [sys.executable, "-P", "-m", "strongroom_terraform.main", "debug"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name, _, told = process.stdout.readline().strip().partition("=")
        yield {name: told.strip("'")}
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_provider_under_a_debugger_serves_terraform(
    one_workspace: Workspace, debugged: dict[str, str]
) -> None:
    """TF_REATTACH_PROVIDERS points to it; nothing is started."""
    one_workspace.write(PROBE)
    one_workspace.terraform = Terraform(one_workspace.terraform.program)
    one_workspace.env |= debugged
    one_workspace.init()
    assert "No changes" in one_workspace.plan().text


def _hcl(kind: str) -> str:
    """The block of the page on the provider that has this mark."""
    found = re.search(
        rf"<!-- test: {kind} -->\n```hcl\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    return found[1]


def test_an_installed_provider_is_found_in_its_mirror(one_workspace: Workspace, tmp_path: Path) -> None:
    """`install` prints what the page shows; with that the page's configuration is locked and planned, in a
    folder whose own modules do not get into the provider."""
    blocks = install(tmp_path / "mirror")
    assert _hcl("terraform cli").replace("/srv/terraform/providers", f"{tmp_path}/mirror") in blocks
    one_workspace.write(_hcl("terraform"))
    one_workspace.write("raise SystemExit('imported from the folder of the configuration')", "grpclib.py")
    store = f"local://{one_workspace.folder}/secrets.db"
    with strongroom.open(f"{store}?create=keyset") as opened:
        opened.put("db/password", CANARY)
    one_workspace.write(f'default = "here"\n[store]\nhere = {{ url = "{store}" }}\n', "strongroom.toml")
    config = tmp_path / "terraformrc"
    config.write_text(blocks)
    one_workspace.terraform = Terraform(one_workspace.terraform.program)
    one_workspace.env["TF_CLI_CONFIG_FILE"] = str(config)
    one_workspace.init()
    assert "No changes" in one_workspace.plan().text
    assert "h1:" in (one_workspace.folder / ".terraform.lock.hcl").read_text()


def test_the_page_of_blocks_is_what_the_schemas_say() -> None:
    """`terraform-provider-strongroom docs > docs/terraform-blocks.md` mends it."""
    assert (PAGE.parent / "terraform-blocks.md").read_text() == page(provider())


def test_a_mirror_tells_its_checksums_and_is_the_same_wherever_python_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One lock file fits all machines of a team: the program's bytes do not say where Python stands."""
    install(tmp_path / "one")
    monkeypatch.setattr(sys, "executable", "/elsewhere/bin/python 3")
    install(tmp_path / "two")
    one, two = ((tmp_path / each / "SHA256SUMS").read_text() for each in ("one", "two"))
    assert one == two
    for line in one.splitlines():
        digest, path = line.split("  ")
        assert sha256((tmp_path / "one" / path).read_bytes()).hexdigest() == digest
        assert os.access(tmp_path / "one" / path, os.X_OK)
        assert Path(path).name.startswith(NAME)


@pytest.mark.parametrize(
    ("python", "terraform"),
    [("0.1.0", "0.1.0"), ("1.2.0rc1", "1.2.0-rc1"), ("1.2.0.dev3+local", "1.2.0-dev3")],
)
def test_a_version_is_one_that_terraform_reads(python: str, terraform: str) -> None:
    """A mirror's folder with another is passed over in silence."""
    assert semantic(python) == terraform


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, "0."),
        (["--help"], 0, "install DIR"),
        (["instal"], 2, "install DIR"),
        (["install", "/dev/null/mirror"], 2, "/dev/null/mirror cannot be written: Not a directory"),
        ([], 1, "Terraform starts it"),
    ],
)
def test_a_person_who_starts_it_is_told_what_to_do(arguments: list[str], code: int, said: str) -> None:
    """One line, or the usage."""
    command = [sys.executable, "-P", "-m", "strongroom_terraform.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
