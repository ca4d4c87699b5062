"""What the cache keeps and forgets: own writes, what is absent, how many names, how often each was read."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest

from strongroom.backend import Capability, Secret
from strongroom.cache import Bounds, CachePolicy
from strongroom.errors import (
    InvalidRequestError,
    PartialFailureError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.memory import ALL
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import (
    DEADLINE,
    KEY,
    NAME,
    Gate,
    Recorder,
    Running,
    memory,
    overwrite,
    refreshed,
    text,
)

FRESH, STALE = 100.0, 1000.0
POLICY = CachePolicy(FRESH, STALE)


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> SecretStore:
    return SecretStore(backend, cache=POLICY, clock=clock)


def value(store: SecretStore, name: str = NAME) -> str:
    return store.get(name).value.reveal_text().removeprefix(text(""))


def plant(backend: FaultyBackend, *names: str) -> None:
    """Another program writes secrets."""
    for name in names:
        backend.inner.put(Name(name), SecretValue(text(name)), None)


def _read_all(store: SecretStore, names: list[str]) -> int:
    return len(store.get_many(names))


def _paused(begun: threading.Event, go: threading.Event) -> None:
    begun.set()
    assert go.wait(DEADLINE)


class TestWarmPath:
    """A value that is warm comes before everything else."""

    def test_no_lock_is_taken(self, store: SecretStore) -> None:
        """Readers go on whatever another thread does under the cache's lock."""
        store.get(NAME)
        cache = store._reads._cache
        assert cache is not None
        with cache._lock:
            assert Running(lambda: value(store)).result() == "first"

    def test_nor_while_a_refresh_is_under_way(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """From the one read that begins it until the value is past fresh."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        store.get(NAME)
        clock.advance(FRESH * 0.8)
        gate.arm()
        store.get(NAME)
        assert gate.asked.wait(DEADLINE)
        cache = store._reads._cache
        assert cache is not None
        with cache._lock:
            clock.advance(FRESH * 0.19)
            assert Running(lambda: value(store)).result() == "first"
        gate.open()
        refreshed()
        assert backend.calls["get"] == 2

    def test_the_same_object_is_served(self, store: SecretStore) -> None:
        """Nothing is copied: a secret cannot be changed."""
        assert store.get(NAME) is store.get(NAME)

    def test_what_is_no_name_is_refused_as_ever(self, store: SecretStore) -> None:
        """Also what no dict could look up."""
        wrong: list[Any] = [[], None, 5, "Not A Name"]
        for name in wrong:
            with pytest.raises(InvalidRequestError):
                store.get(name)

    def test_with_hooks_each_read_runs_them(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """A warm read is an operation that the audit log has."""
        recorder = Recorder()
        store = SecretStore(backend, cache=POLICY, clock=clock, hooks=[recorder])
        for _ in range(3):
            store.get(NAME)
        assert recorder.told() == [("get", None), ("get", "ok")] * 3
        assert backend.calls["get"] == 1

    def test_1000_threads_on_one_cold_name_send_one_request(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The rest waits for its answer, or comes when it is there."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        gate.arm()
        readers = [Running(lambda: value(store)) for _ in range(scaled(1000))]
        assert gate.asked.wait(DEADLINE)
        gate.open()
        assert {reader.result() for reader in readers} == {"first"}
        assert backend.calls["get"] == 1

    def test_refreshes_of_many_names_take_few_threads(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Names that were read together are due together."""
        names = [f"n{number}" for number in range(200)]
        plant(backend, *names)
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.prefetch(names)
        clock.advance(FRESH * 0.8)
        go = threading.Event()
        backend.run("get", lambda: go.wait(DEADLINE), times=200)
        for name in names:
            store.get(name)
        assert sum(thread.name == "strongroom-refresh" for thread in threading.enumerate()) == 4
        go.set()
        refreshed()
        assert backend.calls["get"] == 200
        assert all(store.is_warm(name) for name in names)

    def test_the_moment_of_a_refresh_is_spread(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """From 80 to 90 % of fresh, by chance: a fleet that started together does not refresh together."""
        clock.spread = 0.5
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.get(NAME)
        clock.advance(FRESH * 0.85 - 0.001)
        store.get(NAME)
        refreshed()
        assert backend.calls["get"] == 1
        clock.advance(0.002)
        store.get(NAME)
        refreshed()
        assert backend.calls["get"] == 2


class TestOwnWrites:
    """What this store writes, its readers have at once."""

    def test_a_name_that_is_read_stays_warm(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """With all that a read of the provider would tell."""
        value(store)
        written = store.put(NAME, text("second"))
        assert store.is_warm(NAME)
        secret = store.get(NAME)
        assert backend.calls["get"] == 1
        real = backend.inner.get(KEY, written.id)
        assert secret.value.matches(text("second"))
        assert (secret.version, secret.created_at) == (written.id, real.created_at)
        assert (secret.origin, secret.confirmed_at) == (real.origin, clock.now())
        assert (secret.stage, secret.stale, secret.name) == (store.get(NAME).stage, False, NAME)

    def test_a_program_that_only_writes_keeps_nothing(self, store: SecretStore) -> None:
        """A value stays in memory for its readers, and there are none."""
        store.put(NAME, text("second"))
        assert not store._reads.warm

    def test_its_age_counts_from_before_the_write(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The answer of a write can be long on its way too."""
        value(store)
        backend.delay("put", FRESH)
        store.put(NAME, text("second"))
        assert not store.is_warm(NAME)

    def test_of_two_writes_at_once_neither_is_taken_for_the_last(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The provider knows which came last; the next read asks it."""
        store = SecretStore(backend, cache=POLICY, clock=clock)
        value(store)
        begun, go = threading.Event(), threading.Event()
        backend.run("put", lambda: _paused(begun, go), after=True)
        slow = Running(lambda: store.put(NAME, text("second")))
        assert begun.wait(DEADLINE)
        store.put(NAME, text("third"))
        assert value(store) == "third"
        go.set()
        slow.result()
        assert value(store) == "third"

    def test_a_write_that_follows_at_once_is_not_undone(
        self, store: SecretStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It begins in the moment in which the one before it is put in the cache."""
        cache = store._reads._cache
        assert cache is not None
        replace, following = cache.replace, list[Running]()

        def replace_slowly(name: Name, secret: Secret, asked: float) -> None:
            if not following:
                following.append(Running(lambda: store.put(NAME, text("third"))))
                following[0]._thread.join(0.1)  # it has to wait, and may not be waited for
            replace(name, secret, asked)

        monkeypatch.setattr(cache, "replace", replace_slowly)
        value(store)
        store.put(NAME, text("second"))
        following[0].result()
        assert value(store) == "third"

    def test_a_mapping_is_what_its_reader_gets(self, store: SecretStore) -> None:
        """The text that was written of it."""
        value(store)
        store.put(NAME, {"user": "app"})
        assert store.get(NAME).value.reveal_json("/user") == "app"
        assert store.get(NAME).value.kind == "text"


class TestAbsent:
    """A "not found" is remembered for a moment; a denial is not."""

    def test_it_is_asked_once(self, store: SecretStore, backend: FaultyBackend, clock: FakeClock) -> None:
        """A loop that waits for a secret to appear is not a load."""
        for _ in range(50):
            with pytest.raises(SecretNotFoundError) as caught:
                store.get("missing")
            assert caught.value.name == "missing"
        assert backend.calls["get"] == 1
        plant(backend, "missing")
        clock.advance(1)
        assert value(store, "missing") == "missing"

    def test_a_denial_is_never_remembered(self, store: SecretStore, backend: FaultyBackend) -> None:
        """A grant works the moment it is given."""
        backend.deny("get", times=1)
        with pytest.raises(PermissionDeniedError):
            store.get(NAME)
        assert value(store) == "first"

    def test_nothing_is_remembered_for_no_time(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """``absent=0`` asks each time."""
        store = SecretStore(backend, cache=CachePolicy(absent=0), clock=clock)
        for _ in range(2):
            with pytest.raises(SecretNotFoundError):
                store.get("missing")
        assert backend.calls["get"] == 2

    def test_an_own_write_ends_it(self, store: SecretStore) -> None:
        """Who creates what was missing reads it."""
        with pytest.raises(SecretNotFoundError):
            store.get("missing")
        store.put("missing", text("there"))
        assert value(store, "missing") == "there"

    def test_an_outage_after_it_is_an_outage(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """What was missing a second ago need not be missing now."""
        with pytest.raises(SecretNotFoundError):
            store.get("missing")
        backend.unreachable("get")
        clock.advance(1)
        with pytest.raises(UnavailableError):
            store.get("missing")

    def test_a_batch_remembers_and_is_told(self, store: SecretStore, backend: FaultyBackend) -> None:
        """As a single read."""
        for _ in range(2):
            with pytest.raises(PartialFailureError) as caught:
                store.get_many([NAME, "missing", "gone"])
            assert set(caught.value.errors) == {"missing", "gone"}
        assert (backend.calls["get_many"], backend.calls["get"]) == (1, 0)

    def test_names_that_somebody_makes_up_are_bounded(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """A web page that looks up what its visitors type does not fill the memory."""
        store = SecretStore(backend, cache=CachePolicy(size=10), clock=clock)
        for number in range(100):
            with pytest.raises(SecretNotFoundError):
                store.get(f"made-up/{number}")
        cache = store._reads._cache
        assert cache is not None
        assert len(cache._absent) == 10


class TestSize:
    """No more names than the policy says."""

    def test_the_least_recently_confirmed_goes(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Reading does not move a name, so that reading stays cheap; being confirmed does."""
        plant(backend, "a", "b", "c")
        store = SecretStore(backend, cache=CachePolicy(FRESH, STALE, size=2), clock=clock)
        for name in ("a", "b", "a"):
            store.get(name)
        clock.advance(FRESH)
        store.get("a")
        store.get("c")
        assert [name for name in "abc" if store.is_warm(name)] == ["a", "c"]
        assert len(store._reads.warm) == 2

    def test_a_batch_larger_than_the_cache_is_answered_whole(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """What is not kept is given all the same."""
        names = [f"n{number}" for number in range(10)]
        plant(backend, *names)
        store = SecretStore(backend, cache=CachePolicy(size=3), clock=clock)
        assert list(store.get_many(names)) == names
        assert len(store._reads.warm) == 3

    def test_what_may_not_be_served_any_more_is_dropped(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Though nobody asks for it: a value past its bound has no business in memory."""
        plant(backend, "other")
        value(store)
        clock.advance(FRESH + STALE)
        store.get("other")
        assert list(store._reads.warm) == ["other"]

    def test_bounds_of_a_name_hold_for_it(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """A key that signs orders is asked for twice a minute and never served stale; the rest as ever."""
        plant(backend, "exchange/key")
        policy = CachePolicy(FRESH, STALE, names=(("exchange/**", Bounds(30, 0)),))
        store = SecretStore(backend, cache=policy, clock=clock)
        store.prefetch([NAME, "exchange/key"])
        clock.advance(30)
        assert (store.is_warm(NAME), store.is_warm("exchange/key")) == (True, False)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get("exchange/key")
        clock.advance(FRESH)
        assert store.get(NAME).stale

    def test_no_time_at_all_keeps_nothing(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """``fresh=0, stale=0``: a value that may not be served is not kept."""
        store = SecretStore(backend, cache=CachePolicy(0, 0), clock=clock)
        value(store)
        assert not store._reads.warm


class TestPrefetch:
    """A start reads what it needs."""

    def test_it_warms_in_one_request(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Where the provider has batches."""
        plant(backend, "a", "b", "c")
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.prefetch(["a", "b", "c", "a"])
        assert [value(store, name) for name in "abc"] == ["a", "b", "c"]
        assert (backend.calls["get_many"], backend.calls["get"]) == (1, 0)

    def test_without_batches_it_reads_one_by_one(self, clock: FakeClock) -> None:
        """All are warm after it."""
        backend = memory(ALL & ~Capability.BATCH_GET, clock)
        plant(backend, "a", "b")
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.prefetch(["a", "b"])
        store.get("a"), store.get("b")
        assert backend.calls["get"] == 2

    def test_what_fails_is_told_and_the_rest_is_warm(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """As ``get_many``."""
        with pytest.raises(PartialFailureError) as caught:
            store.prefetch([NAME, "missing"])
        assert list(caught.value.errors) == ["missing"]
        assert store.is_warm(NAME)

    def test_without_a_cache_it_finds_out(self, backend: FaultyBackend) -> None:
        """A start fails for what cannot be read, and not later."""
        store = SecretStore(backend, cache=None)
        store.prefetch([NAME])
        with pytest.raises(PartialFailureError):
            store.prefetch(["missing"])

    def test_readers_of_its_names_wait_for_it(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """They join the batch that is under way and do not ask again."""
        plant(backend, "a")
        held, go = threading.Event(), threading.Event()
        backend.run("get_many", lambda: _paused(held, go), after=True)
        store = SecretStore(backend, cache=POLICY, clock=clock)
        batch = Running(lambda: store.prefetch([NAME, "a"]))
        assert held.wait(DEADLINE)
        reader = Running(lambda: value(store, "a"))
        go.set()
        batch.result()
        assert reader.result() == "a"
        assert backend.calls["get"] == 0

    def test_two_batches_that_overlap_do_not_wait_for_ever(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Each leads what it began first, and then takes what the other led."""
        names = [f"n{number}" for number in range(20)]
        plant(backend, *names)
        store = SecretStore(backend, cache=CachePolicy(0, 10), clock=clock)
        orders = [names, names[::-1], names[5:] + names[:5]]
        found = at_once([partial(_read_all, store, order) for order in orders * 5])
        assert found == [20] * 15

    def test_a_batch_that_is_denied_says_nothing_of_its_names(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Batches need a right of their own: who joined it asks by himself."""
        plant(backend, "a")
        value(store)
        backend.deny("get_many")
        with pytest.raises(PermissionDeniedError):
            store.get_many(["a", "b"])
        assert value(store, "a") == "a"


class TestRejected:
    """``refresh`` beside a read that is under way."""

    def test_a_read_that_began_before_the_change_does_not_count(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """It may have asked before the password was rotated; one more request tells, for all threads."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        old = overwrite(backend.inner, "old").id
        gate.arm()
        reader = Running(lambda: value(store))
        assert gate.asked.wait(DEADLINE)
        new = overwrite(backend.inner, "new").id
        refused = [Running(lambda: store.refresh(NAME, rejected=old).version) for _ in range(4)]
        gate.open()
        assert {one.result() for one in refused} == {new}
        assert reader.result() in ("old", "new")
        assert backend.calls["get"] == 2


class TestHits:
    """How often each version was read without asking: exact, whatever threads do."""

    def test_every_warm_read_counts_once(self, store: SecretStore) -> None:
        """By name and version; what was counted is not counted again."""
        version = store.get(NAME).version
        for _ in range(5):
            store.get(NAME)
        assert store._reads.drain_hits() == [(NAME, version, 5)]
        assert store._reads.drain_hits() == []

    def test_threads_lose_none(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Eight readers, while a writer replaces what they read and somebody drains."""
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.get(NAME)
        reads, counted = scaled(20_000), 0

        def read() -> None:
            for _ in range(reads):
                store.get(NAME)

        readers = [Running(read) for _ in range(8)]
        for number in range(50):
            store.put(NAME, text(str(number)))
            counted += sum(count for _, _, count in store._reads.drain_hits())
        for reader in readers:
            reader.result()
        counted += sum(count for _, _, count in store._reads.drain_hits())
        assert backend.calls["get"] == 1
        assert counted == 8 * reads

    def test_a_version_that_is_gone_is_still_counted(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Until the next drain; under its own id."""
        old = store.get(NAME).version
        store.get(NAME)
        new = store.put(NAME, text("second")).id
        store.get(NAME), store.get(NAME)
        assert sorted(store._reads.drain_hits()) == sorted([(NAME, old, 1), (NAME, new, 2)])

    def test_what_nobody_drains_does_not_grow(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """As many versions as the cache keeps names."""
        store = SecretStore(backend, cache=CachePolicy(size=5), clock=clock)
        for number in range(50):
            store.put(NAME, text(str(number)))
            store.get(NAME), store.get(NAME)
        assert len(store._reads.drain_hits()) <= 5 + 1

    def test_without_a_cache_there_are_none(self, backend: FaultyBackend) -> None:
        """Each read is the provider's to count."""
        store = SecretStore(backend, cache=None)
        store.get(NAME)
        assert store._reads.drain_hits() == []


class TestClose:
    """A closed store serves nothing."""

    def test_a_warm_value_is_refused(self, store: SecretStore) -> None:
        """As any operation."""
        value(store)
        store.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            store.get(NAME)

    def test_a_read_on_its_way_leaves_nothing_behind(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Also one that begins in the moment of closing."""
        store = SecretStore(backend, cache=POLICY, clock=clock)
        store.close()
        store._reads.current(KEY)
        assert not store._reads.warm


def test_a_look_asks_and_lands(store: SecretStore, backend: FaultyBackend) -> None:
    """Whatever is cached: for whoever watches."""
    value(store)
    plant(backend, "other")
    overwrite(backend.inner, "second")
    found = store._reads.look([KEY, Name("other"), Name("missing")])
    assert isinstance(found[KEY], Secret)
    assert isinstance(found[Name("missing")], SecretNotFoundError)
    assert value(store) == "second"
    assert backend.calls["get_many"] == 1
