"""The offline verifier: a journal's folder and public keys are all it needs, wherever the folder lies.

It shares nothing with what writes journals but the schema of a record: tree, notes and chains are read by
code of its own, so that an error in the writer is not repeated here. It streams; its memory grows with the
number of chains and of anchors, not with the records.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .verify_chain import BrokenChainError, Chain
from .verify_checkpoints import Judge, json_object
from .verify_compare import Comparison
from .verify_files import lines, names, read_small, size_of
from .verify_note import parse_key
from .verify_report import Finding, Kind, Report
from .verify_tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .verify_chain import Entry

ORDER: Final = "order.jsonl"
_CHAIN = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_BIGGEST: Final = 2**63 - 1

SETTLED: Final = timedelta(minutes=5)
"""A record that is older than the last checkpoint by more than this, and in none, was kept out of it: no
commit takes so long, and no clock that is kept right is set back so far."""


def verify(path: Path | str, keys: Sequence[str] = (), anchors: Sequence[Path | str] = ()) -> Report:
    """Verify the journal in the folder `path`.

    What is proved: nothing that the largest anchor covers was changed, removed, added or moved since the
    anchor was made, unless its signing key was stolen before. Without an anchor a journal can be whole in
    itself and have lost its end, or be another one: that is ``unanchored``.

    Args:
        path: the folder, or a copy of it.
        keys: verifier keys in C2SP's text form; those of witnesses tell when they saw the journal.
        anchors: checkpoints kept out of the writer's reach: files, or folders of files.

    Raises:
        InvalidRequestError: a key is none, or an anchor is not there or lies in the journal.
        UnavailableError, PermissionDeniedError: a file cannot be read.
    """
    folder = Path(path)
    trusted = [parse_key(key) for key in keys]
    report = Report(str(path), keyed=any(not key.witness for key in trusted))
    origin = _origin(folder)
    if origin is None:
        report.add(Finding(Kind.NOT_A_JOURNAL, _absence(folder), where="journal.json"))
        return report
    report.origin = origin
    judge = Judge(origin, trusted, report.add)
    checkpoints = Comparison(folder, [Path(anchor) for anchor in anchors], judge, report)
    _Verification(folder, report, checkpoints).run()
    report.witnesses = list(judge.witnessed.values())
    return report


def _origin(folder: Path) -> str | None:
    entry = json_object(read_small(folder / "journal.json"))
    right = entry.keys() == {"v", "origin"} and type(entry["v"]) is int and entry["v"] == 1
    return entry["origin"] if right and isinstance(entry["origin"], str) and entry["origin"] else None


def _absence(folder: Path) -> str:
    if not names(folder):
        return "nothing is there; if a journal was, all of it is gone"
    return "what is there does not begin as a journal does; if one was there, it was replaced or damaged"


class _Run(NamedTuple):
    """A line of the order: so many records of a chain come next in the tree."""

    chain: str
    first: int
    number: int
    where: str


class _Verification:
    """One walk through a journal in the order of its tree, and on through what no checkpoint holds yet."""

    def __init__(self, folder: Path, report: Report, checkpoints: Comparison):
        self._folder, self._report, self._checkpoints = folder, report, checkpoints
        # Before the chains are listed: what a checkpoint covers was there before it, then its order, then it.
        self._ordered = size_of(folder / ORDER)
        found = [name for name in names(folder / "chains") if _CHAIN.match(name)]
        self._chains = {name: Chain(folder / "chains" / name) for name in found}
        self._tree = Tree()

    def run(self) -> None:
        self._checkpoints.hold(self._tree)
        stopped = not all(map(self._follow, self._order()))
        self._report.covered = self._tree.size
        self._checkpoints.rest(self._tree.size, self._end(), stopped=stopped)
        for chain in self._chains.values():
            self._finish(chain, settled=not stopped)
        self._report.chains = len(self._chains)
        self._report.segments = sum(len(chain.segments) for chain in self._chains.values())

    def _order(self) -> Iterator[_Run | Finding]:
        """The lines of the order; one that is none ends it."""
        for line in lines(self._folder / ORDER, self._ordered):
            where = f"{ORDER}:{line.number}"
            run = _run(json_object(line.text), where)
            if line.whole:
                yield run or Finding(Kind.ALTERED, "the line is no order of records", where=where)

    def _follow(self, step: _Run | Finding) -> bool:
        """Take the records of a line into the tree; False, and a finding, where that is not possible."""
        finding = step if isinstance(step, Finding) else self._take(step)
        if finding:
            self._report.add(finding.at(self._tree.size))
        return not finding

    def _take(self, run: _Run) -> Finding | None:
        chain = self._chains.get(run.chain) or Chain(self._folder / "chains" / run.chain)
        if run.first != chain.seq:
            return self._misplaced(run, chain)
        try:
            for _ in range(run.number):
                entry = chain.take()
                if entry is None:
                    return chain.end()
                self._count(entry)
                self._tree.append(entry.leaf)
                self._checkpoints.took(f"{run.chain}:{entry.seq}")
                self._checkpoints.hold(self._tree)
        except BrokenChainError as error:
            return error.finding
        return None

    def _misplaced(self, run: _Run, chain: Chain) -> Finding:
        """What it is that a line of the order does not go on where the chain's last one ended."""
        if run.first < chain.seq:
            detail = f"it takes in again what begins at {run.first}"
            return Finding(Kind.DUPLICATED, detail, f"{run.chain}:{run.first}", where=run.where)
        later = (step for step in self._order() if isinstance(step, _Run) and step.chain == run.chain)
        if any(step.first == chain.seq for step in later):
            detail = f"{chain.next_id} comes after it in the order"
            return Finding(Kind.REORDERED, detail, chain.next_id, where=run.where)
        last = f"{run.chain}:{run.first - 1}" if run.first - 1 > chain.seq else None
        detail = "the order passes over what is before it; no checkpoint holds that"
        return Finding(Kind.UNSIGNED_GAP, detail, chain.next_id, last=last, where=run.where)

    def _end(self) -> str | None:
        """The id of the record that would come next, if there is one chain to go on with."""
        [*chains] = self._chains.values()
        return chains[0].next_id if len(chains) == 1 else None

    def _finish(self, chain: Chain, *, settled: bool) -> None:
        """Walk through what no checkpoint holds; some of it should perhaps be in one."""
        begin = chain.seq
        report = self._report
        try:
            while entry := chain.take():
                self._count(entry)
                if settled and entry.seq == begin and entry.fields:
                    self._old(chain, entry, entry.fields["time"])
        except BrokenChainError as error:
            report.add(error.finding)
        if chain.torn:
            report.notes.append(f"{chain.next_id} is cut off: its writer was, or is writing it")
        if chain.unfinished:
            file = f"chains/{chain.name}/{chain.unfinished}"
            report.notes.append(f"{file} was to be next: its writer was cut off before, or it was removed")

    def _old(self, chain: Chain, entry: Entry, time: str) -> None:
        checked, written = _moment(self._checkpoints.newest), _moment(time)
        if checked is None or written is None or written + SETTLED >= checked:
            return
        record = f"{chain.name}:{entry.seq}"
        when = f"written {time[:19]}Z, before the checkpoint of {self._checkpoints.newest[:19]}Z"
        if entry.seq == 0:
            detail = f"{when}, but no checkpoint holds anything of this chain: it was put here"
            self._report.add(Finding(Kind.SPLICED, detail, record, where=f"chains/{chain.name}"))
        else:
            detail = f"{when}, but in no checkpoint, nor what follows it"
            self._report.add(Finding(Kind.UNSIGNED_GAP, detail, record, where=f"chains/{chain.name}"))

    def _count(self, entry: Entry) -> None:
        kind = entry.fields["kind"] if entry.fields else ""
        self._report.records += 1
        self._report.gaps += kind == "gap"
        self._report.recoveries += kind == "recovery"


def _run(entry: dict[str, Any], where: str) -> _Run | None:
    if entry.keys() != {"chain", "first", "count"}:
        return None
    chain, first, count = entry["chain"], entry["first"], entry["count"]
    if not (isinstance(chain, str) and _CHAIN.match(chain) and type(first) is int and type(count) is int):
        return None
    return _Run(chain, first, count, where) if 0 <= first <= _BIGGEST and 0 < count <= _BIGGEST else None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text[:19])
    except ValueError:
        return None
