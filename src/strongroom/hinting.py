"""Hints: somebody says that a secret may have changed, and it is read again behind the readers' backs.

A hint is believed in nothing but that. It evicts nothing, its sender's word is no value, and whoever can
send hints, or drop them, or repeat them, changes only how soon a change is met:

* a name that is neither cached nor watched costs a look into two dicts;
* a name is read at most once a second; each read that finds nothing new doubles that pause, up to the
  store's ``poll``, so that no flood of hints asks more often than polling would;
* all names of a store together are read at most `RATE` times a second after a burst of `BURST`; what is over
  that waits its turn, and polling and the cache's bounds go on beside it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol, final

from .backend import Secret
from .cachepolicy import CachePolicy
from .errors import SecretStoreError, UnavailableError
from .names import Name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .backend import Clock
    from .cached import Entry, Outcome

RATE: Final = 10.0
"""Names that one store reads in a second because of hints, in the long run."""
BURST: Final = 100
"""Names that it may read at once, after it has been left alone for as long as they take at `RATE`."""
_INTERVAL: Final = 1.0
"""Seconds between two reads of one name."""
_LOOKS: Final = 2
"""Reads that one hint may cause: the first may come before the provider's own labels have followed."""
_ROUNDING: Final = 1e-6
"""What a budget that was just enough may lack for being counted in floats."""
_TOGETHER: Final = 20
"""Names in one look: the least of the providers' batches."""


class Reading(Protocol):
    """What is read through."""

    warm: dict[str, Entry]

    def look(self, names: Sequence[Name]) -> Mapping[Name, Outcome]:
        """Ask the provider for these names now, whatever is cached, and cache the answers."""


class Source(Protocol):
    """What brings hints, such as a listener to a queue."""

    def close(self) -> None:
        """Bring no more."""

    def after_fork(self) -> None:
        """Forget what is the parent's."""


class _Hinted:
    """What is known of a name that was hinted at.

    Attributes:
        at: monotonic seconds when it is to be read; None if it is not.
        looks: how many reads its last hint may still cause.
        pause: seconds from one read to the next.
        last: when it was read last.
        version: what that read gave.
    """

    __slots__ = ("at", "last", "looks", "pause", "version")

    def __init__(self) -> None:
        self.at: float | None = None
        self.looks, self.pause, self.last = 0, _INTERVAL, float("-inf")
        self.version: str | None = None


@final
class Hints:
    """Reads again what hints name, in one thread that ends when nothing is due.

    Args:
        reads: the store's; the cache and those who watch hear of the answers.
        watched: the names that somebody watches.
        policy: its `poll` is the longest pause between two reads of a name that hints cause, and the reads
            after one hint are spread over its `spread`; None for the defaults of both.
        clock: injected in tests.
    """

    def __init__(self, reads: Reading, watched: Collection[Name], policy: CachePolicy | None, clock: Clock):
        policy = policy or CachePolicy()
        self._look, self._warm, self._watched = reads.look, reads.warm, watched
        self._poll, self._spread, self._clock = max(policy.poll, _INTERVAL), policy.spread, clock
        self._closed = False
        self._sources: list[Source] = []
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with nothing due: the parent reads what it was told to."""
        for source in self._sources:
            source.after_fork()
        self._lock = threading.RLock()  # a signal's handler may hint in the middle of a hint
        self._names: dict[Name, _Hinted] = {}
        self._woken: threading.Event | None = None
        self._wakes = float("-inf")
        self._tokens, self._counted = float(BURST), self._clock.monotonic()

    def hint(self, name: Name | None) -> None:
        """A name may have changed; None: any may have, and their reads are spread over `poll`."""
        with self._lock:
            if self._closed:
                return
            if name is None:
                due = [self._note(one, self._poll) for one in self.known()]
            else:
                due = [self._note(name, self._spread)] if self._knows(name) else []
            if due:
                self._see_to_it(min(due))

    @property
    def idle(self) -> bool:
        """Whether nothing is cached and nobody watches: no hint could do anything."""
        return not (self._warm or self._watched)

    def known(self) -> set[Name]:
        """The names that are cached or watched."""
        return {*map(Name, list(self._warm)), *list(self._watched)}

    def own(self, source: Source) -> None:
        """Close it with the store."""
        self._sources.append(source)

    def close(self) -> None:
        """Nothing is read any more, once what is being asked has been answered."""
        self._closed = True
        while self._sources:
            self._sources.pop().close()
        with self._lock:
            self._names.clear()
            if self._woken:
                self._woken.set()

    def _knows(self, name: Name) -> bool:
        return name.text in self._warm or name in self._watched

    def _note(self, name: Name, spread: float) -> float:
        """It is to be read, and when. Needs the lock."""
        now, hinted = self._clock.monotonic(), self._names.setdefault(name, _Hinted())
        if hinted.at is None and now - hinted.last > self._poll:
            hinted.pause = _INTERVAL  # it has been quiet
        hinted.looks = _LOOKS
        at = max(now + spread * self._clock.chance(), hinted.last + hinted.pause)
        hinted.at = at if hinted.at is None else min(at, hinted.at)
        return hinted.at

    def _see_to_it(self, at: float) -> None:
        """Have a thread that reads what is due then. Needs the lock."""
        if self._woken:
            if at < self._wakes:
                self._woken.set()
            return
        woken = threading.Event()
        thread = threading.Thread(target=self._run, args=(woken,), name="strongroom-hint", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends: polling and the bounds remain
            self._names.clear()
            return
        self._woken = woken

    def _run(self, woken: threading.Event) -> None:
        try:
            while (pause := self._pause(woken)) is not None:
                if not self._clock.wait(woken, pause):
                    self._read(self._due())
        finally:
            with self._lock:
                if self._woken is woken:
                    self._woken = None

    def _pause(self, woken: threading.Event) -> float | None:
        """Seconds until something is due and may be read; None, and the thread has ended, if nothing is."""
        with self._lock:
            woken.clear()
            due = [hinted.at for hinted in self._names.values() if hinted.at is not None]
            if self._woken is not woken or self._closed or not due:
                self._forget_quiet()
                if self._woken is woken:
                    self._woken = None
                return None
            now = self._clock.monotonic()
            self._tokens = min(float(BURST), self._tokens + (now - self._counted) * RATE)
            self._counted = now
            self._wakes = max(min(due), now + max(0.0, 1 - self._tokens) / RATE)
            return max(0.0, self._wakes - now)

    def _due(self) -> list[Name]:
        """What is to be read now, longest due first, as far as the budget goes."""
        with self._lock:
            now = self._clock.monotonic()
            for name in [name for name in self._names if not self._knows(name)]:
                del self._names[name]  # what nobody uses any more is not brought back
            at = {name: hinted.at for name, hinted in self._names.items() if hinted.at is not None}
            due = sorted((name for name in at if at[name] <= now), key=at.__getitem__)
            names = due[: min(_TOGETHER, int(self._tokens + _ROUNDING))]
            for name in names:
                hinted = self._names[name]
                hinted.at, hinted.last = None, now
                hinted.looks -= 1
                if entry := self._warm.get(name.text):
                    hinted.version = entry.secret.version
            self._tokens -= len(names)
            return names

    def _read(self, names: Sequence[Name]) -> None:
        if not names:
            return
        try:
            outcomes = self._look(names)
        except SecretStoreError as error:  # the batch of a store without a cache
            outcomes = dict.fromkeys(names, error)
        with self._lock:
            for name, outcome in outcomes.items():
                if hinted := self._names.get(name):
                    self._answered(hinted, outcome)

    def _answered(self, hinted: _Hinted, outcome: Outcome) -> None:
        """Read sooner next time if there was news, and later if there was none. Needs the lock."""
        version = outcome.version if isinstance(outcome, Secret) else None
        if version and version != hinted.version:
            hinted.version, hinted.pause = version, _INTERVAL
            return
        hinted.pause = min(2 * hinted.pause, self._poll)
        earliest = hinted.last + hinted.pause
        if hinted.at is not None:
            hinted.at = max(hinted.at, earliest)
        elif isinstance(outcome, UnavailableError) or (version and hinted.looks):
            hinted.at = earliest  # what was not answered told nothing: it is asked until it is

    def _forget_quiet(self) -> None:
        now = self._clock.monotonic()
        gone = [name for name, hinted in self._names.items() if now - hinted.last > self._poll]
        for name in gone:
            del self._names[name]
