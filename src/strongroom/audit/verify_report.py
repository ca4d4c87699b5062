"""What the offline verifier found: kinds of tampering, findings, and the report with its exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

MAX_FINDINGS: Final = 100
"""How many findings a report keeps, those with the first bad records: a wrong key condemns every mark."""

OK: Final = 0
BROKEN: Final = 7
UNANCHORED: Final = 10


class Kind(StrEnum):
    """What was done to a journal, as far as the journal can tell."""

    ALTERED = "altered"
    MISSING = "missing"
    INSERTED = "inserted"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    TRUNCATED = "truncated"
    SEGMENT_MISSING = "segment missing"
    FORKED = "forked"
    SPLICED = "spliced"
    BAD_SIGNATURE = "bad signature"
    SPLIT_VIEW = "split view"
    UNSIGNED_GAP = "unsigned gap"
    NOT_A_JOURNAL = "not a journal"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written.

    Attributes:
        kind: what was done.
        record: the id (``chain:seq``) of the first bad record; None if no record is bad, or which is unknown.
        index: its place in the tree, from 0; None if no checkpoint holds it.
        last: the id of the last record that may be bad, where only a range can be told: of a tail whose
            hashes were all computed anew only the checkpoint tells that it is another.
        where: file and line in the journal, or the anchor's file.
        detail: what does not hold, in a sentence.
    """

    kind: Kind
    detail: str
    record: str | None = None
    index: int | None = None
    last: str | None = None
    where: str | None = None

    def at(self, index: int) -> Finding:
        """The same, at that place in the tree."""
        return replace(self, index=index)

    def __str__(self) -> str:
        through = f" to {self.last}" if self.last else ""
        who = f" from {self.record}{through}" if through else f" {self.record}" if self.record else ""
        place = f" (index {self.index})" if self.index is not None else ""
        where = f" in {self.where}" if self.where else ""
        return f"{self.kind}:{who}{place}{where}: {self.detail}"


@dataclass(frozen=True)
class Witnessed:
    """The newest cosignature of a witness whose key was given.

    Attributes:
        name: of the witness's key.
        size: how many records its checkpoint holds.
        time: when the witness saw it, seconds since 1970 by the witness's clock.
    """

    name: str
    size: int
    time: int


@dataclass
class Report:
    """The result of a verification.

    Attributes:
        path: the journal's folder, as it was given.
        origin: the name the journal signs under; empty if it could not be read.
        records: how many records were read and follow from one another.
        chains: how many chains hold them.
        segments: how many files hold them.
        checkpoints: how many of the journal's own checkpoints have a good signature and fit the records.
        covered: how many records stand in the order of the tree.
        signed: how many records, from the first, the largest of those checkpoints covers.
        anchors: how many of the checkpoints from elsewhere have a good signature and fit the records.
        anchored: how many records, from the first, the largest of those covers. These cannot have changed.
        keyed: whether a key was given; without one no signature was checked, and nothing is anchored.
        gaps: records that say operations went on while the journal could not be written.
        recoveries: records that say a writer was cut off in the middle of a line.
        witnesses: of each witness whose key was given, its newest cosignature.
        findings: what does not hold, first bad record first; at most `MAX_FINDINGS` of them.
        more: how many more there are.
        notes: what is no proof of tampering, but what a crash leaves behind, or a removed end would.
    """

    path: str
    origin: str = ""
    records: int = 0
    chains: int = 0
    segments: int = 0
    checkpoints: int = 0
    covered: int = 0
    signed: int = 0
    anchors: int = 0
    anchored: int = 0
    keyed: bool = False
    gaps: int = 0
    recoveries: int = 0
    witnesses: list[Witnessed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``broken``, ``unanchored`` or ``ok``."""
        if self.findings:
            return "broken"
        return "ok" if self.keyed and self.anchored else "unanchored"

    @property
    def exit_code(self) -> int:
        """0 ok, 7 broken, 10 unanchored: whole in itself, which proves nothing about what was cut off."""
        return {"ok": OK, "broken": BROKEN, "unanchored": UNANCHORED}[self.status]

    @property
    def first(self) -> Finding | None:
        """The finding with the first bad record."""
        return self.findings[0] if self.findings else None

    def add(self, finding: Finding) -> None:
        """Take in a finding, by its place in the tree; those without one come last."""
        self.findings.append(finding)
        self.findings.sort(key=lambda found: (found.index is None, found.index))
        if len(self.findings) > MAX_FINDINGS:
            del self.findings[-1]
            self.more += 1

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        facts = asdict(self)
        return {"status": self.status, "exit": self.exit_code, **facts}
