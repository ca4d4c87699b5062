"""Three stores of different kinds in one domain, what was acknowledged at each, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from strongroom import pairs
from strongroom.backend import Backend, Clock, Stage
from strongroom.coordinator import StoreCoordinator
from strongroom.errors import SecretNotFoundError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.recorded import Recorded
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.replication.divergence import DivergenceReport
from strongroom.replication.member import Member
from strongroom.replication.order import Order
from strongroom.replication.record import Record
from strongroom.replication.replicator import Replicator
from strongroom.replication.takeover import Taken, Takeover
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.unit.envelope_support import local_key

DOMAIN = "prod"
Label = str | None
"""Of a write: the value's number, that of a deletion with a minus; None where there never was one."""
Order_ = tuple[int, int]


@dataclass
class Reign:
    """What was acknowledged at one source, from its takeover on.

    Attributes:
        alias: the source's.
        known: by name, what it had when it began.
        said: by name, what was acknowledged last; only names that were written.
    """

    alias: str
    known: Mapping[Name, Label]
    said: dict[Name, Label] = field(default_factory=dict)

    def now(self, name: Name) -> Label:
        return self.said[name] if name in self.said else self.known.get(name)


class Place:
    """A store in its region: applications there always reach it, all others through `far`, where faults are.

    Args:
        alias: the store's.
        inner: empty, without encryption.
        clock: the scene's.
        encrypted: under a key of its own region.
    """

    def __init__(self, alias: str, inner: Backend, clock: Clock, *, encrypted: bool):
        self.alias = alias
        keys = [local_key(alias.encode().ljust(32, b"k"), name=alias)]
        self.far = FaultyBackend(inner, clock=clock)
        self.near: Backend = Encrypted(inner, keys, DOMAIN) if encrypted else inner
        far = Encrypted(self.far, keys, DOMAIN) if encrypted else self.far
        self.member = Member(alias, far, DOMAIN)
        self.app = Recorded(self.near, DOMAIN, alias=alias, clock=clock)
        self._order = Order(self.near, DOMAIN, clock=clock, alias=alias)
        self._highest: dict[Name, Order_] = {}

    def now(self, name: Name) -> Label:
        """What its readers get."""
        try:
            return label(self.near.get(name, Stage.CURRENT).value)
        except SecretNotFoundError:
            return None

    def watch(self, name: Name) -> Record | None:
        """The record of what is current; it must never be lower than one that was seen before."""
        record = self._order.standing(name, value=False).record
        if record:
            assert record.order >= self._highest.get(name, (0, 0)), f"{self.alias} went back"
            self._highest[name] = record.order
        return record

    def records(self, name: Name) -> list[str]:
        """Those of all versions that can be read, as they were written."""
        try:
            versions = self.near.versions(name)
        except SecretNotFoundError:
            return []
        found = [self.near.get(name, version.id).record for version in versions]
        return [record for record in found if record]

    def kept(self, name: Name) -> set[Label]:
        """What its divergence report has of a name; None for a deletion."""
        report = DivergenceReport(self.near)
        return {
            None if one.deleted else label(report.value(str(name), one.record.write_id))
            for one in report.of(str(name))
        }


class Scene:
    """The first place is the source in the beginning.

    Args:
        backends: by alias.
        names: of all secrets.
        clock: injected.
        encrypted: each under a key of its own.
    """

    def __init__(
        self, backends: Mapping[str, Backend], names: Sequence[Name], clock: Clock, *, encrypted: bool
    ):
        self.places = {
            alias: Place(alias, backend, clock, encrypted=encrypted) for alias, backend in backends.items()
        }
        self.names, self.clock = names, clock
        self.coordinator = StoreCoordinator(MemoryBackend(clock=clock), clock)
        self.reigns = [Reign(next(iter(backends)), {})]
        self.count = 0
        self.acknowledged: set[tuple[Name, Label]] = set()
        self.replaced: set[tuple[Name, Label]] = set()

    @property
    def source(self) -> Place:
        """Who took over last."""
        return self.places[self.reigns[-1].alias]

    def replicas(self) -> Iterable[Place]:
        """All others."""
        return [place for place in self.places.values() if place is not self.source]

    def write(self, at: Place, name: Name) -> None:
        """An application writes what nobody wrote before; what is acknowledged is remembered."""
        self.count += 1
        at.app.put(name, SecretValue(f"{CANARY}-{self.count}"), None)
        self.said(at, name, str(self.count))

    def delete(self, at: Place, name: Name) -> None:
        pairs.delete(at.app, name)
        self.count += 1
        self.said(at, name, f"-{self.count}")

    def restore(self, at: Place, name: Name) -> None:
        pairs.restore(at.app, name)
        self.said(at, name, at.now(name))

    def said(self, at: Place, name: Name, what: Label) -> None:
        """It was acknowledged: in the last reign of that store, which must have had one."""
        reigns = [reign for reign in self.reigns if reign.alias == at.alias]
        assert reigns, f"{at.alias} never was a source, and took a write"
        self.replaced.add((name, reigns[-1].now(name)))
        self.acknowledged.add((name, what))
        reigns[-1].said[name] = what

    def replicator(self, source: Place, replica: Place) -> Replicator:
        return Replicator(source.member, replica.member, clock=self.clock, parallel=1)

    def takeover(self, by: Place, *, drained: bool) -> Taken:
        """As an operator does it; without draining, the source is given up for lost."""
        others = [place.member for place in self.places.values() if place is not by]
        taken = Takeover(by.member, self.coordinator, others=others, clock=self.clock)
        done = taken.run(self.replicator(self.source, by).sync if drained else None)
        if not done.again:
            self.reigns.append(Reign(by.alias, {name: self._known(by, name) for name in self.names}))
        return done

    def _known(self, by: Place, name: Name) -> Label:
        before = self.reigns[-1].now(name)
        return by.now(name) or (before if shown(before) is None else None)

    def heal(self) -> None:
        for place in self.places.values():
            place.far.clear()

    def assert_converged(self) -> None:
        """All stores have what was acknowledged last, and nothing is left to do."""
        for place in self.replicas():
            replicator = self.replicator(self.source, place)
            for _ in range(2):  # what came back from behind a partition first says what it has
                report = replicator.sync()
                assert not report.failed, {name: str(error) for name, error in report.failed.items()}
            plan = replicator.plan()
            assert not plan.due, plan.due
            assert not plan.waiting, plan.waiting
        for name in self.names:
            told = {alias: place.now(name) for alias, place in self.places.items()}
            assert set(told.values()) == {shown(self.reigns[-1].now(name))}, (name, told, self.reigns)

    def assert_nothing_lost(self) -> None:
        """What was acknowledged is there, or was written over by who had it, or is in a divergence report."""
        kept = {
            name: {one for place in self.places.values() for one in place.kept(name)} for name in self.names
        }
        for name, what in self.acknowledged - self.replaced:
            known = kept[name] | {shown(self.reigns[-1].now(name))}
            assert shown(what) in known, (name, what, kept, self.reigns)

    def assert_written_once(self) -> None:
        """No store holds two versions of one write."""
        for place in self.places.values():
            for name in self.names:
                records = place.records(name)
                assert len(set(records)) == len(records), (place.alias, name, records)


def shown(what: Label) -> Label:
    """What a reader gets."""
    return None if what is None or what.startswith("-") else what


def label(value: SecretValue) -> str:
    return value.reveal_text().removeprefix(f"{CANARY}-")
