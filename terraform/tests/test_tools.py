"""The tools that the tests of Terraform stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from terraform.tests.tools import Terraform, TerraformFailedError, any_terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY, plaintext

OUTPUT = 'variable "it" {}\noutput "it" { value = "so ${var.it}" }\n'


def test_a_workspace_plans_applies_and_shows(workspace: Workspace) -> None:
    """A configuration without providers goes from plan to state, and the second plan is empty."""
    workspace.write(OUTPUT)
    workspace.env["TF_VAR_it"] = "be it"
    workspace.plan()
    workspace.apply_saved()
    assert workspace.state()["outputs"]["it"]["value"] == "so be it"
    assert workspace.plan_is_empty()
    assert workspace.plan_json()["planned_values"]["outputs"]["it"]["value"] == "so be it"


@pytest.mark.parametrize("place", ["state", "plan"])
def test_a_canary_in_state_or_in_a_plan_is_found(short_folder: Path, place: str) -> None:
    """The search at the end reads state as it lies and plans through their compression."""
    workspace = Workspace(short_folder, Terraform(any_terraform()), trace=False)
    workspace.write(
        'variable "it" {\n  sensitive = true\n}\noutput "it" {\n  value = var.it\n  sensitive = true\n}\n'
    )
    workspace.env["TF_VAR_it"] = CANARY
    if place == "plan":
        workspace.plan()
    else:
        workspace.apply()
    with pytest.raises(
        AssertionError, match="saved.tfplan: tfplan" if place == "plan" else "terraform.tfstate"
    ):
        workspace.assert_no_canary()
    plaintext(short_folder, "state and plan of a configuration that shows its secret on purpose")


def test_a_provider_that_no_mirror_has_is_an_error_not_a_download(workspace: Workspace) -> None:
    """Nothing is fetched: the error comes from the mirrors, at once."""
    workspace.write('terraform {\n  required_providers {\n    x = { source = "example/x" }\n  }\n}\n')
    with pytest.raises(TerraformFailedError, match="example/x"):
        workspace.init()
