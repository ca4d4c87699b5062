"""kill -9 of a program that reads warm: of its counts the last second is missing at most, and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from strongroom.audit.reading import Reader
from strongroom.audit.record import parse
from strongroom.audit.verify import verify
from tests.scale import scaled

PROGRAM = """
import json, sys, time
import strongroom
from strongroom.toml.file import Config
from strongroom.toml.audit_entries import AuditEntry
from strongroom.toml.entries import StoreEntry
config = Config(stores={"prod": StoreEntry("prod", "memory://")}, audit=AuditEntry(path=sys.argv[1]))
store = strongroom.open("prod", config=config)
store.put("db/password", "x")
store.get("db/password")
began, count = time.monotonic(), 0
while True:
    for _ in range(100):
        store.get("db/password")
    count += 100
    print(json.dumps([time.monotonic() - began, count]), flush=True)
    time.sleep(0.01)
"""


def test_a_killed_reader_has_lost_a_second_of_counts_at_most(tmp_path: Path) -> None:
    """What was read more than a second before the kill is in the journal, which verifies."""
    for round_ in range(scaled(20, share=20)):
        journal = tmp_path / f"journal-{round_}"
        told = _killed_after(journal, 1.4 + 0.05 * round_)
        seconds, _ = told[-1]
        before = max(count for at, count in told if at <= seconds - 1.0)
        recorded = _recorded(journal)
        assert before <= recorded <= told[-1][1] + 100
        assert not verify(journal).findings


def _killed_after(journal: Path, seconds: float) -> list[tuple[float, int]]:
    """What the reader said of its reads until it was killed: the time since it began, and how many."""
    command = [sys.executable, "-c", PROGRAM, str(journal)]
    told: list[tuple[float, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        for line in reader.stdout:
            at, count = json.loads(line)
            told.append((at, count))
            if at > seconds:
                break
        os.kill(reader.pid, signal.SIGKILL)
        for line in reader.stdout:
            if line.endswith("]\n"):
                at, count = json.loads(line)
                told.append((at, count))
    return told


def _recorded(journal: Path) -> int:
    reads = [parse(line.data) for line in Reader(journal).lines()]
    return sum(count for record in reads if record["kind"] == "reads" for _, _, count in record["reads"])
