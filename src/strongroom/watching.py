"""Change notice: who watches a secret is told, once, that another version is current.

One thread for each store looks at all watched names together. It starts with the first subscription and
ends with the last; what a read or a write of this process meets meanwhile is told at once. A secret that is
deleted or denied changes nothing: there is no notice until it is back with another version.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, final

from .backend import Secret
from .errors import SecretNotFoundError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from logging import Logger

    from .backend import Clock, SecretVersion
    from .names import Name

    Joined = tuple[Callable[[], None], Callable[[], None]]  # what ends it, and what learns its first version

POLL: Final = 30.0
"""Seconds between two looks, of a store without a cache policy."""
_LONGEST_PAUSE: Final = 300.0
"""Seconds between two looks, at most, while the provider does not answer."""
_JITTER: Final = 0.1
"""The share of a pause by which it may be shorter, so that a fleet that started at once spreads out."""
_LABEL_LAG: Final = 10.0
"""Seconds in which versions of before may still be answered: labels lag, and answers take their time."""
_BACKLOG: Final = 64
"""Notices that wait for a slow subscriber; beyond that it loses the oldest."""


def _log() -> Logger:
    import logging  # a start that watches nothing does without

    return logging.getLogger(__name__)


class Subscriber(Protocol):
    """Who is told. ``tell`` and ``end`` never wait, and raise nothing."""

    def tell(self, version: str) -> None:
        """Another version is current."""

    def end(self) -> None:
        """Nothing will be told any more."""

    def after_fork(self) -> None:
        """Take new locks: what held the old ones does not exist in the child."""


def notify(callback: Callable[[str, str], None], name: str, version: str) -> None:
    """Call a subscriber's function; what it raises is logged by type."""
    try:
        callback(name, version)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a stranger's code; its text may hold a value)
        _log().error("a callback on changes of %s raised %s", name, type(error).__name__)


def begin(leave: Callable[[], None], learn: Callable[[], None]) -> Callable[[], None]:
    """Learn what is current for who has joined; if that fails, end it again. What ends it comes back."""
    try:
        learn()
    except BaseException:
        leave()
        raise
    return leave


@final
class Calls(Subscriber):
    """Calls a function for each change, in order, from a thread that lives while there is one to tell.

    A callback that is slow or raises delays nobody else: neither the writer, nor readers, nor other
    subscribers, nor the next look.
    """

    def __init__(self, name: str, callback: Callable[[str, str], None]):
        from contextvars import copy_context

        self._name, self._callback = name, callback
        self._context = copy_context()  # what the callback reads, whoever subscribed reads
        self._versions: deque[str] = deque(maxlen=_BACKLOG)
        self._ended = False
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._running = False

    def tell(self, version: str) -> None:
        with self._lock:
            self._versions.append(version)
            if self._running:
                return
            self._running = True
        try:
            threading.Thread(target=self._run, name="strongroom-notice", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends: the next change tries again
            self._running = False

    def end(self) -> None:
        self._ended = True

    def _run(self) -> None:
        while version := self._next():
            # A copy: one that a thread was in when the process forked stays entered for ever.
            self._context.copy().run(notify, self._callback, self._name, version)

    def _next(self) -> str | None:
        with self._lock:
            if self._versions and not self._ended:
                return self._versions.popleft()
            self._running = False
            return None


@final
class _Waiting(Subscriber):
    """Holds changes until they are taken."""

    def __init__(self) -> None:
        self._versions: deque[str] = deque(maxlen=_BACKLOG)
        self._ended = False
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._some = threading.Event()

    def tell(self, version: str) -> None:
        with self._lock:
            self._versions.append(version)
            self._some.set()

    def end(self) -> None:
        self._ended = True
        self._some.set()

    def take(self, clock: Clock, timeout: float | None) -> str | None:
        """The next change; None if none comes in time, or none will come."""
        if not self._versions and not self._ended:
            clock.wait(self._some, timeout)
        with self._lock:
            self._some.clear()
            return self._versions.popleft() if self._versions and not self._ended else None


def changes(
    watcher: Watcher, subscribe: Callable[[Subscriber], Callable[[], None]], timeout: float | None
) -> Iterator[str]:
    """Subscribe now, and iterate over the changes from then on, until none came for ``timeout`` seconds."""
    versions = _changes(watcher, subscribe, timeout)
    next(versions)  # a generator begins with its first step: a change before that would be lost
    return versions


def _changes(
    watcher: Watcher, subscribe: Callable[[Subscriber], Callable[[], None]], timeout: float | None
) -> Iterator[str]:
    waiting = _Waiting()
    unsubscribe = subscribe(waiting)
    try:
        yield "subscribed"
        while version := watcher.next_for(waiting, timeout):
            yield version
    finally:
        unsubscribe()


class _Watched:
    """What is known of a name, and who is told of it.

    Attributes:
        known: the version current when last heard of; None if there was no such secret.
        record: its replication record, by which another failover member's copy of it is known.
        created: when the provider made it.
        since: monotonic seconds when it became known.
        superseded: versions that were current before it, and when another became known.
        learned: whether anything is known.
        trouble: why it could not be looked at the last time.
    """

    __slots__ = ("created", "known", "learned", "record", "since", "subscribers", "superseded", "trouble")

    def __init__(self) -> None:
        self.known: str | None = None
        self.record: str | None = None
        self.created: datetime | None = None
        self.since = 0.0
        self.superseded: dict[str, float] = {}
        self.learned = False
        self.trouble: type[SecretStoreError] | None = None
        self.subscribers: list[Subscriber] = []


@final
class Watcher:
    """Knows who watches what in one store.

    Args:
        look: asks the provider for these names now; each answer also comes back by ``saw``.
        current: the version that a read would give now, from the cache if it is there.
        poll: seconds between two looks.
        clock: injected in tests.

    Attributes:
        watched: the names that somebody watches; it stays the same view.
    """

    def __init__(
        self,
        look: Callable[[Sequence[Name]], Mapping[Name, Secret | SecretStoreError]],
        current: Callable[[Name], Secret],
        poll: float,
        clock: Clock,
    ):
        self._look, self._current = look, current
        self._poll, self._clock = poll, clock
        self._names: dict[Name, _Watched] = {}
        self.watched = self._names.keys()
        self._closed = False
        self._deaf = False
        self.after_fork()

    def after_fork(self) -> None:
        """Subscriptions stay; the child polls by itself from its first answer on, under its own locks."""
        # Reentrant: an iterator that is dropped unsubscribes wherever the collector finds it.
        self._lock = threading.RLock()
        self._stop: threading.Event | None = None
        for watched in self._names.values():
            for subscriber in watched.subscribers:
                subscriber.after_fork()

    def saw(self, name: Name, seen: Secret | SecretVersion) -> None:
        """A provider's answer, or a write of this process, tells the current version."""
        if name in self._names:
            self._heard(name, seen)

    def join(self, name: Name, subscriber: Subscriber) -> Callable[[], None]:
        """Tell a subscriber of each change from now on, without I/O; ``learn`` comes next.

        Returns:
            What ends it: after that nothing more is told but what is being told. It may be called again.

        Raises:
            UnavailableError: no thread can be started.
        """
        with self._lock:
            if self._closed:
                subscriber.end()
            else:
                self._names.setdefault(name, _Watched()).subscribers.append(subscriber)
            started = self._closed or self._start()
        if not started:
            self._leave(name, subscriber)
            raise UnavailableError("no thread can be started to watch for changes")
        return lambda: self._leave(name, subscriber)

    def learn(self, name: Name) -> None:
        """Learn what is current, unless that is known, so that only what comes after it is a change.

        Raises:
            SecretStoreError: the secret cannot be read. A missing one can be watched, and so can one whose
                provider does not answer: what that says first is no change.
        """
        watched = self._names.get(name)
        if watched is None or watched.learned:
            return
        version = record = created = None
        try:
            secret = self._current(name)
            if secret.degraded:  # another failover member's version ids say nothing of the first one's
                return
            version, record, created = secret.version, secret.record, secret.created_at
        except SecretNotFoundError:
            pass
        except UnavailableError:
            return
        with self._lock:
            if not watched.learned:
                watched.known, watched.record, watched.learned = version, record, True
                watched.created, watched.since = created, self._clock.monotonic()

    def next_for(self, waiting: _Waiting, timeout: float | None) -> str | None:
        """What ``waiting`` is told next; a child that only waits has its thread from here."""
        with self._lock:
            if self._names:
                self._start()
        return waiting.take(self._clock, timeout)

    def close(self) -> None:
        """End every subscription, and the thread after what it is asking."""
        self._closed = True
        with self._lock:
            for name, watched in list(self._names.items()):
                for subscriber in list(watched.subscribers):
                    self._leave(name, subscriber)

    def _leave(self, name: Name, subscriber: Subscriber) -> None:
        subscriber.end()
        with self._lock:
            watched = self._names.get(name)
            if watched is None or subscriber not in watched.subscribers:
                return
            watched.subscribers.remove(subscriber)
            if not watched.subscribers:
                del self._names[name]
            if not self._names and self._stop:
                self._stop.set()
                self._stop = None

    def _start(self) -> bool:
        """Whether the thread runs; it is started if it does not. Needs the lock."""
        if self._stop:
            return True
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), name="strongroom-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            return False
        self._stop = stop
        return True

    def _run(self, stop: threading.Event) -> None:
        failures = 0
        while not self._clock.wait(stop, self._pause(failures)):
            failures = 0 if self.look() else failures + 1

    def _pause(self, failures: int) -> float:
        longest = max(_LONGEST_PAUSE, self._poll)
        pause = min(self._poll * 2.0 ** min(failures, 30), longest)
        return pause * (1 - _JITTER + _JITTER * self._clock.chance())

    def look(self) -> bool:
        """Ask for all watched names, together where the provider can; whether it answered."""
        names = list(self._names)
        try:
            outcomes = self._look(names)
        except SecretStoreError as error:
            outcomes = dict.fromkeys(names, error)
        for name, outcome in outcomes.items():
            self._looked(name, outcome)
        deaf = any(isinstance(outcome, UnavailableError) for outcome in outcomes.values())
        if deaf and not self._deaf:
            _log().warning("changes of %d secrets cannot be seen: the provider does not answer", len(names))
        self._deaf = deaf
        return not deaf

    def _looked(self, name: Name, outcome: Secret | SecretStoreError) -> None:
        watched = self._names.get(name)
        if watched is None:
            return
        if isinstance(outcome, SecretNotFoundError):
            watched.learned = True
        trouble = type(outcome) if isinstance(outcome, SecretStoreError) else None
        if trouble not in (None, watched.trouble, UnavailableError):
            _log().warning("changes of %s cannot be seen: %s", name, trouble.__name__)
        watched.trouble = trouble

    def _heard(self, name: Name, seen: Secret | SecretVersion) -> None:
        version = seen.version if isinstance(seen, Secret) else seen.id
        record = seen.record if isinstance(seen, Secret) else None
        with self._lock:
            watched = self._names.get(name)
            if watched is None:
                return
            self._start()  # a child's thread begins here; if it cannot, a read must not fail for it
            if self._is_change(watched, version, record, seen.created_at):
                for subscriber in tuple(watched.subscribers):
                    subscriber.tell(version)

    def _is_change(
        self, watched: _Watched, version: str, record: str | None, created: datetime | None
    ) -> bool:
        """Whether those who watch are to be told; remembers the version. Needs the lock."""
        now = self._clock.monotonic()
        recent = {old: at for old, at in watched.superseded.items() if now - at < _LABEL_LAG}
        if version == watched.known:
            watched.record = record or watched.record
            return False
        if version in recent or (record and record == watched.record):
            return False
        overtaken = created and watched.created and created < watched.created
        if now - watched.since < _LABEL_LAG and overtaken:
            return False  # an answer that was overtaken on its way; if it is current after all, a look tells
        told = watched.learned
        if told and watched.known is not None:
            watched.superseded = {**recent, watched.known: now}
        watched.known, watched.record, watched.learned = version, record, True
        watched.created, watched.since = created, now
        return told
