"""A chain: one writer's records, each naming the one before it, in segments that one process holds."""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import IntegrityError, InvalidRequestError

from .record import GENESIS, encode_next, leaf_hash, parse, stamp
from .segments import Files, Segment, segment_name, segment_numbers, sound_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.clock import Clock

LINE_LIMIT: Final = 2**18
"""Bytes of a line, its line feed included."""

BATCH_LIMIT: Final = 2**20
"""Bytes after which a batch is made durable; a longer one is made so in parts."""

CHAIN_NAME: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_LOCK: Final = "lock"
_UNSYNCED: Final = LINE_LIMIT + BATCH_LIMIT
"""Bytes at a segment's end that a power cut may leave in any state: what was never synced is one batch."""


@dataclass(frozen=True)
class Tail:
    """How a chain ends on disk.

    Attributes:
        number: its last segment.
        size: bytes of that segment up to its last good line.
        lost: bytes after that.
        seq: of the next record.
        prev: of the next record.
        ended: whether the segment says that another follows.
    """

    number: int = 1
    size: int = 0
    lost: int = 0
    seq: int = 0
    prev: str = GENESIS
    ended: bool = False


class _Queued(NamedTuple):
    """A line with its line feed, and the place of the record after it.

    One object, so that an interrupt finds a record in the chain with its place taken, or neither.
    """

    data: bytes
    seq: int
    prev: str
    number: int
    size: int
    ends: bool = False


class Chain:
    """The writing end of a chain. The journal sees to it that one thread at a time calls each method.

    `add` gives a record its place and may run beside `write`, which makes durable what was added before. The
    place is never given back: what could not be written stays here, and is written first once the disk
    answers. After any other error `write` may be wrong about the disk: close the chain, and adopt it anew.

    Attributes:
        name: 32 hex digits.
    """

    def __init__(self, folder: Path, lock: int, tail: Tail, files: Files, clock: Clock, segment_bytes: int):
        self.name = folder.name
        self._folder, self._lock, self._files, self._clock = folder, lock, files, clock
        self._segment_bytes = segment_bytes
        self._segment: Segment | None = None
        if not tail.ended and (tail.size or tail.lost):
            path = folder / segment_name(tail.number)
            self._segment = Segment(path, files, tail.size, whole=not tail.lost)
        self._queue: list[_Queued] = []
        size = 0 if tail.ended else tail.size
        self._written = _Queued(b"", tail.seq, tail.prev, tail.number + tail.ended, size)
        self._moved = 0  # segments begun because others touched the one before
        self._lost: int | None = tail.lost or None

    @property
    def waiting(self) -> bool:
        """Whether there are records that are not durable."""
        return bool(self._queue)

    def begin(self, library: str) -> None:
        """Add the record that names the process."""
        kind = "adopt" if self._written.seq else "chain"
        self._add({"kind": kind, "library": library, "host": os.uname().nodename, "pid": os.getpid()})

    def add(self, fields: Mapping[str, Any]) -> str:
        """Give a record its place in the chain; its id.

        Raises:
            InvalidRequestError: not a record, or longer than `LINE_LIMIT`. Nothing was added.
        """
        segment = self._segment  # `write` may run
        if segment is not None and segment.spoiled:
            segment.spoiled = False
            self._end()
            self._lost = self._lost or 0
        if self._lost is not None:
            self._add({"kind": "recovery", "lost": self._lost})
            self._lost = None
        elif self._last.size >= self._segment_bytes:
            self._end()
        return self._add(fields)

    def write(self) -> None:
        """Make durable what was added before. If this fails, the next call goes on where this one could not.

        Raises:
            OSError: the disk refused, or somebody took the folder away.
        """
        left = len(self._queue)
        while left > 0:
            segment = self._current()
            part = self._part(left)
            segment.append(b"".join([line.data for line in part]))
            self._written = part[-1]
            del self._queue[: len(part)]
            left -= len(part)
            if self._written.ends:
                segment.close()
                self._segment = None

    def close(self) -> None:
        """Give the chain up: another process may adopt it."""
        if self._segment is not None:
            self._segment.close()
        if self._lock >= 0:
            os.close(
                self._lock
            )  # the lock goes with the last descriptor: a forked child's copy never frees ours
            self._lock = -1

    @property
    def _last(self) -> _Queued:
        return self._queue[-1] if self._queue else self._written

    def _add(self, fields: Mapping[str, Any], *, ends: bool = False) -> str:
        if "time" not in fields:
            fields = {"time": stamp(self._clock.now()), **fields}
        queue = self._queue
        _, seq, prev, number, size, _ = queue[-1] if queue else self._written
        line = encode_next(self.name, seq, prev, int(self._clock.monotonic() * 1e9), fields)
        length = len(line) + 1
        if length > LINE_LIMIT:
            raise InvalidRequestError(f"a record of {length} bytes is longer than {LINE_LIMIT}")
        size = 0 if ends else size + length
        queue.append(_Queued(line + b"\n", seq + 1, leaf_hash(line).hex(), number + ends, size, ends))
        return f"{self.name}:{seq}"

    def _end(self) -> None:
        following = self._last.number + 1 + self._moved
        self._add({"kind": "segment", "next": segment_name(following)}, ends=True)

    def _part(self, left: int) -> list[_Queued]:
        """The lines that are made durable together: none follows the end of a segment."""
        size = 0
        for count, line in enumerate(self._queue[:left], 1):
            size += len(line.data)
            if line.ends or size >= BATCH_LIMIT:
                return self._queue[:count]
        return self._queue[:left]

    def _current(self) -> Segment:
        """The segment that takes the next line: another one if somebody touched the last."""
        if self._segment is not None:
            missing = self._segment.missing()
            if missing is None:
                return self._segment
            self._lost = (self._lost or 0) + missing
            self._segment.close()
            self._segment, self._moved = None, self._moved + 1
        segment = Segment(self._free(), self._files)
        try:
            self._files.sync_folder(self._folder)
        except OSError:
            segment.close()
            raise
        self._segment = segment
        return segment

    def _free(self) -> Path:
        """The next segment's path, where nothing stands that somebody else put there."""
        while True:
            path = self._folder / segment_name(self._written.number + self._moved)
            if not path.exists() or not path.stat().st_size:
                return path
            self._moved += 1


def claim(chains: Path, files: Files, clock: Clock, segment_bytes: int) -> Chain:
    """A chain that nobody writes to, or a new one.

    Raises:
        OSError: the disk refused.
    """

    def taken(folder: Path) -> Chain | None:
        lock = _locked(folder)
        return None if lock is None else _adopted(folder, lock, files, clock, segment_bytes)

    for folder in sorted(path for path in chains.iterdir() if CHAIN_NAME.fullmatch(path.name)):
        if chain := taken(folder):
            return chain
    while True:
        folder = chains / os.urandom(16).hex()
        folder.mkdir(0o700)
        if chain := taken(folder):  # or another process took it for abandoned
            return chain


def _adopted(folder: Path, lock: int, files: Files, clock: Clock, segment_bytes: int) -> Chain | None:
    """The chain that we hold the lock of; None if it is damaged further up: then it stays as it is."""
    chain: Chain | None = None
    try:
        tail = tail_of(folder)
        if not tail.seq:
            files.sync_folder(folder.parent)
        chain = Chain(folder, lock, tail, files, clock, segment_bytes)
    except IntegrityError:
        pass
    finally:
        if chain is None:
            os.close(lock)
    return chain


def _locked(folder: Path) -> int | None:
    """The descriptor that holds the chain's lock; None if another has it, or it is not ours to open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / _LOCK, flags, 0o600)
    except PermissionError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def tail_of(folder: Path) -> Tail:
    """How the chain in this folder ends; only its last lines are read.

    Raises:
        IntegrityError: there is no good line where no crash can have damaged one.
    """
    lost, last = 0, 0
    for number in reversed(segment_numbers(folder)):
        tail = _tail(folder / segment_name(number), number)
        if tail.seq and not last:
            return tail
        last, lost = last or number, lost + tail.lost
        if tail.seq:
            return Tail(last, 0, lost, tail.seq, tail.prev)
    return Tail(max(1, last), 0, lost)


def _tail(path: Path, number: int) -> Tail:
    """How a segment ends; `seq` is 0 if it holds no good line."""
    there, sound = path.stat().st_size, sound_bytes(path)
    size = there if sound is None else min(there, sound)
    with path.open("rb") as file:
        start = max(0, size - _UNSYNCED - LINE_LIMIT)
        file.seek(start)
        data = file.read(size - start)
    skipped = data.find(b"\n") + 1 if start else 0
    tail = Tail(number, start + skipped)
    for line in data[skipped:].splitlines(keepends=True):
        record = _linked(line, path.parent.name, tail)
        if record is None:
            break
        end, prev = tail.size + len(line), leaf_hash(line[:-1]).hex()
        tail = Tail(number, end, 0, record["seq"] + 1, prev, record["kind"] == "segment")
    if start and not tail.seq:
        raise IntegrityError("a chain of the journal is damaged")
    return replace(tail, lost=there - tail.size, ended=tail.ended and tail.size == there)


def _linked(line: bytes, chain: str, before: Tail) -> dict[str, Any] | None:
    """The record of a line, if it is whole, of this chain, and follows the one before it, if there is one."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = parse(line[:-1])
    except IntegrityError:
        return None
    follows = not before.seq or (record["seq"], record["prev"]) == (before.seq, before.prev)
    return record if follows and record["chain"] == chain else None
