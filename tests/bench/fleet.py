"""`python -m tests.bench.fleet [--write]`: a fleet of 100,000 instances in simulated time.

Every instance is a real `SecretStore` with its cache, attempts, watching, hints and failover; time, threads
and the providers' services are simulated (`fleet_world`, `fleet_network`), by the limits and prices that
providers publish (`fleet_providers`). What comes of each scenario stands in `fleet.json`, by a seed the same
each time. ``--write`` writes that file, the tables of docs/scale.md, and its plots.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from tests.bench.fleet_results import results, series
from tests.bench.fleet_runs import Run
from tests.bench.fleet_scenarios import PLOTTED, scenarios
from tests.bench.harness import Bar, Row

RESULTS: Final = Path(__file__).with_name("fleet.json")
SEED: Final = 1
BAR: Final = Bar(at_most=120.0)


def simulated(title: str) -> dict[str, Any]:
    """What comes of one scenario."""
    run = Run(scenarios()[title], SEED)
    told = results(run)
    return told | ({"series": series(run)} if title in PLOTTED else {})


def everything(titles: Iterable[str] | None = None, processes: int = 2) -> dict[str, Any]:
    """What comes of each scenario, in their order, however many processes share the work."""
    wanted = list(scenarios() if titles is None else titles)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return dict(zip(wanted, pool.map(simulated, wanted), strict=True))


def told(outcomes: dict[str, Any]) -> str:
    """The text of `fleet.json`."""
    return json.dumps(outcomes, indent=1) + "\n"


def rows() -> Iterator[Row]:
    """How long all takes, in one process, and the most that defaults ask for beside the limit."""
    began = time.perf_counter()
    outcomes = everything()
    yield BAR.row("fleet, all scenarios", time.perf_counter() - began, BAR.at_most or 0.0, "what it may take")
    asked = outcomes["defaults, 10,000 instances"]["requests"]["GetSecretValue"]
    bar = Bar(ratio=1.0, unit="calls/s")
    yield bar.row("fleet, defaults, 10,000 instances", asked["asked, peak"], asked["limit"], "AWS's limit")


def main(arguments: list[str]) -> int:
    """Print each scenario's outcome; exit 1 if `fleet.json` says something else and is not to be written."""
    outcomes = everything()
    for title, outcome in outcomes.items():
        print(f"{title}: {json.dumps({name: each for name, each in outcome.items() if name != 'series'})}")
    if "--write" in arguments:
        from tests.bench.fleet_page import write

        RESULTS.write_text(told(outcomes))
        write(outcomes)
    return 0 if RESULTS.read_text() == told(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
