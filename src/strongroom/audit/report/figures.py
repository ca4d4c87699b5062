"""What a report tells of a journal: its records counted in one pass; memory grows with names and actors."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from strongroom.audit.activities import activity_of

Record = Mapping[str, Any]

READ, CHANGE, FAILURE = "read", "change", "failure"
KINDS: Final = (READ, CHANGE, FAILURE)
"""What an access is counted as: one of these."""

RECENT: Final = 50
"""How many of the last failures and detections are told one by one."""

_MINUTE: Final = 60
_STEPS: Final = (
    1,
    5,
    15,
    60,
    180,
    360,
    720,
    1440,
)  # minutes; each a multiple of the one before; then doubled
_MOST_BUCKETS: Final = 96
_CHANGES: Final = frozenset({"change", "creation", "deletion"})
_NO_SECRET: Final = frozenset({"list", "list_names", "watch"})  # their name is a prefix


class Timeline:
    """Accesses by time: as many steps as fit a screen, longer as the span grows."""

    def __init__(self) -> None:
        self.step = _MINUTE
        self._counts: dict[int, Counter[str]] = {}

    def add(self, second: int, kind: str, count: int) -> None:
        """Count so many accesses at a second since 1970."""
        self._counts.setdefault(second // self.step, Counter())[kind] += count
        while max(self._counts) - min(self._counts) >= _MOST_BUCKETS:
            self._coarsen()

    def buckets(self) -> list[tuple[int, Counter[str]]]:
        """The second at which each step begins, and its counts; also those in which nothing was."""
        if not self._counts:
            return []
        steps = range(min(self._counts), max(self._counts) + 1)
        return [(number * self.step, self._counts.get(number, Counter())) for number in steps]

    def _coarsen(self) -> None:
        longer = [minutes * _MINUTE for minutes in _STEPS if minutes * _MINUTE > self.step]
        factor = (longer[0] if longer else 2 * self.step) // self.step
        self.step *= factor
        counts, self._counts = self._counts, {}
        for number, found in counts.items():
            self._counts.setdefault(number // factor, Counter()).update(found)


@dataclass
class Tally:
    """What is known of one secret, or of one actor.

    Attributes:
        kinds: accesses by kind.
        operations: accesses by operation.
        others: of a secret, accesses by actor; of an actor, by secret.
        last: when the last was, as records tell it.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    last: str = ""

    @property
    def total(self) -> int:
        """All accesses."""
        return self.kinds.total()


@dataclass
class Figures:
    """The counts of a journal, or of the part that was asked for.

    Attributes:
        who: tells whom an actor of a record is called by, by default its ``uid``.
        records: how many records there were.
        first: when the first was, as records tell it; empty if there was none.
        last: when the last was.
        kinds: accesses by kind.
        timeline: accesses by time.
        week: accesses by weekday (0 is Monday) and hour, UTC.
        secrets: by the secret's name.
        actors: by whom they are called; those that no record tells have none.
        outcomes: failures by class.
        failures: the last of them.
        detections: the last of them.
        severities: detections by severity.
        suppressions: what was switched off, and why.
        gaps: times in which operations went on unrecorded.
        skipped: records that a sink gave up.
        recoveries: how often a writer was cut off in the middle of a line.
        degraded: records of answers that could not be shown to be the newest.
        open: intents whose outcome is not there.
    """

    who: Callable[[Record], str] = lambda record: str(record.get("actor", {}).get("uid", ""))
    records: int = 0
    first: str = ""
    last: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    timeline: Timeline = field(default_factory=Timeline)
    week: Counter[tuple[int, int]] = field(default_factory=Counter)
    secrets: dict[str, Tally] = field(default_factory=dict)
    actors: dict[str, Tally] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: deque[Record] = field(default_factory=lambda: deque(maxlen=RECENT))
    detections: deque[Record] = field(default_factory=lambda: deque(maxlen=RECENT))
    severities: Counter[str] = field(default_factory=Counter)
    suppressions: deque[Record] = field(default_factory=lambda: deque(maxlen=RECENT))
    gaps: deque[Record] = field(default_factory=lambda: deque(maxlen=RECENT))
    skipped: int = 0
    recoveries: int = 0
    degraded: int = 0
    open: set[tuple[str, str, str]] = field(default_factory=set)

    def take(self, records: Iterable[Record]) -> Figures:
        """Count these records too; in the order of time, which is the reader's."""
        for record in records:
            self.records += 1
            self.first = min(self.first or record["time"], record["time"])
            self.last = max(self.last, record["time"])
            getattr(self, f"_{record['kind']}", lambda _: None)(record)
        return self

    def _event(self, record: Record) -> None:
        side = (record["chain"], record.get("cid", ""), record.get("name", ""))
        if record["phase"] == "intent":
            self.open.add(side)
            return
        self.open.discard(side)
        self.degraded += bool(record.get("degraded"))
        kind = self._kind(record)
        operation, name = record["op"], record.get("name", "")
        self._count(record, operation, "" if operation in _NO_SECRET else name, kind, 1)

    def _kind(self, record: Record) -> str:
        outcome = record.get("outcome", "ok")
        if outcome == "ok":
            return CHANGE if activity_of(record).ecs_type in _CHANGES else READ
        self.outcomes[outcome] += 1
        self.failures.append(record)
        return FAILURE

    def _reads(self, record: Record) -> None:
        for name, _version, count in record["reads"]:
            self._count(record, "get", name, READ, count)

    def _count(self, record: Record, operation: str, name: str, kind: str, count: int) -> None:
        at, who = datetime.fromisoformat(record["time"][:19]).replace(tzinfo=UTC), self.who(record)
        self.kinds[kind] += count
        self.timeline.add(int(at.timestamp()), kind, count)
        self.week[at.weekday(), at.hour] += count
        sides = ((self.secrets, name, who), (self.actors, who, name))
        for tallies, own, other in sides:
            if own:
                tally = tallies.setdefault(own, Tally())
                tally.kinds[kind] += count
                tally.operations[operation] += count
                tally.last = max(tally.last, record["time"])
                if other:
                    tally.others[other] += count

    def _detection(self, record: Record) -> None:
        self.severities[record.get("severity", "")] += 1
        self.detections.append(record)

    def _suppression(self, record: Record) -> None:
        self.suppressions.append(record)

    def _gap(self, record: Record) -> None:
        self.gaps.append(record)

    def _skipped(self, record: Record) -> None:
        self.skipped += record["count"]

    def _recovery(self, record: Record) -> None:
        self.recoveries += 1
