"""The fallback through `external` refuses until it is told, and then is as bad as its page says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import strongroom
from terraform.tests.tools import Terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY, assert_no_canary, holds_canary, plaintext

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "external" / "strongroom_external.py"
TOML = """
default = "prod"
[store.prod]
url = "local://{folder}/vault/s.db?create=keyset"
options = {{ keyset = "{folder}/keys/prod.json" }}
"""


@pytest.fixture
def config(short_folder: Path) -> Path:
    """A store with a license of text and one of bytes."""
    for name in ("vault", "keys"):
        (short_folder / name).mkdir(mode=0o700)
    config = short_folder / "strongroom.toml"
    config.write_text(TOML.format(folder=short_folder))
    with strongroom.open(config=config) as store:
        store.put("vendor/license", CANARY)
        store.put("vendor/key", CANARY.encode() + b"\xff")
    return config


def _asked(config: Path, query: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], input=json.dumps(query), check=False,
        capture_output=True, text=True, env={**os.environ, "STRONGROOM_CONFIG": str(config)},
    )  # fmt: skip


def test_without_allow_state_it_reads_nothing(config: Path) -> None:
    """The refusal names what to use instead; the store is not even asked."""
    said = _asked(config, {"name": "there/is-none"})
    assert said.returncode == 1
    assert 'ephemeral "strongroom_secret"' in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"name": "there/is-none"}, "no such secret"),
        ({"name": "vendor/key"}, "the value is binary"),
        ({}, "names its secret"),
        ({"name": "vendor/license", "stage": "previous"}, "'stage' is not a part of a query"),
        ({"name": 7}, "a JSON object of texts"),
        (["vendor/license"], "a JSON object of texts"),
    ],
)
def test_what_it_cannot_answer_is_one_line(config: Path, query: object, why: str) -> None:
    """No traceback and no value."""
    said = _asked(config, query, "--allow-state")
    assert said.returncode == 1
    assert why in said.stderr
    assert said.stderr.count("\n") == 1
    assert_no_canary(said.stderr, said.stdout)


def test_the_example_refuses_until_it_is_told_and_then_the_value_is_in_state(
    short_folder: Path, config: Path, one_terraform: Terraform, standins: Path
) -> None:
    """The page's warning is true: the value stands in the state in clear."""
    for part in ("external", "examples/external-fallback"):
        shutil.copytree(ROOT / part, short_folder / part)
    folder = short_folder / "examples" / "external-fallback"
    workspace = Workspace(folder, Terraform(one_terraform.program, mirrors=[standins]), trace=False)
    workspace.env |= {"STRONGROOM_CONFIG": str(config), "TF_VAR_python": sys.executable}
    workspace.init()
    assert "would stand in clear" in workspace.plan(check=False).text
    workspace.assert_no_canary()
    plaintext(folder, "the example shows what it warns of")
    workspace.env["TF_VAR_allow_state"] = "true"
    workspace.apply()
    assert holds_canary((folder / "terraform.tfstate").read_bytes())
