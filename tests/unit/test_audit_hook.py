"""The journal's hook under a store: nothing happens unrecorded, and nothing leaves the library either."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import strongroom
import strongroom.testing
from strongroom.audit.verify import verify
from strongroom.backend import Secret
from strongroom.errors import PartialFailureError, SecretNotFoundError, UnavailableError
from strongroom.layers.failover import Failover
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend
from tests.canary import assert_no_canary
from tests.unit.audit_trail_support import Trails
from tests.unit.core_support import NAME, memory, overwrite, text

ROTATION = "00000000-0000-4000-8000-000000000001"
OPERATIONS: dict[str, Callable[[SecretStore], object]] = {
    "get": lambda store: store.get(NAME),
    "get_many": lambda store: store.get_many([NAME]),
    "put": lambda store: store.put(NAME, text("second")),
    "list": lambda store: list(store.list_names("db/")),
    "purge": lambda store: store.purge(NAME),
    "rollback": lambda store: store.rollback(NAME, if_version="any"),
    "refresh": lambda store: store.refresh(NAME, rejected="any"),
    "pending.put": lambda store: store.pending(NAME, ROTATION).put(text("next"), base_version="any"),
    "pending.promote": lambda store: store.pending(NAME, ROTATION).promote(),
}
BREAKAGES = {
    "disk full": ("write", errno.ENOSPC),
    "sync fails": ("sync", errno.EIO),
    "read-only": ("write", errno.EROFS),
}


@pytest.fixture
def trails(tmp_path: Path) -> Iterator[Trails]:
    made = Trails(tmp_path / "journal")
    yield made
    made.disk.broken.clear()
    made.journal.close()
    made.subjects.close()


@pytest.fixture
def backend(trails: Trails) -> FaultyBackend:
    backend = memory(clock=trails.clock)
    overwrite(backend.inner, "first")
    return backend


class TestFailClosed:
    """An intent that is not durable stops what it announced."""

    @pytest.mark.parametrize("breakage", BREAKAGES)
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_nothing_is_asked_and_nothing_returned(
        self, trails: Trails, backend: FaultyBackend, operation: str, breakage: str
    ) -> None:
        """``UnavailableError(performed=False)``, before the backend hears of it; the hint says what to do."""
        store = trails.store(backend)
        call, code = BREAKAGES[breakage]
        with trails.disk.failing(call, code), pytest.raises(UnavailableError) as caught:
            OPERATIONS[operation](store)
        assert caught.value.performed is False
        assert "journal" in caught.value.message
        assert caught.value.hint
        assert not backend.calls

    def test_no_stale_value_stands_in(self, trails: Trails, backend: FaultyBackend) -> None:
        """The provider is down and the cache could serve stale: not without a record."""
        store = trails.store(backend)
        store.get(NAME)
        backend.unreachable()
        trails.clock.advance(61)
        assert store.get(NAME).stale
        with trails.disk.failing("write"):
            trails.hooks[0].flush()
            with pytest.raises(UnavailableError) as caught:
                store.get(NAME)
        assert caught.value.performed is False

    def test_no_other_member_is_asked(self, trails: Trails) -> None:
        """A failover answers for a provider that is unavailable, not for a journal that is."""
        members = {alias: memory(clock=trails.clock) for alias in ("eu", "us")}
        store = trails.store(Failover(members, clock=trails.clock))
        with trails.disk.failing("write"), pytest.raises(UnavailableError):
            store.get(NAME)
        assert not any(member.calls for member in members.values())

    def test_it_goes_on_by_itself_when_the_disk_answers(self, trails: Trails, backend: FaultyBackend) -> None:
        """Nobody has to restart anything, and the journal is whole."""
        store = trails.store(backend)
        with trails.disk.failing("sync"), pytest.raises(UnavailableError):
            store.get(NAME)
        assert store.get(NAME).value.matches(text("first"))
        trails.journal.flush()
        assert not verify(trails.path).findings

    def test_a_subject_that_cannot_be_kept_refuses_too(self, trails: Trails, backend: FaultyBackend) -> None:
        """Who acts is part of the record: without it there is none."""
        store = trails.store(backend)
        trails.subjects.close()
        (trails.path / "subjects.db").mkdir()
        with pytest.raises(UnavailableError) as caught:
            store.get(NAME)
        assert caught.value.performed is False
        assert not backend.calls


class TestOutcome:
    """What has happened is told, late if it must be."""

    def test_every_operation_has_one_pair(self, trails: Trails, backend: FaultyBackend) -> None:
        """Intent and outcome, with what the provider said."""
        store = trails.store(backend)
        store.put(NAME, text("second"))
        with pytest.raises(SecretNotFoundError):
            store.get("db/missing")
        assert trails.told() == [
            ("put", NAME, None),
            ("put", NAME, "ok"),
            ("get", "db/missing", None),
            ("get", "db/missing", "SecretNotFoundError"),
        ]

    def test_each_of_many_names_has_its_record(self, trails: Trails, backend: FaultyBackend) -> None:
        """Whoever looks for what became of a name finds it, with the version that was read."""
        store = trails.store(backend)
        with pytest.raises(PartialFailureError):
            store.get_many([NAME, "db/missing"])
        assert trails.told() == [
            ("get_many", NAME, None),
            ("get_many", "db/missing", None),
            ("get_many", NAME, "ok"),
            ("get_many", "db/missing", "SecretNotFoundError"),
        ]
        found = [record.get("version") for record in trails.records("event")]
        assert [bool(version) for version in found] == [False, False, True, False]

    def test_an_unrecorded_outcome_degrades_the_result_and_refuses_the_next(
        self, trails: Trails, backend: FaultyBackend
    ) -> None:
        """The write has happened: it is flagged; then nothing more until the journal has it, warm or not."""
        store = trails.store(backend)
        store.get(NAME)
        trails.hooks[0].flush()
        written = self._broken_after(trails, store)
        assert written.audit_degraded
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                store.get(NAME)
            assert caught.value.performed is False
        trails.disk.broken.clear()
        assert store.get(NAME).value.matches(text("second"))
        assert ("put", NAME, "ok") in trails.told()

    def _broken_after(self, trails: Trails, store: SecretStore) -> strongroom.SecretVersion:
        """A put whose disk fails between its intent and its outcome."""
        sync = trails.disk.sync

        def once(descriptor: int) -> None:
            sync(descriptor)
            trails.disk.broken["sync"] = errno.EIO

        trails.disk.sync = once  # type: ignore[method-assign]
        try:
            return store.put(NAME, text("second"))
        finally:
            del trails.disk.sync

    def test_the_outcome_of_a_read_waits_for_no_disk(self, trails: Trails, backend: FaultyBackend) -> None:
        """One sync for a cold read, two for a write."""
        store = trails.store(backend, cache=None)
        store.get(NAME)
        before = trails.disk.syncs
        store.get(NAME)
        assert trails.disk.syncs == before + 1
        store.put(NAME, text("second"))
        assert trails.disk.syncs == before + 3


class TestWarmReads:
    """Counted, each one, and stopped when the counts have nowhere to go."""

    def test_they_are_counted_and_not_gated(self, trails: Trails, backend: FaultyBackend) -> None:
        """A thousand warm reads: one event pair for the cold one, and one record."""
        store = trails.store(backend)
        store.get(NAME)
        syncs = trails.disk.syncs
        for _ in range(1000):
            store.get(NAME)
        assert trails.disk.syncs == syncs
        trails.hooks[0].flush()
        assert trails.counted() == {NAME: 1000}
        assert trails.told() == [("get", NAME, None), ("get", NAME, "ok")]

    def test_a_stale_read_is_counted_as_well(self, trails: Trails, backend: FaultyBackend) -> None:
        """What goes out of the cache is counted, whatever its age."""
        store = trails.store(backend)
        store.get(NAME)
        backend.unreachable()
        trails.clock.advance(61)
        for _ in range(5):
            assert store.get(NAME).stale
        trails.hooks[0].flush()
        told = len([one for one in trails.told() if one[2] == "ok"]) - 1
        assert trails.counted()[NAME] + told >= 5

    def test_a_failing_flush_stops_them(self, trails: Trails, backend: FaultyBackend) -> None:
        """Then each read is gated, and refused; what was counted is not lost."""
        store = trails.store(backend)
        store.get(NAME)
        for _ in range(7):
            store.get(NAME)
        with trails.disk.failing("write"):
            trails.hooks[0].flush()
            with pytest.raises(UnavailableError):
                store.get(NAME)
        store.get(NAME)
        trails.hooks[0].flush()
        assert trails.counted()[NAME] >= 7
        syncs = trails.disk.syncs
        store.get(NAME)
        assert trails.disk.syncs == syncs, "warm reads go on"

    def test_a_flush_that_hangs_stops_them(self, trails: Trails, backend: FaultyBackend) -> None:
        """`stop` is what the watch calls: from then on each read waits for the disk."""
        store = trails.store(backend)
        store.get(NAME)
        trails.hooks[0].stop()
        syncs = trails.disk.syncs
        store.get(NAME)
        assert trails.disk.syncs == syncs + 1

    def test_a_strict_store_gates_each(self, trails: Trails, backend: FaultyBackend) -> None:
        """With the actor of each."""
        store = trails.store(backend, strict=True)
        for who in ("alice", "bob", "alice"):
            with strongroom.actor(who):
                store.get(NAME)
        assert backend.calls["get"] == 1
        assert trails.told() == [("get", NAME, None), ("get", NAME, "ok")] * 3
        assert trails.actors(trails.records("event"))[::2] == ["alice", "bob", "alice"]
        assert trails.counted() == {}

    def test_beside_another_hook_each_is_gated(self, trails: Trails, backend: FaultyBackend) -> None:
        """A program's own hook would not hear of reads that are only counted."""
        store = SecretStore(backend, hooks=[strongroom.AuditHook(), trails.hook()], clock=trails.clock)
        for _ in range(3):
            store.get(NAME)
        assert len(trails.told()) == 6

    def test_the_last_counts_are_written_when_the_store_closes(
        self, trails: Trails, backend: FaultyBackend
    ) -> None:
        """Nobody has to wait for a second to pass."""
        with trails.store(backend) as store:
            for _ in range(4):
                store.get(NAME)
        assert trails.counted() == {NAME: 3}

    def test_a_handle_that_a_test_opened_leaves_the_store_its_counts(
        self, trails: Trails, backend: FaultyBackend
    ) -> None:
        """Whoever closes the borrowed handle does not stop the store's own warm reads, nor their counting."""
        store = trails.store(backend)
        store.get(NAME)
        with strongroom.testing.override(prod=store), strongroom.open("prod") as lent:
            lent.get(NAME)
        store.get(NAME)
        trails.hooks[0].flush()
        assert trails.counted() == {NAME: 2}
        assert len(trails.told()) == 2

    def test_many_names_take_several_records(self, trails: Trails, backend: FaultyBackend) -> None:
        """A record has a bounded length; no count is lost between two."""
        store = trails.store(backend)
        names = [f"app/{number}" for number in range(600)]
        for name in names:
            backend.inner.put(strongroom.names.Name.parse(name), strongroom.SecretValue(text("x")), None)
        store.prefetch(names)
        for name in names:
            store.get(name)
        trails.hooks[0].flush()
        assert trails.counted() == dict.fromkeys(names, 1)
        assert [len(record["reads"]) for record in trails.records("reads")] == [256, 256, 88]


class TestGaps:
    """Where a policy lets operations go on, the trail says how many, as soon as it can."""

    def test_they_are_told_when_the_journal_is_back(
        self, trails: Trails, backend: FaultyBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Which operations, how many, from when to when and why; and it is logged as an error at once."""
        store = trails.store(backend, cache=None, policy={"get": "allow", "list": "allow"})
        with caplog.at_level(logging.ERROR), trails.disk.failing("write", errno.ENOSPC):
            for _ in range(3):
                store.get(NAME)
            list(store.list_names())
            with pytest.raises(UnavailableError):
                store.put(NAME, text("second"))
        assert "UNRECORDED" in caplog.text
        trails.clock.advance(5)
        store.get(NAME)
        (gap,) = trails.records("gap")
        assert gap["ops"]["get"] == 6, "intents and outcomes"
        assert set(gap["ops"]) == {"get", "list"}
        assert gap["count"] == sum(gap["ops"].values())
        assert gap["since"] < gap["until"]
        assert "ENOSPC" in gap["reason"]
        assert_no_canary(caplog.text)

    def test_the_counts_of_warm_reads_are_part_of_it(self, trails: Trails, backend: FaultyBackend) -> None:
        """Reads go on warm, and those that were not recorded by name are told by number."""
        store = trails.store(backend, policy={"get": "allow"})
        store.get(NAME)
        with trails.disk.failing("write"), pytest.raises(UnavailableError):
            store.purge("db/other")
        with trails.disk.failing("write"):
            for _ in range(9):
                assert isinstance(store.get(NAME), Secret)
            trails.hooks[0].flush()
            assert isinstance(store.get(NAME), Secret)
        store.describe(NAME)
        trails.hooks[0].flush()
        unnamed = sum(gap["ops"]["get"] for gap in trails.records("gap"))
        assert unnamed + trails.counted().get(NAME, 0) >= 10

    @pytest.mark.parametrize(
        ("operation", "policy", "allowed"),
        [
            ("get", {}, False),
            ("get", {"*": "allow"}, True),
            ("pending.get", {"pending.*": "allow"}, True),
            ("pending.put", {"pending.*": "allow", "pending.put": "refuse"}, False),
            ("get", {"get": "refuse", "*": "allow"}, False),
        ],
    )
    def test_the_nearest_policy_counts(self, operation: str, policy: dict[str, str], allowed: bool) -> None:
        """The operation's own, then its group's, then all others'."""
        from strongroom.audit.hook import Policy

        assert Policy("refuse", policy).allows(operation) is allowed


def test_no_record_holds_a_value(trails: Trails, backend: FaultyBackend) -> None:
    """Of any operation, whatever becomes of it."""
    store = trails.store(backend)
    for operation in OPERATIONS.values():
        try:
            operation(store)
        except strongroom.SecretStoreError:
            continue
    trails.hooks[0].flush()
    files = [path.read_bytes() for path in trails.path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert_no_canary(*(content.decode("latin-1") for content in files))
