"""`python -m tests.bench`: times beside their bars, and `build/bench.json`; exit 1 if a bar is missed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench import cold_reads, processes
from tests.bench.harness import Row

OUTPUT = Path(__file__).parents[2] / "build" / "bench.json"
SUITES = [processes, cold_reads]


def main() -> int:
    """Run every suite, printing each row as soon as it is known."""
    rows = []
    print(f"{'what':<34} {'ours':>10} {'peer':>10}  {'ratio':>6}  bar")
    for suite in SUITES:
        for row in suite.rows():
            rows.append(row)
            print(_line(row), flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    return 0 if all(row.holds for row in rows) else 1


def _line(row: Row) -> str:
    verdict = "holds" if row.holds else "MISSED"
    times = f"{_human(row.ours):>10} {_human(row.peer):>10}  {row.ratio:>5.2f}x"
    return f"{row.name:<34} {times}  {row.bar}: {verdict} (peer: {row.peer_name})"


def _human(seconds: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


if __name__ == "__main__":
    sys.exit(main())
