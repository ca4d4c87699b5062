"""The store's cache of current values, and the pins that hold a fresh write against eventual labels.

Up to ``fresh`` a value is served as it is, and from 80 % of that refreshed behind the reader's back.
Past ``fresh`` a read waits for the provider; only if that is unavailable does the old value go out,
marked ``stale``, until ``fresh + stale``, which bounds ALL serving: without a bound a revoked secret
would live as long as the outage. Denied, not found and disabled evict at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from .backend import Backend, Capability, Clock, Secret, SecretVersion, Stage
from .errors import InvalidRequestError, SecretNotFoundError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from .names import Name

_LABEL_PIN_SECONDS = 10.0
_REFRESH_AT = 0.8
_REJECTED_INTERVAL = 1.0
"""Seconds between two provider calls of ``refresh``: the threads of a fleet refused at once ask once."""
_REFRESH_PAUSE = 1.0
"""Seconds after a refresh behind that failed: each warm read would begin the next one at once."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long a value may be served.

    Attributes:
        fresh: seconds a value is served without asking.
        stale: seconds beyond ``fresh`` in which an unavailable provider's last value is served, marked.

    Raises:
        InvalidRequestError: a bound is negative, or not a number.
    """

    fresh: float = 300.0
    stale: float = 3300.0

    def __post_init__(self) -> None:
        if not (0 <= self.fresh < float("inf") and 0 <= self.stale < float("inf")):
            raise InvalidRequestError("cache bounds are seconds, zero or more")


class Pins:
    """Remembers what this process wrote where the provider's labels lag behind a write.

    Where the newest version is always current, the pin is a floor by creation time; elsewhere it holds
    at most 10 s. A pinned version that is not found drops its pin.
    """

    def __init__(self, backend: Backend, clock: Clock):
        self._backend = backend
        self._clock = clock
        self._pins: dict[Name, tuple[SecretVersion, float]] = {}

    def set(self, name: Name, version: SecretVersion) -> None:
        """Hold on to a version this process just wrote."""
        held = self._pins.get(name)
        if self._backend.eventual and not (held and _older(version.created_at, held[0].created_at)):
            self._pins[name] = (version, self._clock.monotonic() + _LABEL_PIN_SECONDS)

    def holds(self, name: Name) -> bool:
        """Whether something is pinned."""
        return name in self._pins

    def drop(self, name: Name) -> None:
        """Let go: the secret was deleted, purged or revoked."""
        self._pins.pop(name, None)

    def read(self, name: Name) -> Secret:
        """The current version, but never one older than what this process wrote."""
        pin = self._pins.get(name)
        if pin is None:
            return self._backend.get(name, Stage.CURRENT)
        version, until = pin
        if self._backend.newest_is_current:
            return self._not_before(name, version)
        return self._pinned(name, version) if self._clock.monotonic() < until else self._unpinned(name)

    def _not_before(self, name: Name, version: SecretVersion) -> Secret:
        secret = self._backend.get(name, Stage.CURRENT)
        # Another failover member's clock and labels say nothing of what was written to the first.
        if secret.degraded or not _older(secret.created_at, version.created_at):
            return secret
        return self._pinned(name, version)

    def _pinned(self, name: Name, version: SecretVersion) -> Secret:
        error: UnavailableError
        try:
            return replace(self._backend.get(name, version.id), stage=Stage.CURRENT)
        except SecretNotFoundError:
            return self._unpinned(name)
        except UnavailableError as exc:
            error = exc
        other = self._backend.get(name, Stage.CURRENT)
        if other.degraded:
            return other
        raise error

    def _unpinned(self, name: Name) -> Secret:
        self.drop(name)
        return self._backend.get(name, Stage.CURRENT)

    def clear(self) -> None:
        """Forget every pin."""
        self._pins.clear()


def _older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


class Reads:
    """What a store's reads of current values go through: its pins, and over them its cache if it has one.

    Attributes:
        saw: told the current version by each answer of the provider and each write of this store.
    """

    def __init__(self, backend: Backend, policy: CachePolicy | None, clock: Clock):
        self._backend = backend
        self._pins = Pins(backend, clock)
        self._cache = Cache(policy, self._read, clock) if policy else None
        self.saw: Callable[[Name, str], None] = _nobody

    def is_warm(self, name: Name) -> bool:
        """Whether ``current`` would answer from the cache."""
        return self._cache is not None and self._cache.is_warm(name)

    def current(self, name: Name) -> Secret:
        """The current version, as ``Cache.get``."""
        return self._cache.get(name) if self._cache else self._read(name)

    def refresh(self, name: Name, rejected: str) -> Secret:
        """The current version, as ``Cache.refresh``."""
        return self._cache.refresh(name, rejected) if self._cache else self._read(name)

    def look(self, names: Sequence[Name]) -> dict[Name, Secret | SecretStoreError]:
        """Ask the provider now, whatever is cached; the answers are cached and ``saw`` is told."""
        ask = self._cache.fetch if self._cache else self._read
        return {name: _outcome(ask, name) for name in names}

    def many(self, names: Sequence[Name]) -> dict[Name, Secret | SecretStoreError]:
        """An outcome for each: what is not warm or pinned comes in one request where the provider can."""
        batch = Capability.BATCH_GET in self._backend.capabilities
        asked = [name for name in names if batch and not (self.is_warm(name) or self._pins.holds(name))]
        found = self._backend.get_many(asked) if asked else {}
        for name, outcome in found.items():
            if not isinstance(outcome, (Secret, UnavailableError)):
                self.forget(cast("Name", name))
        return {name: found[name] if name in found else _outcome(self.current, name) for name in names}

    def wrote(self, name: Name, version: SecretVersion) -> None:
        """Pin what was written, before ``forget``: a reader in between would cache the old label."""
        self._pins.set(name, version)

    def ended(self, name: Name) -> None:
        """The secret is being deleted, restored or purged: nothing written before counts."""
        self._pins.drop(name)

    def forget(self, name: Name) -> None:
        """Evict a name from the cache."""
        if self._cache:
            self._cache.evict(name)

    def clear(self) -> None:
        """Forget everything."""
        self._pins.clear()
        if self._cache:
            self._cache.clear()

    def after_fork(self) -> None:
        """Start empty, with locks of our own."""
        self._pins.clear()
        if self._cache:
            self._cache.after_fork()

    def _read(self, name: Name) -> Secret:
        secret = self._pins.read(name)
        # Another failover member's version ids say nothing of whether the secret changed.
        if not secret.degraded:
            self.saw(name, secret.version)
        return secret


def _outcome(ask: Callable[[Name], Secret], name: Name) -> Secret | SecretStoreError:
    try:
        return ask(name)
    except SecretStoreError as error:
        return error.with_traceback(None)


def _nobody(name: Name, version: str) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class _Entry:
    secret: Secret
    at: float  # when it was asked for, not when it came: an answer can be long on its way
    refresh_at: float


class _Flight:
    """One fetch that many readers wait for."""

    __slots__ = ("done", "error", "secret")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.secret: Secret | None = None
        self.error: SecretStoreError | None = None


class Cache:
    """Current values by name. ``read`` asks the provider; it is called by one thread per name at a time."""

    def __init__(self, policy: CachePolicy, read: Callable[[Name], Secret], clock: Clock):
        self._policy = policy
        self._read = read
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """Start empty, with locks of our own: a thread that held one does not exist in the child."""
        self._entries: dict[Name, _Entry] = {}
        self._flights: dict[Name, _Flight] = {}
        self._asked: dict[Name, float] = {}
        self._generations: dict[Name, int] = {}
        self._lock = threading.Lock()

    def is_warm(self, name: Name) -> bool:
        """Whether ``get`` would answer without waiting for the provider."""
        entry = self._entries.get(name)
        return entry is not None and self._age(entry) < self._policy.fresh

    def get(self, name: Name) -> Secret:
        """The current version, from the cache where that may be.

        Raises:
            SecretStoreError: as the provider says; UnavailableError only past ``fresh + stale``.
        """
        entry = self._entries.get(name)
        if entry is None:
            return self.fetch(name)
        now = self._clock.monotonic()
        if now - entry.at >= self._policy.fresh:
            return self._fetch_or_stale(name, entry)
        if now >= entry.refresh_at:
            self._refresh_behind(name, entry)
        return entry.secret

    def refresh(self, name: Name, rejected: str) -> Secret:
        """Ask again, unless what is cached is already another version than the rejected one.

        Only a fresh value stands in for the provider's answer: the limit must not outlive the bound.
        """
        with self._lock:
            entry = self._entries.get(name)
            fresh = entry is not None and self._age(entry) < self._policy.fresh
            if entry and fresh and (entry.secret.version != rejected or self._asked_lately(name)):
                return entry.secret
            self._asked[name] = self._clock.monotonic()
            flight, generation = self._board(name)
        return self._arrive(name, flight, generation)

    def _asked_lately(self, name: Name) -> bool:
        asked = self._asked.get(name)
        lately = asked is not None and self._clock.monotonic() - asked < _REJECTED_INTERVAL
        return lately and name not in self._flights  # what is under way is waited for

    def evict(self, name: Name) -> None:
        """Forget a name, and the answer of any fetch of it that is under way."""
        with self._lock:
            self._entries.pop(name, None)
            self._flights.pop(name, None)
            self._generations[name] = self._generations.get(name, 0) + 1

    def clear(self) -> None:
        """Forget everything, and the answers under way."""
        for name in {*list(self._entries), *list(self._flights)}:
            self.evict(name)

    def _age(self, entry: _Entry) -> float:
        return self._clock.monotonic() - entry.at

    def _fetch_or_stale(self, name: Name, entry: _Entry) -> Secret:
        error: UnavailableError
        try:
            return self.fetch(name)
        except UnavailableError as exc:
            error = exc
        if self._age(entry) < self._policy.fresh + self._policy.stale and self._entries.get(name) is entry:
            return replace(entry.secret, stale=True)
        raise error

    def fetch(self, name: Name) -> Secret:
        """Ask the provider, or join those who do already."""
        with self._lock:
            flight, generation = self._board(name)
        return self._arrive(name, flight, generation)

    def _board(self, name: Name) -> tuple[_Flight, int | None]:
        """Join the fetch under way, or begin one and lead it, which a generation says. Needs the lock."""
        if flight := self._flights.get(name):
            return flight, None
        flight = self._flights[name] = _Flight()
        return flight, self._generations.get(name, 0)

    def _arrive(self, name: Name, flight: _Flight, generation: int | None) -> Secret:
        if generation is None:
            flight.done.wait()
        else:
            self._fly(name, flight, generation)
        if flight.secret is not None:
            return flight.secret
        if flight.error is not None:
            raise _twin(flight.error)
        return self.fetch(name)  # the leader was interrupted, which says nothing of the provider

    def _fly(self, name: Name, flight: _Flight, generation: int) -> None:
        asked = self._clock.monotonic()
        try:
            flight.secret = self._read(name)
        except SecretStoreError as exc:
            flight.error = exc
        finally:
            self._land(name, flight, generation, asked)
            flight.done.set()

    def _land(self, name: Name, flight: _Flight, generation: int, asked: float) -> None:
        with self._lock:
            if self._flights.get(name) is flight:
                del self._flights[name]
            if self._generations.get(name, 0) != generation:
                return  # a write or a revocation came between: what was read may be the old value
            if flight.secret is not None:
                behind = asked + self._policy.fresh * _REFRESH_AT
                self._entries[name] = _Entry(flight.secret, asked, behind)
            elif flight.error is not None and not isinstance(flight.error, UnavailableError):
                self._entries.pop(name, None)

    def _refresh_behind(self, name: Name, entry: _Entry) -> None:
        with self._lock:
            if self._clock.monotonic() < entry.refresh_at or name in self._flights:
                return
            entry.refresh_at = float("inf")
        thread = threading.Thread(
            target=self._behind, args=(name, entry), name="strongroom-refresh", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends: the reader's value is still fresh
            self._pause(entry)

    def _behind(self, name: Name, entry: _Entry) -> None:
        try:
            self.fetch(name)
        except SecretStoreError:  # the next read past `fresh` meets it and says so
            pass
        finally:
            self._pause(entry)

    def _pause(self, entry: _Entry) -> None:
        entry.refresh_at = self._clock.monotonic() + _REFRESH_PAUSE


def _twin(error: SecretStoreError) -> SecretStoreError:
    """An error of each waiter's own: threads would grow one shared traceback."""
    twin = type(error).__new__(type(error), *error.args)
    vars(twin).update(vars(error))
    twin.__cause__ = error.__cause__
    return twin
