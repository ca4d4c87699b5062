"""What a record costs beside one hash of it, and many records at one sync beside one sync each."""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.audit.event import AuditEvent
from strongroom.audit.journal import Journal
from strongroom.audit.record import GENESIS, encode_next, leaf_hash, of_event
from tests.bench.harness import NO_BAR, Bar, Row, Run, interleaved

THREADS, GATHERED = 256, 1000
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
    yield from _commits()


def _record() -> Row:
    """From the fields of an event to its line, its leaf, and by that its successor's place."""
    fields, chain, leaf = of_event(EVENT, actor=ACTOR), "0" * 32, GENESIS

    def follow() -> bytes:
        nonlocal leaf
        line = encode_next(chain, 1000, leaf, 12345678901234, fields)
        leaf = leaf_hash(line).hex()
        return line

    follow()
    line, sha256 = follow(), hashlib.sha256
    candidates: dict[str, Run] = {"ours": follow, "peer": lambda: sha256(line).digest()}
    times = interleaved(candidates, 201, 0.002, time.thread_time)
    return Bar(ratio=6.0).row(
        f"encode, hash, chain {len(line)} B", times["ours"], times["peer"], "one SHA-256 of it"
    )


def _commits() -> Iterator[Row]:
    """Seconds of a record: encoded ones made durable at once, beside a sync for each of as many bytes.

    Then from its fields until it is durable: gathered, and by threads that each wait.
    """
    fields = of_event(EVENT, actor=ACTOR)
    samples: dict[str, list[float]] = {"commit": [], "gathered": [], "threads": [], "alone": []}
    with tempfile.TemporaryDirectory() as folder, closing(Journal.open(Path(folder) / "journal")) as journal:
        _gathered(journal, fields)  # the first record loads its encoder
        for _ in range(15):
            encoding, commit = _gathered(journal, fields)
            samples["commit"].append(commit)
            samples["gathered"].append(encoding + commit)
            samples["threads"].append(_together(journal, fields, 20))
            samples["alone"].append(_one_by_one(Path(folder) / "alone", 200))
    times = {name: statistics.median(found) for name, found in samples.items()}
    peer = "fdatasync each"
    yield Bar(speed=20.0).row(f"group commit of {GATHERED:,} records", times["commit"], times["alone"], peer)
    yield NO_BAR.row(f"encoded and committed, {GATHERED:,}", times["gathered"], times["alone"], peer)
    yield NO_BAR.row(f"durable record, {THREADS} threads", times["threads"], times["alone"], peer)


def _gathered(journal: Journal, fields: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a record to encode and chain it, and to commit it."""
    start = time.perf_counter()
    for _ in range(GATHERED):
        journal.append(fields, durable=False)
    encoded = time.perf_counter()
    journal.flush()
    return (encoded - start) / GATHERED, (time.perf_counter() - encoded) / GATHERED


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
