"""A replicator over pairs of unlike stores: what the source has is at the replica, written once each."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.backend import Stage
from strongroom.names import Name
from strongroom.replication.page import read_page
from tests.unit.replication_support import DB, KINDS, Pair, actions, delete, pair, read, value

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def two(kind: str, tmp_path: Path) -> Pair:
    """A source and an empty replica."""
    return pair(kind, tmp_path)


def test_what_is_written_at_the_source_stands_at_the_replica_with_its_record(two: Pair) -> None:
    """Value and record are the source's, and what is equal is not written again."""
    two.write()
    report = two.sync()
    assert actions(report.done) == {"db/password": "create"}
    assert two.at_replica() == "one"
    assert two.there.get(DB, Stage.CURRENT).record == two.here.get(DB, Stage.CURRENT).record


def test_a_new_version_replaces_the_old_one_once(two: Pair) -> None:
    """An update is one version at the replica."""
    two.write()
    two.sync()
    two.write(text="two")
    assert actions(two.sync().done) == {"db/password": "update"}
    assert two.at_replica() == "two"
    assert len(two.there.versions(DB)) == 2


def test_nothing_changed_costs_neither_write_nor_read_of_a_secret(two: Pair) -> None:
    """Two lists; a listing tells the records of all these kinds."""
    names = [Name(f"app/n{n}") for n in range(12)]
    for name in names:
        two.write(name)
    two.sync()
    two.forget_calls()
    plan = two.replicator().plan()
    assert not plan.due
    assert len(plan.steps) == 12
    assert two.here.calls["list"] == two.there.calls["list"] == 1
    assert two.here.calls["get"] <= 2  # the sheets
    assert two.there.calls["get"] <= 2
    two.sync()
    assert two.here.calls["writes"] == two.there.calls["writes"] == 0


def test_a_deletion_is_carried_and_not_undone_by_a_late_write(two: Pair) -> None:
    """What arrives below the tombstone goes again."""
    two.write()
    two.sync()
    late = two.there.get(DB, Stage.CURRENT)
    delete_at_source(two)
    assert actions(two.sync().done) == {"db/password": "delete"}
    assert two.at_replica() is None
    two.there.purge(DB)
    two.there.put(DB, late.value, None, late.record)
    two.sync()
    assert two.at_replica() is None


def test_a_secret_that_is_restored_is_at_the_replica_again(two: Pair) -> None:
    """It stands above its tombstone."""
    two.write()
    two.sync()
    delete_at_source(two)
    two.sync()
    two.app.restore(DB)
    assert actions(two.sync().done) == {"db/password": "restore"}
    assert two.at_replica() == "one"
    assert not two.replicator().plan().due


def test_a_secret_that_vanished_without_a_trace_is_deleted(two: Pair) -> None:
    """Purged past Strongroom: the replicator writes the tombstone itself."""
    two.write()
    two.sync()
    two.here.inner.purge(DB)
    assert actions(two.sync().done) == {"db/password": "delete"}
    assert two.at_replica() is None
    assert two.order.standing(DB).record is not None


def test_a_version_that_something_else_wrote_at_the_source_is_carried(two: Pair) -> None:
    """It bears no record, so the source's page gives it one."""
    two.write()
    two.sync()
    two.here.inner.put(DB, value("console"), None)
    assert actions(two.sync().done) == {"db/password": "update"}
    assert two.at_replica() == "console"
    assert not two.replicator().plan().due


def test_what_the_replica_holds_of_others_is_left_alone_until_it_is_adopted(two: Pair) -> None:
    """Foreign names are shown, and written over only by name."""
    two.there.inner.put(DB, value("theirs"), None)
    two.write()
    plan = two.replicator().plan()
    assert actions(plan.waiting) == {"db/password": "foreign"}
    assert actions(two.sync().skipped) == {"db/password": "foreign"}
    assert two.at_replica() == "theirs"
    report = two.replicator().adopt(["db/password"])
    assert not report.failed
    assert two.at_replica() == "one"
    assert not two.replicator().plan().waiting


def test_a_replica_that_somebody_wrote_over_is_drift_and_can_be_adopted_again(two: Pair) -> None:
    """The same record is applied once more over the stranger's version."""
    two.write()
    two.sync()
    two.write(text="two")
    two.sync()
    two.there.inner.put(DB, value("theirs"), None)
    assert two.replicator().status().drift == 1
    two.sync()
    assert two.at_replica() == "theirs"
    assert not two.replicator().adopt(["db/password"]).failed
    assert two.at_replica() == "two"


def test_two_values_at_one_place_are_quarantined_until_a_person_decides(two: Pair) -> None:
    """Nothing is written, not even when the source goes on; adopting takes the source's."""
    two.write()
    two.sync()
    record = two.order.next(DB)[1](value("other"))
    two.write(text="two")
    held = two.there.get(DB, Stage.CURRENT)
    two.there.inner.put(DB, value("other"), held.version, record.text)
    assert actions(two.sync().skipped) == {"db/password": "quarantine"}
    two.write(text="three")
    assert actions(two.sync().skipped) == {"db/password": "quarantine"}
    assert two.at_replica() == "other"
    assert two.replicator().status().quarantined == 1
    assert not two.replicator().adopt(["db/password"]).failed
    assert two.at_replica() == "three"
    assert two.replicator().status().healthy
    assert read_page(two.here, DB)[0].quarantine is None
    two.write(text="four")
    assert actions(two.sync().done) == {"db/password": "update"}


def test_names_outside_the_patterns_are_not_touched(two: Pair) -> None:
    """Neither carried nor deleted."""
    two.write(Name("web/key"))
    two.there.inner.put(Name("own/key"), value("own"), None)
    two.write()
    two.sync(names=("db/**",))
    assert two.at_replica(Name("web/key")) is None
    assert two.at_replica(Name("own/key")) == "own"
    assert two.at_replica() == "one"


def test_many_names_at_once_end_as_one_by_one(two: Pair) -> None:
    """Threads share orders, budget and events."""
    names = [Name(f"app/n{n}") for n in range(20)]
    for name in names:
        two.write(name, str(name))
    seen: list[tuple[int, int]] = []
    report = two.replicator(parallel=4).sync(progress=lambda done, of: seen.append((done, of)))
    assert len(report.done) == 20
    assert seen == [(n, 20) for n in range(1, 21)]
    assert [two.at_replica(name) for name in names] == [str(name) for name in names]


def delete_at_source(two: Pair) -> None:
    delete(two.app)
    assert read(two.here) is None
