"""The store of seen webhooks under SIGKILL at any moment."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from strongroom.webhooks import ReplayStore
from tests.scale import scaled

_RECEIVER = """
import sys
from strongroom.webhooks import ReplayStore
store = ReplayStore(sys.argv[1])
for n in range(int(sys.argv[2]), 10**6):
    store.once(str(n), "d", lambda db: db.execute("INSERT INTO effect VALUES (?)", (n,)))
    print(n, flush=True)
"""


def test_kill_at_random_points_loses_and_doubles_no_delivery(tmp_path: Path) -> None:
    """Each receiver is sent the last twenty and more again, as by a sender that got no answer."""
    path = tmp_path / "seen.db"
    ReplayStore(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE effect (n INTEGER)")
    acknowledged, chance = 0, random.Random(7)
    for _ in range(scaled(100, share=20)):
        acknowledged = max(acknowledged, _killed(path, acknowledged + chance.randrange(1, 40)))
        with closing(sqlite3.connect(path)) as db:
            rows = [row[0] for row in db.execute("SELECT n FROM effect ORDER BY n")]
        assert rows == list(range(len(rows)))  # none twice, none left out
        assert len(rows) > acknowledged  # what was answered has had its effect


def _killed(path: Path, at: int) -> int:
    """Kill a receiver once it has answered so many; the last number it answered."""
    with subprocess.Popen(
        [sys.executable, "-c", _RECEIVER, str(path), str(max(0, at - 60))], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout
        for line in receiver.stdout:
            if int(line) >= at:
                receiver.kill()
                break
        last = [int(line), *map(int, receiver.stdout.read().split("\n")[:-1])][-1]
    assert receiver.returncode == -signal.SIGKILL
    return last
