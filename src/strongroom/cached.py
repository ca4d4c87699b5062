"""What a cache holds of one name: a value with its deadlines, its reads, an outage of its provider."""

from __future__ import annotations

import sys
import threading
from collections import deque
from itertools import repeat
from operator import length_hint
from typing import TYPE_CHECKING, Final, TypeAlias

from .backend import Secret
from .errors import SecretStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .cachepolicy import Bounds
    from .errors import UnavailableError
    from .names import Name
    from .observing import Tally

    Hit = tuple[str, str, int]  # name, version, and how often it was read

Outcome: TypeAlias = Secret | SecretStoreError
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_THREADS: Final = 4


class Entry:
    """A value that may be served, and how often it was.

    ``next(entry.reads)`` is a read: it gives the secret, and takes one from what is left to give, in a single
    step of the interpreter. So the count is exact under threads without a lock.

    Attributes:
        secret: the value.
        reads: gives the secret again and again.
        until: monotonic seconds until which a reader takes it and looks at nothing else.
        asked: when the provider was asked, not when it answered: an answer can be long on its way.
        fresh_until: until when it is served without the provider.
        end: until when it is served at all.
    """

    __slots__ = ("_counted", "_hits", "asked", "end", "fresh_until", "reads", "secret", "until")

    def __init__(self, secret: Secret, asked: float, bounds: Bounds, hits: Hits):
        self.secret, self.asked = secret, asked
        self.reads = repeat(secret, sys.maxsize)
        self.until = self.fresh_until = asked + bounds.fresh
        self.end = self.fresh_until + bounds.stale
        self._counted, self._hits = 0, hits
        hits.tally.fold()  # here, since it costs a reader nothing

    @property
    def stale(self) -> bool:
        """Whether it is served because the provider does not answer."""
        return self.secret.stale

    def given(self) -> int:
        """How often it was read."""
        return sys.maxsize - length_hint(self.reads)

    def count(self) -> int:
        """How often it was read since this was asked last."""
        reads = self.given()
        count, self._counted = reads - self._counted, reads
        return count

    def __del__(self) -> None:
        # Not when it leaves the cache: a reader that has just found it may still be about to take it.
        if count := self.count():
            self._hits.gone.append((self.secret.name, self.secret.version, count))
        if self._counted:
            self._hits.tally.ended.append((self.secret.stale, self._counted))


def taken(warm: Mapping[str, Entry], name: str, now: float) -> Secret | None:
    """A read of a name, if it may be served without a look at anything else."""
    try:
        entry = warm[name]
    except (KeyError, TypeError):  # not cached, or no name at all
        return None
    return next(entry.reads) if now < entry.until else None


class Hits:
    """How often each version was answered without asking: exact, whatever threads do.

    Args:
        most: of how many versions that are not served any more the count waits to be drained.
        tally: what all reads are added up in, whether or not anybody drains them.
    """

    def __init__(self, most: int, tally: Tally):
        self.tally = tally
        self.gone: deque[Hit] = deque(maxlen=most)
        self._counts: dict[tuple[str, str], int] = {}
        self._most = most

    def clear(self) -> None:
        """Count from nothing."""
        self.tally.after_fork()
        self.gone.clear()
        self._counts.clear()

    def collect(self) -> None:
        """Add up what entries have left behind."""
        while self.gone:
            name, version, count = self.gone.popleft()
            self._counts[name, version] = self._counts.pop((name, version), 0) + count
        while len(self._counts) > self._most:
            del self._counts[next(iter(self._counts))]

    def drain(self, served: Iterable[Entry]) -> list[Hit]:
        """The counts since the last drain; for one caller at a time."""
        self.gone.extend((entry.secret.name, entry.secret.version, entry.count()) for entry in served)
        self.collect()
        counts, self._counts = self._counts, {}
        return [(name, version, count) for (name, version), count in counts.items() if count]


class Outage:
    """That a provider does not answer for a name, and how long it is left alone.

    The pause between two attempts is a second, then up to twice as long with each, and up to half a minute:
    the least that lets a provider recover, and the most that a recovery may go unnoticed.

    Attributes:
        error: what the last attempt met.
        until: monotonic seconds before which it is not asked again.
        told: whether a stale answer was announced.
    """

    __slots__ = ("_failures", "error", "told", "until")

    def __init__(self) -> None:
        self.error: UnavailableError
        self.until, self.told, self._failures = 0.0, False, 0

    def failed(self, error: UnavailableError, now: float, chance: float) -> None:
        """Note one more failure; ``chance`` (0 to 1) spreads the attempts of a fleet."""
        longest = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(self._failures, 10))
        wanted = min(error.retry_after or 0.0, _LONGEST_PAUSE)
        self.until = now + max(wanted, _SHORTEST_PAUSE + chance * (longest - _SHORTEST_PAUSE))
        self.error = error.with_traceback(None)
        self._failures += 1


class Absence:
    """That there is no such secret, for a moment.

    Attributes:
        error: what the provider said.
        until: monotonic seconds until which that is not asked again.
    """

    __slots__ = ("error", "until")

    def __init__(self, error: SecretStoreError, until: float):
        self.error, self.until = error.with_traceback(None), until


class Refresher:
    """Calls ``fetch`` for names behind the readers' backs, in a few threads that end when nothing is due."""

    def __init__(self, fetch: Callable[[Name], object]):
        self._fetch = fetch
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with nothing due, and no threads."""
        self.due: deque[Name] = deque()
        self._lock = threading.Lock()
        self._running = 0

    def start(self) -> bool:
        """See to it that what is due is fetched. False if there is no thread for it."""
        with self._lock:
            if not self.due or self._running >= _THREADS:
                return True
            self._running += 1
        try:
            threading.Thread(target=self._run, name="strongroom-refresh", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            with self._lock:
                self._running -= 1
                return self._running > 0
        return True

    def _run(self) -> None:
        name = self._next()
        try:
            while name:
                self._fetch(name)
                name = self._next()
        finally:
            if name:  # the fetch was interrupted
                with self._lock:
                    self._running -= 1

    def _next(self) -> Name | None:
        with self._lock:
            if self.due:
                return self.due.popleft()
            self._running -= 1
            return None


def given(outcome: Outcome) -> Secret:
    """The secret; or its error is raised."""
    if isinstance(outcome, Secret):
        return outcome
    raise outcome


def answer(ask: Callable[[Name], Secret], name: Name) -> Outcome:
    """What asking for a name gives: its error is handed over, not raised."""
    try:
        return ask(name)
    except SecretStoreError as error:
        return error.with_traceback(None)


def twin(error: SecretStoreError) -> SecretStoreError:
    """An error of each waiter's own: threads would grow one shared traceback."""
    other = type(error).__new__(type(error), *error.args)
    vars(other).update(vars(error))
    other.__cause__ = error.__cause__
    return other
