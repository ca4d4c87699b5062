"""The verifier and the writer, which share no code, agree on what the writer writes."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from strongroom.audit.anchors import FileExport, FolderExport
from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.head import Checkpoint
from strongroom.audit.journal import Journal
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.audit.proof import prove
from strongroom.audit.record import encode
from strongroom.audit.verify import verify
from strongroom.audit.verify_proof import check_proof
from strongroom.audit.verify_report import Kind
from tests.scale import scaled

ORIGIN = "example.com/real"


class Real:
    """A journal as the product writes it, its key and its anchors."""

    def __init__(self, folder: Path):
        self.path, self.anchors, self.file = folder / "journal", folder / "anchors", folder / "anchors.jsonl"
        self.anchors.mkdir()
        self.key = str(create_note_key(folder / "key", ORIGIN))
        self.signer = FileSigner.open(folder / "key")
        self.exports = [FolderExport(self.anchors), FileExport(self.file)]

    def journal(self) -> Journal:
        return Journal.open(self.path, origin=ORIGIN, segment_bytes=4096)

    def checkpoint(self) -> Checkpoint:
        made = Checkpointer(self.path, self.signer).checkpoint()
        assert made
        for export in self.exports:
            export.put(made, self.path)
        return made


@pytest.fixture
def real(tmp_path: Path) -> Real:
    return Real(tmp_path)


def write(journal: Journal, count: int) -> None:
    """Some records, as a store writes them."""
    for number in range(count):
        name = f"db/пароль-{number}\x7f\n"
        fields = {"kind": "event", "phase": "intent", "op": "get", "name": name, "cid": f"{number:032x}"}
        journal.append(fields, durable=False)
    journal.flush()


def test_several_writers_segments_and_checkpoints(real: Real) -> None:
    """What the product writes is ok, by a folder of anchors as by a file; and what comes later is newer."""
    first, second = real.journal(), real.journal()
    for _ in range(4):
        write(first, 20)
        write(second, 5)
        made = real.checkpoint()
    write(second, 3)
    for anchor in (real.anchors, real.file):
        report = verify(real.path, [real.key], [anchor])
        assert (report.status, report.findings) == ("ok", [])
        assert (report.anchored, report.signed) == (made.size, made.size)
        assert (report.records, report.chains, report.anchors) == (made.size + 3, 2, 4)
        assert report.segments > 2
    first.close()
    second.close()


def test_a_journal_that_is_written_meanwhile(real: Real) -> None:
    """Segments, checkpoints and anchors that come while it is read are newer, and no finding."""
    journal = real.journal()
    write(journal, 5)
    real.checkpoint()
    rounds, turns = scaled(50, "verifications of a journal at work"), threading.Semaphore(0)

    def go_on() -> None:
        for _ in range(rounds):
            turns.acquire()
            write(journal, 20)
            real.checkpoint()

    writer = threading.Thread(target=go_on, daemon=True)
    writer.start()
    for _ in range(rounds):
        turns.release()
        report = verify(real.path, [real.key], [real.anchors])
        assert (report.status, report.findings) == ("ok", [])
    writer.join()
    journal.close()


def test_a_chain_that_was_adopted_after_a_torn_line(real: Real) -> None:
    """The next process cuts the torn line off, says so in a record, and goes on."""
    journal = real.journal()
    write(journal, 5)
    real.checkpoint()
    journal.close()
    [segment] = real.path.glob("chains/*/*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"v":1,"chain":"')
    journal = real.journal()
    write(journal, 5)
    real.checkpoint()
    report = verify(real.path, [real.key], [real.anchors])
    assert (report.status, report.recoveries, report.chains) == ("ok", 1, 1)
    journal.close()


@pytest.mark.parametrize("origin", ["a/b_c~d", "..", "x y", "straße/1"])
def test_one_folder_for_the_anchors_of_many_journals(real: Real, tmp_path: Path, origin: str) -> None:
    """Whatever a journal is called, the verifier finds its anchors among those of others."""
    journal = real.journal()
    write(journal, 3)
    real.checkpoint()
    journal.close()
    other = Journal.open(tmp_path / "other", origin=origin)
    write(other, 3)
    other.close()
    key = str(create_note_key(tmp_path / "other.key", "other"))
    made = Checkpointer(tmp_path / "other", FileSigner.open(tmp_path / "other.key")).checkpoint()
    assert made
    FolderExport(real.anchors).put(made, tmp_path / "other")
    assert verify(tmp_path / "other", [key], [real.anchors]).status == "ok"
    assert verify(real.path, [real.key], [real.anchors]).status == "ok"


def test_what_somebody_did_to_it(real: Real) -> None:
    """The real file, with one letter changed."""
    journal = real.journal()
    write(journal, 30)
    real.checkpoint()
    journal.close()
    segment = min(real.path.glob("chains/*/*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"op":"get"', b'"op":"put"', 3))
    report = verify(real.path, [real.key], [real.anchors])
    assert report.first
    assert (report.first.kind, report.first.index) == (Kind.ALTERED, 1)


def test_no_other_proof_passes_for_one(real: Real, tmp_path: Path) -> None:
    """Bytes of a proof changed at random: refused, or the record and its place are the same still."""
    journal = real.journal()
    write(journal, 20)
    older = real.checkpoint()
    write(journal, 9)
    real.checkpoint()
    journal.close()
    [chain] = (real.path / "chains").iterdir()
    proof, file = prove(real.path, f"{chain.name}:17", older=older.note), tmp_path / "proof"
    text, chance = json.dumps(proof).encode(), random.Random(9162)
    file.write_bytes(text)
    assert check_proof(file, [real.key]).status == "ok"
    for _ in range(scaled(5_000, "changed proofs", 50)):
        changed = bytearray(text)
        for _ in range(chance.choice([1, 1, 3])):
            at, other = chance.randrange(len(changed)), chance.randrange(len(changed))
            put = chance.choice(
                [bytes([changed[at] ^ 1 << chance.randrange(8)]), changed[other : other + 20], b""]
            )
            changed[at : at + max(1, len(put))] = put
        file.write_bytes(changed)
        report = check_proof(file, [real.key])
        json.dumps(report.as_json())
        assert report.status == "broken" or (report.id, report.index) == (proof["id"], proof["index"])
        assert report.status == "broken" or encode(report.record).decode() == proof["record"]
