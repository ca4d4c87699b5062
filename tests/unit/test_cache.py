"""The store's cache: what may be served, for how long, and what ends it at once."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from strongroom import cache as cache_module
from strongroom.backend import Capability, Secret, Stage
from strongroom.cache import Cache, CachePolicy
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.layer import Layer
from strongroom.memory import ALL
from strongroom.names import Key
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.testing.faults import FaultyBackend, Killed, kill
from strongroom.value import SecretValue
from tests.canary import assert_no_canary_in
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
POLICY = CachePolicy(FRESH, STALE, absent=0)
Waiting = Callable[[int], None]


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> SecretStore:
    return SecretStore(backend, cache=POLICY, clock=clock)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Waits until so many readers wait for an answer that is under way."""
    waiters = threading.Semaphore(0)

    class Done(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiters.release()
            return super().wait(timeout)

    class Flight(cache_module._Flight):
        def __init__(self) -> None:
            super().__init__()
            self.done = Done()

    def wait(count: int) -> None:
        for _ in range(count):
            assert waiters.acquire(timeout=DEADLINE), "too few readers wait"

    monkeypatch.setattr(cache_module, "_Flight", Flight)
    return wait


def value(store: SecretStore) -> str:
    return store.get(NAME).value.reveal_text().removeprefix(text(""))


class TestBounds:
    """What is served when."""

    def test_a_fresh_value_is_served_without_asking(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Until 80 % of fresh, one request serves every read."""
        assert value(store) == "first"
        overwrite(backend.inner, "second")
        clock.advance(FRESH * 0.79)
        assert value(store) == "first"
        refreshed()
        assert backend.calls["get"] == 1

    def test_past_fresh_a_read_waits_for_the_provider(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The old value is not what a read past fresh gets while the provider answers."""
        value(store)
        overwrite(backend.inner, "second")
        clock.advance(FRESH)
        assert value(store) == "second"
        assert not store.get(NAME).stale

    @pytest.mark.parametrize("passed", [FRESH, FRESH + STALE - 0.001])
    def test_an_unavailable_provider_lets_the_old_value_out_marked(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, passed: float
    ) -> None:
        """From fresh to fresh + stale the last value is served, and says that it is stale."""
        value(store)
        backend.unreachable()
        clock.advance(passed)
        assert store.get(NAME).stale
        assert value(store) == "first"

    def test_fresh_plus_stale_bounds_all_serving(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Without the bound a revoked secret would live as long as an outage that an attacker can prolong."""
        value(store)
        backend.unreachable()
        for _ in range(11):
            clock.advance(FRESH)
            with pytest.raises(UnavailableError) if clock.monotonic() >= FRESH + STALE else _stale(store):
                store.get(NAME)

    def test_serving_stale_does_not_renew_the_bound(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Each stale read counts from the provider's last answer, not from the read before."""
        value(store)
        backend.unreachable()
        clock.advance(FRESH + STALE - 1)
        assert store.get(NAME).stale
        clock.advance(1)
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_age_counts_from_the_question(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Who can delay the provider's answer for an hour does not keep its value alive for an hour more."""
        backend.delay("get", FRESH + 1)
        assert value(store) == "first"
        assert not store.is_warm(NAME)

    def test_an_answer_as_old_as_the_bound_is_never_served_stale(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The same for the stale bound."""
        backend.delay("get", FRESH + STALE)
        value(store)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_nothing_fresh_still_serves_stale(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """fresh=0 asks each time, and outlives an outage within stale."""
        store = SecretStore(backend, cache=CachePolicy(0, 10), clock=clock)
        value(store)
        value(store)
        assert backend.calls["get"] == 2
        backend.unreachable()
        assert store.get(NAME).stale

    def test_no_cache_serves_nothing_old(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """cache=None asks each time and has nothing to serve in an outage."""
        store = SecretStore(backend, cache=None, clock=clock)
        value(store)
        assert not store.is_warm(NAME)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    @pytest.mark.parametrize("bound", [-1.0, float("inf"), float("nan")])
    def test_a_bound_is_a_number_of_seconds(self, bound: float) -> None:
        """Negative, endless and no number are InvalidRequestError, for each of the two."""
        for bounds in ((bound, 1.0), (1.0, bound)):
            with pytest.raises(InvalidRequestError):
                CachePolicy(*bounds)

    def test_the_defaults_are_five_minutes_and_an_hour_in_all(self) -> None:
        """DESIGN section 4: 5 min + 55 min at most."""
        assert (CachePolicy().fresh, CachePolicy().stale) == (300, 3300)

    @pytest.mark.parametrize("sign", ["degraded", "behind"])
    def test_an_answer_that_may_not_be_the_newest_is_soon_refreshed(
        self, backend: FaultyBackend, clock: FakeClock, sign: str
    ) -> None:
        """Behind the reader's back, after ten seconds, and not at the end of ``fresh``."""
        with SecretStore(_FirstIs(backend, sign), cache=POLICY, clock=clock) as store:
            assert getattr(store.get(NAME), sign)
            clock.advance(7)
            assert getattr(store.get(NAME), sign)
            assert backend.calls["get"] == 1
            clock.advance(3)
            store.get(NAME)
            refreshed()
            assert not getattr(store.get(NAME), sign)
            assert backend.calls["get"] == 2

    def test_versions_and_stages_are_not_cached(self, store: SecretStore, backend: FaultyBackend) -> None:
        """What is asked for by id is asked of the provider."""
        version = store.get(NAME).version
        store.get(NAME, version=version)
        store.get(NAME, version=version)
        assert backend.calls["get"] == 3


class _FirstIs(Layer):
    """The first answer bears a sign, as a failover member's may."""

    def __init__(self, inner: FaultyBackend, sign: str):
        super().__init__(inner)
        self._counted, self._sign = inner, sign

    def get(self, key: Key, version: str | Stage) -> Secret:
        found = super().get(key, version)
        return replace(found, **{self._sign: True}) if self._counted.calls["get"] == 1 else found  # type: ignore[arg-type]


class _stale:  # noqa: N801
    """A block in which the store's next read is stale, not an error."""

    def __init__(self, store: SecretStore):
        self._store = store

    def __enter__(self) -> None:
        assert self._store.get(NAME).stale

    def __exit__(self, *exc_info: object) -> None:
        return None


class TestDefiniteAnswers:
    """An answer ends what was cached; only "unavailable" is not an answer."""

    @pytest.mark.parametrize(
        "error",
        [
            PermissionDeniedError("no"),
            SecretNotFoundError("disabled"),
            IntegrityError("does not verify"),
            SecretStoreError("never seen before"),
        ],
    )
    def test_it_evicts_at_once(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, error: SecretStoreError
    ) -> None:
        """Who lost the right to read gets the denial, also in an outage right after."""
        value(store)
        clock.advance(FRESH)
        backend.fault("get", lambda: error)
        with pytest.raises(type(error)):
            store.get(NAME)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_a_denial_met_behind_a_reader_evicts_too(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The reader behind whose back it was met is served; the next one is refused, while still "fresh"."""
        value(store)
        clock.advance(FRESH * 0.8)
        backend.deny("get")
        assert value(store) == "first"
        refreshed()
        with pytest.raises(PermissionDeniedError):
            store.get(NAME)

    def test_an_audit_failure_never_allows_stale(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """A gate that cannot record refuses the read, though it says "unavailable" and a value is at hand."""
        recorder = Recorder()
        store = SecretStore(backend, cache=POLICY, clock=clock, hooks=[recorder])
        value(store)
        clock.advance(FRESH)
        recorder.fails_before = UnavailableError("the journal's disk is full", performed=None)
        with pytest.raises(UnavailableError) as caught:
            store.get(NAME)
        assert caught.value.performed is False
        assert backend.calls["get"] == 1

    def test_an_interrupted_read_is_no_answer(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Ctrl-C in one thread does not take the value from the others in an outage."""
        value(store)
        clock.advance(FRESH)
        backend.fault("get", kill)
        with pytest.raises(Killed):
            store.get(NAME)
        backend.unreachable()
        assert store.get(NAME).stale


class TestRefreshBehind:
    """From 80 % of fresh the value is refreshed, and no reader waits for it."""

    def test_readers_do_not_wait(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """64 reads are answered while the provider holds back its answer to the one refresh."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        value(store)
        overwrite(backend.inner, "second")
        clock.advance(FRESH * 0.8)
        gate.arm()
        assert {value(store) for _ in range(64)} == {"first"}
        assert gate.asked.wait(30)
        assert {value(store) for _ in range(64)} == {"first"}
        gate.open()
        refreshed()
        assert value(store) == "second"
        assert backend.calls["get"] == 2

    def test_an_unavailable_provider_is_not_hammered(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A refresh that failed is tried again after a second, not by the next of a million warm reads."""
        value(store)
        backend.unreachable("get")
        clock.advance(FRESH * 0.8)
        for _ in range(10):
            value(store)
            refreshed()
        assert backend.calls["get"] == 2
        clock.advance(1)
        value(store)
        refreshed()
        assert backend.calls["get"] == 3

    def test_its_error_is_met_by_the_read_that_needs_an_answer(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Unavailable behind the back, and still so past fresh + stale: the reader is told."""
        value(store)
        backend.unreachable("get")
        clock.advance(FRESH * 0.8)
        value(store)
        refreshed()
        clock.advance(FRESH + STALE)
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_no_room_for_a_thread_is_no_error(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process at its limit of threads reads a fresh value as before, and refreshes later."""
        value(store)
        clock.advance(FRESH * 0.8)
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", _no_more_threads)
            assert value(store) == "first"
        clock.advance(1)
        overwrite(backend.inner, "second")
        value(store)
        refreshed()
        assert value(store) == "second"


def _no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestSingleFlight:
    """One request serves everybody who waits for the same name."""

    def test_64_threads_on_one_cold_name_send_one_request(
        self, backend: FaultyBackend, clock: FakeClock, waiting: Waiting
    ) -> None:
        """A fleet of threads that starts up asks once."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        gate.arm()
        leader = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        crowd = Running(lambda: at_once([lambda: value(store)] * 63))
        waiting(63)
        gate.open()
        assert crowd.result() == ["first"] * 63
        leader.result()
        assert backend.calls["get"] == 1

    def test_waiters_share_an_error_but_not_its_traceback(
        self, backend: FaultyBackend, clock: FakeClock, waiting: Waiting
    ) -> None:
        """Each thread raises an error of its own: one shared by many would grow with every raise."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        backend.fault("get", _provider_fault)
        gate.arm()
        leader = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        waiters = Running(lambda: at_once([lambda: store.get(NAME)] * 8))
        waiting(8)
        gate.open()
        errors: Any = waiters.result()
        with pytest.raises(UnavailableError) as caught:
            leader.result()
        joined = [*errors, caught.value]
        assert len({id(error) for error in joined}) == 9
        assert max(len(traceback.extract_tb(error.__traceback__)) for error in joined) < 20
        assert {str(error) for error in joined} == {f"get {NAME}: no answer (try later)"}
        assert {error.request_id for error in joined} == {"r-1"}

    def test_the_providers_fault_stays_with_the_error(self, clock: FakeClock) -> None:
        """``__cause__``, the value-free account of the SDK's exception, reaches whoever reads."""

        class Broken(FaultyBackend):
            def get(self, key: Any, version: Any) -> Secret:
                raise OSError(text("in an SDK's exception"))

        store = SecretStore(Broken(memory()), cache=POLICY, clock=clock)
        with pytest.raises(SecretStoreError) as caught:
            store.get(NAME)
        assert "OSError" in str(caught.value.__cause__)
        assert_no_canary_in(caught.value)

    def test_a_waiter_whose_leader_is_interrupted_asks_itself(
        self, backend: FaultyBackend, clock: FakeClock, waiting: Waiting
    ) -> None:
        """Another thread's Ctrl-C is not this reader's error."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        backend.fault("get", kill)
        gate.arm()
        leader = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        waiter = Running(lambda: value(store))
        waiting(1)
        gate.open()
        with pytest.raises(Killed):
            leader.result()
        assert waiter.result() == "first"

    def test_a_thread_does_not_wait_for_itself(self, store: SecretStore, backend: FaultyBackend) -> None:
        """A signal's handler reads the very name that its thread is asking for, and so does a finaliser."""
        inner: list[str] = []
        backend.run("get", lambda: inner.append(value(store)))
        outer = Running(lambda: value(store))
        assert outer.result() == "first"
        assert inner == ["first"]
        cache = store._reads._cache
        assert cache is not None
        store.put("other", text("other"))
        with cache._lock:
            assert Running(lambda: value(store)).result() == "first"
            assert store.get("other").value.matches(text("other"))

    def test_a_leader_that_never_asked_is_replaced(
        self, store: SecretStore, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal's handler raised in the moment between: the next readers do not wait for ever."""
        monkeypatch.setattr(cache_module, "_ORPHANED", 0.01)
        cache = store._reads._cache
        assert cache is not None
        with monkeypatch.context() as interrupted:
            interrupted.setattr(cache, "_fly", _raise_killed)
            with pytest.raises(Killed):
                store.get(NAME)
        assert Running(lambda: value(store)).result() == "first"

    def test_two_names_do_not_wait_for_each_other(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """A slow name holds up its own readers alone."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        store.put("other", text("other"))
        gate.arm()
        slow = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        assert store.get("other").value.matches(text("other"))
        gate.open()
        slow.result()


def _raise_killed(*_: object) -> None:
    raise kill()


def _provider_fault() -> UnavailableError:
    return UnavailableError("no answer", hint="try later", request_id="r-1")


WRITES: dict[str, Callable[[SecretStore], object]] = {
    "put": lambda store: store.put(NAME, text("second")),
    "delete": lambda store: store.delete(NAME),
    "purge": lambda store: store.purge(NAME),
}


class TestOwnWrites:
    """A read after a write of this store never sees what was before."""

    def test_a_put_is_seen_by_the_next_read(self, store: SecretStore) -> None:
        """Without waiting for fresh to pass."""
        value(store)
        store.put(NAME, text("second"))
        assert value(store) == "second"

    def test_a_promote_a_rollback_and_a_discard_are_seen(self, clock: FakeClock) -> None:
        """The version too: with an old one the next ``if_version`` would fail until fresh has passed.

        A companion's discard writes current's value once more.
        """
        store = SecretStore(memory(ALL & ~Capability.NATIVE_PENDING, clock), cache=POLICY, clock=clock)
        store.put(NAME, text("one"))
        for number, end in enumerate(("promote", "discard")):
            pending = store.pending(NAME, f"00000000-0000-4000-8000-00000000000{number}")
            pending.put(text(end), base_version=store.get(NAME).version)
            getattr(pending, end)()
            assert store.get(NAME).version == store.versions(NAME)[0].id
        store.rollback(NAME, if_version=store.get(NAME).version)
        assert store.get(NAME).version == store.versions(NAME)[0].id

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("operation", WRITES)
    def test_a_write_that_failed_evicts(
        self, store: SecretStore, backend: FaultyBackend, operation: str, after: bool
    ) -> None:
        """It may have happened: the next read asks, and in an outage there is nothing to serve."""
        value(store)
        backend.timeout(operation, after=after)
        with pytest.raises(UnavailableError):
            WRITES[operation](store)
        assert not store.is_warm(NAME)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_a_conflict_evicts(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Who lost to another writer reads the winner's version next, not the one that just failed."""
        seen = store.get(NAME).version
        overwrite(backend.inner, "another writer's")
        with pytest.raises(SecretStoreError):
            store.put(NAME, text("mine"), if_version=seen)
        assert value(store) == "another writer's"

    def test_a_read_begun_before_a_put_cannot_bring_the_old_value_back(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The answer of a slow read arrives after the write: nobody who asks later gets it."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        gate.arm()
        slow = Running(lambda: value(store))
        assert gate.asked.wait(30)
        store.put(NAME, text("second"))
        assert value(store) == "second"
        gate.open()
        assert slow.result() == "first"
        assert value(store) == "second"

    @pytest.mark.parametrize("end", ["delete", "purge"])
    def test_a_revoked_secret_is_never_served_again(
        self, backend: FaultyBackend, clock: FakeClock, end: str
    ) -> None:
        """Not by a read that was on its way, not by a refresh behind, not in an outage right after."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        value(store)
        clock.advance(FRESH * 0.8)
        gate.arm()
        value(store)
        assert gate.asked.wait(30)
        getattr(store, end)(NAME)
        gate.open()
        refreshed()
        with pytest.raises(SecretNotFoundError):
            store.get(NAME)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_a_stale_read_in_progress_does_not_outlive_a_purge(
        self, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Its provider call fails only after the purge: the old value is not let out any more."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        value(store)
        clock.advance(FRESH)
        backend.unreachable("get", times=1)
        gate.arm()
        reader = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        store.purge(NAME)
        gate.open()
        with pytest.raises(UnavailableError):
            reader.result()


class TestRejected:
    """``refresh``: the target refused a version."""

    def test_it_asks_and_returns_what_is_current(self, store: SecretStore, backend: FaultyBackend) -> None:
        """A rotation made elsewhere is seen at once."""
        old = store.get(NAME).version
        overwrite(backend.inner, "second")
        assert store.refresh(NAME, rejected=old).value.matches(text("second"))
        assert value(store) == "second"

    def test_a_version_other_than_the_rejected_is_served(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Who comes late with an old version does not cause a request."""
        value(store)
        store.refresh(NAME, rejected="long gone")
        assert backend.calls["get"] == 1

    def test_at_most_one_request_a_second_goes_out(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A target that refuses everybody does not become a load on the provider."""
        version = store.get(NAME).version
        for _ in range(50):
            assert store.refresh(NAME, rejected=version).version == version
        assert backend.calls["get"] == 2
        clock.advance(1)
        store.refresh(NAME, rejected=version)
        assert backend.calls["get"] == 3

    def test_threads_refused_at_once_share_one_request(
        self, backend: FaultyBackend, clock: FakeClock, waiting: Waiting
    ) -> None:
        """And all get its answer: none is handed the rejected version while the answer is on its way."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        old = store.get(NAME).version
        new = overwrite(backend.inner, "second").id
        gate.arm()
        first = Running(lambda: store.refresh(NAME, rejected=old))
        assert gate.asked.wait(30)
        others = [Running(lambda: store.refresh(NAME, rejected=old).version) for _ in range(8)]
        waiting(8)
        gate.open()
        first.result()
        assert {other.result() for other in others} == {new}
        assert backend.calls["get"] == 2

    def test_the_limit_does_not_outlive_the_bound(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Twice in a second past fresh + stale: the second gets the error too, not the old value."""
        version = store.get(NAME).version
        backend.unreachable()
        clock.advance(FRESH + STALE)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                store.refresh(NAME, rejected=version)

    def test_a_rejected_value_is_not_let_out_by_an_outage(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The target refused it: handing it out again, as stale, helps nobody."""
        version = store.get(NAME).version
        clock.advance(FRESH)
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.refresh(NAME, rejected=version)

    def test_without_a_cache_it_asks(self, backend: FaultyBackend) -> None:
        """There is nothing to compare with."""
        store = SecretStore(backend, cache=None)
        version = store.get(NAME).version
        assert store.refresh(NAME, rejected=version).version == version
        assert backend.calls["get"] == 2


class TestClose:
    """A closed store holds no value."""

    def test_it_drops_every_value(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Also one that is still on its way."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        store.put("other", text("other"))
        store.get("other")
        gate.arm()
        late = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        store.close()
        gate.open()
        late.result()
        cache = store._reads._cache
        assert cache is not None
        assert not cache.warm
        assert not cache._flights


def test_many_threads_read_while_one_writes(backend: FaultyBackend, clock: FakeClock) -> None:
    """Under load no reader gets a value older than one that was written before it asked."""
    store = SecretStore(backend, cache=POLICY, clock=clock)
    written = [0]
    store.put(NAME, text("0"))

    def read() -> None:
        for _ in range(200):
            floor = written[0]
            assert int(value(store)) >= floor

    readers = [Running(read) for _ in range(8)]
    for number in range(1, 50):
        store.put(NAME, text(str(number)))
        written[0] = number
    for reader in readers:
        reader.result()


def test_a_cache_reads_whatever_it_is_given(clock: FakeClock) -> None:
    """It knows of its policy, a way to read and a clock, and of no backend."""
    secret = Secret(NAME, SecretValue(text("x")), "1")
    cache = Cache(POLICY, lambda name: secret, clock)
    assert cache.get(KEY) is cache.get(KEY) is secret
