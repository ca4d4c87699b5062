"""The ledger of rotations, and what clients of all providers share: its records move by compare-and-set."""

from __future__ import annotations

from collections.abc import Hashable

from tests.models.replay import Call, Lost, Port, Refused

Ledger = tuple[tuple[str, Hashable], ...]

ANY = "any"
NONE = "none"


class ConflictError(Exception):
    """The provider refused the write: nothing happened."""


class UnknownError(Exception):
    """The answer was lost: the write may have happened, may yet, or never will."""


def keep(ledger: Ledger, call: Call) -> tuple[Ledger, Hashable]:
    """Answers a call to the ledger."""
    states = dict(ledger)
    rotation, *change = call.args
    now = states.get(rotation, NONE)
    if not change:
        return ledger, now
    before, after = change
    if before not in (ANY, now):
        return ledger, Refused("ledger moved", now)
    return tuple(sorted({**states, rotation: after}.items())), "ok"


def done(answer: Hashable) -> str:
    """The answer of a write, or the error that it means."""
    if isinstance(answer, Refused):
        raise ConflictError(answer.why)
    if isinstance(answer, Lost):
        raise UnknownError
    return str(answer)


class Client:
    """A provider's client that can also reach the ledger."""

    def __init__(self, port: Port) -> None:
        self.port = port

    def ledger(self, rotation: str) -> Hashable:
        """The rotation's state; NONE if it has no record."""
        state: Hashable = self.port.call("ledger", rotation)
        return state

    def advance(self, rotation: str, before: Hashable, after: Hashable) -> None:
        """Moves the ledger from `before` (ANY: whatever it is) to `after`."""
        done(self.port.call("advance", rotation, before, after))
