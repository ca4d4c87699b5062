"""What a failover has seen of each secret, so that no later answer goes back behind it in silence."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, final

from strongroom.errors import IntegrityError
from strongroom.names import Name
from strongroom.replication.record import Record, Verdict

if TYPE_CHECKING:
    from strongroom.names import Key

_NO_ORDER = (0, 0)


class Judgement(NamedTuple):
    """What an answer is worth.

    Attributes:
        served: it may be handed out at all.
        behind: how many newer writes are known to be, at least.
        degraded: the answer cannot prove how new it is.
    """

    served: bool = True
    behind: int = 0
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What this process knows of the order of one secret's versions.

    Attributes:
        given: the newest record that was handed out with its value.
        told: the newest known of, from answers, listings and descriptions.
        source: the newest that the member taking the writes has shown.
        unproved: above this order stands a write of ours, or may, that no record has shown yet.
        missing: how many of ours stand there for certain.
        writes: how many of ours there were.
    """

    given: Record | None = None
    told: Record | None = None
    source: Record | None = None
    unproved: tuple[int, int] | None = None
    missing: int = 0
    writes: int = 0

    def judge(self, record: Record | None, *, first: bool) -> Judgement:
        """What an answer with this record is worth; `first`: from the source, where the writes are."""
        if record is None:
            return Judgement(degraded=not first or self.told is not None)
        behind = _writes_between(record.order, self.told.order) if self.told else 0
        if first:
            degraded = self.unproved is not None and record.order <= self.unproved  # its label lags behind us
        else:
            degraded = self.source is None or self.unproved is not None
            if self.unproved is not None and record.order <= self.unproved:
                # What was told since may be our writes: they are not counted twice.
                behind = max(behind, _writes_between(record.order, self.unproved) + self.missing)
        known, given = record.verdict(self.told), record.verdict(self.given)
        conflict = Verdict.QUARANTINE in (known, given)
        if conflict and not first:  # two values claim one place: the source decides
            return Judgement(served=False)
        return Judgement(given is not Verdict.OLDER, behind, degraded or conflict)


_NOTHING = Sight()


@final
class Sightings:
    """Sights by name, for as long as the process lives: one that was forgotten would let an old value in."""

    def __init__(self) -> None:
        self._sights: dict[Name, Sight] = {}
        self._lock = threading.Lock()

    def of(self, key: Key) -> Sight:
        """What is known now. Take it before asking: answers are judged by what was seen when they began."""
        return self._sights.get(key, _NOTHING) if isinstance(key, Name) else _NOTHING

    def heard(self, key: Key, text: str | None, *, first: bool, began: Sight | None = None) -> Record | None:
        """A member told of a record; what it says, or None if it says nothing that can be read.

        `began`: what was known when the current version was asked for, if that is what was told of.
        """
        record = readable(text)
        if record is None or not isinstance(key, Name):
            return record
        with self._lock:
            sight = self.of(key)
            sight = replace(sight, told=_newer(sight.told, record, wins=first))
            if first:
                sight = replace(sight, source=_newer(sight.source, record, wins=True))
                # Only a read that began after our last write shows what stands above it.
                after = began is not None and began.writes == sight.writes
                if after and sight.unproved and record.order > sight.unproved:
                    sight = replace(sight, unproved=None, missing=0)
            self._sights[key] = sight
        return record

    def gave(self, key: Name, record: Record | None, *, first: bool) -> None:
        """A value was handed out."""
        if record is not None:
            with self._lock:
                sight = self.of(key)
                self._sights[key] = replace(sight, given=_newer(sight.given, record, wins=first))

    def wrote(self, key: Key, text: str | None, *, surely: bool = True) -> None:
        """We wrote, or may have: with a record that is the order now, without one nobody knows it."""
        if not isinstance(key, Name):
            return
        record = readable(text)
        with self._lock:
            sight = self.of(key)
            writes = sight.writes + 1
            if record is None:
                above = sight.told.order if sight.told else _NO_ORDER
                # What was told since may be the writes that were missing before.
                missing = (sight.missing if sight.unproved == above else 0) + surely
                self._sights[key] = replace(sight, unproved=above, missing=missing, writes=writes)
            else:
                self._sights[key] = Sight(record, record, record, None, 0, writes)

    def after_fork(self) -> None:
        """In a forked child: what was seen counts on, but who held the lock is not here."""
        self._lock = threading.Lock()


def readable(text: str | None) -> Record | None:
    """A record, or None: one that cannot be read proves as little as none."""
    try:
        return Record.parse(text) if text else None
    except IntegrityError:
        return None


def _writes_between(order: tuple[int, int], told: tuple[int, int]) -> int:
    """How many writes are known after a record's. A takeover counts on from where its source had come."""
    return max(1, told[1] - order[1]) if order < told else 0


def _newer(held: Record | None, other: Record, *, wins: bool) -> Record:
    """The greater one; of two values at one place the other one if it `wins`."""
    if held is None or other.order > held.order or (wins and other.order == held.order):
        return other
    return held
