"""Whole processes: what it costs a script or a shell to use Strongroom once."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.harness import Bar, Row, Run, interleaved

ROUNDS = 21
BARE = "python -c pass"
PROGRAM = str(Path(sys.executable).with_name("strongroom"))
BARS = {
    "import strongroom": Bar(over_peer=0.015),
    "strongroom --help": Bar(at_most=0.150),
    "strongroom get (embedded store)": Bar(at_most=0.200),
    "strongroom run (20 references)": Bar(at_most=0.200),
}
REFERENCES = 20


def rows() -> Iterator[Row]:
    """Start-up times beside a bare interpreter, all in the same rounds."""
    with tempfile.TemporaryDirectory() as folder:
        candidates = {BARE: _process(sys.executable, "-c", "pass")}
        candidates["import strongroom"] = _process(sys.executable, "-c", "import strongroom")
        if importlib.util.find_spec("strongroom.cli"):
            candidates |= _commands(Path(folder))
        times = interleaved(candidates, ROUNDS)
    for name, bar in BARS.items():
        if name in times:
            yield bar.row(name, times[name], times[BARE], BARE)
        else:
            print(f"{name:<34} not measured: there is no command line yet")


def _commands(folder: Path) -> dict[str, Run]:
    """The command line, on an embedded store that it made itself."""
    home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    # pip compiles what it installs; a checkout may be told not to, and would then compile it at each start.
    home.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([PROGRAM, "init", "--yes"], cwd=folder, env=home, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([PROGRAM, "put", "db/password"], cwd=folder, env=home, check=True, input=b"value")
    referring = {**home, **_references(folder, home)}
    return {
        "strongroom --help": _process(PROGRAM, "--help", env=home, cwd=folder),
        "strongroom get (embedded store)": _process(PROGRAM, "get", "db/password", env=home, cwd=folder),
        "strongroom run (20 references)": _process(PROGRAM, "run", "--", "true", env=referring, cwd=folder),
    }


def _references(folder: Path, home: dict[str, str]) -> dict[str, str]:
    """Variables that each name a secret of their own, which is written now."""
    names = [f"app/secret-{number}" for number in range(REFERENCES)]
    values = json.dumps({name: f"value of {name}" for name in names}).encode()
    imported = [PROGRAM, "import", "-", "--format", "json"]
    subprocess.run(imported, cwd=folder, env=home, check=True, input=values, stdout=subprocess.DEVNULL)
    return {f"SECRET_{number}": f"strongroom://local/{name}" for number, name in enumerate(names)}


def _process(*argv: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> Run:
    def run() -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(argv, check=True, stdin=quiet, stdout=quiet, env=env, cwd=cwd)

    return run
