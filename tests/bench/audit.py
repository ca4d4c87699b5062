"""What a record costs beside one hash of it, and many records at one sync beside one sync each."""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.audit.chains import Chain, Tail
from strongroom.audit.event import AuditEvent
from strongroom.audit.journal import SEGMENT_BYTES, Journal
from strongroom.audit.record import of_event
from strongroom.audit.segments import Files
from strongroom.clock import Clock
from tests.bench.harness import Bar, Row, interleaved

THREADS = 256
EVENT = AuditEvent(
    "get",
    "exchange/binance/api-key",
    "outcome",
    datetime.now(UTC),
    store="prod",
    backend="aws-sm://eu-west-1/prod",
    location="arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/exchange/binance/api-key-AbCdEf",
    version="7f3ac8de-0000-4000-8000-000000000001",
    outcome="ok",
)
# A sealed actor is base64 of what a STS principal, an address and a name take.
ACTOR = {"uid": "0123456789abcdef" * 2, "how": "aws-sts", "sealed": "QUJD" * 60}


def rows() -> Iterator[Row]:
    """Computing alone, then the disk that the temporary folder stands on."""
    yield _record()
    yield _group_commit()


def _record() -> Row:
    """All that a record costs but the disk: its time, its line, its hash and its place in the chain."""
    fields: dict[str, Any] = of_event(EVENT, actor=ACTOR)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / ("0" * 32)
        place.mkdir()
        chain = Chain(place, -1, Tail(), Files(), Clock(), SEGMENT_BYTES)
        chain.add(fields)
        line = chain._queue[0].data
        queue = chain._queue

        def add() -> None:
            chain.add(fields)
            if len(queue) > 64:  # a batch; the disk is not what is measured
                queue.clear()

        sha256 = hashlib.sha256
        candidates = {"ours": add, "peer": lambda: sha256(line).digest()}
        times = interleaved(candidates, 201, 0.002, time.thread_time)
    name = f"encode, hash and chain {len(line)} B"
    return Bar(ratio=6.0).row(name, times["ours"], times["peer"], "one SHA-256 of it")


def _group_commit() -> Row:
    """Seconds of one durable record, of many threads together, beside a write and a sync for each."""
    fields = of_event(EVENT, actor=ACTOR)
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "journal")
        journal.append(fields)
        for _ in range(7):
            ours.append(_together(journal, fields, 20))
            peer.append(_one_by_one(Path(folder) / "alone", 200))
        journal.close()
    name = f"durable record, {THREADS} threads"
    return Bar(speed=20.0).row(name, statistics.median(ours), statistics.median(peer), "fdatasync each")


def _together(journal: Journal, fields: dict[str, Any], each: int) -> float:
    begin = threading.Barrier(THREADS + 1)

    def run() -> None:
        begin.wait()
        for _ in range(each):
            journal.append(fields)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    begin.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - start) / (THREADS * each)


def _one_by_one(path: Path, count: int) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(count):
            os.write(descriptor, b"x" * 800)
            os.fdatasync(descriptor)
        return (time.perf_counter() - start) / count
    finally:
        os.close(descriptor)
