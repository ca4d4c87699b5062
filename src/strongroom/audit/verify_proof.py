"""Checking the proof of one record: a file and public keys are enough, the journal is not needed.

The form of the file::

    {"v": 1, "origin": "…", "id": "CHAIN:SEQ", "record": "the record's line",
     "index": 17, "inclusion": ["base64", …], "checkpoint": "the signed note",
     "older": {"checkpoint": "an older signed note", "consistency": ["base64", …]}}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, InvalidRequestError

from .record import leaf_hash, parse
from .verify_checkpoints import Judge, Mark, anchor_marks, json_object
from .verify_files import MAX_LINE, read_small
from .verify_note import base64_bytes, parse_key
from .verify_report import BROKEN, OK, UNANCHORED, Finding, Kind
from .verify_tree import HASH_LENGTH, consistent, included

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED: Final = {"v", "origin", "id", "record", "index", "inclusion", "checkpoint"}
_LONGEST: Final = 64
"""Hashes of an inclusion proof: one for each bit of the largest size; a consistency proof has two more."""


@dataclass
class ProofReport:
    """What a proof proves.

    Attributes:
        id: of the record, ``CHAIN:SEQ``.
        record: its fields.
        origin: whose journal it is in.
        index: its place in the tree, from 0.
        size: how many records the checkpoint covers.
        older: how many an older checkpoint covers that the tree was shown to extend; None if there is none.
        keyed: whether a key was given; without one nothing is proved.
        anchored: whether one of its checkpoints is among the anchors.
        findings: what does not hold.
    """

    id: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    origin: str = ""
    index: int = 0
    size: int = 0
    older: int | None = None
    keyed: bool = False
    anchored: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``ok``, ``broken``, or ``unverified`` for want of a key."""
        return "broken" if self.findings else "ok" if self.keyed else "unverified"

    @property
    def exit_code(self) -> int:
        """0 ok, 7 broken, 10 unverified."""
        return {"ok": OK, "broken": BROKEN, "unverified": UNANCHORED}[self.status]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {"status": self.status, "exit": self.exit_code, **asdict(self)}


def check_proof(
    path: Path | str, keys: Sequence[str] = (), anchors: Sequence[Path | str] = ()
) -> ProofReport:
    """Check the proof in a file.

    What is proved: the record stands, as it is in the file, in the journal whose key signed the checkpoint,
    and that journal extends the older one. With anchors also that the key signed no other history of their
    size.

    Args:
        path: the file.
        keys: verifier keys in C2SP's text form.
        anchors: checkpoints that were kept; files, or folders of files.

    Raises:
        InvalidRequestError: there is no such file, a key is none, or an anchor is not there.
        UnavailableError, PermissionDeniedError: a file cannot be read.
    """
    file, report = Path(path), ProofReport()
    if not file.is_file():
        raise InvalidRequestError(f"there is no proof {str(path)!r}")
    trusted = [parse_key(key) for key in keys]
    document = json_object(read_small(file))
    if not _well_formed(document):
        report.findings.append(Finding(Kind.ALTERED, "the file is no proof of a record"))
        return report
    report.id, report.origin, report.index = document["id"], document["origin"], document["index"]
    judge = Judge(report.origin, trusted, report.findings.append)
    report.keyed = judge.keyed
    newer = _include(document, judge, report)
    marks = [mark for mark in (newer, _extend(document, newer, judge, report)) if mark]
    kept = anchor_marks([Path(anchor) for anchor in anchors], None, judge)
    _compare(marks, kept, report)
    return report


def _well_formed(document: dict[str, Any]) -> bool:
    texts = all(isinstance(document.get(key), str) for key in ("origin", "id", "record", "checkpoint"))
    numbers = all(type(document.get(key)) is int for key in ("v", "index"))
    return document.keys() - {"older"} == _NEEDED and texts and numbers and document["v"] == 1


def _include(document: dict[str, Any], judge: Judge, report: ProofReport) -> Mark | None:
    """Whether the record is in the checkpoint's tree."""
    line = document["record"].encode(errors="replace")
    try:
        report.record = parse(line) if len(line) <= MAX_LINE else {}
    except IntegrityError:
        report.record = {}
    if not report.record or report.id != f"{report.record['chain']}:{report.record['seq']}":
        detail = "what the proof holds is not the record that it names"
        report.findings.append(Finding(Kind.ALTERED, detail, report.id))
    mark = judge.mark(document["checkpoint"], "the checkpoint")
    if mark is None:
        return None
    report.size, proof = mark.size, _hashes(document["inclusion"])
    if proof is None or not included(leaf_hash(line), report.index, mark.size, proof, mark.root):
        detail = "the record does not stand there in the tree that was signed"
        report.findings.append(Finding(Kind.ALTERED, detail, report.id, report.index))
    return mark


def _extend(document: dict[str, Any], newer: Mark | None, judge: Judge, report: ProofReport) -> Mark | None:
    """Whether the checkpoint extends the older one."""
    older = document.get("older")
    if older is None:
        return None
    if not isinstance(older, dict) or older.keys() != {"checkpoint", "consistency"}:
        report.findings.append(Finding(Kind.ALTERED, "the file is no proof of an older checkpoint"))
        return None
    mark, proof = judge.mark(older["checkpoint"], "the older checkpoint"), _hashes(older["consistency"])
    if mark is None or newer is None:
        return mark
    report.older = mark.size
    if proof is None or not consistent(mark.size, mark.root, newer.size, newer.root, proof):
        detail = f"the tree of {newer.size} records is not shown to extend that of {mark.size}"
        kind = Kind.SPLIT_VIEW if _contradict(mark, newer) and judge.keyed else Kind.ALTERED
        report.findings.append(Finding(kind, detail))
    return mark


def _contradict(one: Mark, other: Mark) -> bool:
    return one.size == other.size and one.root != other.root


def _compare(marks: Sequence[Mark], kept: Sequence[Mark], report: ProofReport) -> None:
    """Whether what was kept knows of these checkpoints, or of others in their place."""
    for mark in marks:
        for anchor in kept:
            if _contradict(mark, anchor):
                detail = f"{anchor.where} is another history of {mark.size} records than {mark.where}"
                kind = Kind.SPLIT_VIEW if report.keyed else Kind.ALTERED
                report.findings.append(Finding(kind, detail))
            report.anchored |= (mark.size, mark.root) == (anchor.size, anchor.root)


def _hashes(texts: object) -> list[bytes] | None:
    """The hashes of a proof; None if they are none, or more than any tree has levels."""
    if not isinstance(texts, list) or len(texts) > _LONGEST + 2:
        return None
    found = [base64_bytes(text) if isinstance(text, str) else None for text in texts]
    hashes = [each for each in found if each is not None and len(each) == HASH_LENGTH]
    return hashes if len(hashes) == len(texts) else None
