"""Whole processes: what it costs a script or a shell to use Strongroom once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.harness import Bar, Row, Run, interleaved

ROUNDS = 21
BARE = "python -c pass"
PROGRAM = str(Path(sys.executable).with_name("strongroom"))


def rows() -> Iterator[Row]:
    """Start-up times beside a bare interpreter, all in the same rounds."""
    bars = {"import strongroom": Bar(over_peer=0.015)}
    candidates = {BARE: _process(sys.executable, "-c", "pass")}
    candidates["import strongroom"] = _process(sys.executable, "-c", "import strongroom")
    times = interleaved(candidates, ROUNDS)
    for name, bar in bars.items():
        yield bar.row(name, times[name], times[BARE], BARE)


def _process(*argv: str) -> Run:
    def run() -> None:
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    return run
