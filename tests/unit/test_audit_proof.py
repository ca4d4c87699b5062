"""The proof of one record in one file: it convinces the verifier, and what cannot be proved is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.journal import Journal
from strongroom.audit.proof import prove
from strongroom.audit.verify_proof import ProofReport, check_proof
from strongroom.errors import IntegrityError, InvalidRequestError, SecretNotFoundError
from tests.unit.audit_log import ORIGIN, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def checked(log: Log, proof: dict[str, Any]) -> ProofReport:
    """What a third party finds, who has the file and the key."""
    file = log.path.parent / "proof.json"
    file.write_text(json.dumps(proof))
    return check_proof(file, [str(log.signer.note_key)])


def test_every_record_of_every_chain_can_be_proved(log: Log) -> None:
    """Each has its place in the tree, whichever chain it is of, and the record itself is in the file."""
    other = Journal.open(log.path, segment_bytes=4096)
    records: list[str] = []
    for _ in range(3):
        records += [*log.write(4), *log.write(15, other)]
        log.sign()
    places = set()
    for record in records[::6]:
        report = checked(log, prove(log.path, record))
        assert (report.status, report.id, report.origin) == ("ok", record, ORIGIN)
        places.add(report.index)
    assert len(places) == len(records[::6])


def test_it_extends_any_older_checkpoint(log: Log) -> None:
    """Also one of the same size: the two are one tree."""
    notes = []
    for _ in range(4):
        record = log.write(3)[0]
        notes.append(log.sign().note)
    for size, note in zip((4, 7, 10, 13), notes, strict=True):
        report = checked(log, prove(log.path, record, older=note))
        assert (report.status, report.older) == ("ok", size)


def test_a_proof_of_something_else_is_broken(log: Log) -> None:
    """The record of one place does not stand in another, nor another record in its place."""
    first, second = log.write(2)
    log.sign()
    proof, other = prove(log.path, first), prove(log.path, second)
    for key in ("record", "index", "inclusion"):
        assert checked(log, proof | {key: other[key]}).status == "broken"


def test_a_record_that_no_checkpoint_covers_cannot_be_proved_yet(log: Log) -> None:
    """Before the first checkpoint, and after the last."""
    early = log.write(1)[0]
    with pytest.raises(InvalidRequestError, match="no checkpoint covers"):
        prove(log.path, early)
    log.sign()
    late = log.write(1)[0]
    assert prove(log.path, early)["index"] == 1
    with pytest.raises(InvalidRequestError, match="no checkpoint covers"):
        prove(log.path, late)


def test_what_is_no_record_is_refused(log: Log) -> None:
    """A word that is no id; an id that nothing has."""
    record = log.write(1)[0]
    log.sign()
    with pytest.raises(InvalidRequestError, match="not a record's id"):
        prove(log.path, "password")
    with pytest.raises(SecretNotFoundError):
        prove(log.path, record.partition(":")[0] + ":99")


def test_a_journal_that_was_changed_proves_nothing(log: Log) -> None:
    """Neither the record that was changed, nor any other."""
    first, *_, last = log.write(5)
    log.sign()
    segment = next(log.path.glob("chains/*/*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"get"', b'"put"', 1))
    for record in (first, last):
        with pytest.raises(IntegrityError):
            prove(log.path, record)


def test_an_older_checkpoint_of_another_history_is_told(log: Log, tmp_path: Path) -> None:
    """Somebody was handed another tree of this origin: the journal does not give it."""
    (tmp_path / "twin").mkdir()
    twin = Log(tmp_path / "twin")
    twin.write(2)
    theirs = twin.sign().note
    record = log.write(4)[0]
    log.sign()
    with pytest.raises(IntegrityError, match="does not give the checkpoint of 3 records"):
        prove(log.path, record, older=theirs)
    log_note = log.notes()[0]["note"]
    with pytest.raises(InvalidRequestError, match="not an older one of this journal"):
        prove(log.path, record, older=log_note.replace(ORIGIN, "example.com/other"))
