"""Eight writers killed at random points, and the power cut: what was answered is there, and no fork."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.audit.anchors import FolderExport
from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.journal import Journal
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.audit.reading import Reader
from strongroom.audit.segments import Files
from strongroom.audit.verify import verify
from tests.scale import scaled
from tests.unit.audit_disk import ForgetfulFiles, power_cut, records_of

ORIGIN = "example.com/crashes"
WRITERS = 8
ROUNDS = 5
"""Crashes of one journal, each survived by the next writers."""


class Site:
    """A journal, its writers, and what they were answered."""

    def __init__(self, root: Path, chance: random.Random):
        self.audit, self.answers, self.notes = root / "audit", root / "answers", root / "notes"
        self.answers.touch()
        self.chance = chance
        self.anchors = root / "anchors"
        self.anchors.mkdir()
        self.key = str(create_note_key(root / "key", ORIGIN))
        self.signer = FileSigner.open(root / "key")
        self.told: dict[tuple[str, int], bytes] = {}

    def crash(self, generation: int, *, power: bool) -> None:
        """Start the writers, let them be answered a random number of times, and kill them all."""
        wanted = self.answers.stat().st_size + self.chance.randint(1, 2000)
        with self._writers(generation) as pids:
            deadline = time.monotonic() + 30
            while self.answers.stat().st_size < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            self._sign()
            self._read()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        if power:
            power_cut(self.audit, self.notes, self.chance)

    def answered(self) -> dict[tuple[str, int], str]:
        """The name of each record that an `append` returned for; what a kill tore is no answer."""
        *lines, _ = self.answers.read_text().split("\n")
        return {(chain, int(seq)): name for chain, seq, name in (line.split() for line in lines)}

    def adopt_all(self) -> None:
        """As many writers as there are chains: each chain's end is repaired."""
        chains = max(1, len(list((self.audit / "chains").iterdir())))
        journals = [
            Journal.open(self.audit, origin=ORIGIN, files=ForgetfulFiles(self.notes)) for _ in range(chains)
        ]
        for journal in journals:
            journal.append({"kind": "event", "phase": "intent", "op": "get", "name": "survivor"})
        for journal in journals:
            journal.close()

    def check(self) -> None:
        """Every chain is whole; what was answered, and what a reader was told, is where it was."""
        records = records_of(self.audit)
        for (chain, seq), name in self.answered().items():
            assert records[chain][seq]["name"] == name
        lines = {(line.chain, line.seq): line.data for line in Reader(self.audit).lines()}
        assert self.told.items() <= lines.items()
        report = verify(self.audit, [self.key], [self.anchors])
        assert report.findings == []
        assert report.anchored or not any(self.anchors.iterdir())

    def _sign(self) -> None:
        """While the writers write; nothing that is signed may be gone later, or the tree would not verify."""
        made = Checkpointer(self.audit, self.signer).checkpoint()
        assert made
        FolderExport(self.anchors).put(made, self.audit)

    def _read(self) -> None:
        """As a checkpointer does, who syncs what it signs: the disk notes that, and what it was."""
        kept = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for line in Reader(self.audit, durable=True).lines():
            self.told[line.chain, line.seq] = line.data
            path = self.audit / "chains" / line.chain / f"{line.after.segment:08d}.jsonl"
            os.write(
                kept, b"".join(json.dumps(note).encode() + b"\n" for note in _kept(path, line.after.offset))
            )
        os.close(kept)

    @contextlib.contextmanager
    def _writers(self, generation: int) -> Iterator[list[int]]:
        pids = [self._writer(f"{generation}.{number}") for number in range(WRITERS)]
        yield pids
        for pid in pids:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    def _writer(self, name: str) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._write(name)
            finally:
                os._exit(1)
        return pid

    def _write(self, name: str) -> None:
        """Two threads, one of which does not always wait; short segments, so that crashes meet their cuts."""
        files: Files = ForgetfulFiles(self.notes)
        journal = Journal.open(self.audit, origin=ORIGIN, segment_bytes=4000, files=files)
        answers = os.open(self.answers, os.O_WRONLY | os.O_APPEND)

        def append(thread: int) -> None:
            for number in range(25):
                fields = {
                    "kind": "event",
                    "phase": "intent",
                    "op": "get",
                    "name": f"{name}.{thread}.{number}",
                }
                durable = not thread or number % 3 > 0
                record = journal.append(fields, durable=durable)
                if durable:
                    os.write(answers, f"{record.replace(':', ' ')} {fields['name']}\n".encode())

        threading.Thread(target=append, args=(1,), daemon=True).start()
        append(0)
        signal.pause()


def _kept(path: Path, size: int) -> list[tuple[str, int]]:
    return [(str(path), size), (str(path.parent), -1)]


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_what_was_answered_outlives_a_crash(tmp_path: Path, power: bool) -> None:
    """Also of what follows a crash, over and over, in one journal."""
    points = scaled(200, f"crashes of eight writers, {'power cut' if power else 'killed'}", 100)
    for start in range(0, points, ROUNDS):
        root = tmp_path / str(start)
        root.mkdir()
        site = Site(root, random.Random(f"{power} {start} {os.environ.get('STRONGROOM_SEED', '')}"))
        for generation in range(min(ROUNDS, points - start)):
            site.crash(generation, power=power)
            if generation % 2 or power:
                site.adopt_all()
                site.check()
        site.adopt_all()
        site.check()


def test_at_every_step_of_one_writer_a_power_cut_loses_no_answer(tmp_path: Path) -> None:
    """The disk stops answering at each of its calls in turn, and forgets all that it was not made to keep."""
    for step in range(0, 60, 60 // scaled(60, "steps of one writer", 8)):
        root = tmp_path / str(step)
        root.mkdir()
        site = Site(root, random.Random(step))
        _run_to(site, step)
        power_cut(site.audit, site.notes, site.chance)
        site.adopt_all()
        site.check()


class _Stopped(BaseException):
    pass


class _StoppingFiles(ForgetfulFiles):
    """Stops the program at one of its calls."""

    def __init__(self, notes: Path, left: int):
        super().__init__(notes)
        self._left = left

    def write(self, descriptor: int, data: bytes) -> int:
        self._count()
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)
        self._count()

    def sync_folder(self, path: Path) -> None:
        self._count()
        super().sync_folder(path)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Stopped


def _run_to(site: Site, step: int) -> None:
    with contextlib.suppress(_Stopped), site.answers.open("a") as answers:
        journal = Journal.open(
            site.audit, origin=ORIGIN, segment_bytes=600, files=_StoppingFiles(site.notes, step)
        )
        for number in range(40):
            record = journal.append({"kind": "event", "phase": "intent", "op": "get", "name": f"n{number}"})
            answers.write(f"{record.replace(':', ' ')} n{number}\n")
