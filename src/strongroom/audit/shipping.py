"""Brings the journal's records to its sinks, each in a thread of its own: one that hangs delays nobody.

The journal is the spool. A sink's cursor, kept beside it, moves when the receiver has taken a batch; so a
crash loses nothing, and may tell records twice, by the same ids. Of several processes with one journal one
sends to each sink, and another goes on when it dies.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from strongroom import observing
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

from .lane import Lane, Route
from .reading import Reader
from .sinkstate import State, behind, load

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.telemetry import Family, Labels

_LEAVING = 0.2
"""Seconds for a thread that does not hang to notice the end."""

__all__ = ["Route", "Shipper", "State", "progress"]


@final
class Shipper:
    """Sends to several sinks. `start` it; `refusal` says whether operations must wait for a sink.

    Args:
        path: the journal's folder.
        routes: the sinks, their names and bounds.
        append: adds a durable record to the journal (`Journal.append`); without it nothing is ever given up.
        clock: tells pauses.

    Raises:
        InvalidRequestError: two sinks have one name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        routes: Sequence[Route],
        *,
        append: Callable[[Mapping[str, Any]], object] | None = None,
        clock: Clock | None = None,
    ):
        if len({route.name for route in routes}) < len(routes):
            raise InvalidRequestError("two audit sinks have one name", hint="give each its own")
        self._clock = clock or Clock()
        self._lanes = [Lane(Path(path), route, self._clock, append) for route in routes]
        self._begin()

    def _begin(self) -> None:
        self._closing = threading.Event()
        self._until = float("inf")
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send in the background; a second call does nothing."""
        if self._threads:
            return
        for lane in self._lanes:
            name = f"strongroom-sink-{lane.route.name}"
            self._threads.append(threading.Thread(target=self._run, args=(lane,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()
        observing.tell_of(self)

    def step(self) -> float:
        """Send one batch to each sink in this thread, for who runs no threads; seconds until the next."""
        return min((lane.step() for lane in self._lanes), default=0.0)

    def refusal(self) -> SecretStoreError | None:
        """Why operations are refused for now: a sink with ``on_full = "refuse"`` is too far behind."""
        for lane in self._lanes:
            if lane.route.on_full == "refuse" and lane.full:
                return UnavailableError(
                    f"the audit sink {lane.route.name} is too far behind",
                    hint="see why it takes no records, or let it skip some: on_full",
                )
        return None

    def status(self) -> dict[str, State]:
        """What is known of each sink's progress, by its name."""
        return {lane.route.name: lane.state for lane in self._lanes}

    def families(self) -> Iterator[Family]:
        """How far the sinks are behind, for `strongroom.observing`."""
        states = {(("sink", name),): state for name, state in self.status().items()}
        meaning = "Bytes of the audit journal that a sink does not have."
        behind: dict[Labels, float] = {sink: state.behind for sink, state in states.items()}
        yield "strongroom_audit_behind_bytes", "gauge", meaning, behind
        meaning = "Records that were given up, since the sink was too far behind."
        skipped: dict[Labels, float] = {sink: state.skipped for sink, state in states.items()}
        yield "strongroom_audit_skipped_total", "counter", meaning, skipped

    def close(self, drain: float = 0.0) -> None:
        """Stop; what was not sent is sent by whoever ships next. A thread that hangs is left behind.

        Args:
            drain: seconds in which to send what there is.
        """
        observing.tell_no_more_of(self)
        self._until = self._clock.monotonic() + drain
        self._closing.set()
        for thread in self._threads:
            thread.join(max(0.0, self._until - self._clock.monotonic()) + _LEAVING)
        done = {thread.name for thread in self._threads if not thread.is_alive()}
        for lane in self._lanes:
            if not self._threads or f"strongroom-sink-{lane.route.name}" in done:
                lane.close()
        self._threads = []

    def after_fork(self) -> None:
        """Start no thread and hold no lock: the parent goes on sending. `start` stands by in this process."""
        self._begin()
        for lane in self._lanes:
            lane.after_fork()

    def _run(self, lane: Lane) -> None:
        closing = self._closing
        while True:
            last = closing.is_set()  # asked before: what was committed before the end is in the last look
            if last and self._clock.monotonic() >= self._until:
                return
            pause = lane.step()
            if pause and last:
                return
            if pause:
                self._clock.wait(closing, pause)


def progress(path: str | os.PathLike[str]) -> dict[str, State]:
    """How far each sink of a journal has come, for who only looks: `strongroom check` and the report."""
    reader, found = Reader(path), {}
    for folder in sorted((Path(path) / "sinks").glob("*/")):
        found[folder.name] = state = load(folder)
        state.behind = behind(reader, state.cursors)
    return found
