"""Timing beside a peer: every candidate runs in every round, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table. Times are median seconds of one call; the bar is what must hold, in words."""

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    bar: str
    holds: bool

    def as_json(self) -> dict[str, object]:
        """The form of `build/bench.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Bar:
    """What a row must hold: limits on the ratio to the peer, on the seconds beyond it, on our seconds."""

    ratio: float | None = None
    over_peer: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        ratio = [] if self.ratio is None else [f"<= {self.ratio:g}x peer"]
        over = [] if self.over_peer is None else [f"<= peer + {self.over_peer * 1e3:g} ms"]
        seconds = [] if self.seconds is None else [f"<= {self.seconds * 1e3:g} ms"]
        return ", ".join(ratio + over + seconds)

    def row(self, name: str, ours: float, peer: float, peer_name: str) -> Row:
        """Judge these two times."""
        limits = [
            self.ratio is None or ours <= peer * self.ratio,
            self.over_peer is None or ours <= peer + self.over_peer,
            self.seconds is None or ours <= self.seconds,
        ]
        return Row(name, ours, peer, peer_name, ours / peer, str(self), all(limits))


def interleaved(candidates: Mapping[str, Run], rounds: int, seconds: float = 0.0) -> dict[str, float]:
    """Median seconds per call of each candidate over `rounds` rounds.

    Each candidate is called as often per round as fills `seconds`, at least once; its first call, which warms
    the caches, is not measured.
    """
    calls = {name: _calls(run, seconds) for name, run in candidates.items()}
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in candidates.items():
                samples[name].append(_time(run, calls[name]) / calls[name])
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in samples.items()}


def _calls(run: Run, seconds: float) -> int:
    run()
    return max(1, int(seconds / max(_time(run, 1), 1e-9)))


def _time(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - start


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
