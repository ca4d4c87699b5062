"""One sink's way through the journal: the journal is the spool, and a cursor says what the receiver has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError, UnavailableError

from .reading import Cursor, Cursors, Line, Reader
from .record import parse, stamp
from .sinks.base import Entry, unhurried
from .sinkstate import State, behind, load, pending, save

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from strongroom.clock import Clock

    from .sinks.base import Sink

EVERY: Final = 1.0
"""Seconds between two looks at the journal: what is committed meanwhile goes in one batch."""

LONGEST_PAUSE: Final = 60.0
"""Seconds after a failure at most; the first pause is a second, and each doubles."""

_STANDBY: Final = 5.0
_PROBE: Final = 10
_NAME: Final = frozenset(string.ascii_letters + string.digits + "-_.")


@dataclass(frozen=True)
class Route:
    """A sink, what it is called, and how far it may fall behind.

    Attributes:
        name: ASCII letters, digits, ``-_.``; its cursor is kept under this name.
        sink: who takes the records.
        on_full: what happens when it is too far behind: ``skip`` records, which the journal tells, or
            ``refuse`` operations until it has caught up.
        max_lag: bytes of the journal that it may be behind.
        batch: records sent at once, at most.
        batch_bytes: bytes of their lines, at most; a single record may be longer.
    """

    name: str
    sink: Sink
    on_full: Literal["skip", "refuse"] = "skip"
    max_lag: int = 256 * 2**20
    batch: int = 500
    batch_bytes: int = 512 * 1024

    def __post_init__(self) -> None:
        wrong = not self.name or self.name[0] == "." or len(self.name) > 128 or set(self.name) - _NAME
        if wrong or self.on_full not in ("skip", "refuse"):
            raise InvalidRequestError("a sink's name or its on_full is malformed")
        if min(self.max_lag, self.batch, self.batch_bytes) < 1:
            raise InvalidRequestError("a sink's bounds are positive numbers")


@dataclass
class _Batch:
    """Entries to send, and what stands in the state when they are sent.

    `more` tells a full batch from one to which others are being added right now: sent at once, those would go
    one by one.
    """

    after: Cursors
    hosts: dict[str, str]
    entries: list[Entry] = field(default_factory=list)
    more: bool = False

    def add(self, line: Line) -> None:
        if b'"host":' in line.data:
            record = Entry(line.data).fields
            if record.get("kind") in ("chain", "adopt"):
                self.hosts[line.chain] = str(record.get("host", ""))
        self.entries.append(Entry(line.data, self.hosts.get(line.chain, ""), f"{line.chain}:{line.seq}"))
        self.after[line.chain] = line.after


class Lane:
    """Moves a sink along the journal, one `step` at a time, in one process at once.

    Args:
        path: the journal's folder.
        route: the sink and its bounds.
        clock: tells pauses.
        append: adds a durable record to the journal; without it nothing is ever given up.
    """

    def __init__(
        self,
        path: Path,
        route: Route,
        clock: Clock,
        append: Callable[[Mapping[str, Any]], object] | None = None,
    ):
        self.route, self.state = route, State()
        self._folder, self._clock, self._append = path / "sinks" / route.name, clock, append
        self._reader = Reader(path, durable=True)
        self._lock: int | None = None
        self._failures, self._not_before, self._turn = 0, 0.0, 0

    @property
    def full(self) -> bool:
        """Whether the sink is further behind than it may be."""
        return self.state.behind > self.route.max_lag

    def step(self) -> float:
        """Send the next batch, if it is time; returns the seconds until there is something to do, 0 for now.

        Never raises: what failed is in `state.error`, and is tried again.
        """
        try:
            return self._step()
        except SecretStoreError as error:
            problem = error.with_traceback(None)
        except Exception as exc:  # noqa: BLE001  (a receiver, or a disk, whatever it does, must not end the thread)
            problem = UnavailableError(f"the sink failed ({type(exc).__name__})")
        self.state.error = problem
        return self._pause()

    def close(self) -> None:
        """Leave the sending to another process."""
        self._release()
        self.route.sink.close()

    def after_fork(self) -> None:
        """The parent goes on sending; this process stands by."""
        self._release()
        self.route.sink.after_fork()

    def _release(self) -> None:
        # Closed, never unlocked: after a fork that would take the parent's lock from it.
        lock, self._lock, self.state.holder = self._lock, None, False
        if lock is not None:
            os.close(lock)

    def _step(self) -> float:
        holder = self._holds()
        if not holder:
            self.state = load(self._folder)
        self.state.behind = behind(self._reader, self.state.cursors)
        if not holder:
            return _STANDBY if self.route.on_full == "skip" else EVERY
        if self.full and self.route.on_full == "skip" and self._append is not None:
            # A journal that takes no word of it says so itself; to go on sending still helps.
            with contextlib.suppress(UnavailableError):
                self._skip_oldest()
        if self._clock.monotonic() < self._not_before:
            return EVERY
        batch = self._next()
        if batch.after == self.state.cursors:
            self.state.error = None
            return EVERY
        self._accepted(batch, self._hand_over(batch.entries))
        return 0.0 if batch.more else EVERY

    def _pause(self) -> float:
        self._failures += 1
        longest = min(LONGEST_PAUSE, 2.0 ** min(self._failures - 1, 10))
        self._not_before = self._clock.monotonic() + longest * (0.5 + self._clock.chance() / 2)
        return EVERY

    def _accepted(self, batch: _Batch, count: int) -> None:
        state = self.state
        state.cursors, state.hosts, state.sent = batch.after, batch.hosts, state.sent + count
        state.last, state.error = stamp(self._clock.now()), None
        self._failures, self._not_before = 0, 0.0
        state.behind = behind(self._reader, state.cursors)
        save(self._folder, state)

    def _next(self) -> _Batch:
        """What is next, each time of another chain first, so that none starves.

        A sink that failed is asked with a few records: what they cost is lost if it is still down.
        """
        batch = _Batch(dict(self.state.cursors), dict(self.state.hosts))
        chains = self._reader.chains()
        self._turn += 1
        most = min(self.route.batch, _PROBE) if self._failures else self.route.batch
        room = self.route.batch_bytes
        for index in range(len(chains)):
            with contextlib.closing(self._lines(chains[(self._turn + index) % len(chains)])) as found:
                for line in unhurried(found):
                    room -= len(line.data)
                    if len(batch.entries) >= most or (batch.entries and room < 0):
                        batch.more = True
                        return batch
                    batch.add(line)
        return batch

    def _lines(self, chain: str) -> Generator[Line, None, None]:
        yield from self._reader.chain(chain, self.state.cursors.get(chain, Cursor()))

    def _hand_over(self, entries: list[Entry]) -> int:
        """How many the sink took. What it takes in no form, and what is no record, is given up.

        The latter is looked for among the few records of a second attempt, not whenever a receiver is down.
        """
        problem: Exception | None = None
        refused: list[Entry] = []
        try:
            refused = self.route.sink.send_fitting(entries)
        except Exception as exc:  # noqa: BLE001  (raised again, unless it is a line's fault)
            problem = exc
        taken = len(entries) - len(refused)
        if problem is not None and not self._failures:
            raise problem
        if problem is not None:
            records = [entry for entry in entries if _is_record(entry.line)]
            if len(records) == len(entries):
                raise problem
            # One altered line in the journal must not keep all that follow it from the receiver.
            whole = {entry.id for entry in records}
            refused = [entry for entry in entries if entry.id not in whole]
            taken = self._hand_over(records) if records else 0
        for entry in refused:
            self._give_up(entry.id, entry.id, 1)
        return taken

    def _give_up(self, first: str, last: str, count: int) -> None:
        """Tell the journal first: what is missing at the receiver is never missing without a word."""
        if self._append is None:
            raise UnavailableError("the sink refuses a record, and no journal can be told")
        fields = {"kind": "skipped", "sink": self.route.name, "from": first, "to": last, "count": count}
        self._append(fields)
        self.state.skipped += count

    def _skip_oldest(self) -> None:
        """Give up the oldest of each chain, until half the room is free."""
        excess = self.state.behind - self.route.max_lag // 2
        share = excess / self.state.behind
        for chain in self._reader.chains():
            there = pending(self._reader, chain, self.state.cursors.get(chain, Cursor()))
            self._skip(chain, round(there * share))
        save(self._folder, self.state)
        self.state.behind = behind(self._reader, self.state.cursors)

    def _skip(self, chain: str, size: int) -> None:
        first = last = None
        with contextlib.closing(self._lines(chain)) as found:
            for line in unhurried(found):
                if size <= 0:
                    break
                first, last, size = first or line, line, size - len(line.data) - 1
        if first is not None and last is not None:
            self._give_up(f"{chain}:{first.seq}", f"{chain}:{last.seq}", last.seq - first.seq + 1)
            self.state.cursors[chain] = last.after

    def _holds(self) -> bool:
        """Whether this process has the lock; who gets it goes on where the one before it stopped."""
        if self._lock is not None:
            return True
        for folder in (*reversed(self._folder.parents[:2]), self._folder):  # a mode is for the last one alone
            folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._folder / "lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._lock = descriptor
        self.state = load(self._folder)
        self.state.holder = True
        return True


def _is_record(line: bytes) -> bool:
    try:
        parse(line)
    except IntegrityError:
        return False
    return True
