"""Checkpointers killed at random points, and the power cut with them: all that was signed is one history."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from strongroom.audit.anchors import FolderExport
from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.journal import Journal
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.audit.verify import verify
from strongroom.errors import UnavailableError
from tests.chaos.forked import Forked, Say, forked
from tests.scale import scaled
from tests.unit.audit_disk import ForgetfulFiles, power_cut

WORKERS = 3
CRASHES = 5
"""Of one journal, each survived by the next workers."""

ORIGIN = "example.com/killed"


class Disk(ForgetfulFiles):
    """Notes also what a reader made durable by itself."""

    def __init__(self, notes: Path):
        super().__init__(notes)
        real = os.fdatasync

        def noted(descriptor: int) -> None:
            size = os.fstat(descriptor).st_size
            real(descriptor)
            self._note(str(Path(f"/proc/self/fd/{descriptor}").readlink()), size)

        os.fdatasync = noted  # type: ignore[assignment]  # of this process alone, which is a fork


def work(folder: Path, say: Say, rounds: int = 1_000_000) -> None:
    """Write, sign, and hand out what was signed, until killed."""
    files = Disk(folder / "notes")
    journal = Journal.open(folder / "journal", origin=ORIGIN, segment_bytes=3000, files=files)
    checkpointer = Checkpointer(folder / "journal", FileSigner.open(folder / "key"), files=files)
    anchor = FolderExport(folder / "anchors")
    for _ in range(rounds):
        for _ in range(3):
            journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "db/password"})
        try:
            made = checkpointer.checkpoint()
        except UnavailableError:  # the others were quicker for ten seconds
            continue
        assert made is not None
        anchor.put(made, folder / "journal")
        say(made.size)


def crash(folder: Path, chance: random.Random, *, power: bool) -> int:
    """Start the workers, let them sign for a while, and kill them all; the last size that was handed out."""
    workers = [Forked(partial(work, folder)) for _ in range(WORKERS)]
    heard = max(worker.hear() for worker in workers)
    time.sleep(chance.random() * 0.03)
    for worker in workers:
        worker.kill()
    assert [worker.wait() for worker in workers] == [-signal.SIGKILL] * WORKERS
    if power:
        power_cut(folder / "journal", folder / "notes", chance)
        for name in ("order.jsonl", "checkpoints.jsonl", "checkpoint.state"):
            forget(folder / "journal" / name, folder / "notes", chance)
    return int(heard)


def forget(path: Path, notes: Path, chance: random.Random) -> None:
    """Of what was not synced, some is gone and some is zeros."""
    noted = map(json.loads, notes.read_text().splitlines())
    synced = max((size for name, size in noted if name == str(path)), default=0)
    if path.exists():
        data = bytearray(path.read_bytes())
        end = chance.randint(min(synced, len(data)), len(data))
        if chance.random() < 0.5:
            data[min(synced, len(data)) : end] = bytes(end - min(synced, len(data)))
        else:
            del data[end:]
        path.write_bytes(data)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_all_that_was_ever_signed_is_one_history(tmp_path: Path, power: bool) -> None:
    """Each checkpoint that anybody was handed is a beginning of the journal as it is after the last crash."""
    points = scaled(200, f"crashes of checkpointers, {'power cut' if power else 'killed'}", 100)
    for start in range(0, points, CRASHES):
        folder = tmp_path / str(start)
        (folder / "anchors").mkdir(parents=True)
        key = create_note_key(folder / "key", ORIGIN)
        chance = random.Random(f"{power} {start} {os.environ.get('STRONGROOM_SEED', '')}")
        for _ in range(min(CRASHES, points - start)):
            handed = crash(folder, chance, power=power)
            with forked(partial(work, folder, rounds=1)) as [survivor]:
                assert survivor.hear() > handed
        report = verify(folder / "journal", [str(key)], [folder / "anchors"])
        assert (report.status, report.findings) == ("ok", [])
