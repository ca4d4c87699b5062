"""Replication interrupted, raced or cut off: readers see what is whole, no version is written twice."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import Absent, Backend, Secret, SecretInfo, SecretVersion, Stage
from strongroom.companion import Frame, find
from strongroom.errors import IntegrityError, SecretConflictError, UnavailableError
from strongroom.layers.layer import Layer
from strongroom.names import Companion, Key, Name
from strongroom.replication.bearing import Bearing
from strongroom.replication.holding import read_holding
from strongroom.replication.page import Page, write_page
from strongroom.replication.plan import Action
from strongroom.stages import Pending
from strongroom.value import SecretValue
from tests.unit.replication_support import DB, KINDS, Counted, Pair, actions, delete, pair, value

NATIVE_AND_NOT = ("memory", "companion")
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"


class Killed(BaseException):
    """The process is gone: nothing that it would have done is done."""


class Mortal(Counted):
    """Dies at the write of a number, before it reaches the store or after."""

    def __init__(self, inner: Backend):
        super().__init__(inner)
        self.dies_at, self.after, self.passed = 0, False, 0

    def write(self, call: Any, *args: Any) -> Any:
        self.passed += 1
        if self.passed == self.dies_at and not self.after:
            raise Killed
        result = call(*args)
        if self.passed == self.dies_at:
            raise Killed
        return result

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self.write(super().put, key, value, if_version, record)  # type: ignore[no-any-return]

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        put = super().put_pending
        return self.write(put, key, rotation_id, value, base_version, record)  # type: ignore[no-any-return]

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return self.write(super().promote_pending, key, rotation_id)  # type: ignore[no-any-return]

    def delete(self, key: Key) -> None:
        self.write(super().delete, key)

    def purge(self, key: Key) -> None:
        self.write(super().purge, key)

    def retire(self, key: Key, version: str) -> None:
        self.write(super().retire, key, version)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_at_any_write_leaves_the_old_version_or_the_new_and_is_gone_on_with(
    tmp_path: Path, kind: str, after: bool
) -> None:
    """The next run writes nothing a second time: there are as many versions as the source wrote."""
    for point in range(1, 30):
        (tmp_path / str(point)).mkdir()
        two = pair(kind, tmp_path / str(point))
        two.there = mortal = Mortal(two.there)
        two.write()
        two.sync()
        two.write(text="two")
        mortal.dies_at, mortal.after, mortal.passed = point, after, 0
        if not dies(two):
            assert point > 2, "an update has a payload and a promotion"
            return
        assert two.at_replica() in ("one", "two")
        mortal.dies_at = 0
        two.sync()
        assert two.at_replica() == "two"
        assert len(two.there.versions(DB)) == 2
        assert not two.replicator().plan().due
    pytest.fail("an update has no end")


@pytest.mark.parametrize("kind", NATIVE_AND_NOT)
def test_a_payload_left_by_a_crash_gives_way_to_a_newer_version(tmp_path: Path, kind: str) -> None:
    """The older one is finished, or superseded; either way order holds and the newest stands."""
    two = pair(kind, tmp_path)
    two.there = mortal = Mortal(two.there)
    two.write()
    two.sync()
    two.write(text="two")
    mortal.dies_at, mortal.after, mortal.passed = 1, True, 0
    assert dies(two)
    mortal.dies_at = 0
    two.write(text="three")
    two.sync()
    assert two.at_replica() == "three"
    assert len(two.there.versions(DB)) <= 3
    assert not two.replicator().plan().due
    if kind == "companion":
        assert len(two.there.versions(Companion(DB))) == 1, "what was superseded is destroyed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_write_of_a_deletion_is_gone_on_with(tmp_path: Path, kind: str, after: bool) -> None:
    """Tombstone first, then the secret, then its companion."""
    for point in range(1, 10):
        (tmp_path / str(point)).mkdir()
        two = pair(kind, tmp_path / str(point))
        two.there = mortal = Mortal(two.there)
        two.write()
        two.sync()
        delete(two.app)
        mortal.dies_at, mortal.after, mortal.passed = point, after, 0
        if not dies(two):
            return
        mortal.dies_at = 0
        two.sync()
        assert two.at_replica() is None
        assert not two.replicator().plan().due
    pytest.fail("a deletion has no end")


@pytest.mark.parametrize("kind", NATIVE_AND_NOT)
def test_two_replicators_at_once_write_each_version_once(tmp_path: Path, kind: str) -> None:
    """The second comes in the middle of the first's write, and does all of it."""
    two = pair(kind, tmp_path)
    two.write()
    two.sync()
    two.write(text="two")
    other = two.replicator()
    for call in ("put_pending", "put"):
        two.there.during[call] = other.sync
    two.sync()
    assert two.at_replica() == "two"
    assert len(two.there.versions(DB)) == 2


@pytest.mark.parametrize("kind", NATIVE_AND_NOT)
def test_a_worker_that_wakes_late_does_not_undo_a_newer_version(tmp_path: Path, kind: str) -> None:
    """It was stopped before its promotion; two versions have come since."""
    two = pair(kind, tmp_path)
    two.write()
    two.sync()
    two.write(text="two")
    late = two.replicator()

    def meanwhile() -> None:
        two.write(text="three")
        two.replicator().sync()

    two.there.during["promote_pending" if kind == "memory" else "put"] = meanwhile
    assert not late.sync().failed
    two.sync()
    assert two.at_replica() == "three"
    assert not two.replicator().plan().due


def test_a_worker_that_wakes_late_does_not_displace_a_newer_payload(tmp_path: Path) -> None:
    """Whoever put it there died before it was promoted; the older version is not written any more."""
    two = pair("companion", tmp_path)
    two.there = mortal = Mortal(two.there)
    two.write()
    two.sync()
    two.write(text="two")
    late = two.replicator()

    def meanwhile() -> None:
        two.write(text="three")
        mortal.dies_at, mortal.after, mortal.passed = 1, True, 0
        assert dies(two)
        mortal.dies_at = 0

    two.there.during["put"] = meanwhile
    assert not late.sync().failed
    assert two.at_replica() == "three"
    assert len(two.there.versions(DB)) == 2


def test_of_two_that_restore_at_once_neither_destroys_what_the_other_wrote(tmp_path: Path) -> None:
    """The bin is emptied only while the name is in it."""
    two = pair("memory", tmp_path)
    two.write()
    two.sync()
    delete(two.app)
    two.sync()
    two.app.restore(DB)
    two.there.during["put"] = two.sync
    assert not two.replicator().sync().failed
    assert two.at_replica() == "one"
    assert two.there.calls["purge"] == 1


@pytest.mark.parametrize("kind", NATIVE_AND_NOT)
def test_a_rotation_that_is_pending_at_the_replica_is_not_destroyed(tmp_path: Path, kind: str) -> None:
    """It was the source once, and the target may know that value; a person cleans."""
    two = pair(kind, tmp_path)
    two.write()
    two.sync()
    record = two.order.next(DB)[1](value("pending"))  # as a source's rotation bears one
    pending = Pending(Bearing(two.there, record), DB, ROTATION)
    pending.put(value("pending"), base_version=two.there.versions(DB)[0].id)
    two.write(text="two")
    report = two.replicator().sync()
    assert isinstance(report.failed["db/password"], SecretConflictError)
    assert two.at_replica() == "one"
    assert pending.get().value == value("pending")


class Lane(Layer):
    """A source whose current version another tool chooses among those that there are."""

    chosen: str | None = None

    def get(self, key: Key, version: str | Stage) -> Secret:
        wanted = self.chosen if self.chosen and key == DB and version is Stage.CURRENT else version
        return self.inner.get(key, wanted)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        for info in self.inner.list_info(prefix, detail):
            chosen = self.chosen and info.key == DB and self.inner.get(DB, self.chosen).record
            yield replace(info, record=chosen) if chosen else info


def test_a_source_whose_label_was_moved_back_takes_its_replica_along(tmp_path: Path) -> None:
    """It has the newer version still: that is a person's will, and is ordered above it."""
    two = pair("memory", tmp_path)
    two.write()
    lane = Lane(two.here)
    older = two.here.versions(DB)[0].id
    two.write(text="two")
    two.here = Counted(lane)
    two.sync()
    lane.chosen = older
    assert actions(two.replicator().plan().steps) == {"db/password": "update"}
    two.sync()
    assert two.at_replica() == "one"
    assert not two.replicator().plan().due


def test_a_write_on_a_version_whose_label_was_moved_back_is_no_second_source(tmp_path: Path) -> None:
    """It has the place of what the replica has, and the source has that too: nothing is quarantined."""
    two = pair("memory", tmp_path)
    two.write()
    two.write(text="two")
    two.sync()
    inner: Any = two.here.inner
    inner._entries[DB].history.reverse()
    two.write(text="three")
    assert actions(two.replicator().plan().steps) == {"db/password": "update"}
    assert not two.sync().skipped
    assert two.at_replica() == "three"


def test_a_source_out_of_a_backup_does_not_take_its_replica_along(tmp_path: Path) -> None:
    """What it has lost was acknowledged: the replica is the last to have it, and a person decides."""
    two = pair("memory", tmp_path)
    two.write()
    inner: Any = two.here.inner
    saved = copy.deepcopy(inner._entries[DB])
    two.write(text="two")
    two.sync()
    inner._entries[DB] = saved
    assert actions(two.sync().skipped) == {"db/password": "ahead"}
    assert two.at_replica() == "two"
    assert not two.replicator().adopt(["db/password"]).failed
    assert two.at_replica() == "one"


class Lying(Layer):
    """Keeps something else than it is given as a payload, as a damaged disk or a wrong key would."""

    def put(
        self, key: Key, given: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if isinstance(key, Companion) and Frame.split(given)[0].held:
            given = Frame.split(given)[0].with_value(value("garbled"))
        return self.inner.put(key, given, if_version, record)

    def put_pending(
        self, key: Key, rotation_id: str, given: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put_pending(key, rotation_id, value("garbled"), base_version, record)


@pytest.mark.parametrize("kind", NATIVE_AND_NOT)
def test_a_payload_that_does_not_come_back_as_it_was_is_never_read(tmp_path: Path, kind: str) -> None:
    """Read back before it is promoted: readers keep the version before."""
    two = pair(kind, tmp_path)
    two.write()
    two.sync()
    two.write(text="two")
    two.there = Counted(Lying(two.there))
    assert isinstance(two.replicator().sync().failed["db/password"], IntegrityError)
    assert two.at_replica() == "one"


class Careless(Layer):
    """Takes a payload as it is, and makes something else of it."""

    def __init__(self, inner: Backend, fault: str):
        super().__init__(inner)
        self._fault = fault

    def put(
        self, key: Key, given: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if isinstance(key, Name) and self._fault == "record":
            record = None
        elif isinstance(key, Name):
            given = value("garbled")
        return self.inner.put(key, given, if_version, record)


@pytest.mark.parametrize("fault", ["record", "value"])
def test_what_stands_at_the_replica_otherwise_than_it_was_written_is_told(tmp_path: Path, fault: str) -> None:
    """The last of three: a version that is not what it should be is a failure, not a sync."""
    two = pair("companion", tmp_path)
    two.write()
    two.there = Counted(Careless(two.there, fault))
    error = two.replicator().sync().failed["db/password"]
    assert isinstance(error, IntegrityError)
    assert error.performed


def test_a_record_that_was_copied_to_another_value_proves_nothing(tmp_path: Path) -> None:
    """It is of one value: whoever looks closer finds a stranger's."""
    two = pair("memory", tmp_path)
    two.write()
    two.sync()
    two.there.put(DB, value("theirs"), None, two.there.get(DB, Stage.CURRENT).record)
    assert actions(two.replicator().plan(["db/password"]).steps) == {"db/password": "foreign"}


def test_what_a_page_says_of_a_version_counts_at_a_replica_too(tmp_path: Path) -> None:
    """It was the source once, and a console wrote that version."""
    two = pair("memory", tmp_path)
    two.write()
    version = two.there.put(DB, value("console"), None).id
    record = two.order.next(DB)[1](value("console"))
    write_page(two.there, DB, Page().with_binding(version, record), None)
    held = read_holding(two.there, DB, two.order.digest_key())
    assert (held.own, held.strange) == (record, "")


def test_what_has_changed_since_the_plan_is_not_done_by_it(tmp_path: Path) -> None:
    """A person agreed to an update; a deletion is another thing."""
    two = pair("memory", tmp_path)
    two.write()
    two.sync()
    two.write(text="two")
    replicator = two.replicator()
    plan = replicator.plan()
    assert [step.action for step in plan.due] == [Action.UPDATE]
    delete(two.app)
    report = replicator.apply(plan)
    assert isinstance(report.failed["db/password"], SecretConflictError)
    assert two.at_replica() == "one"
    assert actions(replicator.apply(replicator.plan()).done) == {"db/password": "delete"}


class Away(Layer):
    """Answers nothing but lists and sheets, and counts who asks."""

    asked = 0

    def put(
        self, key: Key, given: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if not isinstance(key, Name):
            return self.inner.put(key, given, if_version, record)
        self.asked += 1
        raise UnavailableError("no answer")


def test_a_replica_that_does_not_answer_is_not_asked_for_every_name(tmp_path: Path) -> None:
    """The other names are told of as not tried, and the next run takes them."""
    two = pair("memory", tmp_path)
    for n in range(30):
        two.write(Name(f"app/n{n}"))
    inner, away = two.there, Away(two.there)
    two.there = Counted(away)
    report = two.replicator().sync()
    assert away.asked == 8
    assert len(report.failed) == 8
    assert len(report.skipped) == 22
    assert not report.complete
    two.there = inner
    assert len(two.sync().done) == 30


def test_a_finished_payload_leaves_no_value_in_the_companion(tmp_path: Path) -> None:
    """What has been promoted is destroyed where it waited."""
    two = pair("companion", tmp_path)
    two.write()
    two.sync()
    two.write(text="two")
    two.sync()
    found = find(two.there, DB)
    assert found is not None
    assert not found.frame.held
    assert len(two.there.versions(Companion(DB))) == 1


def dies(two: Pair) -> bool:
    try:
        two.replicator().sync()
    except Killed:
        return True
    return False
