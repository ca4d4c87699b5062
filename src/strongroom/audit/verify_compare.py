"""The tree held against the checkpoints: which of them fit, and what it means that one does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .verify_checkpoints import OWN, Judge, Mark, anchor_marks, own_marks
from .verify_report import Finding, Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .verify_tree import Tree


class Comparison:
    """All checkpoints, smallest first; those of the journal are read as they are needed.

    Attributes:
        size: over how many records the next of them is; None when there are no more.
        newest: when the largest of the journal's own was made, as the writer says.
    """

    def __init__(self, folder: Path, anchors: Sequence[Path], judge: Judge, report: Report):
        self._report, self._judge = report, judge
        # Anchors first: what is anchored meanwhile would be a checkpoint that the journal has not got.
        self._anchors = anchor_marks(anchors, folder, judge)[::-1]
        self._own = own_marks(folder, judge)
        self._next = next(self._own, None)
        self._first: str | None = None
        self._last: str | None = None
        self._good = 0
        self._suspect: Finding | None = None
        self.newest = ""
        self.size = self._due()

    def took(self, record: str) -> None:
        """A record went into the tree."""
        self._first = self._first or record
        self._last = record

    def hold(self, tree: Tree) -> None:
        """Hold the tree against the checkpoints over as many records as it has."""
        if tree.size != self.size:
            return
        marks, root = self._take(reached=True), tree.root()
        fitting = [mark for mark in marks if mark.root == root]
        if fitting:
            self._fit(fitting)
        elif not self._suspect:
            detail = f"the checkpoint over {tree.size} records is of others, or of these in another order"
            self._doubt(Kind.ALTERED, detail, marks[0].where)

    def rest(self, size: int, end: str | None, *, stopped: bool) -> None:
        """Look at the checkpoints that the walk did not come to.

        Args:
            size: how many records went into the tree.
            end: the id of the record that should come next, if that is known.
            stopped: the walk ended at something that does not hold, so that nothing was cut off for certain.
        """
        while self.size is not None:
            covered, marks = self.size, self._take(reached=False)
            if not stopped:
                detail = f"{marks[0].where} covers {covered} records, and only {size} are there"
                self._report.add(Finding(Kind.TRUNCATED, detail, end, size))
                stopped = True

    def _due(self) -> int | None:
        sizes = [mark.size for mark in (*self._anchors[-1:], self._next) if mark]
        return min(sizes, default=None)

    def _take(self, *, reached: bool) -> list[Mark]:
        """The checkpoints that are due, compared with one another."""
        anchors, own = list[Mark](), list[Mark]()
        while self._anchors and self._anchors[-1].size == self.size:
            anchors.append(self._anchors.pop())
        while self._next and self._next.size == self.size:
            own.append(self._next)
            self.newest = self._next.time
            self._next = next(self._own, None)
        if not own and (reached or self._next) and not self._judge.refused:
            detail = f"the checkpoint over {self.size} records, which an anchor has, is not among them"
            self._report.add(Finding(Kind.MISSING, detail, where=OWN))
        self._compare(anchors + own)
        self.size = self._due()
        return anchors + own

    def _compare(self, marks: Sequence[Mark]) -> None:
        other = next((mark for mark in marks if mark.root != marks[0].root), None)
        if other and self._judge.keyed:
            detail = f"the key signed two histories of {other.size} records: the other is {marks[0].where}"
            self._doubt(Kind.SPLIT_VIEW, detail, other.where)

    def _fit(self, marks: Sequence[Mark]) -> None:
        anchors = sum(mark.anchor for mark in marks)
        if anchors:
            self._report.anchored = marks[0].size
        if anchors < len(marks):
            self._report.signed = marks[0].size
        self._report.anchors += anchors
        self._report.checkpoints += len(marks) - anchors
        if not self._suspect:
            self._first = self._last = None
            self._good = marks[0].size
        elif self._suspect.kind is Kind.ALTERED and self._judge.keyed:
            detail = f"the key signed two histories: {marks[0].where} fits the records, this does not"
            self._report.findings.remove(self._suspect)
            self._doubt(Kind.SPLIT_VIEW, detail, self._suspect.where)

    def _doubt(self, kind: Kind, detail: str, where: str | None) -> None:
        """Tell that some record since the last fitting checkpoint is another than was signed."""
        last = self._last if self._last != self._first else None
        index = self._good if self._first else None
        self._suspect = Finding(kind, detail, self._first, index, last, where)
        self._report.add(self._suspect)
