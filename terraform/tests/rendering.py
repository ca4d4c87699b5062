"""The policies of a module as Terraform itself renders them: such a module needs no provider and no cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tools import Terraform, any_terraform

MODULES = Path(__file__).resolve().parents[1] / "modules"


def rendered(folder: Path, module: str, **variables: Any) -> Mapping[str, Any]:
    """The outputs of ``modules/<module>`` for these variables.

    Args:
        folder: an empty one, to run in.
        module: its path below ``modules``.
        variables: what Terraform takes as JSON.
    """
    call = {"source": str(MODULES / module), **variables}
    outputs = _outputs(MODULES / module)
    root = {
        "module": {"it": call},
        "output": {name: {"value": f"${{module.it.{name}}}"} for name in outputs},
    }
    (folder / "main.tf.json").write_text(json.dumps(root))
    terraform = Terraform(any_terraform())
    terraform.run(folder, "init", "-no-color")
    terraform.run(folder, "apply", "-auto-approve", "-no-color")
    state = json.loads((folder / "terraform.tfstate").read_text())
    return {name: output["value"] for name, output in state["outputs"].items()}


def _outputs(module: Path) -> list[str]:
    lines = (module / "outputs.tf").read_text().splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("output ")]
