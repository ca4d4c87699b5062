"""One folder of configuration with its state, run step by step; at the end no file of it holds the canary."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from terraform.tests.tools import Result, Terraform
from tests.canary import holds_canary
from tests.scale import NIGHTLY

PLAN = "saved.tfplan"
TRACE = "trace.log"


class Workspace:
    """A short folder (a unix socket's path has 108 bytes at most) where Terraform runs.

    Attributes:
        folder: where files are written and state lies.
        terraform: what runs there.
        env: of every run; secret values go in as ``TF_VAR_…`` here, never in a file.
        trace: write the TRACE log of Terraform and of our provider to a file, to be searched. Off where the
            real AWS provider runs: it logs request bodies, values too, at TRACE and DEBUG.
    """

    def __init__(self, folder: Path, terraform: Terraform, trace: bool = True) -> None:
        self.folder, self.terraform, self.trace = folder, terraform, trace
        self.env: dict[str, str] = {}
        self.said: list[str] = []

    def write(self, text: str, name: str = "main.tf") -> Path:
        """Write one file of the configuration, in place of what it held."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *args: str, check: bool = True, env: Mapping[str, str] | None = None) -> Result:
        """Any command.

        Raises:
            TerraformFailedError: it failed, and `check` is on.
        """
        log = {"TF_LOG": "trace", "TF_LOG_PATH": str(self.folder / TRACE)} if self.trace else {}
        result = self.terraform.run(self.folder, *args, env={**log, **self.env, **(env or {})}, check=check)
        self.said.append(result.stdout + result.stderr)
        return result

    def init(self, *args: str, check: bool = True) -> Result:
        """Needed only with providers from a mirror, or with modules."""
        return self.run("init", "-input=false", "-no-color", *args, check=check)

    def validate(self, check: bool = True) -> Result:
        """The configuration alone."""
        return self.run("validate", "-no-color", check=check)

    def plan(self, *args: str, check: bool = True) -> Result:
        """Plan, saved for `apply_saved` and `plan_json`."""
        return self.run("plan", "-input=false", "-no-color", f"-out={PLAN}", *args, check=check)

    def plan_is_empty(self) -> bool:
        """Whether nothing is to change; outputs and drift count as a change too."""
        result = self.plan("-detailed-exitcode", check=False)
        assert result.code in (0, 2), result.text[-3000:]
        return result.code == 0

    def apply(self, *args: str, check: bool = True) -> Result:
        """Plan and apply in one run."""
        return self.run("apply", "-input=false", "-no-color", "-auto-approve", *args, check=check)

    def apply_saved(self, check: bool = True) -> Result:
        """Apply the plan that `plan` saved."""
        return self.run("apply", "-input=false", "-no-color", PLAN, check=check)

    def destroy(self, *args: str, check: bool = True) -> Result:
        """Destroy everything."""
        return self.run("destroy", "-input=false", "-no-color", "-auto-approve", *args, check=check)

    def show_json(self, *path: str) -> dict[str, Any]:
        """State as ``terraform show -json`` tells it."""
        shown: dict[str, Any] = json.loads(self.run("show", "-json", *path).stdout)
        return shown

    def plan_json(self) -> dict[str, Any]:
        """The saved plan."""
        return self.show_json(PLAN)

    def state(self) -> dict[str, Any]:
        """The state file itself."""
        text: dict[str, Any] = json.loads((self.folder / "terraform.tfstate").read_text())
        return text

    def attributes(self, address: str) -> dict[str, Any]:
        """The attributes of one resource of the root module, as in state.

        Raises:
            LookupError: no such resource is in state.
        """
        for found in self.show_json().get("values", {}).get("root_module", {}).get("resources", []):
            if found["address"] == address:
                values: dict[str, Any] = found["values"]
                return values
        raise LookupError(address)

    def assert_no_canary(self) -> None:
        """Neither state, its backups, plan files, crash logs, trace nor anything printed holds the canary."""
        if NIGHTLY and (self.folder / PLAN).exists():
            self.run("show", "-json", PLAN, check=False)
        places = [place for place, data in self._everything() if holds_canary(data)]
        assert not places, f"the canary stands in {', '.join(places)}"

    def places_of(self, *texts: str) -> list[str]:
        """Where any of these stands, in all that `assert_no_canary` searches: for values made by the run."""
        needles = [text.encode() for text in texts]
        return [
            place
            for place, data in self._everything()
            if any(needle in (data.encode() if isinstance(data, str) else data) for needle in needles)
        ]

    def _everything(self) -> Iterator[tuple[str, str | bytes]]:
        yield from ((f"what run {number} printed", text) for number, text in enumerate(self.said))
        for path in sorted(self.folder.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            yield str(path.relative_to(self.folder)), path.read_bytes()
            if zipfile.is_zipfile(path):
                yield from _members(path)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """A plan file is a zip: what it holds is compressed."""
    with zipfile.ZipFile(path) as plan:
        yield from ((f"{path.name}: {name}", plan.read(name)) for name in plan.namelist())
