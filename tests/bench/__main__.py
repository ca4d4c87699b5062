"""`python -m tests.bench [SUITE...]`: what was measured beside its bar, and `build/bench.json`.

Exit 1 if a bar is missed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bench import (
    audit,
    audit_reads,
    audit_sinks,
    cache,
    cold_reads,
    envelope,
    envelope_files,
    envelope_kms,
    fleet,
    processes,
    replication,
    rotation_ledger,
    rotation_plan,
    telemetry,
    terraform,
)
from tests.bench.harness import Row, human

OUTPUT = Path(__file__).parents[2] / "build" / "bench.json"
SUITES = {
    "processes": processes,
    "envelope": envelope,
    "files": envelope_files,
    "kms": envelope_kms,
    "cache": cache,
    "cold reads": cold_reads,
    "audit": audit,
    "audited reads": audit_reads,
    "audit sinks": audit_sinks,
    "rotation plan": rotation_plan,
    "rotation ledger": rotation_ledger,
    "replication drift": replication,
    "telemetry": telemetry,
    "terraform": terraform,
    "fleet": fleet,
}


def main(wanted: list[str]) -> int:
    """Run the suites that are named, or all, printing each row as soon as it is known."""
    rows = []
    print(f"{'what':<40} {'ours':>10} {'peer':>10}  {'ratio':>7}  bar")
    for suite in wanted or SUITES:
        for row in SUITES[suite].rows():
            rows.append(row)
            print(_line(row), flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([row.as_json() for row in rows], indent=2) + "\n")
    return 0 if all(row.holds for row in rows) else 1


def _line(row: Row) -> str:
    verdict = f"{row.bar}: {'holds' if row.holds else 'MISSED'}" if row.bar else "no bar"
    values = f"{human(row.ours, row.unit):>10} {human(row.peer, row.unit):>10}  {row.ratio:>6.2f}x"
    return f"{row.name:<40} {values}  {verdict} (peer: {row.peer_name})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
