"""Timing beside a peer: every candidate runs in every round, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Run = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured of ours and of the peer, in `unit`, and what must hold.

    Attributes:
        unit: ``s``, median seconds of one call; ``B``, bytes; or what was counted.
        bar: in words; empty for a row that is there to be looked at.
    """

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    bar: str
    holds: bool
    unit: str = "s"

    def as_json(self) -> dict[str, object]:
        """The form of `build/bench.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Bar:
    """What a row must hold; a limit that is None does not count.

    Attributes:
        ratio: at most so many times what the peer takes.
        speed: at least so many times as fast as the peer.
        over_peer: at most so much more than the peer, in `unit`.
        at_most: at most so much, in `unit`.
    """

    ratio: float | None = None
    speed: float | None = None
    over_peer: float | None = None
    at_most: float | None = None
    unit: str = "s"

    def __str__(self) -> str:
        ratio = [] if self.ratio is None else [f"<= {self.ratio:g}x peer"]
        speed = [] if self.speed is None else [f">= {self.speed:g}x the peer's speed"]
        over = [] if self.over_peer is None else [f"<= peer + {human(self.over_peer, self.unit)}"]
        at_most = [] if self.at_most is None else [f"<= {human(self.at_most, self.unit)}"]
        return ", ".join(ratio + speed + over + at_most)

    def row(self, name: str, ours: float, peer: float, peer_name: str) -> Row:
        """Judge these two."""
        limits = [
            self.ratio is None or ours <= peer * self.ratio,
            self.speed is None or ours * self.speed <= peer,
            self.over_peer is None or ours <= peer + self.over_peer,
            self.at_most is None or ours <= self.at_most,
        ]
        return Row(name, ours, peer, peer_name, ours / peer, str(self), all(limits), self.unit)


NO_BAR = Bar()
"""For a row that is there to be looked at."""


def human(value: float, unit: str) -> str:
    """A number as people read it."""
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    if unit != "s":
        return f"{value:,.0f} {unit}"
    for name, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.1f} {name}"
    return f"{value * 1e9:.0f} ns"


def interleaved(
    candidates: Mapping[str, Run], rounds: int, seconds: float = 0.0, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Median seconds per call of each candidate over `rounds` rounds.

    Each candidate is called as often per round as fills `seconds`, at least once; its first call, which warms
    the caches, is not measured.

    Args:
        clock: `time.thread_time` for what one thread computes: then the time that other processes of the
            machine take does not count, where nothing is waited for.
    """
    calls = {name: _calls(run, seconds, clock) for name, run in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in candidates.items():
                samples[name].append(_time(run, calls[name], clock) / calls[name])
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in samples.items()}


def _calls(run: Run, seconds: float, clock: Clock) -> int:
    run()
    if not seconds:
        return 1
    fastest = min(_time(run, 1, clock) for _ in range(9))  # one alone may have been interrupted
    return max(1, int(seconds / max(fastest, 1e-9)))


def _time(run: Run, calls: int, clock: Clock = time.perf_counter) -> float:
    start = clock()
    for _ in range(calls):
        run()
    return clock() - start


def paired(ours: Run, peer: Run, rounds: int) -> tuple[float, float]:
    """Seconds of one call of each: the peer's median, and ours beyond it by the median of the differences.

    Every round calls both, in turn first. Calls next to each other meet the same load, which comes and goes
    over seconds, so that their difference says more than two medians over all rounds.
    """
    for _ in range(20):  # connections, caches, and the interpreter's adaptation
        ours(), peer()
    samples: dict[Run, list[float]] = {ours: [], peer: []}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for run in (ours, peer) if number % 2 else (peer, ours):
                samples[run].append(_time(run, 1))
    finally:
        gc.enable()
    beyond = statistics.median(a - b for a, b in zip(samples[ours], samples[peer], strict=True))
    typical = statistics.median(samples[peer])
    return typical + beyond, typical
