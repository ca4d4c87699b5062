"""What the schema stand-ins catch: `validate` and `terraform test` of modules are worth that much."""

from __future__ import annotations

from pathlib import Path

import pytest

from terraform.tests.tools import Terraform, TerraformFailedError
from terraform.tests.workspace import Workspace

GOOGLE = """
terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}
variable "value" {
  ephemeral = true
  default   = "an input"
}
resource "google_secret_manager_secret" "it" {
  secret_id = "it"
  replication {
    user_managed {
      replicas { location = "europe-west1" }
    }
  }
}
resource "google_secret_manager_secret_version" "it" {
  secret                 = google_secret_manager_secret.it.id
  secret_data_wo         = var.value
  secret_data_wo_version = 1
}
"""
WRONG = {
    "a misspelt argument": ("secret_id =", "secret_idd =", 'named "secret_idd" is not expected'),
    "a misspelt nested argument": ("location =", "place =", 'named "place" is not expected'),
    "a missing argument": ('secret_id = "it"', "", '"secret_id" is required'),
    "a missing block": ("replication {", 'timeouts {\n create = "1m" \n', "user_managed"),
    "a wrong type": ("version = 1", 'version = "one"', "a number is required"),
    "an ephemeral value that would be stored": ("secret_data_wo ", "secret_data ", "Ephemeral"),
}


@pytest.fixture
def google(short_folder: Path, one_terraform: Terraform, standins: Path) -> Workspace:
    workspace = Workspace(short_folder, Terraform(one_terraform.program, mirrors=[standins]), trace=False)
    workspace.write(GOOGLE)
    workspace.init()
    return workspace


def test_a_right_configuration_is_applied_and_the_second_plan_is_empty(google: Workspace) -> None:
    """Required and optional arguments, nested blocks and write-only attributes are as the real provider's."""
    google.apply()
    assert google.attributes("google_secret_manager_secret_version.it")["secret_data_wo"] is None
    assert google.plan_is_empty()


def test_every_mistake_is_caught_at_its_place(google: Workspace) -> None:
    """Each of them makes `validate` fail with its own error."""
    for what, (right, wrong, error) in WRONG.items():
        google.write(GOOGLE.replace(right, wrong))
        said = google.validate(check=False)
        assert said.code == 1, what
        assert error in said.text, (what, said.text)


def test_a_resource_that_the_provider_does_not_have_is_refused(google: Workspace) -> None:
    """The stand-in has the provider's own resources and no others."""
    google.write(GOOGLE.replace("google_secret_manager_secret_version", "google_secret_version"))
    with pytest.raises(TerraformFailedError, match="does not support resource type"):
        google.validate()
