"""Read your own writes where the provider's labels lag behind them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.backend import Secret, SecretVersion
from strongroom.cache import CachePolicy
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.pins import Pins
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.unit.core_support import KEY, NAME, Eventual, memory, overwrite, text


@pytest.fixture
def faulty(clock: FakeClock) -> FaultyBackend:
    return memory(clock=clock)


def opened(backend: Eventual, clock: FakeClock, *, cached: bool = False) -> SecretStore:
    return SecretStore(backend, cache=CachePolicy() if cached else None, clock=clock)


def value(store: SecretStore) -> str:
    return store.get(NAME).value.reveal_text().removeprefix(text(""))


class TestLabels:
    """Where a label says what is current (AWS), for at most ten seconds."""

    @pytest.mark.parametrize("cached", [False, True])
    def test_what_was_written_is_read(self, faulty: FaultyBackend, clock: FakeClock, cached: bool) -> None:
        """By its id, at stage CURRENT, though the label still names the old version; cached or not."""
        lagging = Eventual(faulty)
        store = opened(lagging, clock, cached=cached)
        store.put(NAME, text("old"))
        value(store)
        lagging.freeze()
        written = store.put(NAME, text("new"))
        clock.advance(9.9)
        secret = store.get(NAME)
        assert (value(store), secret.version) == ("new", written.id)
        assert secret.stage is not None

    def test_a_batch_reads_what_was_written(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """``get_many`` too, whose one request asks for labels; the other names still come in one request."""
        lagging = Eventual(faulty)
        store = opened(lagging, clock)
        store.put(NAME, text("old"))
        for name in ("a", "b", "c"):
            faulty.inner.put(Name(name), SecretValue(text(name)), None)
        lagging.freeze()
        store.put(NAME, text("new"))
        found = store.get_many(["a", NAME, "b", "c"])
        assert found[NAME].value.matches(text("new"))
        assert list(found) == ["a", NAME, "b", "c"]
        assert faulty.calls["get_many"] == 1

    def test_after_ten_seconds_the_label_counts(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """Another program's newer write must become visible: a pin is not for ever."""
        store = opened(Eventual(faulty), clock)
        store.put(NAME, text("mine"))
        overwrite(faulty, "another's")
        assert value(store) == "mine"
        clock.advance(10)
        assert value(store) == "another's"

    def test_a_pinned_version_that_is_gone_drops_the_pin(
        self, faulty: FaultyBackend, clock: FakeClock
    ) -> None:
        """Somebody destroyed it: what is current is asked for, once, and from then on."""
        store = opened(Eventual(faulty), clock)
        written = store.put(NAME, text("mine"))
        faulty.inner.put(KEY, SecretValue(text("another's")), None)
        faulty.inner.retire(KEY, written.id)
        assert value(store) == "another's"
        asked = faulty.calls["get"]
        value(store)
        assert faulty.calls["get"] == asked + 1

    @pytest.mark.parametrize("end", ["delete", "purge"])
    def test_a_revocation_clears_the_pin(self, faulty: FaultyBackend, clock: FakeClock, end: str) -> None:
        """A label that still answers for a purged secret is the provider's; our pin adds nothing to it."""
        lagging = Eventual(faulty)
        store = opened(lagging, clock)
        store.put(NAME, text("old"))
        store.put(NAME, text("new"))
        getattr(store, end)(NAME)
        assert not store._reads._pins.holds(KEY)
        with pytest.raises(SecretNotFoundError):
            store.get(NAME)

    def test_a_reader_between_write_and_eviction_cannot_cache_the_old_label(
        self, faulty: FaultyBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The pin stands before the cache forgets, else the lagging label would be fresh for five minutes."""
        lagging = Eventual(faulty)
        store = opened(lagging, clock, cached=True)
        store.put(NAME, text("old"))
        lagging.freeze()
        forget = store._reads.forget

        def forget_and_read(name: Name) -> None:
            forget(name)
            value(store)

        monkeypatch.setattr(store._reads, "forget", forget_and_read)
        store.put(NAME, text("new"))
        assert value(store) == "new"

    def test_of_two_writes_the_later_is_pinned(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """Two threads write; the first one's pin may be set last."""
        pins = Pins(Eventual(faulty), clock)
        early = overwrite(faulty, "early")
        clock.advance(1)
        late = overwrite(faulty, "late")
        pins.set(KEY, late)
        pins.set(KEY, early)
        assert pins.read(KEY).version == late.id

    def test_a_store_that_is_not_eventual_pins_nothing(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """There the provider's word counts at once."""
        store = SecretStore(faulty, cache=None, clock=clock)
        store.put(NAME, text("mine"))
        overwrite(faulty, "another's")
        assert value(store) == "another's"


class TestFloor:
    """Where current is always the newest (Vault, Google) the pin is a floor by creation time, without end."""

    def test_an_older_answer_is_not_accepted(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """A replica that lags by hours does not bring the old value back."""
        lagging = Eventual(faulty, newest_is_current=True)
        store = opened(lagging, clock)
        store.put(NAME, text("old"))
        lagging.freeze()
        clock.advance(1)
        store.put(NAME, text("new"))
        clock.advance(3600)
        assert value(store) == "new"

    def test_a_newer_answer_is(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """Another program's write is seen at once."""
        store = opened(Eventual(faulty, newest_is_current=True), clock)
        store.put(NAME, text("mine"))
        clock.advance(1)
        overwrite(faulty, "another's")
        assert value(store) == "another's"

    def test_a_provider_that_tells_no_time_is_believed(self, faulty: FaultyBackend, clock: FakeClock) -> None:
        """Without creation times there is no floor."""
        pins = Pins(Eventual(faulty, newest_is_current=True), clock)
        overwrite(faulty, "current")
        pins.set(KEY, SecretVersion("unknown"))
        assert pins.read(KEY).value.matches(text("current"))


class TestFailover:
    """Pins never compare across members."""

    @pytest.fixture
    def first(self, clock: FakeClock) -> FaultyBackend:
        return memory(clock=clock)

    @pytest.fixture
    def second(self) -> MemoryBackend:
        """A member whose clock is an hour behind."""
        backend = MemoryBackend(clock=FakeClock(FakeClock().now() - timedelta(hours=1)))
        overwrite(backend, "replica's")
        return backend

    @pytest.mark.parametrize("floor", [False, True])
    def test_a_pin_does_not_stop_failover(
        self, first: FaultyBackend, second: MemoryBackend, clock: FakeClock, floor: bool
    ) -> None:
        """The first member, which was written to, goes down: the second answers, marked degraded."""
        members = {"a": Eventual(first, newest_is_current=floor), "b": second}
        store = SecretStore(Failover(members), cache=None, clock=clock)
        store.put(NAME, text("mine"))
        first.unreachable()
        answer = store.get(NAME)
        assert answer.degraded
        assert answer.value.matches(text("replica's"))
        assert first.calls["get"] == (1 if floor else 2), "a floor is no reason to ask a dead member again"

    def test_the_old_label_is_no_answer_when_the_pinned_version_does_not_come(
        self, faulty: FaultyBackend, clock: FakeClock
    ) -> None:
        """Unavailable by its id, and the label names an older one: the reader is told, not misled."""
        lagging = Eventual(faulty)
        store = opened(lagging, clock)
        store.put(NAME, text("old"))
        lagging.freeze()
        store.put(NAME, text("new"))
        faulty.unreachable("get", times=1)
        with pytest.raises(UnavailableError):
            store.get(NAME)


def test_a_secret_says_what_it_was_asked_for(faulty: FaultyBackend, clock: FakeClock) -> None:
    """Read by its pin or not, the answer to ``get`` is at stage CURRENT."""
    lagging = Eventual(faulty)
    store = opened(lagging, clock)
    store.put(NAME, text("x"))
    pinned: Secret = store.get(NAME)
    clock.advance(60)
    assert pinned.stage is store.get(NAME).stage
