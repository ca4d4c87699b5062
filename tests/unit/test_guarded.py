"""The guard over a provider without compare-and-set, on a clock that is moved by hand."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.backend import ABSENT, Absent, Secret, SecretVersion, Settings
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.guarded import SKEW, Guard, Head, Port, Stamp
from strongroom.lease import Coordinator
from strongroom.names import Companion, Key, Name
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import text

NAME = Name("db/password")
TIMEOUT = 5.0
LEASE = 3 * TIMEOUT + SKEW


@dataclass
class Kept:
    """One version on the shelf."""

    id: str
    value: SecretValue
    stamp: Stamp | None
    record: str | None = None
    disabled: bool = False


class Shelf(Port):
    """A provider: the newest version is current, and nothing is ever refused."""

    def __init__(self) -> None:
        self.kept: dict[Key, list[Kept]] = {}
        self.calls: Counter[str] = Counter()
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}

    @contextlib.contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.calls[name] += 1
        self.before.pop(name, lambda: None)()
        yield
        self.after.pop(name, lambda: None)()

    def head(self, key: Key) -> Head | None:
        with self._call("head"):
            return next(iter(self._heads(key)), None)

    def heads(self, key: Key) -> Sequence[Head]:
        with self._call("heads"):
            return self._heads(key)

    def _heads(self, key: Key) -> list[Head]:
        return [Head(kept.id, kept.stamp) for kept in self.kept.get(key, [])[::-1] if not kept.disabled]

    def get(self, key: Key, version: str) -> Secret:
        kept = next(kept for kept in self.kept[key] if kept.id == version)
        with self._call("get"):
            if kept.disabled:
                raise SecretNotFoundError("disabled")
        return Secret(str(key), kept.value, kept.id, record=kept.record)

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        with self._call("write"):
            return SecretVersion(self.add(key, value, stamp, record).id)

    def add(
        self, key: Key, value: SecretValue, stamp: Stamp | None = None, record: str | None = None
    ) -> Kept:
        """A version arrives: without a stamp somebody else's."""
        shelf = self.kept.setdefault(key, [])
        shelf.append(Kept(f"v{sum(map(len, self.kept.values())) + 1}", value, stamp, record))
        return shelf[-1]

    def seen(self, key: Key = NAME) -> SecretValue:
        """What a native reader gets."""
        return next(kept.value for kept in self.kept[key][::-1] if not kept.disabled)


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def lost() -> Callable[[], None]:
    return raising(UnavailableError("no answer", performed=None))


def value(label: str) -> SecretValue:
    return SecretValue(text(label))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def leases(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[[], SQLiteCoordinator]]:
    """Coordinators of several processes of one machine."""
    with contextlib.ExitStack() as ends:

        def make() -> SQLiteCoordinator:
            made = SQLiteCoordinator(tmp_path / "leases.db", clock)
            ends.callback(made.close)
            return made

        yield make


@pytest.fixture
def coordinator(leases: Callable[[], SQLiteCoordinator]) -> SQLiteCoordinator:
    return leases()


def guarding(
    shelf: Port, clock: FakeClock, coordinator: Coordinator | None, *, creates: bool = False
) -> Guard:
    how = Settings(clock=clock, timeout=TIMEOUT, coordinator=coordinator)
    return Guard(shelf, how, lambda key: f"shelf://{key}", creates=creates)


@pytest.fixture
def guard(shelf: Shelf, clock: FakeClock, coordinator: SQLiteCoordinator) -> Guard:
    return guarding(shelf, clock, coordinator)


@pytest.fixture
def other(shelf: Shelf, clock: FakeClock, leases: Callable[[], SQLiteCoordinator]) -> Guard:
    """Another process's guard."""
    return guarding(shelf, clock, leases())


def put(guard: Guard, label: str, if_version: str | Absent | None = None, key: Key = NAME) -> str:
    return guard.put(key, value(label), if_version, None).id


def test_without_a_coordinator_a_condition_is_refused_before_anything_is_sent(
    shelf: Shelf, clock: FakeClock
) -> None:
    """A comparison that does not hold until the write is none ▲."""
    guard = guarding(shelf, clock, None)
    for condition in ("v1", ABSENT):
        with pytest.raises(UnsupportedOperationError, match="coordinator"):
            put(guard, "x", condition)
    assert not shelf.calls
    assert not guard.active


def test_without_a_coordinator_a_write_says_upon_what_it_was_made(shelf: Shelf, clock: FakeClock) -> None:
    """So that the order can be told, and a lost answer found."""
    guard = guarding(shelf, clock, None)
    first, second = put(guard, "1"), put(guard, "2")
    stamps = [kept.stamp for kept in shelf.kept[NAME]]
    assert [(stamp.before, stamp.fence) for stamp in stamps if stamp] == [(None, 0), (first, 0)]
    assert [head.version for head in guard.line(NAME)] == [second, first]


def test_where_the_provider_creates_no_coordinator_is_needed_for_that(shelf: Shelf, clock: FakeClock) -> None:
    """SSM refuses to overwrite by itself: the write goes out without a look."""
    guard = guarding(shelf, clock, None, creates=True)
    put(guard, "1", ABSENT)
    assert shelf.calls == {"write": 1}


def test_each_write_stands_upon_the_one_before_under_a_higher_fence(guard: Guard, shelf: Shelf) -> None:
    """Which is what every later judgement rests on."""
    first = put(guard, "1", ABSENT)
    second = put(guard, "2", first)
    third = put(guard, "3")
    stamps = [kept.stamp for kept in shelf.kept[NAME] if kept.stamp]
    assert [stamp.before for stamp in stamps] == [None, first, second]
    fences = [stamp.fence for stamp in stamps]
    assert fences == sorted(set(fences))
    assert [head.version for head in guard.line(NAME)] == [third, second, first]
    assert [head.version for head in guard.after(NAME, first)] == [second, third]


def test_a_condition_that_does_not_hold_writes_nothing(guard: Guard, shelf: Shelf) -> None:
    """An old id, one that never was, and absence."""
    first = put(guard, "1", ABSENT)
    put(guard, "2")
    shelf.calls.clear()
    for condition in (first, "never", ABSENT):
        with pytest.raises(SecretConflictError) as caught:
            put(guard, "x", condition)
        assert caught.value.performed is False
    assert "write" not in shelf.calls


def test_of_two_processes_that_saw_the_same_one_writes(guard: Guard, other: Guard) -> None:
    """What the lease is for."""
    base = put(guard, "1")
    put(guard, "2", base)
    with pytest.raises(SecretConflictError):
        put(other, "3", base)


def test_a_lost_answer_is_found_by_its_write_id(guard: Guard, shelf: Shelf) -> None:
    """The version that arrived is the answer; nothing is written twice."""
    shelf.after["write"] = lost()
    version = put(guard, "1")
    assert [kept.id for kept in shelf.kept[NAME]] == [version]
    assert put(guard, "2", version) != version


def test_a_lost_answer_that_is_not_found_is_unknown(guard: Guard, shelf: Shelf) -> None:
    """It may still arrive."""
    shelf.before["write"] = lost()
    with pytest.raises(UnavailableError) as caught:
        put(guard, "1")
    assert caught.value.performed is None


def test_a_lost_answer_that_cannot_be_looked_for_is_unknown(guard: Guard, shelf: Shelf) -> None:
    """The network is gone: neither a success nor a failure may be told."""
    shelf.after["write"] = lambda: (shelf.before.update(heads=lost()), lost()())
    with pytest.raises(UnavailableError) as caught:
        put(guard, "1")
    assert caught.value.performed is None


def test_a_write_that_was_refused_is_not_looked_for(guard: Guard, shelf: Shelf) -> None:
    """The error stays what it is."""
    throttled = UnavailableError("throttled", performed=False, retry_after=3)
    shelf.before["write"] = raising(throttled)
    with pytest.raises(UnavailableError) as caught:
        put(guard, "1")
    assert caught.value is throttled
    assert "heads" not in shelf.calls


def test_a_write_does_not_begin_when_too_little_of_the_lease_is_left(
    guard: Guard, shelf: Shelf, clock: FakeClock
) -> None:
    """It could arrive after another holder's ▲."""
    put(guard, "1")
    shelf.after["head"] = lambda: clock.advance(LEASE - TIMEOUT - SKEW)
    with pytest.raises(UnavailableError, match="too little") as caught:
        put(guard, "2")
    assert caught.value.performed is False
    assert shelf.calls["write"] == 1
    shelf.after["head"] = lambda: clock.advance(LEASE - TIMEOUT - SKEW - 0.1)
    put(guard, "2")


def test_neither_does_a_delete(
    guard: Guard, clock: FakeClock, leases: Callable[[], SQLiteCoordinator]
) -> None:
    """Nor restore or purge: they are writes."""

    class Slow(SQLiteCoordinator):
        def acquire(self, resource: str, seconds: float):  # type: ignore[no-untyped-def]
            lease = super().acquire(resource, seconds)
            clock.advance(LEASE - TIMEOUT)
            return lease

    guard._coordinator = Slow(leases()._file._path, clock)
    with pytest.raises(UnavailableError, match="too little"), guard.holding(NAME):
        pytest.fail("it began")
    guard._coordinator.close()


def overtaking(shelf: Shelf, clock: FakeClock, other: Guard, label: str) -> None:
    """The next write's caller is suspended past its lease; another process writes before it arrives."""

    def suspended() -> None:
        clock.advance(LEASE + 1)
        put(other, label)

    shelf.before["write"] = suspended


def test_a_holder_that_was_overtaken_is_told_that_it_does_not_know(
    guard: Guard, other: Guard, shelf: Shelf, clock: FakeClock
) -> None:
    """Its version is there, and may be written past: neither success nor conflict."""
    put(guard, "1")
    overtaking(shelf, clock, other, "2")
    with pytest.raises(UnavailableError, match="lease was lost") as caught:
        put(guard, "late")
    assert caught.value.performed is None


@pytest.mark.parametrize("who", ["the holder itself", "the other process"])
def test_the_harm_of_a_holder_that_woke_is_repaired_by_the_next_write(
    guard: Guard, other: Guard, shelf: Shelf, clock: FakeClock, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then readers may see the late value, the documented harm of CAS_GUARDED; afterwards no more."""
    put(guard, "1")
    overtaking(shelf, clock, other, "2")
    with contextlib.suppress(UnavailableError):
        put(guard, "late")
    assert shelf.seen() == value("late")
    base = shelf.kept[NAME][1].id
    writer = guard if who == "the holder itself" else other
    with caplog.at_level(logging.WARNING):
        put(writer, "3", base)  # its base is still what it read: being written again changes no base
    values = [kept.value for kept in shelf.kept[NAME]]
    assert values == [value(label) for label in ("1", "2", "late", "2", "3")]
    assert "written again" in caplog.text
    assert len(writer.line(NAME)) == 3


def test_a_repair_alone_is_enough(guard: Guard, other: Guard, shelf: Shelf, clock: FakeClock) -> None:
    """A write whose condition fails has settled what it found; the late value itself is no base."""
    put(guard, "1")
    overtaking(shelf, clock, other, "2")
    with contextlib.suppress(UnavailableError):
        put(guard, "late")
    late = shelf.kept[NAME][-1].id
    with pytest.raises(SecretConflictError):
        put(other, "3", late)
    assert shelf.seen() == value("2")
    assert late not in [head.version for head in other.line(NAME)]


def test_what_was_written_again_keeps_its_record_and_is_nothing_new(
    guard: Guard, other: Guard, shelf: Shelf, clock: FakeClock
) -> None:
    """Rotation asks what followed its base: the same value once more is not it."""
    base = guard.put(NAME, value("1"), None, "record-1").id
    shelf.add(NAME, value("late"), Stamp.new(None, 1))
    assert [kept.record for kept in shelf.kept[NAME]] == ["record-1", None]
    assert guard.after(NAME, base) == []
    assert [kept.record for kept in shelf.kept[NAME]] == ["record-1", None, "record-1"]
    newest = put(other, "2")
    assert [head.version for head in guard.after(NAME, base)] == [newest]


def test_a_value_that_was_disabled_is_not_brought_back(guard: Guard, shelf: Shelf) -> None:
    """A revoked version never becomes current again ▲."""
    put(guard, "1")
    put(guard, "2")
    shelf.add(NAME, value("late"), Stamp.new(None, 1))
    shelf.before["get"] = lambda: setattr(shelf.kept[NAME][1], "disabled", True)
    put(guard, "3")
    assert [kept.value for kept in shelf.kept[NAME]].count(value("2")) == 1
    assert shelf.seen() == value("3")


def test_a_foreign_version_is_reported_and_accepted(
    guard: Guard, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """A person in the provider's console: what they wrote is current, and the old base is one no more."""
    base = put(guard, "1")
    foreign = shelf.add(NAME, value("by hand")).id
    with caplog.at_level(logging.WARNING), pytest.raises(SecretConflictError):
        put(guard, "2", base)
    assert f"version {foreign} was written past the coordinator" in caplog.text
    caplog.clear()
    put(guard, "2", foreign)
    assert not caplog.records
    assert shelf.seen() == value("2")


def test_a_secret_that_was_there_before_the_coordinator_is_nobodys_fault(
    guard: Guard, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """The first guarded write of an old secret warns of nothing."""
    old = shelf.add(NAME, value("old")).id
    with caplog.at_level(logging.WARNING):
        put(guard, "1", old)
    assert not caplog.records


def test_a_crash_between_write_and_record_is_settled_by_the_next(
    guard: Guard, other: Guard, coordinator: SQLiteCoordinator, shelf: Shelf, clock: FakeClock
) -> None:
    """The version arrived under a fence upon the recorded one: it counts."""
    put(guard, "1")
    shelf.after["write"] = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        put(guard, "2")
    second = shelf.kept[NAME][-1].id
    put(other, "3", second)
    assert coordinator.recorded(f"shelf://{NAME}") == shelf.kept[NAME][-1].id


def test_of_two_late_ones_the_higher_fence_counts(guard: Guard, shelf: Shelf) -> None:
    """Both were written upon the recorded version; the lower fence's holder wrote last."""
    base = put(guard, "1")
    winner = shelf.add(NAME, value("winner"), Stamp.new(base, 9)).id
    shelf.add(NAME, value("loser"), Stamp.new(base, 8))
    put(guard, "2", winner)
    assert [kept.value for kept in shelf.kept[NAME]][-2:] == [value("winner"), value("2")]


def test_a_companion_is_read_settled(guard: Guard, shelf: Shelf) -> None:
    """A late frame of a rotation that is done would stop all that follow; a secret is read as natives do."""
    companion = Companion(NAME)
    put(guard, "held", key=companion)
    put(guard, "done", key=companion)
    shelf.add(companion, value("late frame"), Stamp.new(None, 1))
    settled = guard.settled(companion)
    assert settled == shelf.kept[companion][-1].id
    assert shelf.seen(companion) == value("done")
    assert guard.settled(NAME) is None
    assert guard.settled(Companion(Name("other"))) is None


def test_what_is_retired_between_settling_and_reading_is_read_anew(guard: Guard, shelf: Shelf) -> None:
    """Else another worker's `done` would make this one find nothing where its rotation was finished."""
    companion, read = Companion(NAME), list[str | None]()
    old = put(guard, "held", key=companion)

    def retired(version: str | None) -> str | None:
        read.append(version)
        if version == old:
            put(guard, "done", key=companion)
            raise SecretNotFoundError("retired")
        return version

    assert guard.current(companion, retired) == shelf.kept[companion][-1].id != old
    assert read == [old, shelf.kept[companion][-1].id]


def test_what_is_gone_is_not_looked_for_for_ever(guard: Guard) -> None:
    """Two looks at the same version say that it cannot be read; without one the newest is asked for."""
    companion, read = Companion(NAME), list[str | None]()

    def missing(version: str | None) -> None:
        read.append(version)
        raise SecretNotFoundError("gone")

    with pytest.raises(SecretNotFoundError):
        guard.current(NAME, missing)
    held = put(guard, "held", key=companion)
    with pytest.raises(SecretNotFoundError):
        guard.current(companion, missing)
    assert read == [None, held, held]


def test_without_a_coordinator_nothing_is_settled(shelf: Shelf, clock: FakeClock) -> None:
    """And nothing is asked."""
    assert guarding(shelf, clock, None).settled(Companion(NAME)) is None
    assert not shelf.calls


def test_what_followed_an_unknown_base_cannot_be_told(guard: Guard) -> None:
    """Never "nothing": a rotation would take itself for superseded."""
    put(guard, "1")
    with pytest.raises(SecretNotFoundError):
        guard.after(NAME, "gone")


def test_a_purge_forgets(guard: Guard, shelf: Shelf, coordinator: SQLiteCoordinator) -> None:
    """The next life begins without the last one's record, and its fences go on."""
    put(guard, "1")
    with guard.holding(NAME, forget=True):
        del shelf.kept[NAME]
    assert coordinator.recorded(f"shelf://{NAME}") == ""
    put(guard, "2", ABSENT)
    (stamp,) = [kept.stamp for kept in shelf.kept[NAME]]
    assert stamp
    assert stamp.before is None
    assert stamp.fence > 2


def test_a_purge_past_the_coordinator_is_noticed(guard: Guard, shelf: Shelf) -> None:
    """The record names what is not there: it is absent all the same."""
    put(guard, "1")
    del shelf.kept[NAME]
    assert guard.line(NAME) == []
    put(guard, "2", ABSENT)


def test_a_purge_that_failed_forgets_nothing(guard: Guard, coordinator: SQLiteCoordinator) -> None:
    """The secret is still there."""
    version = put(guard, "1")
    with pytest.raises(SecretStoreError), guard.holding(NAME, forget=True):
        raise UnavailableError("no answer")
    assert coordinator.recorded(f"shelf://{NAME}") == version
    assert coordinator.acquire(f"shelf://{NAME}", 1), "the lease was not given back"


def test_a_purge_whose_lease_was_overtaken_does_not_say_that_nothing_was_done(
    guard: Guard, other: Guard, shelf: Shelf, clock: FakeClock
) -> None:
    """It would be repeated, and destroy what the other holder has written since ▲."""

    def purge() -> None:
        with guard.holding(NAME, forget=True):
            del shelf.kept[NAME]
            clock.advance(LEASE + 1)
            put(other, "2", ABSENT)

    put(guard, "1")
    with pytest.raises(UnavailableError) as caught:
        purge()
    assert caught.value.performed is None
    assert shelf.seen() == value("2")


def test_without_a_coordinator_a_delete_holds_nothing(shelf: Shelf, clock: FakeClock) -> None:
    """It is allowed: it has no condition."""
    with guarding(shelf, clock, None).holding(NAME, forget=True):
        pass


def test_a_lease_that_another_holds_is_waited_for_and_not_for_ever(
    guard: Guard, coordinator: SQLiteCoordinator, shelf: Shelf, clock: FakeClock
) -> None:
    """A holder that died is outlived; one that never ends is an error with nothing done."""
    assert coordinator.acquire(f"shelf://{NAME}", LEASE)
    put(guard, "1")
    assert clock.monotonic() == pytest.approx(LEASE, abs=1)
    shelf.calls.clear()
    assert coordinator.acquire(f"shelf://{NAME}", 1e9)
    with pytest.raises(UnavailableError, match="another process") as caught:
        put(guard, "2")
    assert caught.value.performed is False
    assert not shelf.calls


def test_a_coordinator_that_does_not_answer_lets_nothing_be_written(
    shelf: Shelf, clock: FakeClock, tmp_path: Path
) -> None:
    """Conditions could not be kept; unconditional writes would run past others' leases."""
    guard = guarding(shelf, clock, SQLiteCoordinator(tmp_path / "gone" / "leases.db", clock))
    with pytest.raises(UnavailableError) as caught:
        put(guard, "1")
    assert caught.value.performed is False
    assert not shelf.calls


def test_a_coordinator_that_is_lost_during_the_write_leaves_it_unknown(
    guard: Guard, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The write is done, its place in the order is not; the lease runs out by itself."""
    down = UnavailableError("the coordinator does not answer")

    def cut() -> None:
        for method in ("record", "release"):
            monkeypatch.setattr(guard._coordinator, method, lambda *_: raising(down)())

    shelf.after["write"] = cut
    with caplog.at_level(logging.WARNING), pytest.raises(UnavailableError) as caught:
        put(guard, "1")
    assert caught.value.performed is None
    assert "runs out by itself" in caplog.text


def test_threads_of_one_process_queue(guard: Guard, clock: FakeClock) -> None:
    """None asks the coordinator for what its neighbour holds; each addition counts."""
    put(guard, "start")
    rounds = scaled(100)

    def add() -> None:
        for _ in range(rounds):
            while True:
                base = guard.line(NAME)[0].version
                with contextlib.suppress(SecretConflictError):
                    put(guard, "one more", base)
                    break

    at_once([add] * 8)
    assert len(guard.line(NAME)) == 8 * rounds + 1
    assert clock.slept == []


def test_a_child_process_waits_for_no_lock_of_its_parents(guard: Guard) -> None:
    """Every one of them may have been held when the fork was made."""
    for lock in guard._locks:
        lock.acquire()
    guard.after_fork()
    put(guard, "1")


WRITERS = st.sampled_from(["guarded", "conditional", "foreign", "late", "crashed"])


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteCoordinator]:
    """One coordinator for many secrets."""
    coordinator = SQLiteCoordinator(tmp_path_factory.mktemp("leases") / "leases.db", FakeClock())
    yield coordinator
    coordinator.close()


@settings(max_examples=scaled(300, "orders of writers under a guard"))
@given(writers=st.lists(WRITERS, max_size=14), name=st.uuids().map(lambda found: Name(str(found))))
def test_whoever_writes_in_whatever_order_the_last_rightful_value_is_current(
    everywhere: SQLiteCoordinator, writers: list[str], name: Name
) -> None:
    """Against a reference that simply knows who was right; late writers carry an overtaken fence."""
    shelf = Shelf()
    guard = guarding(shelf, FakeClock(), everywhere)
    first = put(guard, "0", key=name)
    put(guard, "1", key=name)
    expected = value("1")
    for turn, writer in enumerate(writers):
        label = f"{turn} {writer}"
        if writer == "late":
            shelf.add(name, value(label), Stamp.new(first, 1))
        elif writer == "foreign":
            shelf.add(name, value(label))
        elif writer == "crashed":  # perhaps while it wrote a hidden value again, before its own
            shelf.after["write"] = raising(KeyboardInterrupt())
            with contextlib.suppress(KeyboardInterrupt):
                put(guard, label, key=name)
        else:
            base = guard.line(name)[0].version if writer == "conditional" else None
            put(guard, label, base, name)
        arrived = shelf.kept[name][-1].value == value(label)
        expected = value(label) if arrived and writer != "late" else expected
    tip = guard.line(name)[0]
    assert shelf.get(name, tip.version).value == expected
    assert shelf.seen(name) == expected
