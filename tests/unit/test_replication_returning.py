"""The old source returns after a takeover: nothing acknowledged is lost, or merged in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from strongroom.backend import Capability
from strongroom.errors import (
    PermissionDeniedError,
)
from strongroom.memory import ALL
from strongroom.names import Name
from strongroom.replication.plan import Action
from strongroom.replication.sheet import NO_TAKEOVER, Sheet
from strongroom.testing.faults import Killed, kill

from .core_support import text
from .replication_takeover_support import World

DB = "db/password"
COMPANION = ALL & ~Capability.NATIVE_PENDING
KINDS = pytest.mark.parametrize("kind", [ALL, COMPANION], ids=["native", "companion"])


@KINDS
def test_a_fenced_return_loses_nothing_and_shows_nothing(kind: Capability) -> None:
    """Cut the source, take over, write 5 versions, bring the old one back with 2 that nobody else has.

    They are refused to readers, listed in the report, and the old source follows.
    """
    world = World(kind)
    world.lost(world.eu)
    world.taken(world.us)
    for number in range(5):
        world.us.put(DB, f"new {number}")
    world.back(world.eu)
    world.eu.put(DB, "lost 1")
    world.eu.put(DB, "lost 2")
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "new 4")
    kept = world.us.report.of(DB)
    assert [one.origin for one in kept] == ["prod-eu", "prod-eu"]
    values = [world.us.report.value(DB, one.record.write_id) for one in kept]
    assert [value.matches(text(label)) for value, label in zip(values, ("lost 2", "lost 1"), strict=True)]
    assert world.us.report.names() == (DB,)
    assert world.replicator(world.us, world.eu).status().diverged == 1
    with pytest.raises(PermissionDeniedError, match="prod-us is the source since epoch 2"):
        world.eu.put(DB, "late")
    assert world.sync(world.us, world.eu).done == ()


def test_what_only_the_old_source_had_is_newer_nowhere() -> None:
    """The new source wrote nothing since: its older value is ordered above what returns, and arrives."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.back(world.eu)
    for number in range(7):
        world.eu.put(DB, f"lost {number}")
    versions = len(world.us.provider.versions(_key()))
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "first")
    assert len(world.us.provider.versions(_key())) == versions
    assert len(world.us.report.of(DB)) == 7


def test_what_the_old_source_never_holds_is_refused_there_too_once_its_own_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is carried over an epoch that is over is judged as everything else is."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.back(world.eu)
    world.eu.put(DB, "lost")
    monkeypatch.setattr(world.eu.provider, "limit", lambda key: 1 if key == _key() else None)
    report = world.replicator(world.us, world.eu).sync()
    assert [(step.name, step.action) for step in report.skipped] == [(DB, Action.REFUSED)]
    assert not report.failed
    assert world.us.report.value(DB).matches(text("lost"))


def test_a_new_name_of_the_old_source_is_kept_and_goes() -> None:
    """The new source never had it: there it is a deletion, above whatever the old one wrote."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.back(world.eu)
    world.eu.put("db/new", "lost")
    world.sync(world.us, world.eu)
    assert world.eu.holds("db/new", None)
    assert world.us.report.value("db/new").matches(text("lost"))
    world.us.put("db/new", "again")
    world.sync(world.us, world.eu)
    assert world.eu.holds("db/new", "again")


@pytest.mark.parametrize("written", [False, True])
def test_a_deletion_of_the_old_source_is_listed_and_undone(written: bool) -> None:
    """It was acknowledged, and the new source did not have it: a person is told, whichever is the newer."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    if written:
        world.us.put(DB, "new")
    world.back(world.eu)
    world.eu.delete(DB)
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "new" if written else "first")
    assert [one.deleted for one in world.us.report.of(DB)] == [True]


def test_a_deletion_at_the_new_source_wins_and_what_it_overtakes_is_kept() -> None:
    """No deletion is undone by what returns, and no acknowledged write is lost to it."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.delete(DB)
    world.back(world.eu)
    world.eu.put(DB, "lost")
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, None)
    assert world.us.report.value(DB).matches(text("lost"))


def test_what_was_replicated_and_then_deleted_by_the_new_source_is_not_kept() -> None:
    """The new source knows which write it deleted: its value does not live on in a report."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.delete(DB)
    world.back(world.eu)
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, None)
    assert world.us.report.names() == ()


def test_a_replica_that_only_lags_has_nothing_of_its_own() -> None:
    """It holds an older write of the very line that the new source goes on with: there is nothing to keep."""
    world = World()
    world.eu.put(DB, "second")
    world.eu.put(DB, "third")
    world.sync(world.eu, world.us)
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(DB, "new")
    world.sync(world.us, world.dr)
    assert world.dr.holds(DB, "new")
    assert world.us.report.names() == ()
    assert not world.dr.sheet.fenced


def test_a_replica_that_was_ahead_of_the_new_source_brings_what_it_has() -> None:
    """The third store had got a write that the one which took over had not: it is kept from there too."""
    world = World()
    world.eu.put(DB, "second")
    world.sync(world.eu, world.dr)
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(DB, "new")
    world.sync(world.us, world.dr)
    assert world.dr.holds(DB, "new")
    assert world.us.report.value(DB).matches(text("second"))


def test_what_returns_after_the_old_source_was_in_sync_is_kept_too() -> None:
    """A writer that had passed the fence's check is late, not lost: each apply looks, not only the first."""
    world = World()
    world.taken(world.us, drained_from=world.eu)
    world.us.put(DB, "new")
    world.sync(world.us, world.dr)
    late = world.eu.app.order
    fenced = world.eu.sheet
    world.eu.rewrite(_unfenced(fenced))
    world.eu.put(DB, "late")
    world.eu.rewrite(fenced)
    assert late.standing(_key()).record
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "new")
    assert world.us.report.value(DB).matches(text("late"))


@pytest.mark.parametrize("lost", [(), ("lost 1", "lost 2")])
def test_what_the_provider_had_copied_is_known_by_its_version_ids(lost: tuple[str, ...]) -> None:
    """Its copies bear no record: without their ids every name of the old source would be kept."""
    world = World(names=(), encrypted=False)
    world.eu.put(DB, "first")
    world.eu.put(DB, "second")
    world.us.copied_by_provider(world.eu, DB)
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(DB, "new")
    world.back(world.eu)
    for label in lost:
        world.eu.put(DB, label)
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "new")
    kept = [world.us.report.value(DB, one.record.write_id) for one in world.us.report.of(DB)]
    assert len(kept) == len(lost)
    assert all(value.matches(text(label)) for value, label in zip(kept, reversed(lost), strict=True))


def test_the_same_value_on_both_sides_is_nothing_to_keep() -> None:
    """Somebody put the leaked key's successor in by hand, in both regions: nobody misses anything."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(DB, "the same")
    world.back(world.eu)
    world.eu.put(DB, "the same")
    world.sync(world.us, world.eu)
    assert world.us.report.names() == ()
    assert world.eu.holds(DB, "the same")


def test_a_plan_says_that_something_is_kept_first() -> None:
    """Planning writes nothing; what it plans is what is done."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.back(world.eu)
    world.eu.put(DB, "lost")
    replicator = world.replicator(world.us, world.eu)
    plan = replicator.plan()
    assert [(step.action.value, step.reason) for step in plan.due] == [
        ("update", "the divergence report keeps what is here, first")
    ]
    assert not world.eu.sheet.fenced
    assert not replicator.apply(plan).failed
    assert world.eu.holds(DB, "first")


@pytest.mark.parametrize("skip", range(12))
def test_a_return_that_is_killed_is_gone_on_with(skip: int) -> None:
    """At each write of the new source: nothing is written over before it is kept, nor kept twice."""
    world = World()
    world.lost(world.eu)
    world.taken(world.us)
    world.us.put(DB, "new")
    world.back(world.eu)
    world.eu.put(DB, "lost 1")
    world.eu.put(DB, "lost 2")
    half, region = divmod(skip, 2)
    (world.us, world.eu)[region].provider.fault("put", kill, skip=half)
    try:
        world.sync(world.us, world.eu)
    except Killed:
        assert world.eu.get(DB) is not None
    world.us.provider.clear()
    world.eu.provider.clear()
    world.sync(world.us, world.eu)
    assert world.eu.holds(DB, "new")
    assert len(world.us.report.of(DB)) == 2
    assert world.us.report.names() == (DB,)


def _key() -> Name:
    return Name(DB)


def _unfenced(sheet: Sheet) -> Sheet:
    return replace(sheet, epoch=1, takeover=NO_TAKEOVER, source="prod-eu", fenced=False)
