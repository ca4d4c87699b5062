"""One chain as it stands on disk, read from its first record: each line must follow from the one before.

What does not follow is judged by what stands around it, since the same break has many makers: the next record
names the hash of the one before it, so a line that nothing follows from is a stranger, and one from which the
next does not follow was altered.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError

from .record import GENESIS, leaf_hash, parse
from .verify_files import MAX_LINE, lines, names
from .verify_report import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SEGMENT = re.compile(r"([0-9]{8})\.jsonl\Z", re.ASCII)
_AHEAD: Final = 3


class Entry(NamedTuple):
    """A line of a segment.

    Attributes:
        segment: the number of its file.
        number: of the line in it, from 1.
        fields: the record; None if it is none.
        leaf: its leaf hash.
        whole: whether a line end stands behind it.
    """

    segment: int
    number: int
    fields: dict[str, Any] | None
    leaf: bytes
    whole: bool = True

    @property
    def seq(self) -> int:
        """The place it claims; -1 if it is no record."""
        return self.fields["seq"] if self.fields else -1

    @property
    def prev(self) -> str:
        """The hash it claims to follow; empty if it is no record."""
        return self.fields["prev"] if self.fields else ""

    def follows(self, seq: int, prev: str) -> bool:
        """Whether it claims to stand there, behind the record with that hash."""
        return self.seq == seq and self.prev == prev

    def next_file(self) -> str | None:
        """The file it names as the next, if it is the last record of a segment."""
        return self.fields["next"] if self.fields and self.fields["kind"] == "segment" else None


class BrokenChainError(Exception):
    """The chain does not go on; `finding` says where and why."""

    def __init__(self, finding: Finding):
        super().__init__()
        self.finding = finding


class Chain:
    """A chain, walked once.

    Attributes:
        name: its 32 hexadecimal digits.
        seq: the place of the next record.
        segments: the numbers of its files.
        torn: bytes behind its last whole line.
        unfinished: the segment that its last record names as the next, if it is not there.
    """

    def __init__(self, folder: Path):
        self.name = folder.name
        self.seq = 0
        self.torn = 0
        self.unfinished = ""
        found = [(match, folder / name) for name in names(folder) if (match := _SEGMENT.match(name))]
        self.segments = {int(match[1]): path for match, path in found}
        self._prev = GENESIS
        self._walk = self._following()

    @property
    def next_id(self) -> str:
        """The id of the next record."""
        return f"{self.name}:{self.seq}"

    def take(self) -> Entry | None:
        """The next record, if there is one; what follows a break is never given.

        Raises:
            BrokenChainError: what stands there does not follow.
        """
        return next(self._walk, None)

    def end(self) -> Finding:
        """What to say if a record should be where the chain ends."""
        if not self.segments:
            return Finding(Kind.SEGMENT_MISSING, "no file of this chain is there", self.next_id)
        if self.unfinished:
            detail = f"the segment {self.unfinished}, which the record before names, is not there"
            return Finding(Kind.SEGMENT_MISSING, detail, self.next_id)
        return Finding(Kind.TRUNCATED, "the chain ends before it, but the order has it", self.next_id)

    def _following(self) -> Iterator[Entry]:
        source, window, last = self._entries(), deque[Entry](), None
        while True:
            window.extend(islice(source, _AHEAD - len(window)))
            if not window:
                break
            here = window.popleft()
            finding = self._fault(last, here, list(window))
            if finding:
                raise BrokenChainError(finding)
            self.seq, self._prev, last = self.seq + 1, here.leaf.hex(), here
            yield here
        if last and (file := last.next_file()) and not self._has(file):
            self.unfinished = file

    def _has(self, file: str) -> bool:
        return any(path.name == file for path in self.segments.values())

    def _entries(self, first: int = 0) -> Iterator[Entry]:
        """Every line; a last one without an end is not written yet, or was cut off, and claims nothing."""
        newest = max(self.segments, default=0)
        for number, path in self.segments.items():
            for line in lines(path) if number >= first else ():
                if line.whole:
                    yield Entry(number, line.number, self._record(line.text), leaf_hash(line.text))
                elif number == newest:
                    self.torn = len(line.text)
                else:
                    yield Entry(number, line.number, None, leaf_hash(line.text), whole=False)

    @staticmethod
    def _record(text: bytes) -> dict[str, Any] | None:
        try:
            return parse(text) if len(text) <= MAX_LINE else None
        except IntegrityError:
            return None

    def _fault(self, last: Entry | None, here: Entry, ahead: list[Entry]) -> Finding | None:
        """Why `here` may not be taken as the next record; None if it may."""
        if not (here.fields and here.follows(self.seq, self._prev) and here.fields["chain"] == self.name):
            return self._stranger(last, here, ahead)
        if self.seq == 0 and here.fields["kind"] != "chain":
            return self._finding(Kind.ALTERED, here, "a chain begins with a record of kind chain")
        if last and (file := last.next_file()) and self.segments[here.segment].name != file:
            detail = f"the segment {file}, which the record before names, is not there"
            return self._finding(Kind.SEGMENT_MISSING, here, detail)
        return self._denied(here, ahead)

    def _denied(self, here: Entry, ahead: list[Entry]) -> Finding | None:
        """Whether the next record names another hash than this one's, and which of the two is to blame."""
        if not ahead or ahead[0].seq != self.seq + 1 or not self._ours(ahead[0]):
            return self._rival(here, ahead)
        after, own = ahead[0], here.leaf.hex()
        if after.prev == own or _nearly(after.prev, own):
            return None  # of the second, the prev itself was altered: it is told when its turn comes
        if any(entry.follows(self.seq + 1, own) for entry in ahead[1:]):
            return None  # a stranger stands between, and is told when its turn comes
        return self._finding(Kind.ALTERED, here, "its hash is not the one that the next record names")

    def _rival(self, here: Entry, ahead: list[Entry]) -> Finding | None:
        """Whether another record claims the same place, behind the same record."""
        if not ahead or not self._ours(ahead[0]) or not ahead[0].follows(self.seq, self._prev):
            return None
        if here.leaf == ahead[0].leaf:
            return None  # the same once more, which is told when its turn comes
        own, other = (self._successor(entry.leaf.hex()) for entry in (here, ahead[0]))
        if own == other:
            return self._finding(Kind.FORKED, here, "two records follow the one before it")
        if own:
            return None
        return self._finding(
            Kind.INSERTED, here, "nothing follows from it; the record after it has its place"
        )

    def _successor(self, leaf: str) -> bool:
        return any(entry.prev == leaf for entry in self._entries())

    def _ours(self, entry: Entry) -> bool:
        return entry.fields is not None and entry.fields["chain"] == self.name

    def _stranger(self, last: Entry | None, here: Entry, ahead: list[Entry]) -> Finding:
        """What a line is that does not follow from the one before."""
        goes_on = any(entry.follows(self.seq, self._prev) for entry in ahead)
        if here.fields is None:
            return self._unreadable(here, ahead, goes_on=goes_on)
        if not self._ours(here):
            if here.prev == self._prev:
                return self._finding(Kind.ALTERED, here, "it names another chain than its folder")
            return self._finding(Kind.SPLICED, here, f"it is of another chain, {here.fields['chain']}")
        if here.prev == self._prev and here.seq != self.seq and not goes_on:
            return self._finding(Kind.ALTERED, here, f"it claims the place {here.seq}")
        if here.seq < self.seq:
            return self._behind(here)
        if here.seq == self.seq:
            if goes_on:
                detail = "it follows from nothing; the record after it has its place"
                return self._finding(Kind.INSERTED, here, detail)
            return self._finding(Kind.ALTERED, here, "it names another hash than that of the record before")
        return self._beyond(last, here)

    def _unreadable(self, here: Entry, ahead: list[Entry], *, goes_on: bool) -> Finding:
        if not here.whole and not goes_on:
            detail = "its line is cut off, and the chain does not go on behind it"
            return self._finding(Kind.TRUNCATED, here, detail)
        if goes_on:
            return self._finding(
                Kind.INSERTED, here, "the line is no record, and the chain goes on behind it"
            )
        return self._finding(Kind.ALTERED, here, "the line is no record")

    def _behind(self, here: Entry) -> Finding:
        """A record with a place that was taken before."""
        original = self._at(here.seq)
        if original and original.leaf == here.leaf:
            return self._finding(Kind.DUPLICATED, here, f"it is the record {here.seq} once more")
        if original and original.prev == here.prev and self._successor(here.leaf.hex()):
            return self._finding(Kind.FORKED, here, f"a second record {here.seq} follows the one before that")
        return self._finding(Kind.INSERTED, here, f"it claims the place {here.seq}, which is taken")

    def _beyond(self, last: Entry | None, here: Entry) -> Finding:
        """A record that comes too early, or what stood before it is gone."""
        found = self._later(here)
        if found:
            return found
        file = last.segment if last else 0
        if here.segment > file + 1 or (last and (name := last.next_file()) and not self._has(name)):
            detail = f"the next record there is {here.seq}; the segments between are not there"
            return self._finding(Kind.SEGMENT_MISSING, here, detail, last=here.seq - 1)
        detail = f"the next record there is {here.seq}"
        return self._finding(Kind.MISSING, here, detail, last=here.seq - 1)

    def _later(self, here: Entry) -> Finding | None:
        """Whether the record that is due stands further on: `here` was moved, copied or put before it."""
        due = again = False
        for entry in self._entries(here.segment):
            if (entry.segment, entry.number) > (here.segment, here.number):
                due = due or entry.follows(self.seq, self._prev)
                again = again or entry.seq == here.seq
        if not due:
            return None
        if not again:
            return self._finding(Kind.REORDERED, here, f"the record {here.seq} stands in its place")
        original = next(
            entry
            for entry in self._entries(here.segment)
            if entry.seq == here.seq and (entry.segment, entry.number) > (here.segment, here.number)
        )
        if original.leaf == here.leaf:
            return self._finding(
                Kind.DUPLICATED, here, f"a copy of the record {here.seq} stands in its place"
            )
        return self._finding(Kind.INSERTED, here, f"a second record {here.seq} stands in its place")

    def _at(self, seq: int) -> Entry | None:
        return next((entry for entry in self._entries() if entry.seq == seq), None)

    def _finding(self, kind: Kind, entry: Entry, detail: str, last: int | None = None) -> Finding:
        where = f"chains/{self.name}/{self.segments[entry.segment].name}:{entry.number}"
        through = f"{self.name}:{last}" if last is not None and last > self.seq else None
        return Finding(kind, detail, self.next_id, last=through, where=where)


def _nearly(one: str, other: str) -> bool:
    """Whether two hashes agree in most digits, which those of two different records do not."""
    return sum(a == b for a, b in zip(one, other, strict=True)) > len(one) // 2
