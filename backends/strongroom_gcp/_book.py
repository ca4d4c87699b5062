"""What a secret's annotations tell of its versions: Strongroom's own book, hidden from users.

::

    strongroom.chain    1-6.8                            the versions that were current; the last one is
    strongroom.intent   ID.9.DIGEST.DEADLINE.MARK.RECORD who writes now, the number expected, until when
    strongroom.late     ID.DIGEST ID.DIGEST              intents taken over, whose versions may still arrive
    strongroom.kinds    3b.5n                            versions that are not what their payload looks like
    strongroom.record   8:v1.3.17.…                      replication's records of the newest two
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue

from ._layout import MARKS

PREFIX: Final = "strongroom."
CHAIN, INTENT, LATE, KINDS, RECORD = (
    PREFIX + part for part in ("chain", "intent", "late", "kinds", "record")
)
_RANGES: Final = 64
_LATE: Final = 16
_KINDS: Final = 256
_RECORDS: Final = 2
_RANGE: Final = re.compile(r"([1-9]\d{0,17})(?:-([1-9]\d{0,17}))?")
_INTENT: Final = re.compile(r"([0-9a-f]{16})\.([1-9]\d{0,17})\.([0-9a-f]{32})\.(\d{1,15})\.([a-z]?)\.(\S*)")
_TRACE: Final = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{32})")
_KIND: Final = re.compile(r"([1-9]\d{0,17})([a-z])")
_RECORD: Final = re.compile(r"([1-9]\d{0,17}):(\S{1,200})")

Digest = Callable[[str, SecretValue], str]
"""The digest of a payload under a write id, keyed: what stands in an annotation tells nobody the value."""


@dataclass(frozen=True, slots=True)
class Trace:
    """By what a payload is known again: the id of its write and the keyed digest."""

    write_id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.write_id}.{self.digest}"


@dataclass(frozen=True, slots=True)
class Intent:
    """Somebody writes.

    Attributes:
        trace: of the value.
        expected: the number it gets if nobody else adds a version.
        deadline: milliseconds since the epoch; until then nobody else begins.
        mark: of the value's kind.
        record: replication's.
    """

    trace: Trace
    expected: int
    deadline: int
    mark: str = ""
    record: str | None = None

    def __str__(self) -> str:
        who = f"{self.trace.write_id}.{self.expected}.{self.trace.digest}"
        return f"{who}.{self.deadline}.{self.mark}.{self.record or ''}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Numbers in ascending order, as ranges, since nearly all of them follow each other."""

    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def last(self) -> int:
        """The newest, 0 if there is none."""
        return self.ranges[-1][1] if self.ranges else 0

    def __contains__(self, number: int) -> bool:
        return any(low <= number <= high for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for low, high in self.ranges:
            yield from range(low, high + 1)

    def plus(self, number: int) -> Chain:
        """With one more at its end; the oldest ranges are dropped where there are too many."""
        if number <= self.last:
            return self
        if self.ranges and number == self.last + 1:
            return Chain((*self.ranges[:-1], (self.ranges[-1][0], number)))
        return Chain((*self.ranges, (number, number))[-_RANGES:])

    def before(self, number: int) -> int:
        """The nearest lower one, 0 if there is none."""
        return max((min(high, number - 1) for low, high in self.ranges if low < number), default=0)

    def __str__(self) -> str:
        return ".".join(str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)

    @classmethod
    def parse(cls, text: str) -> Chain:
        """Read it; empty if it is not one."""
        found = [_RANGE.fullmatch(part) for part in text.split(".")] if text else []
        ranges = [(int(each[1]), int(each[2] or each[1])) for each in found if each]
        apart = all(one[1] < next_[0] for one, next_ in itertools.pairwise(ranges))
        rising = apart and all(low <= high for low, high in ranges)
        return cls(tuple(ranges)) if None not in found and rising else cls()


@dataclass(frozen=True, slots=True)
class Book:
    """Our annotations, understood. What somebody garbled counts as absent."""

    chain: Chain = Chain()
    intent: Intent | None = None
    late: tuple[Trace, ...] = ()
    kinds: Mapping[int, str] = field(default_factory=dict)
    records: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Book:
        """Read a secret's annotations."""
        late = [_TRACE.fullmatch(part) for part in annotations.get(LATE, "").split()]
        kinds = [_KIND.fullmatch(part) for part in annotations.get(KINDS, "").split(".")]
        records = [_RECORD.fullmatch(part) for part in annotations.get(RECORD, "").split()]
        return cls(
            Chain.parse(annotations.get(CHAIN, "")),
            _intent(annotations.get(INTENT, "")),
            tuple(Trace(each[1], each[2]) for each in late if each),
            {int(each[1]): each[2] for each in kinds if each and each[2] in MARKS},
            {int(each[1]): each[2] for each in records if each},
        )

    def over(self, annotations: Mapping[str, str]) -> dict[str, str]:
        """All annotations with ours brought up to date; everybody else's stay."""
        ours = {
            CHAIN: str(self.chain),
            INTENT: str(self.intent or ""),
            LATE: " ".join(map(str, self.late[-_LATE:])),
            KINDS: ".".join(f"{number}{mark}" for number, mark in sorted(self.kinds.items())[-_KINDS:]),
            RECORD: " ".join(f"{n}:{text}" for n, text in sorted(self.records.items())[-_RECORDS:]),
        }
        others = {key: text for key, text in annotations.items() if not key.startswith(PREFIX)}
        return others | {key: text for key, text in ours.items() if text}

    def mark(self, number: int) -> str:
        """The mark of a version's kind; of one that is just being written too."""
        if self.intent and self.intent.expected == number and number not in self.chain:
            return self.intent.mark
        return self.kinds.get(number, "")

    def keeping(self, trace: Trace) -> Book:
        """With one more write whose version may still arrive."""
        return self if trace in self.late else replace(self, late=(*self.late, trace))

    def recording(self, number: int, mark: str, record: str | None) -> Book:
        """With this version as the current one, and no intent."""
        kinds = {**self.kinds, number: mark} if mark else self.kinds
        records = {**self.records, number: record} if record else self.records
        return replace(self, chain=self.chain.plus(number), intent=None, kinds=kinds, records=records)


def checked_record(record: str | None) -> str | None:
    """A record as the annotations hold it.

    Raises:
        InvalidRequestError: they would not.
    """
    if record is not None and not _RECORD.fullmatch(f"1:{record}"):
        raise InvalidRequestError("a record is 1 to 200 characters without white space")
    return record


def _intent(text: str) -> Intent | None:
    found = _INTENT.fullmatch(text)
    if found is None:
        return None
    trace = Trace(found[1], found[3])
    mark = found[5] if found[5] in MARKS else ""
    return Intent(trace, int(found[2]), int(found[4]), mark, found[6] or None)
