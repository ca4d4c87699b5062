"""What caches answered is counted exactly, by whatever threads, stores and values, and never falls."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from strongroom import observing
from strongroom.cache import CachePolicy
from strongroom.cardinality import OTHER, ShownNames
from strongroom.memory import MemoryBackend
from strongroom.observing import Tally
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY
from tests.scale import scaled

NAME = "db/password"
ALIAS = "counted"
THREADS = 8


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that other tests counted."""
    monkeypatch.setattr(observing._caches, "tallies", {})


def _all(tally: Tally) -> int:
    return sum(tally.reads(tally.held()).values()) + tally.waits.count()


def _store(clock: FakeClock | None = None, size: int = 10) -> SecretStore:
    policy = CachePolicy(fresh=100, stale=900, size=size)
    return SecretStore(MemoryBackend(clock=clock), alias=ALIAS, clock=clock, cache=policy)


def test_each_read_of_many_threads_is_counted_once_while_values_come_and_go() -> None:
    """Hits and misses are as many as there were reads, and no look is higher than a later one."""
    store, tally = _store(), observing.tally_of(ALIAS)
    reads = scaled(50_000, "reads by threads whose counts are compared")
    store.put(NAME, CANARY)
    ended = threading.Event()
    looks = [0]

    def read() -> None:
        for _ in range(reads // THREADS):
            store.get(NAME)

    def write() -> None:
        while not ended.is_set():
            store.put(NAME, CANARY)  # the entry that readers hold is replaced, and later gone
            looks.append(tally.reads(tally.held())[False])

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    writer = threading.Thread(target=write)
    for thread in (*threads, writer):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    writer.join()
    assert _all(tally) == reads // THREADS * THREADS
    assert looks == sorted(looks)


def test_stores_of_one_alias_are_counted_together_and_closed_ones_stay() -> None:
    """A program that opens its store for each request tells of all of them."""
    for _ in range(5):
        with _store() as store:
            store.put(NAME, CANARY)
            store.get(NAME)
            store.get(NAME)
    tally = observing.tally_of(ALIAS)
    assert tally.reads(tally.held()) == {False: 5, True: 0}
    assert tally.waits.count() == 5
    assert tally.held() == []


def test_what_was_pushed_out_of_a_small_cache_is_counted() -> None:
    """Its reads are not lost with it."""
    store = _store(size=2)
    for number in range(20):
        store.put(f"app/key-{number}", CANARY)
        store.get(f"app/key-{number}")
        store.get(f"app/key-{number}")
    assert _all(observing.tally_of(ALIAS)) == 40
    assert len(observing.tally_of(ALIAS).held()) == 2


def test_what_nobody_collects_does_not_grow() -> None:
    """Counts of values that are gone are added up when the next value comes."""
    clock = FakeClock()
    store, tally = _store(clock), observing.tally_of(ALIAS)
    store.put(NAME, CANARY)
    for _ in range(1000):
        store.get(NAME)
        store.get(NAME)
        clock.advance(101)
    assert len(tally.ended) <= 2


def test_a_store_without_a_cache_has_no_counts() -> None:
    """It would tell of reads that it has not."""
    SecretStore(MemoryBackend(), alias="bare", cache=None)
    assert observing._caches.tallies == {}


def test_a_store_that_has_no_alias_is_called_by_its_scheme() -> None:
    """A URL may name accounts."""
    SecretStore(MemoryBackend())
    assert list(observing._caches.tallies) == ["memory"]


def test_of_names_that_many_threads_tell_at_once_no_more_are_shown_than_allowed() -> None:
    """Whatever the order."""
    names = ShownNames(lambda name: True, 5)
    shown: list[str | None] = []
    begin = threading.Barrier(THREADS)

    def tell(number: int) -> None:
        begin.wait()
        shown.extend(names.shown(f"app/{number}-{each}") for each in range(50))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*shown} - {OTHER}) <= 5
    assert OTHER in shown


def test_a_weak_set_that_grows_meanwhile_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread opens a store in the middle of a collection."""

    class Grows:
        asked = 0

        def __iter__(self) -> Iterator[int]:
            self.asked += 1
            yield 1
            if self.asked == 1:
                raise RuntimeError("Set changed size during iteration")

    assert observing.alive(Grows()) == [1]  # type: ignore[arg-type]
