"""Where Terraform looks for the provider: a filesystem mirror, and the blocks of a CLI configuration."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Final

SOURCE: Final = "registry.terraform.io/strongroom/strongroom"
"""The provider's address; ``source = "strongroom/strongroom"`` in a configuration."""
NAME: Final = "terraform-provider-strongroom"

# -I: Terraform starts providers in the folder of the configuration, from which nothing may be imported.
_PROGRAM: Final = """#!/bin/sh
exec {python} -I -m strongroom_terraform.main "$@"
"""
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

_BLOCKS: Final = """\
# Put this into ~/.terraformrc, or into a file that TF_CLI_CONFIG_FILE names.
provider_installation {{
  filesystem_mirror {{
    path    = {mirror}
    include = [{source}]
  }}
  # Never from the registry, whoever may offer something under this name there.
  direct {{
    exclude = [{source}]
  }}
}}

# Or, while working on the provider itself: no version, no lock file, no `terraform init`.
# provider_installation {{
#   dev_overrides {{
#     {source} = {folder}
#   }}
#   direct {{}}
# }}
"""


def install(mirror: Path) -> str:
    """Lay out a filesystem mirror with the provider that runs in this Python's environment.

    Terraform hashes the program into ``.terraform.lock.hcl`` at ``terraform init``. The program is a starter
    of two lines: what it starts is this environment, which pip checks by its own hashes.

    Args:
        mirror: a folder; made where it is missing, and only this provider's files are written in it.

    Returns:
        The blocks for a CLI configuration.

    Raises:
        OSError: it cannot be written.
    """
    version = distribution_version("strongroom")
    folder = mirror.absolute() / SOURCE / version / _platform()
    folder.mkdir(parents=True, exist_ok=True)
    program = _written(folder / f"{NAME}_v{version}")
    _written(folder / NAME)  # dev_overrides knows no versions
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    lines = [f"{digest}  {folder.relative_to(mirror.absolute()) / name}\n" for name in (program.name, NAME)]
    (mirror / "SHA256SUMS").write_text("".join(lines))
    quoted = {"mirror": str(mirror.absolute()), "source": SOURCE, "folder": str(folder)}
    return _BLOCKS.format_map({key: json.dumps(value) for key, value in quoted.items()})


def _written(path: Path) -> Path:
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(_PROGRAM.format(python=_quoted(sys.executable)))
    beside.chmod(0o755)
    os.replace(beside, path)
    return path


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"
