"""Planning: how long and how much memory a million secrets take, and how evenly jitter spreads a herd.

`python -m tests.bench.rotation_plan plan|hold`: seconds of this process and its peak of memory in bytes, with
or without planning what it holds. Time is the thread's own, since nothing is waited for.
"""

from __future__ import annotations

import hmac
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from strongroom.rotation.schedule import Schedule, next_after, planned
from tests.bench.harness import Bar, Row

SECRETS = 1_000_000
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TIME = Bar(at_most=10.0)
MEMORY = Bar(at_most=500 * 2**20, unit="B")
HERD = Bar(ratio=2.5, unit="in a minute")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def schedules() -> list[Schedule]:
    """What a fleet has: each night's window at several hours in several zones, and rates."""
    window = timedelta(hours=2)
    zones = ("Europe/Zurich", "America/New_York", "Asia/Tokyo", "UTC")
    crons = [f"cron(0 {hour} ? * {weekday} *)" for hour in range(6) for weekday in WEEKDAYS]
    weekly = [Schedule(cron, zone, window=window) for cron in crons for zone in zones]
    return [*weekly, Schedule("rate(30 days)", window=window), Schedule("rate(90 days)")]


def main(verb: str) -> None:
    """Hold a million secrets with their last success, and plan them."""
    every = schedules()
    known = [(f"prod:app/{number}", NOW - MINUTE * (number % 10_000)) for number in range(SECRETS)]
    begin = time.thread_time()
    if verb == "plan":
        plan = [planned(every[at % len(every)], *secret, NOW) for at, secret in enumerate(known)]
        assert len(plan) == SECRETS
    print(time.thread_time() - begin, _peak())


def _peak() -> int:
    [kilobytes] = re.findall(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024


def rows() -> Iterator[Row]:
    """Seconds and bytes of a million, and the fullest minute of ten thousand."""
    (seconds, peak), (_, alone) = _measured("plan"), _measured("hold")
    begin = time.thread_time()
    for number in range(SECRETS):
        hmac.digest(b"prod:app/%d" % number, b"1793934000", "sha256")
    floor = time.thread_time() - begin
    yield TIME.row("plan 1,000,000 secrets", seconds, floor, "as many HMACs")
    yield MEMORY.row("plan 1,000,000 secrets: memory", peak, alone, "holding them")
    yield _herd()


def _measured(verb: str) -> tuple[float, int]:
    command = [sys.executable, "-m", "tests.bench.rotation_plan", verb]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(told[0]), int(told[1])


def _herd() -> Row:
    schedule = Schedule("cron(0 3 * * ? *)", window=timedelta(hours=2))
    instants = [next_after(schedule, f"prod:app/{number}", NOW) for number in range(10_000)]
    fullest = max(Counter((instant - NOW) // MINUTE for instant in instants).values())
    return HERD.row("10,000 secrets in a window of 2 h", fullest, 10_000 / 120, "the mean minute")


if __name__ == "__main__":
    main(sys.argv[1])
