"""How far replicas are behind, as a worker's metrics tell it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, final

from .plan import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from strongroom.clock import Clock
    from strongroom.telemetry import Family, Labels

    from .plan import Plan, Report


class _Seen:
    """What is known of one replica."""

    def __init__(self, now: float):
        self.looked = self.alive = now
        self.found: _Found | None = None
        self.drifted: frozenset[str] = frozenset()
        self.drift = 0
        self.counts: Counter[str] = Counter()


class _Found(NamedTuple):
    """What a pass over everything left behind."""

    since: datetime | None
    versions: int
    quarantined: int


@final
class Gauges:
    """Remembers what the passes over each replica found. No secret's name is a label: there may be a million.

    Args:
        replicas: their aliases.
        clock: injected in tests.
    """

    def __init__(self, replicas: Iterable[str], clock: Clock):
        self._clock, self._lock = clock, threading.Lock()
        self._seen = {replica: _Seen(clock.monotonic()) for replica in replicas}

    def alive(self, replica: str) -> None:
        """A pass goes on."""
        self._seen[replica].alive = self._clock.monotonic()

    def passed(self, replica: str, report: Report) -> None:
        """A pass has ended."""
        with self._lock:
            seen = self._seen[replica]
            seen.alive = self._clock.monotonic()
            seen.counts.update(ok=1, applied=len(report.done), refused=len(report.failed))

    def compared(self, replica: str, left: Plan) -> None:
        """All names were compared; what is left to do."""
        names = frozenset(step.name for step in left.steps if step.drifted)
        with self._lock:
            seen = self._seen[replica]
            seen.drift += len(names - seen.drifted)  # found anew: what is known already is one drift
            seen.looked = self._clock.monotonic()
            seen.drifted, seen.found = names, _found(left)

    def failed(self, replica: str) -> None:
        """A pass could not be ended. What was known is too old to be told: a gap is truer."""
        with self._lock:
            seen = self._seen[replica]
            seen.alive = self._clock.monotonic()
            seen.counts["failed"] += 1
            seen.found = None

    def stuck(self, replica: str, seconds: float) -> str:
        """What there is to say of a pass that has hung so long; empty if none has."""
        silent = self._clock.monotonic() - self._seen[replica].alive
        return f"replica {replica}: no sign of life for {silent:.0f} s" if silent > seconds else ""

    def families(self) -> Iterator[Family]:
        """As Prometheus wants them: name, type, help, and samples by labels."""
        with self._lock:
            counted, gauged = list(self._counted()), list(self._gauged())
        yield from counted
        yield from gauged

    def _counted(self) -> Iterator[Family]:
        now, seen = self._clock.monotonic(), self._seen
        passes = {_of(one, outcome=word): seen[one].counts[word] for one in seen for word in ("ok", "failed")}
        yield "strongroom_replica_passes_total", "counter", "Passes over a replica, by outcome.", passes
        ends = (("ok", "applied"), ("failed", "refused"))
        writes = {_of(one, outcome=word): seen[one].counts[end] for one in seen for word, end in ends}
        meaning = "Changes brought to a replica, by outcome."
        yield "strongroom_replica_writes_total", "counter", meaning, writes
        meaning = "Names found that somebody else had changed at the replica."
        drift = {_of(one): seen[one].drift for one in seen}
        yield "strongroom_replica_drift_total", "counter", meaning, drift
        meaning = "Seconds since all names were compared."
        silence = {_of(one): now - seen[one].looked for one in seen}
        yield "strongroom_replica_silence_seconds", "gauge", meaning, silence

    def _gauged(self) -> Iterator[Family]:
        known = {_of(one): seen.found for one, seen in self._seen.items() if seen.found is not None}
        now = self._clock.now()
        lag = {of: (now - one.since).total_seconds() if one.since else 0.0 for of, one in known.items()}
        meaning = "Age of the oldest change that is known and not at the replica."
        yield "strongroom_replica_lag_seconds", "gauge", meaning, lag
        versions = {of: float(one.versions) for of, one in known.items()}
        yield "strongroom_replica_lag_versions", "gauge", "Versions that are not at the replica.", versions
        stopped = {of: float(one.quarantined) for of, one in known.items()}
        meaning = "Names whose two values claim one place; a person decides."
        yield "strongroom_replica_quarantined", "gauge", meaning, stopped


def _found(left: Plan) -> _Found:
    oldest = min((step.since for step in left.due if step.since), default=None)
    return _Found(oldest, sum(step.behind for step in left.due), left.counts.get(Action.QUARANTINE, 0))


def _of(replica: str, **more: str) -> Labels:
    return (("replica", replica), *more.items())
