"""Follows sources: what changes there stands at their replicas soon, without anybody asking.

Every replica has a thread of its own, so that one that is down delays no other. Each looks at everything now
and then; in between it looks at the names that it is told of. A hint that is lost costs the time until the
next look, and one that is wrong a look.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol, final

from strongroom import observing
from strongroom.audit.event import AuditHook
from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.telemetry import rendered

from .lagging import Gauges
from .plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from strongroom.audit.event import AuditEvent
    from strongroom.telemetry import Family

    from .plan import Report
    from .replicator import Progress

EVERY: Final = 30.0
"""Seconds between two looks at everything, as a store's subscriptions poll."""
STUCK: Final = 600.0
"""Seconds without any sign of life until a follower is unwell: longer than any call's time limits."""

_LONGEST_PAUSE: Final = 60.0
_MARK_EVERY: Final = 1.0
_JITTER: Final = 0.1
_MANY: Final = 1000
_WRITES: Final = frozenset({"put", "rollback", "delete", "restore", "purge", "pending.promote"})


class Followed(Protocol):
    """A replicator, as far as it is needed here."""

    def sync(self, names: Sequence[str] | None = None, progress: Progress | None = None) -> Report:
        """Bring these names, or all, up to the source."""

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """What is left to do."""


def _nobody(_replica: str, _outcome: object) -> None:
    """Nobody listens."""


@final
class Following:
    """Keeps replicas up until it is stopped.

    Args:
        replicators: by the replica's alias.
        every: seconds between two looks at everything; after failures the pause doubles, up to a minute.
        marks: by a replica's alias, what is another object once its source has changed, such as the state of
            a file; asked every second. It raises nothing.
        tell: called with a replica and the report of a pass that wrote or left something, or that ended a
            failure; or with the error that begins one.
        clock: injected in tests.
    """

    def __init__(
        self,
        replicators: Mapping[str, Followed],
        *,
        every: float = EVERY,
        marks: Mapping[str, Callable[[], object]] | None = None,
        tell: Callable[[str, Report | SecretStoreError], object] = _nobody,
        clock: Clock | None = None,
    ):
        given, marks = clock or Clock(), marks or {}
        self._gauges = Gauges(replicators, given)
        self._followers = [
            _Follower(alias, one, every, marks.get(alias), tell, self._gauges, given)
            for alias, one in replicators.items()
        ]
        self._clock = given

    @property
    def replicas(self) -> tuple[str, ...]:
        """Their aliases."""
        return tuple(one.replica for one in self._followers)

    def run(self) -> None:
        """Follow until `stop` is called, and the names that are being written then are written."""
        threads = [threading.Thread(target=one.run, name=f"replica-{one.replica}") for one in self._followers]
        observing.tell_of(self)
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(1.0)  # a signal's handler runs between two waits
        observing.tell_no_more_of(self)

    def stop(self) -> None:
        """Begin no other pass. Safe in a signal's handler, and to repeat."""
        for one in self._followers:
            one.stop()

    def wake(self, name: str | None = None, version: str = "") -> None:
        """Something has changed at a source: a name, or nobody knows what. Never waits.

        It is what `SecretStore.on_change` calls; the version is not believed, and not used.
        """
        for one in self._followers:
            one.wake(name)

    def hook(self) -> AuditHook:
        """A hook for stores and engines of this process: what they write is looked at next."""
        return _Heard(self.wake)

    @property
    def trouble(self) -> str:
        """Why the program that follows is unwell; empty if it is not. A replica that is down is no reason."""
        return next(filter(None, (self._gauges.stuck(one.replica, STUCK) for one in self._followers)), "")

    def families(self) -> Iterator[Family]:
        """Lag, drift and what waits for a person, by replica, as metric families."""
        return self._gauges.families()

    def metrics(self) -> str:
        """The same in Prometheus' text format."""
        return rendered(self.families())


@final
class _Heard(AuditHook):
    """Hears of this process's writes; a source's own and another store's alike, since a look costs little."""

    def __init__(self, wake: Callable[[str], object]):
        self._wake = wake

    def after(self, event: AuditEvent) -> None:
        if event.operation in _WRITES and event.outcome == "ok":
            self._wake(event.name)


class _Hints:
    """Names that wait to be looked at; too many of them are everything."""

    def __init__(self) -> None:
        self._lock, self.some = threading.Lock(), threading.Event()
        self._names: set[str] = set()
        self._all = True

    def add(self, name: str | None) -> None:
        with self._lock:
            if name is None or len(self._names) >= _MANY:
                self._all = True
            else:
                self._names.add(name)
            self.some.set()

    def take(self) -> list[str] | None:
        """The names; None means everything, and an empty list nothing."""
        with self._lock:
            everything, names = self._all, sorted(self._names)
            self._all, self._names = False, set()
            self.some.clear()
        return None if everything else names


@final
class _Follower:
    def __init__(
        self,
        replica: str,
        replicator: Followed,
        every: float,
        mark: Callable[[], object] | None,
        tell: Callable[[str, Report | SecretStoreError], object],
        gauges: Gauges,
        clock: Clock,
    ):
        self.replica, self._replicator, self._every = replica, replicator, every
        self._mark, self._tell, self._gauges, self._clock = mark, tell, gauges, clock
        self._hints, self._stopping = _Hints(), threading.Event()
        self._failures, self._due = 0, 0.0
        self._left: frozenset[str] = frozenset()
        self._seen: object = None

    def wake(self, name: str | None) -> None:
        self._hints.add(name)

    def stop(self) -> None:
        self._stopping.set()
        self._hints.some.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            names = self._hints.take()
            if names != []:
                self._pass(names)
            if names is None or self._failures:
                self._due = self._clock.monotonic() + self._rest()
            self._pause()

    def _pass(self, names: list[str] | None) -> None:
        if names is None and self._mark:
            self._seen = self._mark()  # before: what changes meanwhile is seen after it
        try:
            report = self._replicator.sync(names, self._progress)
            self._passed(report, everything=names is None)
        except SecretStoreError as error:
            # A hint of another store's write may have a name that this one's secrets cannot have.
            if names is None or not isinstance(error, InvalidRequestError):
                self._failed(error.with_traceback(None))
        except Exception as error:  # noqa: BLE001  (one replica's bug must not end the others' threads)
            kind = type(error).__name__  # alone: what was not foreseen may quote what it choked on
            self._failed(UnavailableError(f"a pass failed: {kind}", operation="replica sync"))

    def _progress(self, _done: int, _total: int) -> bool:
        """Whether to go on: a first pass over ten thousand names outlasts the patience of who stops it."""
        self._gauges.alive(self.replica)
        return not self._stopping.is_set()

    def _passed(self, report: Report, *, everything: bool) -> None:
        self._gauges.passed(self.replica, report)
        if everything and report.complete:
            self._gauges.compared(self.replica, Plan(()))
        names = frozenset((*report.failed, *(step.name for step in report.skipped)))
        if report.done or self._failures or not names <= self._left:
            self._tell(self.replica, report)
        self._left = names if everything else self._left | names
        self._failures = 0
        if everything and not report.complete and not self._stopping.is_set():
            self._gauges.compared(self.replica, self._replicator.plan())

    def _failed(self, error: SecretStoreError) -> None:
        self._gauges.failed(self.replica)
        if not self._failures:
            self._tell(self.replica, error)
        self._failures += 1

    def _rest(self) -> float:
        """Seconds until everything is looked at again, spread for a fleet that started together."""
        pause = min(self._every * 2.0 ** min(self._failures, 30), max(_LONGEST_PAUSE, self._every))
        return pause * (1 - _JITTER * self._clock.chance())

    def _pause(self) -> None:
        """Wait for a hint, or until everything is due; hints that never end do not put that off."""
        # Hints do not wake who cannot work: a busy source would have a replica that is down asked for ever.
        heard = self._stopping if self._failures else self._hints.some
        # Asked each time: who takes hints clears what woke it, a stop's call among it.
        while not self._stopping.is_set() and (left := self._due - self._clock.monotonic()) > 0:
            if self._mark and not self._failures and self._mark() != self._seen:
                break
            if self._clock.wait(heard, min(left, _MARK_EVERY) if self._mark else left):
                return
        self._hints.add(None)
