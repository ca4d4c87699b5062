"""A leaked value and the processes that hold it: each drops it when its cache is over, at the latest."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import strongroom
from strongroom.cachepolicy import CachePolicy
from strongroom.config import Config
from strongroom.rotation.compromise import Compromise
from strongroom.rotation.engine import Engine
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotators.random_value import RandomRotator
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.toml.file import read_text
from tests.canary import CANARY
from tests.scale import scaled

NAME = "web/session-key"
READER = """
import sys, time, strongroom
with strongroom.open("app", config=sys.argv[1]) as store:
    first = store.get("web/session-key").version
    print(first, flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        got = store.get("web/session-key")
        if got.version != first:
            print(time.time(), flush=True)
            break
        time.sleep(0.01)
"""


def configuration(folder: Path) -> Config:
    text = (
        f'[store.app]\nurl = "local://{folder}/app.db?create=keyset"\n'
        'cache = { fresh = "1s", stale = "0s" }\n'
    )
    (folder / "strongroom.toml").write_text(text)
    return read_text(folder / "strongroom.toml", text, "")


def test_processes_with_caches_stop_serving_a_leaked_value_within_the_printed_bound(tmp_path: Path) -> None:
    """Three of them by night, one by day; each reads all the time, and none after the bound."""
    config, path = configuration(tmp_path), str(tmp_path / "strongroom.toml")
    with strongroom.open("app", config=config) as store:
        store.put(NAME, CANARY)
        readers = [
            subprocess.Popen([sys.executable, "-c", READER, path], stdout=subprocess.PIPE, text=True)
            for _ in range(scaled(3, share=3))
        ]
        leaked = {reader.stdout.readline().strip() for reader in readers if reader.stdout}
        policy = Policy(NAME, store, RandomRotator(), grace=timedelta(hours=2))
        engine = Engine(SQLiteLedger(tmp_path / "ledger.db"), [policy])
        caches: dict[str, CachePolicy | None] = {"app": config.stores["app"].cache}
        cut = Compromise(store, engine=engine, caches=caches).revoke(NAME, reason="found in a log")
        engine.close()
        assert cut.complete, cut.failures
        assert leaked == {cut.version}
        assert cut.worst
        for reader in readers:
            said, _ = reader.communicate(timeout=60)
            assert float(said) <= cut.worst.timestamp() + 0.5
