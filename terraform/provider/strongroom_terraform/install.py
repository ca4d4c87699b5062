"""Where Terraform looks for the provider: a filesystem mirror, and the blocks of a CLI configuration."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Final

SOURCE: Final = "registry.terraform.io/strongroom/strongroom"
"""The provider's address; ``source = "strongroom/strongroom"`` in a configuration."""
NAME: Final = "terraform-provider-strongroom"

_PROGRAM: Final = """#!/bin/sh
# The same bytes on every machine, so that one .terraform.lock.hcl fits all: which Python stands outside.
# -I: Terraform starts providers in the folder of the configuration, from which nothing may be imported.
here=$(dirname "$(readlink -f "$0")")
exec "$(cat "$here/../python")" -I -m strongroom_terraform.main "$@"
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

    Terraform hashes the program into ``.terraform.lock.hcl`` at ``terraform init``. The program only starts
    what is installed in this environment, which pip checks by hashes of its own.

    Args:
        mirror: a folder; made where it is missing, and only this provider's files are written in it.

    Returns:
        The blocks for a CLI configuration.

    Raises:
        OSError: it cannot be written.
    """
    version = semantic(distribution_version("strongroom"))
    folder = mirror.absolute() / SOURCE / version / _platform()
    folder.mkdir(parents=True, exist_ok=True)
    _written(folder.parent / "python", sys.executable, 0o644)
    programs = [folder / f"{NAME}_v{version}", folder / NAME]  # dev_overrides knows no versions
    for program in programs:
        _written(program, _PROGRAM, 0o755)
    _written(mirror.absolute() / "SHA256SUMS", "".join(_sum(mirror, each) for each in programs), 0o644)
    quoted = {"mirror": str(mirror.absolute()), "source": SOURCE, "folder": str(folder)}
    return _BLOCKS.format_map({key: json.dumps(value) for key, value in quoted.items()})


def semantic(version: str) -> str:
    """Python's version as Terraform reads it: ``1.2.0rc1`` is ``1.2.0-rc1``; a local part is left out."""
    return re.sub(r"^(\d+\.\d+\.\d+)\.?([a-z].*)$", r"\1-\2", version.partition("+")[0])


def _sum(mirror: Path, program: Path) -> str:
    """A line for ``sha256sum --check``."""
    return f"{hashlib.sha256(program.read_bytes()).hexdigest()}  {program.relative_to(mirror.absolute())}\n"


def _written(path: Path, text: str, mode: int) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(mode)
    os.replace(beside, path)


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"
