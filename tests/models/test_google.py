"""The real write protocol of `strongroom_gcp` under the checker, call by call: PROTOCOLS section 3.

Modelled: conditional and unconditional writers of one secret, deadlines that pass at any moment, crashes,
lost answers, late calls, and another program that adds versions. Not modelled: metadata that is read late
(the etag decides), purge, disabled versions; the companion is in `test_google_stages`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from strongroom.backend import ABSENT, Absent
from strongroom.errors import SecretConflictError, UnavailableError
from strongroom.value import SecretValue
from strongroom_gcp._book import Book
from strongroom_gcp._intent import put
from strongroom_gcp._port import Seen, Write
from tests.models.checker import Report, check
from tests.models.google import LIFE, NOTHING, START, WRITES, GooglePort, World, apply
from tests.models.replay import Budget, Port, Program, State, System
from tests.models.spaces import explored, faults, nightly, small

AGAIN = frozenset({"busy"})


def writer(name: str, condition: int | Absent | None) -> Program:
    """Writes once; a crashed one writes anew, under another id; one that found others at work tries again."""

    def program(port: Port) -> str:
        google = GooglePort(port, name)
        text = f"{name}{port.run}"
        write = Write(SecretValue(text), "", google.new_id(), condition, LIFE)
        try:
            return f"ok {text} {put(google, write).number}"
        except SecretConflictError as error:
            return "busy" if error.retryable else f"conflict {text}"
        except UnavailableError as error:
            return f"unknown {text}" if error.performed is None else f"not performed {text}"

    return program


def clock(ticks: int) -> Program:
    """Deadlines pass."""

    def program(port: Port) -> str:
        for _ in range(ticks):
            port.call("expire")
        return "ok"

    return program


def stranger(port: Port) -> str:
    """Another program adds a version and asks nobody."""
    port.call("add", "foreign")
    return "ok"


def ended(state: State[World]) -> list[list[str]]:
    return [str(actor.result).split() for actor in state.actors if actor.result is not None]


def recorded(world: World) -> list[str]:
    """The texts that were ever recorded as current, oldest first."""
    return [world.versions[number - 1] for number in world.book.chain]


def one_wins(state: State[World]) -> bool:
    """Of the writers over version 1 (`c…`)."""
    return len([end for end in ended(state) if end[0] == "ok" and end[1:] and end[1][0] == "c"]) <= 1


def what_was_refused_is_not_current(state: State[World]) -> bool:
    texts = {end[1] for end in ended(state) if end[0] in ("conflict", "not")}
    return not texts & set(recorded(state.world))


def not_performed_means_never_written(state: State[World]) -> bool:
    texts = {end[-1] for end in ended(state) if end[0] == "not"}
    return not texts & set(state.world.versions)


def what_was_acknowledged_is_recorded(state: State[World]) -> bool:
    return all(end[1] in recorded(state.world) for end in ended(state) if end[0] == "ok" and len(end) > 1)


def nothing_of_ours_is_foreign(state: State[World]) -> bool:
    """With nobody at work: what stands above the recorded version is known by a trace."""
    world, book = state.world, state.world.book
    known = {trace.digest for trace in (*book.late, *([book.intent.trace] if book.intent else []))}
    above = world.versions[book.chain.last :]
    google = GooglePort(Port((), 0), "")
    ids = [trace.write_id for trace in book.late] + ([book.intent.trace.write_id] if book.intent else [])
    if any(actor.result is None for actor in state.actors):
        return True
    return all(
        text == "foreign" or any(google.digest(id_, SecretValue(text)) in known for id_ in ids)
        for text in above
    )


RULES = {
    "of two conditional writers one succeeds": one_wins,
    "what was refused never becomes current": what_was_refused_is_not_current,
    "not performed means never written": not_performed_means_never_written,
    "what was acknowledged was recorded": what_was_acknowledged_is_recorded,
    "nothing of ours is taken for foreign": nothing_of_ours_is_foreign,
}


def checked(
    name: str, programs: Mapping[str, Program], budget: Budget, start: World = START
) -> Report[State[World]]:
    def goal(state: State[World]) -> bool:
        """Busy is an end too: the clock stops, so that what a dead writer left may never expire."""
        return all(actor.result is not None for actor in state.actors)

    system = System(f"strongroom_gcp/{name}", start, programs, apply, WRITES, RULES, goal, budget, AGAIN)
    return explored(check(system))


TWO = {"c": writer("c", 1), "d": writer("cd", 1)}
MIXED = {"c": writer("c", 1), "u": writer("u", None)}
SPACES: Mapping[str, tuple[Mapping[str, Program], Budget]] = {
    "two conditional, lost": ({**TWO, "clock": clock(1)}, faults(0, 1, 0, small=(0, 1, 0))),
    "two conditional, late": ({**TWO, "clock": clock(1)}, faults(0, 0, 1, small=(0, 0, 1))),
    "two conditional, death": ({**TWO, "clock": clock(1)}, faults(1, 0, 0, small=(1, 0, 0))),
    "mixed, lost": ({**MIXED, "clock": clock(1)}, faults(0, 1, 0, small=(0, 1, 0))),
    "mixed, late": ({**MIXED, "clock": clock(nightly(2, 1))}, faults(0, 0, 1, small=(0, 0, 0))),
    "mixed, lost and late": ({**MIXED, "clock": clock(1)}, faults(0, 1, 1, small=(0, 0, 0))),
    "a stranger": ({**MIXED, "stranger": stranger, "clock": clock(1)}, faults(0, 1, 0, small=(0, 0, 0))),
}


@pytest.mark.parametrize("space", small(SPACES, "two conditional, late"))
def test_the_intent_protocol_keeps_its_rules(space: str) -> None:
    """In every interleaving of the calls and faults."""
    programs, budget = SPACES[space]
    report = checked(space, programs, budget)
    assert report.violation is None, str(report)


CREATORS = {"c": writer("c", ABSENT), "d": writer("cd", ABSENT), "clock": clock(1)}
CREATIONS: Mapping[str, Budget] = {
    "two creators, lost": faults(0, 1, 0, small=(0, 1, 0)),
    "two creators, late": faults(0, 0, 1, small=(0, 0, 1)),
    "two creators, death": faults(1, 0, 0, small=(1, 0, 0)),
}


@pytest.mark.parametrize("space", small(CREATIONS, "two creators, late"))
def test_of_two_creators_one_succeeds(space: str) -> None:
    """The intent is set by the creation itself, so there is no moment without a guard."""
    report = checked(space, CREATORS, CREATIONS[space], NOTHING)
    assert report.violation is None, str(report)


def test_without_the_trace_of_whom_it_took_over_from_a_loser_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that the first design lacked: the checker finds the late version that nobody knows again."""
    monkeypatch.setattr(Book, "keeping", lambda self, trace: self)
    report = checked("no trace kept", {**TWO, "clock": clock(1)}, Budget(0, 0, 1))
    assert report.violation is not None
    assert report.violation.rule == "nothing of ours is taken for foreign"


def test_without_the_etag_an_acknowledged_write_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two record over each other: the one guard that Google gives is what everything hangs on."""
    monkeypatch.setattr(GooglePort, "change", _unguarded)
    report = checked("no etag", {**TWO, "clock": clock(1)}, Budget())
    assert report.violation is not None
    assert report.violation.rule == "what was acknowledged was recorded"


def _unguarded(self: GooglePort, seen: Seen, book: Book) -> Seen | None:
    return self.patch(seen, book, guarded=False)
