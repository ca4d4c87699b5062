"""PROTOCOLS section 7, taking over: what either source acknowledged is lost to nobody.

The takeover, the fences, the return and the replicators are the product's own; so are the writers.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from strongroom.replication import order, takeover
from strongroom.replication.applying import Applier
from tests.models import replication_takeover as t
from tests.models.checker import check
from tests.models.replay import NO_FAULTS, Budget, Program
from tests.models.spaces import explored, faults
from tests.scale import NIGHTLY


class Race(NamedTuple):
    """Who acts, and what may go wrong; `large` ones only by night."""

    programs: Mapping[str, Program]
    budget: Budget = NO_FAULTS
    large: bool = False


ANN, OP = {"ann": t.writes(t.EU, "a")}, {"op": t.takes_over()}
BACK, OLD = {"back": t.follows(t.US, t.EU)}, {"old": t.follows(t.EU, t.US)}
SOME = faults(1, 1, 0, small=(0, 0, 0))

HOLDS = {
    "the old source returns": Race({**ANN, **OP, **BACK}, SOME),
    "a replicator goes on": Race({**ANN, **OP, **OLD}, SOME),
    "the old source answers": Race(
        {**ANN, "op": t.takes_over(reaches_the_source=True), **BACK}, SOME, large=True
    ),
    "a replicator goes on, and the old source returns": Race({**ANN, **OP, **OLD, **BACK}, large=True),
}


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is run again and again, and must do the same."""
    monkeypatch.setattr(order, "new_write_id", t.IDS)
    monkeypatch.setattr(takeover, "uuid", SimpleNamespace(uuid4=lambda: uuid.UUID(int=5)))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", [case for case, race in HOLDS.items() if NIGHTLY or not race.large])
def test_a_takeover_loses_nothing(case: str) -> None:
    """Writers that nobody told, a replicator that was suspended, an old source that comes back: each
    acknowledged write is current, replicated or kept, and both stores can come in step."""
    race = HOLDS[case]
    report = explored(check(t.takeover(case, race.programs, race.budget)))
    assert report.violation is None, report


BROKEN = {
    "a return that keeps nothing": (
        Race({**ANN, **OP, "back": t.follows(t.US, t.EU, t.keeps_nothing)}),
        t.LOST,
    ),
    # What it finds at the returned source was copied from the new one, which has gone on since.
    "a replicator that outlives its epoch": (Race({**ANN, **OP, **OLD, **BACK}, large=True), t.OVER),
}


@pytest.mark.parametrize("case", [case for case, (race, _) in BROKEN.items() if NIGHTLY or not race.large])
def test_the_checker_catches_a_broken_takeover(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    race, rule = BROKEN[case]
    if "outlives" in case:
        monkeypatch.setattr(Applier, "_require_epoch", lambda *_: None)
    violation = explored(check(t.takeover(case, race.programs, race.budget))).violation
    assert violation is not None
    assert violation.rule == rule, violation
