"""PROTOCOLS section 7 at a replica: the apply that ships, plain, through the companion, and natively.

The payload waits, is read back and promoted; killed anywhere, the next run adds no version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from strongroom.backend import Capability
from strongroom.replication import order
from strongroom.replication.applying import Applier
from strongroom.replication.holding import Holding
from strongroom.replication.payload import Payload
from strongroom.replication.record import Record
from strongroom.value import SecretValue
from tests.models import replication as r
from tests.models.checker import RESUMABLE, check
from tests.models.replay import NO_FAULTS, Budget, Program, State, System
from tests.models.replication_world import COMPANION, NATIVE, REPLICA, World, slot
from tests.models.spaces import explored, faults
from tests.scale import NIGHTLY

ONCE = "a version of the source is written once"


def written_once(state: State[World]) -> bool:
    """However often the apply died: of one record there is one version."""
    records = [version.record for version in slot(state.world, "replica").versions if version.record]
    return len(records) == len(set(records))


class Race(NamedTuple):
    """Who acts, and what may go wrong; `large` ones only by night."""

    programs: Mapping[str, Program]
    budget: Budget = NO_FAULTS
    large: bool = False

    def model(self, name: str) -> System[World]:
        """A restore writes the version again that was deleted; elsewhere each is written once."""
        found = r.replication(f"apply/{name}", self.programs, self.budget)
        if "op" not in self.programs:
            found.invariants = {**found.invariants, ONCE: written_once}
        return found


def one(replica: Capability = REPLICA) -> dict[str, Program]:
    return {"rep": r.brings(replica)}


def two(replica: Capability = REPLICA) -> dict[str, Program]:
    return {"rep": r.brings(replica), "second": r.brings(replica)}


ANN, BOTH = {"ann": r.puts("a")}, {"ann": r.puts("a", "b")}
SOME, CRASH = faults(1, 1, 1, small=(0, 1, 0)), faults(1, 1, 0, small=(1, 0, 0))
NIGHT = faults(1, 0, 0, small=(0, 0, 0))

HOLDS = {
    "plain": Race({**ANN, **one()}, faults(2, 1, 1, small=(1, 0, 1))),
    "plain, a console": Race({**ANN, "console": r.foreign("f"), **one()}, SOME),
    "plain, two writers, two processes": Race({**ANN, "ben": r.puts("b"), **two()}, large=True),
    "plain, deleted, two processes": Race({"op": r.deletes(), **two()}, large=True),
    "plain, deleted and restored": Race({"op": r.deletes(restores=True), **one()}, NIGHT, large=True),
    "plain, purged, and a new life": Race({"op": r.purges(then="n"), **one()}, NIGHT),
    "companion": Race({**ANN, **one(COMPANION)}, faults(2, 1, 1, small=(1, 0, 0))),
    "companion, two writes": Race({**BOTH, **one(COMPANION)}, CRASH),
    "companion, two processes": Race({**ANN, **two(COMPANION)}, large=True),
    "companion, two writes, two processes": Race({**BOTH, **two(COMPANION)}, large=True),
    "native": Race({**ANN, **one(NATIVE)}, faults(2, 1, 1, small=(1, 1, 1))),
    "native, two writes": Race({**BOTH, **one(NATIVE)}, CRASH),
    "native, two processes": Race({**ANN, **two(NATIVE)}),
    "native, two writes, two processes": Race({**BOTH, **two(NATIVE)}, large=True),
}


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is run again and again, and must do the same."""
    monkeypatch.setattr(order, "new_write_id", r.one_id)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", [case for case, race in HOLDS.items() if NIGHTLY or not race.large])
def test_an_apply_holds(case: str) -> None:
    """Every interleaving within the fault budget: the replica never goes back, is never taken for a second
    source, has each version once, and can always come in step."""
    report = explored(check(HOLDS[case].model(case)))
    assert report.violation is None, report


def put_blindly(self: Applier, held: Holding, value: SecretValue, record: Record) -> str:
    """Obvious: what is held was compared already."""
    return self._replica.backend.put(held.name, value, None, record.text).id


BROKEN = {
    "without compare-and-set": (Applier, "_put", put_blindly, Race({**BOTH, **two()}), ONCE),
    "a lower payload in the companion is waited for": (
        Payload,
        "_supersede",
        lambda *_: False,
        Race({**BOTH, **one(COMPANION)}, Budget(crash=1)),
        RESUMABLE,
    ),
    "a lower native payload is waited for": (
        Payload,
        "_finish_lower",
        lambda *_: None,
        Race({**BOTH, **one(NATIVE)}, Budget(crash=1)),
        RESUMABLE,
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_checker_catches_a_broken_apply(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker looks at the code that ships: with one step of it left out, the rule for that step
    breaks."""
    owner, step, instead, race, rule = BROKEN[case]
    monkeypatch.setattr(owner, step, instead)
    violation = explored(check(race.model(case))).violation
    assert violation is not None
    assert violation.rule == rule, violation
