"""What the schema stand-ins catch: `validate` and `terraform test` of modules are worth that much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from terraform.tests.attached import attached
from terraform.tests.tools import Terraform
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
MISTAKES = {
    "a misspelt argument": ("secret_id =", "secret_idd =", 'named "secret_idd" is not expected'),
    "a misspelt nested argument": ("location =", "place =", 'named "place" is not expected'),
    "no such resource": (
        'secret_version" "',
        'secret_edition" "',
        "does not support resource type",
    ),
    "a missing argument": ('secret_id = "it"', "", '"secret_id" is required'),
    "a missing block": ("user_managed {", "auto {", 'type "replicas" are not expected'),
    "a wrong type": ("version = 1", 'version = "one"', "a number is required"),
    "an ephemeral value that would be stored": ("secret_data_wo ", "secret_data ", "Ephemeral"),
}


@pytest.fixture
def google(short_folder: Path, one_terraform: Terraform) -> Iterator[Workspace]:
    workspace = Workspace(short_folder, Terraform(one_terraform.program), trace=False)
    workspace.write(GOOGLE)
    with attached("terraform.tests.attached", "google") as where:
        workspace.env["TF_REATTACH_PROVIDERS"] = where
        yield workspace


def test_a_right_configuration_is_applied_and_the_second_plan_is_empty(google: Workspace) -> None:
    """Required and optional arguments, nested blocks and write-only attributes are as the real provider's."""
    google.apply()
    assert google.attributes("google_secret_manager_secret_version.it")["secret_data_wo"] is None
    assert google.plan_is_empty()


def test_every_mistake_is_caught(google: Workspace) -> None:
    """One `validate` tells all of them, each in its own words."""
    head, resources = GOOGLE.split("}\nresource", 1)
    for number, (right, wrong, _) in enumerate(MISTAKES.values()):
        broken = f"resource{resources}".replace(right, wrong).replace('"it" {', f'"it{number}" {{')
        google.write(broken.replace("secret.it.", f"secret.it{number}."), f"mistake{number}.tf")
    google.write(head + "}")
    said = google.validate(check=False).text
    assert [what for what, (_, _, error) in MISTAKES.items() if error not in said] == []
