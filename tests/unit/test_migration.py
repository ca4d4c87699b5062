"""Migration: all versions in order, none twice, and what the target cannot hold is told before any write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Absent, Capability, SecretVersion, Stage, WriteBudget
from strongroom.cli.copying import target_of
from strongroom.errors import (
    IntegrityError,
    SecretConflictError,
    SecretNotFoundError,
    UnsupportedOperationError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Key
from strongroom.replication.history import carried
from strongroom.replication.migrating import Existing, Migration, Move, Outcome, Step
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import unavailable
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.unit.core_support import COMPANION, NAME, memory, text

VALUES = st.lists(st.sampled_from("abc"), max_size=6)
ROTATION = "00000000-0000-4000-8000-000000000001"


class Tight(MemoryBackend):
    """Takes short values only."""

    def limit(self, key: Key) -> int | None:
        return 200


class Forgetful(MemoryBackend):
    """Keeps two versions of a secret, as a mount of Vault may."""

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        return super().versions(key)[:2]


class Lying(MemoryBackend):
    """Writes something else than it was given."""

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return super().put(key, SecretValue(text("other")), if_version, record)


def store(capabilities: Capability = ALL) -> SecretStore:
    """An empty one."""
    return SecretStore(MemoryBackend(capabilities), cache=None)


def filled(*labels: str, capabilities: Capability = ALL) -> SecretStore:
    """A store whose secret had these values, one after the other."""
    made = store(capabilities)
    for label in labels:
        made.put(NAME, text(label))
    return made


def migrate(
    source: SecretStore, target: SecretStore, *names: str, existing: Existing = "refuse"
) -> tuple[list[Step], Outcome]:
    """Plan and apply."""
    migration = Migration(source, target_of(target), existing=existing)
    steps = migration.plan(names or (NAME,))
    return steps, migration.apply(steps)


def history(of: SecretStore, name: str = NAME) -> list[str]:
    """The labels of a secret's values, oldest first."""
    values = [of.get(name, version=version.id).value for version in reversed(of.versions(name))]
    return [value.reveal_text().removeprefix(f"{CANARY} ") for value in values]


def test_all_versions_arrive_oldest_first_with_stages_kind_and_tags() -> None:
    """Current is current, previous is previous, binary stays binary, and tags come along."""
    source, target = filled("one", "two"), store()
    source.put(NAME, b"\xff" + CANARY.encode())
    source.set_tags(NAME, {"owner": "ledger"})
    steps, outcome = migrate(source, target)
    assert [(step.move, len(step.versions)) for step in steps] == [(Move.CREATE, 3)]
    assert (len(outcome.versions[NAME]), outcome.errors) == (3, {})
    current, previous = target.get(NAME).value, target.get(NAME, stage=Stage.PREVIOUS).value
    assert (current, current.kind) == (source.get(NAME).value, "binary")
    assert previous == SecretValue(text("two"))
    assert target.describe(NAME).tags == {"owner": "ledger"}


def test_a_repeat_writes_nothing() -> None:
    """Every version is there already, and compares equal."""
    source, target = filled("one", "two"), store()
    migrate(source, target)
    steps, outcome = migrate(source, target)
    assert ([step.move for step in steps], outcome.versions) == ([Move.SAME], {})
    assert history(target) == ["one", "two"]


@pytest.mark.parametrize("calls", range(4))
def test_what_an_outage_broke_off_is_resumed_without_a_version_twice(calls: int) -> None:
    """Wherever it was broken off, a repeat carries exactly the versions that are missing."""
    source, faulty = filled("one", "two", "one"), memory()
    target = SecretStore(faulty, cache=None)
    steps = Migration(source, target_of(target)).plan([NAME])
    faulty.fault("put", unavailable, skip=calls)
    outcome = Migration(source, target_of(target)).apply(steps)
    assert bool(outcome.errors) == (calls < 3)
    faulty.clear()
    again, _ = migrate(source, target)
    assert len(again[0].versions) == max(0, 3 - calls)
    assert history(target) == ["one", "two", "one"]


def test_what_changed_meanwhile_is_carried_by_a_repeat() -> None:
    """The last run before the move takes what was written since the first."""
    source, target = filled("one"), store()
    migrate(source, target)
    source.put(NAME, text("two"))
    steps, _ = migrate(source, target)
    assert [step.move for step in steps] == [Move.CONTINUE]
    assert history(target) == ["one", "two"]


def test_another_value_is_a_collision_before_any_write() -> None:
    """Refused whole; kept, or replaced by the current value alone, when that was asked for."""
    source, target = filled("one", "two"), filled("mine")
    source.put("other", text("new"))
    with pytest.raises(SecretConflictError, match="nothing was written"):
        migrate(source, target, NAME, "other")
    assert list(target.list_names()) == [NAME]
    steps, _ = migrate(source, target, existing="keep")
    assert ([step.move for step in steps], history(target)) == ([Move.KEEP], ["mine"])
    steps, _ = migrate(source, target, existing="replace")
    assert ([step.move for step in steps], history(target)) == ([Move.REPLACE], ["mine", "two"])
    steps, _ = migrate(source, target)
    assert [step.move for step in steps] == [Move.SAME]


def test_a_writer_in_the_target_is_not_overwritten() -> None:
    """The plan's version guards the first write, and each write the next one."""
    source, target = filled("one", "two"), store()
    migration = Migration(source, target_of(target))
    steps = migration.plan([NAME])
    target.put(NAME, text("mine"))
    outcome = migration.apply(steps)
    assert isinstance(outcome.errors[NAME], SecretConflictError)
    assert history(target) == ["mine"]


def test_a_value_over_the_limit_is_told_before_any_write() -> None:
    """An older version stays behind alone; a current one takes its secret with it."""
    long = "x" * 300
    source, target = filled("one", long, "three"), SecretStore(Tight(), cache=None)
    source.put("long", text(long))
    steps = Migration(source, target_of(target)).plan([NAME, "long"])
    assert [step.move for step in steps] == [Move.CREATE, Move.LEAVE]
    told = [(loss.name, loss.what) for step in steps for loss in step.losses]
    assert told == [(NAME, "version"), ("long", "secret")]
    assert_no_canary(*(loss.why for step in steps for loss in step.losses))
    assert list(target.list_names()) == []
    migrate(source, target, NAME, "long")
    assert history(target) == ["one", "three"]
    assert list(target.list_names()) == [NAME]


def test_a_name_that_the_target_takes_not_is_told() -> None:
    """A native name does not fit a store of portable names."""
    source = SecretStore(MemoryBackend(), names="native", cache=None)
    source.put("Legacy Name", text("one"))
    (step,) = Migration(source, target_of(store())).plan(["Legacy Name"])
    assert (step.move, step.losses[0].what) == (Move.LEAVE, "secret")


def test_a_target_without_versions_takes_the_current_value_and_tells_of_the_history() -> None:
    """The same in the other direction: what the source does not keep cannot be carried."""
    flat = ALL & ~(Capability.VERSIONS | Capability.NATIVE_PENDING | Capability.TAGS)
    source, target = filled("one", "two"), store(flat)
    source.set_tags(NAME, {"owner": "ledger"})
    steps, _ = migrate(source, target)
    assert [loss.what for loss in steps[0].losses] == ["history", "tags"]
    assert target.get(NAME).value == SecretValue(text("two"))
    back = store()
    steps, _ = migrate(target, back)
    assert (steps[0].losses, history(back)) == ((), ["two"])


@pytest.mark.parametrize("capabilities", [ALL, COMPANION])
def test_a_pending_value_stays_behind(capabilities: Capability) -> None:
    """It belongs to a rotation of the source."""
    source, target = filled("one", capabilities=capabilities), store()
    source.pending(NAME, ROTATION).put(text("next"), base_version=source.get(NAME).version)
    steps, _ = migrate(source, target)
    assert history(target) == ["one"]
    if Capability.NATIVE_PENDING in capabilities:
        assert [loss.what for loss in steps[0].losses] == ["pending"]


def test_what_the_target_forgets_is_told_afterwards() -> None:
    """Vault keeps so many versions of a secret as its mount says: that only shows when they are gone."""
    source, target = filled("one", "two", "three"), SecretStore(Forgetful(), cache=None)
    _, outcome = migrate(source, target)
    assert [loss.what for loss in outcome.losses] == ["history"]
    steps, _ = migrate(source, target)
    assert [step.move for step in steps] == [Move.SAME]


def test_a_target_that_gives_back_something_else_is_found() -> None:
    """Each version is read back by its id."""
    _, outcome = migrate(filled("one"), SecretStore(Lying(), cache=None))
    assert isinstance(outcome.errors[NAME], IntegrityError)


def test_a_name_that_the_source_lacks_and_a_target_that_cannot_be_written_are_refused() -> None:
    """Before any write."""
    with pytest.raises(SecretNotFoundError, match="not in the source"):
        migrate(filled("one"), store(), "none")
    with pytest.raises(UnsupportedOperationError):
        migrate(filled("one"), store(ALL.reads))


def test_a_copy_writes_no_faster_than_the_target_takes() -> None:
    """Three versions at one in ten seconds: two waits, by the clock that was given."""

    class Slow(MemoryBackend):
        write_budget = WriteBudget(1, 10.0)

    clock, source = FakeClock(), filled("one", "two", "three")
    migration = Migration(source, target_of(SecretStore(Slow(), cache=None), clock))
    assert migration.apply(migration.plan([NAME])).errors == {}
    assert clock.slept == [10.0, 10.0]


def test_a_target_that_is_down_ends_the_run() -> None:
    """The other names would wait for the same outage, each for itself."""
    source = filled("one")
    source.put("b", text("b"))
    faulty = memory()
    faulty.fault("put", unavailable)
    _, outcome = migrate(source, SecretStore(faulty, cache=None), NAME, "b")
    assert list(outcome.errors) == [NAME]
    assert outcome.versions == {}


def _values(letters: list[str]) -> list[SecretValue]:
    return [SecretValue(text(letter)) for letter in letters]


@given(VALUES, st.integers(0, 6))
def test_a_run_broken_off_anywhere_is_completed_exactly(letters: list[str], written: int) -> None:
    """What is there and what is carried make the source's history, with no version twice."""
    there = letters[:written]
    done = carried(_values(there), _values(letters))
    assert done is not None
    assert there + letters[done:] == letters


@given(VALUES, VALUES)
def test_whatever_the_target_holds_its_end_comes_out_as_the_sources(
    there: list[str], letters: list[str]
) -> None:
    """Or it is another's, and nothing is carried without being asked for."""
    done = carried(_values(there), _values(letters))
    if done is not None and letters:
        assert (there + letters[done:])[-1] == letters[-1]
    if letters and there and there[-1] not in letters:
        assert done is None
