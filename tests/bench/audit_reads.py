"""Reads with auditing on beside the same without: warm ones are counted, cold ones wait for the journal."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from strongroom.backend import Settings
from strongroom.cachepolicy import CachePolicy
from strongroom.config import Config, StoreEntry
from strongroom.config import open as open_store
from strongroom.store import SecretStore
from strongroom.toml.audit_entries import AuditEntry
from tests.bench.cold_reads import _printing
from tests.bench.harness import NO_BAR, Bar, Row, interleaved, paired

NAME = "db/password"
VALUE = "correct horse battery staple"
_PEER = "without auditing"


def rows() -> Iterator[Row]:
    """Warm, cold from memory, which is the journal's price alone, and cold from a provider."""
    with ExitStack() as opened:
        server = opened.enter_context(_printing("strongroom.testing.aws", url=r"in memory: (\S+)"))
        aws = f"aws-sm://eu-west-1/bench?endpoint={server['url']}"
        yield _warm(opened)
        yield _cold("cold get from memory, audited", "memory://", opened, 200)
        yield _cold("cold get from a provider, audited", aws, opened, 200)


def _warm(opened: ExitStack) -> Row:
    audited, plain = _stores("memory://", opened, warm=True)
    times = interleaved(
        {"ours": lambda: audited.get(NAME), "peer": lambda: plain.get(NAME)}, 201, 0.002, time.thread_time
    )
    return Bar(ratio=1.3).row("warm get, audited", times["ours"], times["peer"], _PEER)


def _cold(title: str, url: str, opened: ExitStack, rounds: int) -> Row:
    audited, plain = _stores(url, opened, warm=False)
    ours, peer = paired(lambda: audited.get(NAME), lambda: plain.get(NAME), rounds)
    return NO_BAR.row(title, ours, peer, _PEER)


def _stores(url: str, opened: ExitStack, *, warm: bool) -> tuple[SecretStore, SecretStore]:
    """The same store twice, audited and not, both with a value that was read."""
    journal = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "journal"
    entry = StoreEntry("prod", url, Settings(), cache=CachePolicy() if warm else None)
    trail = AuditEntry(path=str(journal))
    stores = [
        opened.enter_context(open_store("prod", config=Config(stores={"prod": entry}, audit=audit)))
        for audit in (trail, None)
    ]
    for store in stores:
        store.put(NAME, VALUE)
        assert store.get(NAME).value.matches(VALUE)
    return stores[0], stores[1]
