"""Who looks on: what measures a process's stores, and what can be asked how it is. At first nobody looks.

A store tells the observer of each operation and each request to a provider; what the cache answers is counted
by the cache itself, whether or not anybody looks, since a read of a microsecond has no time for more.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from contextlib import AbstractContextManager
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .telemetry import Family, Labels

T = TypeVar("T")


class Observer:
    """Told of what goes on in this process; it raises nothing. A name is for who may tell it on."""

    def operation(self, operation: str, store: str, name: str | None) -> AbstractContextManager[object]:
        """A block in which a store does an operation."""
        raise NotImplementedError

    def listing(self, operation: str, store: str) -> AbstractContextManager[object]:
        """As `operation`, of one that gives way to its caller in between."""
        raise NotImplementedError

    def request(self, operation: str, backend: str, name: str | None) -> AbstractContextManager[object]:
        """A block in which a provider is asked."""
        raise NotImplementedError


class Source(Protocol):
    """What can be asked how it is."""

    def families(self) -> Iterable[Family]:
        """Its metrics."""
        ...


observer: Observer | None = None
"""Who is told; set it by `observe`."""

_sources: weakref.WeakSet[Source] = weakref.WeakSet()


def observe(by: Observer | None) -> None:
    """From now on tell this observer, and no other."""
    global observer  # noqa: PLW0603  (one of a process, looked at by each operation)
    observer = by


def tell_of(source: Source) -> None:
    """It is asked from now on, as long as it lives."""
    _sources.add(source)


def tell_no_more_of(source: Source) -> None:
    """It is not asked any more. Safe to repeat."""
    _sources.discard(source)


def families() -> Iterator[Family]:
    """The metrics of everything in this process that can be asked, merged by name and labels."""
    found: dict[str, tuple[str, str, dict[Labels, float]]] = {}
    for source in (_caches, *alive(_sources)):
        for name, kind, meaning, samples in _told(source):
            merged = found.setdefault(name, (kind, meaning, {}))[2]
            merge(kind, merged, samples)
    for name, (kind, meaning, samples) in found.items():
        yield name, kind, meaning, samples


def _told(source: Source) -> list[Family]:
    try:
        return list(source.families())
    except Exception:  # noqa: BLE001  (a ledger that is down must not take the others' numbers along)
        return []


def merge(kind: str, into: dict[Labels, float], samples: Mapping[Labels, float]) -> None:
    """Put samples together; two of the same labels are one: of counters their sum, of gauges the worst."""
    for labels, value in samples.items():
        known = into.get(labels)
        into[labels] = value if known is None else known + value if kind == "counter" else max(known, value)


def alive(some: weakref.WeakSet[T]) -> list[T]:
    """What is in a weak set, also while other threads add to it."""
    while True:
        try:
            return list(some)
        except RuntimeError:  # it grew in the middle
            continue


def scheme_of(origin: str) -> str:
    """What kind of backend an origin is of: all that a metric says of it."""
    return origin.partition(":")[0]


class Ticks:
    """A count that any thread raises in a single step of the interpreter: exact without a lock."""

    __slots__ = ("_left", "tick")

    def __init__(self) -> None:
        self._left = repeat(None, sys.maxsize)
        self.tick = self._left.__next__

    def count(self) -> int:
        """How often it was raised."""
        return sys.maxsize - length_hint(self._left)


class Held(Protocol):
    """A value in a cache."""

    @property
    def stale(self) -> bool:
        """Whether it is served because its provider does not answer."""
        ...

    def given(self) -> int:
        """How often it was read."""
        ...


class Holding(Protocol):
    """A cache."""

    def held(self) -> Sequence[Held]:
        """What it holds now."""
        ...


class Tally:
    """What the caches of all stores of one name did in this process, the closed ones among them.

    Attributes:
        ended: of values that no cache holds any more, whether they were stale and how often they were read.
        waits: reads that had to wait for the provider.
        refreshes: values read again before anybody had to wait.
    """

    def __init__(self) -> None:
        self._caches: weakref.WeakSet[Holding] = weakref.WeakSet()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a finaliser or a signal's handler may read in the middle
        self._pid = os.getpid()
        self.ended: deque[tuple[bool, int]] = deque()
        self.waits, self.refreshes = Ticks(), Ticks()
        self._reads = {False: 0, True: 0}
        self._told = {False: 0, True: 0}

    def after_fork(self) -> None:
        """In a forked child: count from nothing, for the parent tells what was before."""
        if self._pid != os.getpid():
            self._begin()

    def add(self, cache: Holding) -> None:
        """One cache more."""
        self._caches.add(cache)

    def fold(self) -> None:
        """Add up what has ended."""
        with self._lock:
            while self.ended:
                stale, count = self.ended.popleft()
                self._reads[stale] += count

    def held(self) -> list[Held]:
        """What the caches hold now."""
        return [one for cache in alive(self._caches) for one in cache.held()]

    def reads(self, held: Iterable[Held]) -> dict[bool, int]:
        """How many reads the caches answered, by whether the value was stale. It never falls."""
        with self._lock:
            self.fold()
            now = dict(self._reads)
            for one in held:
                now[one.stale] += one.given()
            # A value that has just left its cache may still be in a reader's hands, and is counted later.
            self._told = {stale: max(count, self._told[stale]) for stale, count in now.items()}
            return dict(self._told)


class _Caches:
    """The caches of this process, by the name of their store."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def families(self) -> Iterator[Family]:
        tallies = dict(self.tallies)
        held = {store: tally.held() for store, tally in tallies.items()}
        reads: dict[Labels, float] = {}
        for store, tally in tallies.items():
            read = tally.reads(held[store])
            outcomes = {"hit": read[False], "stale": read[True], "miss": tally.waits.count()}
            reads |= {(("store", store), ("outcome", word)): count for word, count in outcomes.items()}
        meaning = "Reads: answered from the cache, answered stale in an outage, or waited for the provider."
        yield "strongroom_cache_reads_total", "counter", meaning, reads
        behind: dict[Labels, float] = {
            (("store", store),): float(tally.refreshes.count()) for store, tally in tallies.items()
        }
        meaning = "Values read again behind the readers' backs."
        yield "strongroom_cache_refreshes_total", "counter", meaning, behind
        entries: dict[Labels, float] = {}
        for store, some in held.items():
            stale = sum(one.stale for one in some)
            entries[("store", store), ("state", "fresh")] = len(some) - stale
            entries[("store", store), ("state", "stale")] = stale
        yield "strongroom_cache_entries", "gauge", "Values that caches hold.", entries


_caches: Final = _Caches()


def tally_of(store: str) -> Tally:
    """What the caches of the stores of this name are counted in."""
    return _caches.tallies.setdefault(store, Tally())
