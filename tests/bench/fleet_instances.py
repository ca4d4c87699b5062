"""Instances of an application: a real `SecretStore` each, and what its readers meet.

A secret is read at random moments, so many a second. Reads that the cache answers without a look at anything
but a deadline change nothing, so that only the first read after that deadline is made: of random moments the
next one after any given time is as far away as from any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from strongroom.backend import Backend, Secret
from strongroom.errors import PartialFailureError, SecretStoreError, UnavailableError
from strongroom.names import Name
from strongroom.store import SecretStore

from .fleet_network import VALUE
from .fleet_plan import Plan
from .fleet_world import START, World, WorldClock

_RENEWED_FROM = 0.8
"""The share of `fresh` after which a value is read again, at the earliest."""


@dataclass
class Heard:
    """What is noted of all instances together; seconds and counts of the sample.

    Attributes:
        rotated: of each rotation: its secret, its version, and when it was.
        news: of each such secret and version: when each instance had it, in seconds after the rotation.
        failing: by minute, reads' seconds in which there was no value.
        stale: by minute, reads' seconds in which the value was marked stale.
        starts: seconds that each instance took until it had all its secrets.
        restarts: attempts to start in which some were missing.
    """

    rotated: dict[tuple[str, int], float] = field(default_factory=dict)
    news: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    failing: Counter[int] = field(default_factory=Counter)
    stale: Counter[int] = field(default_factory=Counter)
    starts: list[float] = field(default_factory=list)
    restarts: int = 0


class Reader:
    """All reads of one secret in one instance.

    Attributes:
        at: when the next read is made that may change anything.
    """

    __slots__ = ("_instance", "_since", "_state", "at", "name", "version")

    def __init__(self, instance: Instance, name: Name):
        self._instance, self.name = instance, name
        self.at, self.version = -1.0, 0
        self._state, self._since = "well", 0.0

    def expect(self, deadline: float) -> None:
        """Make the first read after the deadline."""
        world = self._instance.world
        at = max(world.now, deadline) + world.chance.expovariate(self._instance.reads)
        self.at = at
        world.at(at, lambda: self._due(at))

    def _due(self, at: float) -> None:
        if self.at != at:
            return
        entry = self._instance.warm.get(self.name.text)
        if entry and self._instance.world.now < entry.until:
            self.expect(entry.until)
        else:
            self._instance.world.spawn(self._read)

    def _read(self) -> None:
        instance = self._instance
        try:
            self.became("stale" if instance.store.get(self.name.text).stale else "well")
        except SecretStoreError:
            self.became("failing")
        self.go_on()

    def go_on(self) -> None:
        """Make the next read that may change anything: after what is cached, or the provider's pause."""
        entry, outage = self._instance.warm.get(self.name.text), self._instance.cache._outages.get(self.name)
        self.expect(max(entry.until if entry else 0.0, outage.until if outage else 0.0))

    def landed(self, version: int) -> None:
        """An answer of the provider was cached."""
        world, heard = self._instance.world, self._instance.heard
        for number in range(self.version + 1, version + 1) if self.version else ():
            at = heard.rotated[self.name.text, number]
            heard.news.setdefault((self.name.text, number), []).append(world.now - at)
        self.version = max(self.version, version)
        self.became("well")
        self.answered()

    def answered(self) -> None:
        """The provider has answered, or has not: the next read is another one, if reads have begun."""
        if self.at >= 0:
            self.go_on()

    def became(self, state: str) -> None:
        """How reads go from now on."""
        now = self._instance.world.now
        if self._state != "well":
            spent = self._instance.heard.failing if self._state == "failing" else self._instance.heard.stale
            _spread(spent, self._since, now)
        self._state, self._since = state, now


class Instance:
    """One process of the application.

    Args:
        world: its time.
        backend: makes what its store reads; a process that is started anew has another.
        plan: how it is set, and how it starts.
        names: the secrets it needs.
        heard: what is noted.
    """

    def __init__(
        self, world: World, backend: Callable[[], Backend], plan: Plan, names: Sequence[str], heard: Heard
    ):
        self.world, self.plan, self.heard = world, plan, heard
        self.reads = plan.reads
        self._backend, self._names = backend, names
        self.readers: Mapping[str, Reader] = {name: Reader(self, Name.parse(name)) for name in names}
        self._open()

    def _open(self) -> None:
        self.store = SecretStore(self._backend(), cache=self.plan.policy, clock=WorldClock(self.world))
        cache = self.store._reads._cache
        assert cache is not None
        self.cache, self.warm = cache, cache.warm
        self._told, cache.landed = cache.landed, self._landed
        self._refuse, cache._refuse = cache._refuse, self._refused  # type: ignore[method-assign]

    def start(self) -> None:
        """Read all secrets, in batches or each for itself, again until all are there; then serve.

        One that is not patient ends, and is started again after ten seconds, then twice as many each time, up
        to five minutes, as orchestrators do.
        """
        began, pause = self.world.now, 10.0
        while not self._started():
            self.heard.restarts += 1
            if self.plan.patient:
                self.world.sleep(1.0 + self.world.chance.random())
                continue
            self.store.close()
            self.world.sleep(pause * (0.5 + self.world.chance.random()))
            pause = min(2 * pause, 300.0)
            self._open()
        self.heard.starts.append(self.world.now - began)
        self.go_on()

    def _started(self) -> bool:
        if self.plan.start == "batches":
            try:
                self.store.prefetch(self._names)
            except PartialFailureError:
                return False
            return True
        missing = [name for name in self._names if not self._had(name)]
        return not missing

    def _had(self, name: str) -> bool:
        try:
            self.store.get(name)
        except UnavailableError:
            return False
        return True

    def watch(self) -> None:
        """Watch every secret."""
        for name in self._names:
            self.store.on_change(name, _nothing)

    def go_on(self) -> None:
        """Serve: every secret is read at random moments."""
        for reader in self.readers.values():
            reader.go_on()

    def warmed(self) -> None:
        """Begin in the middle: as if all had been read before, each secret at its own moment."""
        for reader in self.readers.values():
            fresh = self.plan.policy.bounds(reader.name.text).fresh
            asked = self.world.now - _RENEWED_FROM * fresh * self.world.chance.random()
            self.cache.replace(reader.name, Secret(reader.name.text, VALUE, "1", confirmed_at=START), asked)
            reader.version = 1

    def _landed(self, name: Name, secret: Secret) -> None:
        self._told(name, secret)
        self.readers[name.text].landed(int(secret.version.rpartition(":")[2]))

    def _refused(self, name: Name, error: SecretStoreError) -> Secret | None:
        stale = self._refuse(name, error)
        self.readers[name.text].answered()
        return stale

    def end(self) -> None:
        """Note what goes on until now."""
        for reader in self.readers.values():
            reader.became("well")


def _spread(spent: Counter[int], since: float, until: float) -> None:
    """Add these seconds to the minutes in which they were."""
    for minute in range(int(since // 60), int(until // 60) + 1):
        seconds = min(until, 60.0 * (minute + 1)) - max(since, 60.0 * minute)
        if seconds > 0:
            spent[minute] += seconds  # type: ignore[assignment]


def _nothing(name: str, version: str) -> None:
    """Nobody needs to know."""
