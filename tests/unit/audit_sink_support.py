"""Records to send, and journals that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strongroom.audit.journal import Journal
from strongroom.audit.reading import Reader
from strongroom.audit.record import encode
from strongroom.audit.sinks.base import Entry, Sink
from strongroom.errors import UnavailableError

CHAIN = "c0ffee" + "0" * 26
TIME = "2026-01-02T03:04:05.123456789Z"


def line(seq: int = 0, **more: Any) -> bytes:
    """One record as the journal has it: the outcome of a `get`."""
    head = {"v": 1, "chain": CHAIN, "seq": seq, "prev": "0" * 64, "time": TIME, "mono": 5, "kind": "event"}
    event = {"phase": "outcome", "op": "get", "name": "db/password", "cid": "1" * 32, "outcome": "ok"}
    return encode(head | event | more)


def id_of(seq: int = 0) -> str:
    return f"{CHAIN}:{seq}"


def journal_of(path: Path, count: int, **options: Any) -> Journal:
    """A journal with so many events, all durable."""
    journal = Journal.open(path, **options)
    for number in range(count):
        journal.append(
            {"kind": "event", "phase": "intent", "op": "get", "name": f"n/{number}"}, durable=False
        )
    journal.flush()
    return journal


def ids_in(path: Path) -> list[str]:
    """The ids of all records in a journal."""
    return [f"{chain}:{seq}" for chain, seq, _ in Reader(path).records()]


class Catcher(Sink):
    """A sink in memory. What it does with a batch is `answer`'s: return to take it, raise to refuse it."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.batches: list[list[Entry]] = []
        self.attempts = 0
        self.answer = answer
        self.closed = False

    def deliver(self, entries: Sequence[Entry]) -> None:
        self.attempts += 1
        if self.answer is not None:
            self.answer(entries)
        self.batches.append(list(entries))

    def close(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[str]:
        return [entry.id for batch in self.batches for entry in batch]


def refusing(_: Sequence[Entry]) -> None:
    """A receiver that is down."""
    raise UnavailableError("down")


def now() -> datetime:
    return datetime.now(UTC)
