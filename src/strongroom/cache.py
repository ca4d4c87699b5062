"""The store's cache of current values, and the pins that hold a fresh write against eventual labels.

Up to ``fresh`` a value is served as it is, and from 80 % of that refreshed behind the reader's back.
Past ``fresh`` a read waits for the provider; only if that is unavailable does the old value go out,
marked ``stale``, until ``fresh + stale``, which bounds ALL serving: without a bound a revoked secret
would live as long as the outage. Denied, not found and disabled evict at once.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .backend import Backend, Clock, Secret, SecretVersion, Stage
from .errors import InvalidRequestError, SecretNotFoundError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from .names import Name

_LABEL_PIN_SECONDS = 10.0
_REFRESH_AT = 0.8
_REJECTED_INTERVAL = 1.0
"""Seconds between two provider calls of ``refresh``: the threads of a fleet refused at once ask once."""


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
        if self._backend.eventual:
            self._pins[name] = (version, self._clock.monotonic() + _LABEL_PIN_SECONDS)

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
        older = secret.created_at and version.created_at and secret.created_at < version.created_at
        if secret.version == version.id or not older:
            return secret
        return self._pinned(name, version)

    def _pinned(self, name: Name, version: SecretVersion) -> Secret:
        try:
            return replace(self._backend.get(name, version.id), stage=Stage.CURRENT)
        except SecretNotFoundError:
            return self._unpinned(name)

    def _unpinned(self, name: Name) -> Secret:
        self.drop(name)
        return self._backend.get(name, Stage.CURRENT)

    def clear(self) -> None:
        """Forget every pin."""
        self._pins.clear()


@dataclass(slots=True)
class _Entry:
    secret: Secret
    at: float
    refreshing: bool = False


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
            return self._fetch(name)
        age = self._clock.monotonic() - entry.at
        if age < self._policy.fresh:
            if age >= self._policy.fresh * _REFRESH_AT:
                self._refresh_behind(name, entry)
            return entry.secret
        return self._fetch_or_stale(name, entry)

    def refresh(self, name: Name, rejected: str) -> Secret:
        """Ask again, unless what is cached is already another version than the rejected one."""
        entry = self._entries.get(name)
        if entry and entry.secret.version != rejected and self._age(entry) < self._policy.fresh:
            return entry.secret
        asked = self._asked.get(name)
        now = self._clock.monotonic()
        if entry and asked is not None and now - asked < _REJECTED_INTERVAL:
            return entry.secret
        self._asked[name] = now
        return self._fetch(name)

    def evict(self, name: Name) -> None:
        """Forget a name, and the answer of any fetch of it that is under way."""
        with self._lock:
            self._entries.pop(name, None)
            self._flights.pop(name, None)
            self._generations[name] = self._generations.get(name, 0) + 1

    def clear(self) -> None:
        """Forget everything."""
        for name in list(self._entries):
            self.evict(name)

    def _age(self, entry: _Entry) -> float:
        return self._clock.monotonic() - entry.at

    def _fetch_or_stale(self, name: Name, entry: _Entry) -> Secret:
        error: UnavailableError
        try:
            return self._fetch(name)
        except UnavailableError as exc:
            error = exc
        if self._age(entry) < self._policy.fresh + self._policy.stale and self._entries.get(name) is entry:
            return replace(entry.secret, stale=True)
        raise error

    def _fetch(self, name: Name) -> Secret:
        with self._lock:
            flight = self._flights.get(name)
            leads = flight is None
            if flight is None:
                flight = self._flights[name] = _Flight()
            generation = self._generations.get(name, 0)
        if leads:
            self._fly(name, flight, generation)
        else:
            flight.done.wait()
        if flight.secret is not None:
            return flight.secret
        # Each waiter raises an error of its own: threads would grow one shared traceback.
        raise copy.copy(flight.error) if flight.error else UnavailableError("the reading thread was stopped")

    def _fly(self, name: Name, flight: _Flight, generation: int) -> None:
        try:
            flight.secret = self._read(name)
        except SecretStoreError as exc:
            flight.error = exc
        finally:
            self._land(name, flight, generation)
            flight.done.set()

    def _land(self, name: Name, flight: _Flight, generation: int) -> None:
        with self._lock:
            if self._flights.get(name) is flight:
                del self._flights[name]
            if self._generations.get(name, 0) != generation:
                return  # a write or a revocation came between: what was read may be the old value
            if flight.secret is not None:
                self._entries[name] = _Entry(flight.secret, self._clock.monotonic())
            elif not isinstance(flight.error, UnavailableError):
                self._entries.pop(name, None)

    def _refresh_behind(self, name: Name, entry: _Entry) -> None:
        with self._lock:
            if entry.refreshing or name in self._flights:
                return
            entry.refreshing = True
        threading.Thread(
            target=self._behind, args=(name, entry), name="strongroom-refresh", daemon=True
        ).start()

    def _behind(self, name: Name, entry: _Entry) -> None:
        try:
            self._fetch(name)
        except SecretStoreError:  # the next read past `fresh` meets it and says so
            pass
        finally:
            entry.refreshing = False
