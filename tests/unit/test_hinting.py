"""Hints: what one makes a store read, and how little any number of them can."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from strongroom import hinting
from strongroom.backend import Capability, SecretVersion
from strongroom.cache import CachePolicy
from strongroom.memory import ALL
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, denied, unavailable
from strongroom.testing.overriding import override
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import DEADLINE, NAME, memory, overwrite, text
from tests.unit.test_fork import in_child
from tests.unit.test_watching import Told, pollers

ODD = ["", "/", "..", "DB/Password", "a" * 1000, "\x00", "arn:aws:x", 7, b"db", ("db",), {}, object()]


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> Iterator[SecretStore]:
    with SecretStore(backend, clock=clock) as store:
        yield store
    ended()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "strongroom-hint"]


def ended() -> None:
    """Wait until no thread reads because of hints."""
    for thread in [*readers(), *pollers()]:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "it goes on"


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another thread does, in which no time passes."""
    event = threading.Event()
    for _ in range(int(DEADLINE / 0.002)):
        if happened():
            return
        event.wait(0.002)
    raise AssertionError("it never happened")


def met(store: SecretStore, version: SecretVersion) -> None:
    """Wait until the store serves that version."""
    until(lambda: store.get(NAME).version == version.id)


def idle(store: SecretStore) -> bool:
    """Whether the thread waits for time to pass, or has ended."""
    hints = store._hints
    with hints._lock:
        return not hints._woken or hints._wakes > hints._clock.monotonic()


def settle(store: SecretStore) -> None:
    until(lambda: idle(store))


def pass_time(store: SecretStore, clock: FakeClock, seconds: float) -> None:
    """In steps after each of which all that is due is done."""
    for _ in range(int(seconds / 0.5)):
        clock.advance(0.5)
        settle(store)


class TestWhatAHintDoes:
    """The value is read again, behind."""

    def test_a_cached_value_is_served_until_the_new_one_is_there(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Long before it would be refreshed; no reader waits."""
        store.get(NAME)
        second = overwrite(backend.inner, "second")
        store.hint(NAME)
        assert store.get(NAME).value.matches(text("first")) or store.get(NAME).version == second.id
        met(store, second)
        assert backend.calls["get"] == 2

    def test_who_watches_is_told(self, store: SecretStore, backend: FaultyBackend, told: Told) -> None:
        """Without time passing: the poll never came."""
        store.on_change(NAME, told)
        second = overwrite(backend.inner, "second")
        store.hint(NAME)
        assert told.next() == second.id

    def test_none_is_everything_within_a_poll(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """What is cached and what is watched, missing or not."""
        clock.spread = 1.0
        store.get(NAME)
        store.on_change("db/other", told)
        second, other = overwrite(backend.inner, "second"), put(backend, "other", "db/other")
        store.hint()
        clock.advance(29)
        settle(store)
        assert store.get(NAME).version != second.id
        clock.advance(2)
        met(store, second)
        assert told.next() == other.id

    def test_a_fleet_is_spread(self, store: SecretStore, backend: FaultyBackend, clock: FakeClock) -> None:
        """Each instance reads at a moment of its own within the policy's `spread`."""
        clock.spread = 0.5
        store.get(NAME)
        store.hint(NAME)
        settle(store)
        assert backend.calls["get"] == 1
        clock.advance(0.5)
        until(lambda: backend.calls["get"] == 2)

    def test_it_looks_once_more_where_nothing_was_new(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A provider's labels may follow a write late, and its event may be faster."""
        store.get(NAME)
        store.hint(NAME)
        until(lambda: backend.calls["get"] == 2)
        second = overwrite(backend.inner, "second")
        pass_time(store, clock, 2)
        met(store, second)
        assert backend.calls["get"] == 3

    def test_without_a_cache_only_what_is_watched_is_read(
        self, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """There is nothing else that a hint could be about."""
        with SecretStore(backend, clock=clock, cache=None) as store:
            store.get(NAME)
            store.hint(NAME)
            assert not readers()
            store.on_change(NAME, told)
            second = overwrite(backend.inner, "second")
            store.hint(NAME)
            assert told.next() == second.id


class TestWhatItCannotDo:
    """Neither to readers nor to the provider."""

    @pytest.mark.parametrize("name", ODD, ids=lambda name: repr(name)[:20])
    def test_odd_names_are_noise(self, store: SecretStore, backend: FaultyBackend, name: str) -> None:
        """Neither an error nor a call, nor a thread."""
        store.get(NAME)
        store.hint(name)
        assert backend.calls["get"] == 1
        assert not readers()

    def test_unknown_names_are_noise(self, store: SecretStore, backend: FaultyBackend) -> None:
        """However many; and nothing is kept of them."""
        for number in range(1000):
            store.hint(f"forged/{number}")
        assert not backend.calls["get"] + len(readers()) + len(store._hints._names)

    def test_a_closed_store_takes_none(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """Quietly: whoever sends them is told nothing."""
        store = SecretStore(backend, clock=clock)
        store.get(NAME)
        store.hint(NAME)
        store.close()
        store.hint(NAME)
        store.hint()
        ended()

    def test_a_flood_on_one_name_costs_no_more_than_polling(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Each read that found nothing doubles the pause, up to the poll's."""
        store.get(NAME)
        for _ in range(600):
            for _ in range(10):
                store.hint(NAME)
            pass_time(store, clock, 0.5)
        assert backend.calls["get"] <= 1 + 6 + 300 / 30 + 2

    def test_real_changes_are_met_at_once_all_the_same(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A pause only grows where hints are wrong: a second is all that lies between two right ones."""
        store.get(NAME)
        for round_ in range(10):
            version = overwrite(backend.inner, f"round {round_}")
            store.hint(NAME)
            met(store, version)
            clock.advance(1)
        assert backend.calls["get"] == 11

    def test_quiet_restores_trust(self, store: SecretStore, backend: FaultyBackend, clock: FakeClock) -> None:
        """A poll's time after the last wrong hint, the next one counts as the first."""
        store.get(NAME)
        for _ in range(100):
            store.hint(NAME)
            pass_time(store, clock, 0.5)
        pass_time(store, clock, 100)
        version = overwrite(backend.inner, "second")
        store.hint(NAME)
        met(store, version)

    def test_a_flood_on_all_names_keeps_to_the_budget(self, clock: FakeClock) -> None:
        """Ten a second after the burst; what is over waits, and is read in its turn."""
        backend, count = memory(ALL & ~Capability.BATCH_GET, clock), scaled(5000, "names that are hinted at")
        names = [f"app/{number}" for number in range(count)]
        for name in names:
            put(backend, "value", name)
        policy = CachePolicy(fresh=1e6, spread=0)
        with SecretStore(backend, clock=clock, cache=policy) as store:
            store.prefetch(names)
            before, reads = backend.calls["get"], 0
            for _ in range(20):
                for name in names:
                    store.hint(name)
                pass_time(store, clock, 1)
                reads = backend.calls["get"] - before
            assert hinting.BURST < reads <= hinting.BURST + 20 * hinting.RATE + 1
            assert reads >= min(count, hinting.BURST + 19 * hinting.RATE)

    def test_an_outage_changes_nothing(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """The value is still served, unmarked while it is fresh; the second look finds what is new."""
        store.get(NAME)
        backend.fault("get", unavailable)
        store.hint(NAME)
        until(lambda: backend.calls["get"] == 2)
        settle(store)
        assert not store.get(NAME).stale
        second = overwrite(backend.inner, "second")
        pass_time(store, clock, 2)
        met(store, second)

    def test_what_nobody_uses_any_more_is_not_brought_back(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A value that was dropped from the cache before its turn came stays out of memory."""
        clock.spread = 1.0
        store.get(NAME)
        store.hint(NAME)
        store._reads.drop(Name(NAME))
        clock.advance(1)
        ended()
        assert backend.calls["get"] == 1
        assert not store.is_warm(NAME)

    def test_a_provider_that_denies_is_heard(self, store: SecretStore, backend: FaultyBackend) -> None:
        """As in any other read: what may not be read any more is not served."""
        store.get(NAME)
        backend.fault("get", denied)
        store.hint(NAME)
        until(lambda: not store.is_warm(NAME))

    def test_a_bug_in_a_backend_ends_no_later_hint(
        self, store: SecretStore, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The thread that met it is gone; the next hint has its own."""
        store.get(NAME)
        with monkeypatch.context() as patched:
            patched.setattr(threading, "excepthook", lambda args: None)
            patched.setattr(store._hints, "_look", lambda names: 1 / 0)
            store.hint(NAME)
            ended()
        second = overwrite(backend.inner, "second")
        store._clock.advance(1)  # type: ignore[attr-defined]
        store.hint(NAME)
        met(store, second)

    def test_no_thread_is_no_error(
        self, store: SecretStore, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Polling and the cache's bounds are still there."""
        store.get(NAME)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_thread)
            store.hint(NAME)
        assert not store._hints._names
        second = overwrite(backend.inner, "second")
        store.hint(NAME)
        met(store, second)


class TestForksAndHandles:
    """Who has hints of its own."""

    def test_a_child_begins_with_none(self, store: SecretStore, backend: FaultyBackend) -> None:
        """And takes its own; its parent's thread is not there to be waited for."""
        store._clock.spread = 1.0  # type: ignore[attr-defined]
        store.get(NAME)
        store.hint(NAME)

        def check() -> bool:
            hints = store._hints
            store._clock.spread = 0.0  # type: ignore[attr-defined]
            empty = not hints._names and not hints._woken
            store.get(NAME)
            second = overwrite(backend.inner, "second")
            store.hint(NAME)
            met(store, second)
            return empty

        in_child(check)

    def test_a_lent_handle_hints_the_same_cache(self, store: SecretStore, backend: FaultyBackend) -> None:
        """And closing it ends nothing of the lender's."""
        import strongroom

        with override({"prod": store}):
            with strongroom.open("prod") as lent:
                lent.get(NAME)
            second = overwrite(backend.inner, "second")
            store.hint(NAME)
            met(store, second)


@pytest.fixture
def told() -> Told:
    return Told()


def put(backend: FaultyBackend, label: str, name: str) -> SecretVersion:
    """Another program writes a secret of that name."""
    return backend.inner.put(Name.parse(name), SecretValue(text(label)), None)


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
