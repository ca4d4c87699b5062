"""PROTOCOLS section 7, at the source and at an apply: the code that ships keeps the order, replicas follow.

Source order, pages, tombstones and the layer `Recorded` are the product's own; the replicator is the shortest
that does what section 7 asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from strongroom.backend import Backend
from strongroom.layers.recorded import Recorded
from strongroom.replication import order, standing
from strongroom.replication.order import Order
from tests.models import replication as r
from tests.models.checker import RESUMABLE, check
from tests.models.replay import NO_FAULTS, Budget, Program
from tests.models.replication_world import DOMAIN, Still, Store
from tests.models.spaces import explored, faults
from tests.scale import NIGHTLY


class Race(NamedTuple):
    """Who acts, and what may go wrong; `large` ones only by night."""

    programs: Mapping[str, Program]
    budget: Budget = NO_FAULTS
    large: bool = False


def with_order(kind: type[Order]) -> Callable[[Store], Backend]:
    """The layer that ships, over another order."""

    def layer(store: Store) -> Backend:
        made = Recorded(store, DOMAIN, clock=Still())
        made.order = kind(store, DOMAIN, clock=Still())
        return made

    return layer


ONE, TWO = {"rep": r.replicates()}, {"rep": r.replicates(), "second": r.replicates()}
SOME = faults(1, 1, 1, small=(0, 0, 0))

HOLDS = {
    "two writers": Race({"ann": r.puts("a"), "ben": r.puts("b"), **ONE}, faults(1, 1, 1, small=(0, 1, 0))),
    "one writer, two replicators": Race({"ann": r.puts("a", "b"), **TWO}, faults(1, 1, 1, small=(0, 0, 0))),
    "a writer and a console": Race({"ann": r.puts("a"), "console": r.foreign("f"), **ONE}, SOME),
    "compare-and-set and a console": Race({"ann": r.replaces("a"), "console": r.foreign("f"), **ONE}, SOME),
    "a console, two replicators": Race({"console": r.foreign("f", "g"), **TWO}, large=True),
    "a rotation and a writer": Race({"worker": r.rotates("p"), "ann": r.puts("a"), **ONE}, SOME),
    "deleted and restored": Race({"op": r.deletes(restores=True), **ONE}, faults(1, 0, 0, small=(0, 0, 0))),
    "deleted and restored, late calls": Race(
        {"op": r.deletes(restores=True), **ONE}, Budget(0, 0, 1), large=True
    ),
    "deleted and restored, a writer": Race(
        {"op": r.deletes(restores=True), "ann": r.puts("a"), **ONE}, large=True
    ),
    "deleted and restored, a rotation": Race(
        {"op": r.deletes(restores=True), "worker": r.rotates("p"), **ONE}, large=True
    ),
    "deleted, a console": Race(
        {"op": r.deletes(), "console": r.foreign("f"), **ONE}, Budget(0, 1, 0), large=True
    ),
    "deleted, a writer": Race({"op": r.deletes(), "ann": r.puts("a"), **ONE}, large=True),
    "purged, and a new life": Race({"op": r.purges(then="n"), **ONE}, faults(1, 1, 0, small=(0, 0, 0))),
    "purged, and a new life, late calls": Race(
        {"op": r.purges(then="n"), **ONE}, Budget(0, 0, 1), large=True
    ),
    "purged, a new life, a writer": Race({"op": r.purges(then="n"), "ann": r.puts("a"), **ONE}, large=True),
}


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is run again and again, and must do the same."""
    monkeypatch.setattr(order, "new_write_id", r.one_id)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", [case for case, race in HOLDS.items() if NIGHTLY or not race.large])
def test_the_order_at_the_source_holds(case: str) -> None:
    """Whoever writes, deletes, restores or promotes: the replica never goes back, nothing is quarantined by
    mistake, and from every state it can come in step."""
    race = HOLDS[case]
    report = explored(check(r.replication(case, race.programs, race.budget)))
    assert report.violation is None, report


BROKEN = {
    "writing without compare-and-set": (
        Race(
            {"ann": r.puts("a", layer=r.WritesBlindly), "ben": r.puts("b", layer=r.WritesBlindly), **ONE},
        ),
        r.FALSE_ALARM,
    ),
    "binding without compare-and-set and without another look": (
        Race(
            {
                "console": r.foreign("f", "g"),
                "rep": r.replicates(order=r.BindsBlindly),
                "second": r.replicates(order=r.BindsBlindly),
            },
            large=True,
        ),
        r.FALSE_ALARM,
    ),
    "reading the page before what is current": (
        Race(
            {"op": r.deletes(), "ann": r.puts("a"), "rep": r.replicates(order=r.ReadsThePageFirst)},
            large=True,
        ),
        r.FALSE_ALARM,
    ),
    "a tombstone that a writer has not seen": (
        Race({"op": r.deletes(layer=with_order(r.BuriesOnce)), "ann": r.puts("a"), **ONE}, large=True),
        r.FALSE_ALARM,
    ),
    "a tombstone after the purge": (
        Race(
            {
                "op": r.purges(layer=lambda store: r.BuriesAfterwards(r.recorded(store))),
                "ann": r.puts("a"),
                **ONE,
            },
        ),
        r.FALSE_ALARM,
    ),
    "a new life without room for what its purge took along": (
        Race(HOLDS["purged, a new life, a writer"].programs, large=True),
        r.FALSE_ALARM,
    ),
    "applying without compare-and-set": (
        Race(
            {
                "ann": r.puts("a", "b"),
                "rep": r.replicates(r.AppliesBlindly),
                "second": r.replicates(r.AppliesBlindly),
            }
        ),
        r.BACK,
    ),
}


@pytest.mark.parametrize("case", [case for case, (race, _) in BROKEN.items() if NIGHTLY or not race.large])
def test_the_checker_catches_a_broken_order(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The obvious form breaks exactly the rule that the right form was made for."""
    race, rule = BROKEN[case]
    if "without room" in case:
        monkeypatch.setattr(standing, "GAP", 1)
    violation = explored(check(r.replication(case, race.programs, race.budget))).violation
    assert violation is not None
    assert violation.rule == rule, violation


def test_what_was_restored_must_stand_above_its_tombstone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version's own record would keep it below its own deletion: the replica could never have it again."""
    monkeypatch.setattr(order, "judged", by_its_own_record)
    race = HOLDS["deleted and restored"]
    violation = explored(check(r.replication("restored below its tombstone", race.programs))).violation
    assert violation is not None
    assert violation.rule == RESUMABLE, violation


def by_its_own_record(
    name: object, page: object, current: standing.Version | None, *, genuine: bool
) -> standing.Standing:
    """Obvious: the version bears its record."""
    found = standing.judged(name, page, current, genuine=genuine)  # type: ignore[arg-type]
    if current is None or found.record or not genuine:
        return found
    return standing.Standing(found.name, found.secret, found.version, current.own, False, current.own)
