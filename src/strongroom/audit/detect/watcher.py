"""Follows a journal, and writes what the rules find into it, where the sinks take it as everything else."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

from strongroom.audit.journal import Journal
from strongroom.audit.reading import Cursor, Cursors, Reader
from strongroom.audit.segments import segment_name
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, UnavailableError

from .engine import Detection, Engine
from .settings import DetectSettings
from .sigma import load_rules
from .spans import parse_time, since_epoch
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.audit.hook import Trail

_BATCH: Final = 2000
"""Records judged between two commits of what is remembered."""
_ANY: Final = -1
"""In place of the next sequence number, where what is gone does not let us know it."""

Told = dict[str, Any]
"""The fields of a detection's record."""


@final
class Watcher:
    """Judges the records of a journal once, whatever happens to the process.

    What was found is first remembered together with how far the journal was read, then written to the
    journal, then forgotten. After a crash in between the journal itself says what it holds already.

    Args:
        path: the journal's folder.
        settings: how to judge.
        clock: the time of day, and the wait between two looks.
        trail: what detections are written to, asked for when there is the first, and not closed here; without
            it a journal of our own.

    Raises:
        InvalidRequestError: no journal is there, or a rule cannot be run.
        UnavailableError: another process watches this journal, or the disk refuses.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: DetectSettings | None = None,
        clock: Clock | None = None,
        trail: Callable[[], Trail] | None = None,
    ):
        self.path = Path(path)
        self._settings, self._clock = settings or DetectSettings(), clock or Clock()
        self._find = trail or self._own
        self._trail: Trail | None = None
        self._held = ExitStack()
        rules = load_rules(self._settings.rules)
        self.rules = {rule.name: rule for rule in rules if rule.alerts}
        self._lock = _locked(self.path)
        self._state = State(self.path / "detect" / "state.db")
        self._engine = Engine(rules, self._state, self._settings)
        self._reader = Reader(self.path, durable=True)
        self._cursors: Cursors = {chain: Cursor(*place) for chain, place in self._state.items("cursor")}
        self._told = self._told_before()

    @property
    def suppressed(self) -> Mapping[str, int]:
        """How many detections were suppressed since this began, by rule."""
        return self._engine.suppressed

    def learn(self) -> None:
        """Take what happened until now, as far as it has not been judged, for normal."""
        self._engine.learn_until(since_epoch(self._clock.now()) + 1)

    def poll(self, *, drain: bool = False) -> list[Told]:
        """Judge what is new; the detections, which are in the journal by then.

        Args:
            drain: do not wait for what other processes may be writing with an earlier time.

        Raises:
            UnavailableError: the disk refuses. Close this and begin anew: nothing is lost or told twice.
        """
        told: list[Told] = []
        self._deliver()
        now = since_epoch(self._clock.now())
        bound = now if drain else now - self._settings.lateness
        found = self._cut(bound)
        for batch in self._batches(now, bound):
            for chain, seq, record, cursor in batch:
                found += self._judged(chain, seq, record, bound)
                self._cursors[chain] = cursor
            told += self._keep(found)
            found = []
        return told + self._keep(found + self._engine.advance(bound))

    def close(self) -> None:
        """Let another process watch.

        Raises:
            UnavailableError: the disk still refuses a detection, which the next watcher writes.
        """
        with ExitStack() as ends:
            ends.callback(os.close, self._lock)
            ends.callback(self._held.close)
            ends.callback(self._state.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _batches(self, now: int, bound: int) -> Iterator[list[tuple[str, int, dict[str, Any], Cursor]]]:
        records = self._ready(now, bound)
        while batch := list(islice(records, _BATCH)):
            yield batch

    def _ready(self, now: int, bound: int) -> Iterator[tuple[str, int, dict[str, Any], Cursor]]:
        """Records up to `bound`; a younger one stays unread, unless its clock is far ahead."""
        after = dict(self._cursors)
        for chain, line, record in self._reader.records(after):
            time = parse_time(str(record.get("time", "")))
            if time is not None and bound < time <= now + self._settings.lateness:
                return
            yield chain, _sequence(record, line), record, after[chain]

    def _judged(self, chain: str, seq: int, record: Mapping[str, Any], bound: int) -> list[Detection]:
        expected = self._state.get("seq", chain) or 0
        self._state.put("seq", chain, seq + 1)
        found = []
        if expected not in (seq, _ANY):
            time = parse_time(str(record.get("time", ""))) or bound
            lacking = seq - expected if seq > expected else None
            found = self._engine.missing(chain, expected, lacking, min(time, bound))
        return found + self._engine.take(f"{chain}:{seq}", record, bound)

    def _cut(self, bound: int) -> list[Detection]:
        """Records that were judged and are gone. We go on from where the file ends now."""
        found = []
        for chain, cursor in list(self._cursors.items()):
            size = _size(self.path / "chains" / chain / segment_name(cursor.segment))
            if size is not None and size >= cursor.offset:
                continue
            if size is None and not self._state.get("gone", chain):
                self._state.put("gone", chain, True)
            elif size is None:
                continue
            found += self._engine.missing(chain, self._state.get("seq", chain) or 0, None, bound)
            self._state.put("seq", chain, _ANY)
            self._cursors[chain] = cursor._replace(offset=size or cursor.offset)
        return found

    def _keep(self, found: list[Detection]) -> list[Told]:
        new = {str(one.facts["id"]): one.as_record() for one in found if one.facts["id"] not in self._told}
        for identity, fields in new.items():
            self._state.put("outbox", identity, fields)
        for chain, cursor in self._cursors.items():
            if self._state.get("cursor", chain) != list(cursor):
                self._state.put("cursor", chain, list(cursor))
        self._state.commit()
        self._deliver()
        return list(new.values())

    def _deliver(self) -> None:
        """The journal writes later what it could not at once: a record is handed over once."""
        waiting = list(self._state.items("outbox"))
        if not waiting:
            return
        self._trail = trail = self._trail or self._find()
        for identity, fields in waiting:
            if identity not in self._told:
                self._told.add(identity)
                trail.append(fields, durable=False)
        trail.flush()
        for identity, _ in waiting:
            self._state.drop("outbox", identity)
        self._state.commit()

    def _own(self) -> Trail:
        journal = Journal.open(self.path)
        self._held.callback(journal.close)
        return journal

    def _told_before(self) -> set[str]:
        """What the journal holds and our memory may not know: after a crash, or without a memory."""
        if self._cursors and not list(self._state.items("outbox")):
            return set()
        records = (record for _, _, record in Reader(self.path).records(dict(self._cursors)))
        facts = (record.get("facts") for record in records if record.get("kind") == "detection")
        return {str(one["id"]) for one in facts if isinstance(one, dict) and "id" in one}


def _sequence(record: Mapping[str, Any], line: int) -> int:
    seq = record.get("seq")
    return seq if type(seq) is int and 0 <= seq < 1 << 62 else line


def _locked(path: Path) -> int:
    if not (path / "journal.json").is_file():
        raise InvalidRequestError(f"{path} is no journal")
    descriptor = None
    try:
        (path / "detect").mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path / "detect" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except BlockingIOError:
        reason = "another process watches this journal"
    except OSError as error:
        reason = f"the folder of the detections cannot be used: {error.strerror}"
    if descriptor is not None:
        os.close(descriptor)
    raise UnavailableError(reason, hint=f"look at {path / 'detect'}")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
