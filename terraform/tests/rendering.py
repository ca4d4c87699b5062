"""The policies of a module as Terraform itself renders them: such a module needs no provider and no cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tools import Terraform, any_terraform

MODULES = Path(__file__).resolve().parents[1] / "modules"


def rendered(folder: Path, module: str, shapes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The outputs of ``modules/<module>`` for the variables of each shape, in one run of Terraform.

    Args:
        folder: an empty one, to run in.
        module: its path below ``modules``.
        shapes: variables, as Terraform takes them in JSON, by a name without spaces.
    """
    path = MODULES / module
    outputs = [(shape, name) for shape in shapes for name in _outputs(path)]
    root = {
        "module": {shape: {"source": str(path), **given} for shape, given in shapes.items()},
        "output": {f"{shape}-{name}": {"value": f"${{module.{shape}.{name}}}"} for shape, name in outputs},
    }
    (folder / "main.tf.json").write_text(json.dumps(root))
    terraform = Terraform(any_terraform())
    terraform.run(folder, "init", "-no-color")
    terraform.run(folder, "apply", "-auto-approve", "-no-color")
    state = json.loads((folder / "terraform.tfstate").read_text())["outputs"]
    found: dict[str, dict[str, Any]] = {shape: {} for shape in shapes}
    for shape, name in outputs:
        found[shape][name] = state[f"{shape}-{name}"]["value"]
    return found


def _outputs(module: Path) -> list[str]:
    lines = (module / "outputs.tf").read_text().splitlines()
    return [line.split('"')[1] for line in lines if line.startswith("output ")]
