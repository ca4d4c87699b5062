"""Plans, patterns, budgets and what the audit is told: all that a replication is asked for and says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Capability, Stage, WriteBudget
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnsupportedOperationError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.patterns import matcher, prefix_of
from strongroom.replication.budget import Budget, Paced
from strongroom.replication.member import Member
from strongroom.replication.plan import Action, Step
from strongroom.replication.record import Record
from strongroom.replication.replicator import Replicator
from strongroom.value import SecretValue
from tests.canary import assert_no_canary
from tests.unit.replication_support import (
    DB,
    DOMAIN,
    Counted,
    FakeClock,
    Pair,
    actions,
    delete,
    pair,
    store,
    value,
)


@pytest.fixture
def two(tmp_path: Path) -> Pair:
    """Two stores in memory."""
    return pair("memory", tmp_path)


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("**", ["a", "a/b/c"], []),
        ("db/**", ["db/a", "db/a/b"], ["db", "dba", "web/db/a"]),
        ("db/*", ["db/a"], ["db/a/b"]),
        ("**/key", ["key", "a/key", "a/b/key"], ["a/monkey", "key/a"]),
        ("db/pass?", ["db/pass1"], ["db/pass", "db/pass/"]),
        ("a.b", ["a.b"], ["a-b"]),
    ],
)
def test_a_pattern_means_these_names_and_not_those(
    pattern: str, meant: list[str], not_meant: list[str]
) -> None:
    """``*`` stays within a segment, ``**`` does not; nothing else is special."""
    matches = matcher([pattern])
    assert [name for name in meant if not matches(name)] == []
    assert [name for name in not_meant if matches(name)] == []


@pytest.mark.parametrize(
    ("patterns", "prefix"),
    [
        (["**"], ""),
        (["db/**"], "db/"),
        (["db/a*", "db/abc"], "db/a"),
        (["db/**", "web/**"], ""),
        (["db/password"], "db/password"),
        ([], ""),
    ],
)
def test_a_listing_is_asked_for_what_all_patterns_begin_with(patterns: list[str], prefix: str) -> None:
    """No name that is meant begins otherwise."""
    assert prefix_of(patterns) == prefix


def test_a_budget_keeps_within_any_window() -> None:
    """Two per second: no second, wherever it begins, has a third write."""
    clock = FakeClock()
    budget, times = Budget(WriteBudget(2, 1.0), clock), []
    for n in range(50):
        if n == 20:
            clock.sleep(0.7)
        budget.take("a")
        times.append(clock.monotonic())
    assert all(later - first >= 1.0 for first, later in zip(times, times[2:], strict=False))
    assert times[-1] < 26


def test_a_budget_of_each_secret_lets_the_others_go_on() -> None:
    """AWS counts by secret."""
    clock = FakeClock()
    budget = Budget(WriteBudget(1, 60.0, "secret"), clock)
    for n in range(5000):
        budget.take(f"n{n}")
    assert clock.slept == 0
    budget.take("n4999")
    assert clock.slept == 60


def test_threads_share_a_budget() -> None:
    """What one has booked the other waits behind."""
    clock, together = FakeClock(), Barrier(4)
    budget = Budget(WriteBudget(10, 1.0), clock)

    def take() -> None:
        together.wait()
        for _ in range(25):
            budget.take("a")

    threads = [Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    booked = sorted(budget._times[""])
    assert all(later - first >= 1.0 - 1e-6 for first, later in zip(booked, booked[10:], strict=False))


def test_no_budget_waits_for_nothing() -> None:
    """A provider without a limit is written as fast as it goes."""
    clock = FakeClock()
    for _ in range(1000):
        Budget(None, clock).take("a")
    assert clock.slept == 0


def test_every_write_of_a_replication_is_taken_out_of_the_budget(two: Pair) -> None:
    """Pages and payloads too: the provider counts them as it counts secrets."""
    two.there.inner.write_budget = WriteBudget(1, 1.0)
    two.write()
    replicator = two.replicator()
    replicator.sync()
    two.write(text="two")
    replicator.sync()
    delete(two.app)
    replicator.sync()
    assert two.at_replica() is None
    assert two.clock.slept == two.there.calls["writes"] - 2  # the first waits for nothing; one is the sheet


def test_a_paced_store_takes_each_kind_of_write_from_the_budget() -> None:
    """None of them slips through."""
    taken: list[str] = []

    budget = Budget(None)
    budget.take = taken.append  # type: ignore[method-assign, assignment]
    paced = Paced(MemoryBackend(), budget)
    version = paced.put(DB, value("one"), None)
    paced.put_pending(DB, "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11", value("two"), version.id)
    paced.promote_pending(DB, "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11")
    paced.retire(DB, version.id)
    paced.delete(DB)
    paced.restore(DB)
    paced.purge(DB)
    assert len(taken) == 7


class Told(AuditHook):
    """Keeps what it is told; refuses the operations of a name."""

    def __init__(self, refused: str = ""):
        self.events: list[AuditEvent] = []
        self._refused = refused

    def before(self, event: AuditEvent) -> None:
        if event.operation == self._refused:
            raise PermissionDeniedError("vetoed")
        self.events.append(event)

    def after(self, event: AuditEvent) -> None:
        self.events.append(event)

    @property
    def outcomes(self) -> Sequence[tuple[str, str, str | None]]:
        return [(e.operation, e.name, e.outcome) for e in self.events if e.phase == "outcome"]


def test_the_audit_is_told_of_each_change_of_the_replica(two: Pair) -> None:
    """Create, update, delete and restore: intent and outcome of each, with the replica's alias."""
    told = Told()
    two.write()
    two.sync(hooks=[told])
    two.write(text="two")
    two.sync(hooks=[told])
    delete(two.app)
    two.sync(hooks=[told])
    two.app.restore(DB)
    two.sync(hooks=[told])
    two.sync(hooks=[told])
    operations = [f"replica.{one}" for one in ("create", "update", "delete", "restore")]
    assert told.outcomes == [(one, "db/password", "ok") for one in operations]
    assert {event.store for event in told.events} == {"there"}
    assert_no_canary(*(repr(event) for event in told.events))


def test_a_hook_that_refuses_keeps_the_replica_as_it_is(two: Pair) -> None:
    """Nothing is begun, and the report names the refusal."""
    two.write()
    report = two.replicator(hooks=[Told("replica.create")]).sync()
    assert isinstance(report.failed["db/password"], PermissionDeniedError)
    assert two.at_replica() is None


def test_a_quarantine_is_told_once(two: Pair) -> None:
    """Every later pass finds it again, and nobody is woken twice."""
    told = Told()
    two.write()
    two.sync()
    record = two.order.next(DB)[1](value("other"))
    two.write(text="two")
    two.there.put(DB, value("other"), two.there.get(DB, Stage.CURRENT).version, record.text)
    two.replicator(hooks=[told]).sync()
    two.replicator(hooks=[told]).sync()
    assert told.outcomes == [("replica.quarantine", "db/password", "ok")]
    two.replicator(hooks=[told]).adopt(["db/password"])
    assert ("replica.adopt", "db/password", "ok") in told.outcomes


def test_a_plan_writes_nothing_and_shows_no_value(two: Pair) -> None:
    """Not even a page or a sheet, on stores that never saw a replication."""
    two.here.inner.put(DB, value("one"), None)
    plan = two.replicator().plan()
    assert actions(plan.steps) == {"db/password": "create"}
    assert two.here.calls["writes"] == two.there.calls["writes"] == 0
    assert_no_canary(repr(plan))


def test_a_plan_of_some_names_looks_at_those_only(two: Pair) -> None:
    """By name without a listing, by pattern with one."""
    for name in ("db/a", "db/b", "web/a"):
        two.write(Name(name))
    two.forget_calls()
    replicator = two.replicator(names=("db/**",))
    assert actions(replicator.plan(["db/a", "web/a"]).steps) == {"db/a": "create"}
    assert two.here.calls["list"] == 0
    assert list(actions(replicator.plan(["*/b"]).steps)) == ["db/b"]


def test_the_status_tells_how_far_behind_the_replica_is(two: Pair) -> None:
    """Writes missed, and the age of the oldest of them."""
    two.here.inner._clock = two.clock  # type: ignore[attr-defined]
    two.write()
    two.write(Name("db/other"))
    two.sync()
    replicator = two.replicator()
    assert replicator.status().healthy
    two.write(text="two")
    seen = replicator.status()
    assert (seen.lag_versions, seen.in_sync, seen.names, seen.missing) == (1, 1, 2, 0)
    two.clock.sleep(60)
    two.write(text="three")
    two.write(Name("db/new"))
    two.clock.sleep(30)
    status = replicator.status()
    assert (status.lag_versions, status.missing, status.names) == (3, 1, 3)
    assert status.lag is not None
    assert status.lag >= timedelta(seconds=90)
    assert status.last_sync is None
    replicator.sync()
    assert replicator.status().healthy
    assert replicator.status().last_sync == two.clock.now()


@pytest.mark.parametrize(
    ("record", "held", "behind"),
    [((1, 5), (1, 2), 3), ((1, 5), None, 1), ((2, 6), (1, 2), 1), (None, (1, 2), 1)],
)
def test_a_step_counts_the_writes_that_are_known_to_be_missed(
    record: tuple[int, int] | None, held: tuple[int, int] | None, behind: int
) -> None:
    """Across epochs, and without a record, one at least."""
    new, old = (Record(*place, "0" * 32, "0" * 32) if place else None for place in (record, held))
    assert Step("a", Action.UPDATE, "", new, old).behind == behind
    assert Step("a", Action.SAME, "", new, old).behind == 0


def test_what_does_not_open_at_the_source_is_not_carried(two: Pair, tmp_path: Path) -> None:
    """And says so; what the replica has stays."""
    sealed = Pair(store("encrypted", tmp_path, "here"), two.there, two.clock)
    sealed.write()
    sealed.sync()
    sealed.here.inner.inner.put(DB, value("in clear"), None)  # type: ignore[attr-defined]
    plan = sealed.replicator().plan()
    assert actions(plan.steps) == {"db/password": "refused"}
    assert sealed.replicator().sync().skipped[0].action is Action.REFUSED
    assert sealed.at_replica() == "one"


def test_what_does_not_open_at_the_replica_is_foreign_and_can_be_adopted(tmp_path: Path) -> None:
    """Damaged, or swapped with another secret's message."""
    two = pair("encrypted", tmp_path)
    two.write()
    two.sync()
    bare = two.there.inner.inner  # type: ignore[attr-defined]
    bare.put(DB, value("in clear"), None)
    assert actions(two.replicator().plan().waiting) == {"db/password": "foreign"}
    assert not two.replicator().adopt(["db/password"]).failed
    assert two.at_replica() == "one"


def test_a_revoked_version_is_not_carried(two: Pair) -> None:
    """Who revokes it at the source does not want it at a replica that is late."""

    class Revoked:
        def check(self, name: str, version: str, record: str | None = None, *, strict: bool = True) -> None:
            assert record
            assert version
            assert not strict
            raise SecretNotFoundError("revoked", name=name)

        def after_fork(self) -> None: ...

        def close(self) -> None: ...

    two.write()
    assert actions(two.replicator(checker=Revoked()).plan().steps) == {"db/password": "refused"}
    assert two.replicator(checker=Revoked()).sync().skipped[0].reason
    assert two.at_replica() is None


def test_another_digest_key_at_the_replica_stops_everything(two: Pair, tmp_path: Path) -> None:
    """It was a replica of another source: its names are not this one's to delete."""
    other = Pair(store("memory", tmp_path, "other"), two.there, two.clock)
    other.write()
    other.sync()
    two.write(Name("db/mine"))
    with pytest.raises(InvalidRequestError, match="digest key"):
        two.replicator().sync()
    assert two.at_replica() == "one"


def test_an_emptied_source_deletes_nothing(two: Pair, tmp_path: Path) -> None:
    """A source without a sheet is another store than the replica knows, a wrong prefix say."""
    two.write()
    two.sync()
    empty = Pair(store("memory", tmp_path, "empty"), two.there, two.clock)
    with pytest.raises((IntegrityError, InvalidRequestError)):
        empty.replicator().sync()
    with pytest.raises((IntegrityError, InvalidRequestError)):
        empty.replicator().plan()
    assert two.at_replica() == "one"


def test_what_the_replica_never_holds_is_refused_by_itself_and_told_by_a_plan(two: Pair) -> None:
    """Too large for it, or of a form that its provider does not take; the others go on."""

    class Small(MemoryBackend):
        def limit(self, key: object) -> int | None:
            return 40

        def check(self, key: object, value: SecretValue, tags: object) -> None:
            if value.reveal().endswith(b"odd"):
                raise InvalidRequestError("an odd value")

    two.there = Counted(Small(origin="small"))
    two.write(text="x" * 40)
    two.write(Name("db/odd"), "odd")
    two.write(Name("db/short"), "")
    told = {step.name: step.reason for step in two.replicator().plan().waiting}
    assert list(told) == ["db/odd", "db/password"]
    assert "over the limit of 40" in told["db/password"]
    report = two.replicator().sync()
    assert {step.name: step.reason for step in report.skipped} == told
    assert list(actions(report.done)) == ["db/short"]
    assert not report.failed


@pytest.mark.parametrize("lacks", [Capability.LIST, Capability.CAS])
def test_a_store_that_cannot_be_a_replica_is_refused_before_anything_is_sent(
    two: Pair, lacks: Capability
) -> None:
    """With what it lacks."""
    there = Member("there", MemoryBackend(ALL & ~lacks), DOMAIN)
    with pytest.raises(UnsupportedOperationError):
        Replicator(Member("here", two.here, DOMAIN), there)


def test_two_domains_are_not_replicated(two: Pair) -> None:
    """Their values are bound to them."""
    with pytest.raises(InvalidRequestError, match="domain"):
        Replicator(Member("here", two.here, DOMAIN), Member("there", two.there, "other"))


def test_adopting_what_the_source_has_not_is_refused(two: Pair) -> None:
    """There is nothing to put in its place."""
    two.there.put(DB, value("theirs"), None)
    failed: SecretStoreError = two.replicator().adopt(["db/password"]).failed["db/password"]
    assert isinstance(failed, SecretNotFoundError)
    assert two.at_replica() == "theirs"
