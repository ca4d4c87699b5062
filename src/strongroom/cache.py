"""The store's cache of current values.

Up to ``fresh`` a value is served as it is, and from 80 % of that refreshed behind the reader's back.
Past ``fresh`` a read waits for the provider; only if that is unavailable does the old value go out,
marked ``stale``, until ``fresh + stale``, which bounds ALL serving: without a bound a revoked secret
would live as long as the outage. Denied, not found and disabled evict at once.

While the provider does not answer it is asked again after a pause that grows; meanwhile stale answers come
at once, and past the bound so does the error.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .backend import Clock, Secret
from .cached import Absence, Entry, Hits, Outage, Outcome, Refresher, answer, given, twin
from .cachepolicy import Bounds, CachePolicy
from .clock import elapsed
from .errors import SecretNotFoundError, SecretStoreError, UnavailableError
from .names import Name
from .observing import Tally

if TYPE_CHECKING:
    from .cached import Hit

K = TypeVar("K")
V = TypeVar("V")
Ask: TypeAlias = Callable[[Sequence[Name]], Iterator[tuple[Name, Outcome, float]]]
"""Asks for names: an outcome for each as it comes, and when its question was put."""
__all__ = ["Ask", "Bounds", "Cache", "CachePolicy"]

_REFRESH_AT = 0.8
_REFRESH_SPREAD = 0.1
"""The share of ``fresh`` over which refreshes are spread: a fleet reads at once when it starts."""
_REJECTED_INTERVAL = 1.0
"""Seconds between two provider calls of ``refresh``: the threads of a fleet refused at once ask once."""
_NO_THREAD_PAUSE = 1.0
_UNPROVEN_FRESH = 10.0
"""Seconds after which an answer that may not be the newest is refreshed: as long as labels may lag."""
_ORPHANED = 5.0
"""Seconds after which those who wait for a fetch look whether anybody makes it."""


class _Flight:
    """One fetch that many readers wait for.

    Attributes:
        done: set when it has landed; with neither secret nor error it was interrupted.
        leader: the thread that asks.
        stale: what may go out instead of the error.
        void: a write or a revocation came between: what was read may be the old value.
        rejected: it was begun because a target refused the value.
    """

    __slots__ = ("done", "error", "leader", "rejected", "secret", "stale", "void")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.secret: Secret | None = None
        self.stale: Secret | None = None
        self.error: SecretStoreError | None = None
        self.void = self.rejected = False
        self.leader: int | None = None

    def outcome(self) -> Outcome | None:
        """What a reader gets; None if the flight was interrupted, which says nothing of the provider."""
        return self.secret or self.stale or (self.error and twin(self.error))


class Cache:
    """Current values by name. ``read`` asks the provider; it is called by one thread per name at a time.

    Attributes:
        warm: by name, what may be served; readers look here without the lock. It stays the same dict.
        landed: told of each answer that counts, after it was cached.
    """

    def __init__(
        self, policy: CachePolicy, read: Callable[[Name], Secret], clock: Clock, tally: Tally | None = None
    ):
        self._policy, self._read, self._clock = policy, read, clock
        # The system's own function, without ours around it: it is a third of the time of a warm read.
        plain = type(clock).monotonic is Clock.monotonic
        self.monotonic: Callable[[], float] = elapsed if plain else clock.monotonic
        self.warm: dict[str, Entry] = {}
        self.landed: Callable[[Name, Secret], object] = _nobody
        self._tally = tally or Tally()
        self._hits = Hits(policy.size, self._tally)
        self._refresher = Refresher(self._behind)
        self._closed = False
        self.after_fork()
        self._tally.add(self)

    def after_fork(self) -> None:
        """Start empty, with locks of our own: a thread that held one does not exist in the child."""
        self.warm.clear()
        self._hits.clear()
        self._flights: dict[Name, _Flight] = {}
        self._outages: dict[Name, Outage] = {}
        self._absent: dict[Name, Absence] = {}
        self._asked: dict[Name, float] = {}
        self._news: deque[tuple[Any, ...]] = deque()
        self._lock = threading.RLock()  # a finaliser or a signal's handler may read in the middle of a read
        self._refresher.after_fork()

    def is_warm(self, name: Name) -> bool:
        """Whether ``get`` would answer without waiting for the provider."""
        entry = self.warm.get(name.text)
        return entry is not None and self.monotonic() < max(entry.until, entry.fresh_until)

    def get(self, name: Name) -> Secret:
        """The current version, from the cache where that may be.

        Raises:
            SecretStoreError: as the provider says; UnavailableError only past ``fresh + stale``.
        """
        outcome = None
        while outcome is None:
            with self._lock:
                outcome = self._known(name, self.monotonic())
                flight, leads = (None, False) if outcome else self._board(name)
            if flight:
                self._tally.waits.tick()
                outcome = self._arrive(name, flight, leads).outcome()
        self._follow_up()
        return given(outcome)

    def known(self, name: Name) -> Secret | None:
        """The current version if ``get`` would give it without asking."""
        with self._lock:
            outcome = self._known(name, self.monotonic())
        self._follow_up()
        return outcome if isinstance(outcome, Secret) else None

    def many(self, names: Sequence[Name], ask: Ask, *, look: bool = False) -> dict[Name, Outcome]:
        """An outcome for each; what is not known, or with ``look`` all, is asked for together."""
        outcomes: dict[Name, Outcome] = {}
        boarded: dict[Name, tuple[_Flight, bool]] = {}
        with self._lock:
            now = self.monotonic()
            for name in dict.fromkeys(names):
                if known := None if look else self._known(name, now):
                    outcomes[name] = known
                else:
                    boarded[name] = self._board(name)
                    if not look:
                        self._tally.waits.tick()
        # Those it leads first: two batches that wait for each other's would wait for ever.
        self._fly({name: flight for name, (flight, leads) in boarded.items() if leads}, ask)
        for name, (flight, _) in boarded.items():
            self._await(name, flight)
            outcomes[name] = flight.outcome() or answer(self.get, name)
        self._follow_up()
        return {name: outcomes[name] for name in names}

    def refresh(self, name: Name, rejected: str) -> Secret:
        """Ask again, unless what is cached is already another version than the rejected one.

        Only a fresh value stands in for the provider's answer: the limit must not outlive the bound.
        """
        while True:
            with self._lock:
                now, entry = self.monotonic(), self.warm.get(name.text)
                if entry and now < entry.fresh_until:
                    if entry.secret.version != rejected or self._asked_lately(name, now):
                        return next(entry.reads)
                elif outage := self._outage(name, now):
                    raise twin(outage.error)
                flight, leads = self._board(name)
                if leads:
                    flight.rejected = True
                    self._keep(self._asked, name, now)
            self._arrive(name, flight, leads)
            if flight.error:
                raise twin(flight.error)
            # A fetch that was under way may have asked before the change that made the target refuse.
            if flight.secret and (flight.rejected or flight.secret.version != rejected):
                return flight.secret

    def evict(self, name: Name) -> None:
        """Forget a name, and the answer of any fetch of it that is under way."""
        with self._lock:
            self._forget(name)

    def replace(self, name: Name, secret: Secret, asked: float) -> None:
        """Forget a name and keep what a write of this process, begun at ``asked``, has made of it."""
        with self._lock:
            self._forget(name)
            self._confirm(name, secret, asked)

    def clear(self) -> None:
        """Forget everything, and the answers under way."""
        with self._lock:
            self.warm.clear()
            for flight in self._flights.values():
                flight.void = True
            for known in (self._flights, self._outages, self._absent, self._asked):
                known.clear()

    def close(self) -> None:
        """Forget everything, for good: a read that is still on its way leaves nothing behind."""
        self._closed = True
        self.clear()

    def held(self) -> list[Entry]:
        """What may be served; some of it may have to be asked for again first."""
        return list(self.warm.values())

    def drain_hits(self) -> list[Hit]:
        """How often each version was answered without asking, since this was called last."""
        with self._lock:
            return self._hits.drain(self.warm.values())

    def _known(self, name: Name, now: float) -> Outcome | None:
        """What may be answered without the provider; a refresh that is due is noted. Needs the lock."""
        entry, outage = self.warm.get(name.text), self._outages.get(name)
        paused = outage is not None and now < outage.until
        if entry and now < max(entry.until, entry.fresh_until):
            if now >= entry.until:  # readers go on without a look until it has to be there
                entry.until = entry.fresh_until
                self._refresher.due.append(name)
            return next(entry.reads)
        if entry and outage and now < entry.end and (paused or name in self._flights):
            return next(self._stale(name, entry, outage).reads)
        if outage and paused:
            return twin(outage.error)
        absence = self._absent.get(name)
        return twin(absence.error) if absence and now < absence.until else None

    def _outage(self, name: Name, now: float) -> Outage | None:
        outage = self._outages.get(name)
        return outage if outage and now < outage.until else None

    def _asked_lately(self, name: Name, now: float) -> bool:
        asked = self._asked.get(name)
        lately = asked is not None and now - asked < _REJECTED_INTERVAL
        return lately and name not in self._flights  # what is under way is waited for

    def _board(self, name: Name) -> tuple[_Flight, bool]:
        """Join the fetch under way, or begin one and lead it. Needs the lock.

        In the middle of its own fetch a thread may be called to read the same name, by a signal's handler:
        it would wait for itself.
        """
        if (flight := self._flights.get(name)) and flight.leader != threading.get_ident():
            return flight, False
        flight = self._flights[name] = _Flight()
        return flight, True

    def _arrive(self, name: Name, flight: _Flight, leads: bool) -> _Flight:
        if leads:
            self._fly({name: flight}, self._ask_each)
        self._await(name, flight)
        return flight

    def _await(self, name: Name, flight: _Flight) -> None:
        while not flight.done.wait(_ORPHANED):
            if flight.leader is None:  # a signal's handler raised between the decision to ask and the asking
                self._land(name, flight, None, 0.0)

    def _ask_each(self, names: Sequence[Name]) -> Iterator[tuple[Name, Outcome, float]]:
        for name in names:
            asked = self.monotonic()
            yield name, answer(self._read, name), asked

    def _fly(self, flights: Mapping[Name, _Flight], ask: Ask) -> None:
        """Ask, and let each answer land; whatever interrupts this, nobody is left waiting."""
        aloft = dict(flights)
        try:
            for flight in flights.values():
                flight.leader = threading.get_ident()
            for name, outcome, asked in ask(list(aloft)) if aloft else ():
                self._land(name, aloft[name], outcome, asked)
                del aloft[name]
        finally:
            for name, flight in aloft.items():
                self._land(name, flight, None, 0.0)

    def _land(self, name: Name, flight: _Flight, outcome: Outcome | None, asked: float) -> None:
        with self._lock:
            if self._flights.get(name) is flight:
                del self._flights[name]
            if isinstance(outcome, Secret):
                flight.secret = outcome
                if not flight.void:
                    self._confirm(name, outcome, asked)
            elif outcome is not None:
                flight.error = outcome
                if not flight.void:
                    flight.stale = self._refuse(name, outcome)
        flight.done.set()
        self._follow_up()
        if flight.secret and not flight.void:
            self.landed(name, flight.secret)

    def _confirm(self, name: Name, secret: Secret, asked: float) -> None:
        known = self.warm.get(name.text)
        if known and known.asked > asked:
            return
        outage = self._outages.pop(name, None)
        self._absent.pop(name, None)
        bounds = self._policy.bounds(name.text)
        entry = Entry(secret, asked, bounds, self._hits)
        fresh = min(bounds.fresh, _UNPROVEN_FRESH) if secret.degraded or secret.behind else bounds.fresh
        entry.until = asked + fresh * (_REFRESH_AT + _REFRESH_SPREAD * self._clock.chance())
        if entry.end > asked and not self._closed:
            self._keep(self.warm, name.text, entry)
        self._drop_expired()
        if outage and outage.told:
            self._news.append(("%s: the provider answers again", name))

    def _refuse(self, name: Name, error: SecretStoreError) -> Secret | None:
        """An answer ends what was cached; "unavailable" is none, and lets out what may still be served."""
        if not isinstance(error, UnavailableError):
            self._forget(name)
            if isinstance(error, SecretNotFoundError) and self._policy.absent:
                self._keep(self._absent, name, Absence(error, self.monotonic() + self._policy.absent))
            return None
        now, outage = self.monotonic(), self._outages.get(name) or Outage()
        outage.failed(error, now, self._clock.chance())
        self._keep(self._outages, name, outage)
        entry = self.warm.get(name.text)
        if entry is None or now >= entry.end:
            return None
        if now < entry.fresh_until:
            if entry.until == entry.fresh_until:  # it was due; who looks sooner comes back by himself
                entry.until = min(outage.until, entry.fresh_until)
            return None
        return self._stale(name, entry, outage).secret

    def _stale(self, name: Name, entry: Entry, outage: Outage) -> Entry:
        """The old value, marked; until the provider is asked again readers take it as they do a fresh one."""
        if not entry.secret.stale:
            bounds = Bounds(entry.fresh_until - entry.asked, entry.end - entry.fresh_until)
            entry = Entry(replace(entry.secret, stale=True), entry.asked, bounds, self._hits)
            self.warm[name.text] = entry
        entry.until = min(outage.until, entry.end)
        if not outage.told:
            outage.told = True
            message = "%s: the provider does not answer; served stale, confirmed at %s"
            self._news.append((message, name, entry.secret.confirmed_at))
        return entry

    def _forget(self, name: Name) -> None:
        self.warm.pop(name.text, None)
        if flight := self._flights.pop(name, None):
            flight.void = True
        for known in (self._outages, self._absent, self._asked):
            known.pop(name, None)

    def _keep(self, known: dict[K, V], key: K, value: V) -> None:
        """Put it last: the first is what was put longest ago, and goes if there are too many."""
        known.pop(key, None)
        known[key] = value
        if len(known) > self._policy.size:
            del known[next(iter(known))]

    def _drop_expired(self) -> None:
        """A value that may not be served any more does not stay in memory because nobody asks for it."""
        while (first := next(iter(self.warm.values()), None)) and first.end <= self.monotonic():
            del self.warm[first.secret.name]

    def _follow_up(self) -> None:
        """What must not be done under the lock: a log's handler may read secrets, and a thread takes time."""
        if self._news:
            with self._lock:
                news = [self._news.popleft() for _ in range(len(self._news))]
            for one in news:
                _warn(*one)
        if not self._refresher.due or self._refresher.start():
            return
        with self._lock:
            later = self.monotonic() + _NO_THREAD_PAUSE
            while self._refresher.due:
                if entry := self.warm.get(self._refresher.due.popleft().text):
                    entry.until = min(later, entry.fresh_until)

    def _behind(self, name: Name) -> None:
        """Fetch a name that was due, unless somebody does already; who needs an answer meets the error."""
        with self._lock:
            flight, leads = self._board(name)
        if leads:
            self._tally.refreshes.tick()
            self._arrive(name, flight, leads)


def _nobody(name: Name, secret: Secret) -> None:
    """Nobody watches."""


def _warn(message: str, *facts: object) -> None:
    import logging  # a start that meets no outage does without

    logging.getLogger(__name__).warning(message, *facts)
