"""The members of one domain, each in a region with a key of its own, and the coordinator that decides."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from strongroom import pairs
from strongroom.backend import Backend, Capability, Secret, Stage
from strongroom.coordinator import StoreCoordinator
from strongroom.errors import SecretNotFoundError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.recorded import Recorded
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.replication.divergence import DivergenceReport
from strongroom.replication.member import Member
from strongroom.replication.plan import Report
from strongroom.replication.replicator import Replicator
from strongroom.replication.sheet import Sheet, read_sheet, write_sheet
from strongroom.replication.takeover import Taken, Takeover
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue

from .core_support import Recorder, text
from .envelope_support import local_key

DOMAIN = "prod"


class Region:
    """A store, and how applications write it."""

    def __init__(
        self, alias: str, clock: FakeClock, capabilities: Capability = ALL, *, encrypted: bool = True
    ):
        self.alias, self.clock = alias, clock
        self.raw = MemoryBackend(capabilities, clock, origin=alias)
        self.provider = FaultyBackend(self.raw, clock=clock)
        key = local_key(alias.encode().ljust(32, b"k"), name=alias)
        self.backend: Backend = Encrypted(self.provider, [key], DOMAIN) if encrypted else self.provider
        self.member = Member(alias, self.backend, DOMAIN)
        self.app = Recorded(self.backend, DOMAIN, alias=alias, clock=clock)

    def put(self, name: str, label: str) -> None:
        """An application writes."""
        self.app.put(Name(name), SecretValue(text(label)), None)

    def delete(self, name: str) -> None:
        """An application deletes."""
        pairs.delete(self.app, Name(name))

    def copied_by_provider(self, other: Region, name: str) -> None:
        """As AWS copies: the versions under their ids, and no label beside theirs."""
        entry = copy.deepcopy(other.raw._entries[Name(name)])
        for version in entry.history:
            version.record = None
        self.raw._entries[Name(name)] = entry

    def get(self, name: str) -> Secret | None:
        """What is current; None if there is nothing."""
        try:
            return self.backend.get(Name(name), Stage.CURRENT)
        except SecretNotFoundError:
            return None

    def holds(self, name: str, label: str | None) -> bool:
        """Whether this value is current, or nothing is."""
        found = self.get(name)
        return found is None if label is None else found is not None and found.value.matches(text(label))

    @property
    def sheet(self) -> Sheet:
        """Its sheet, which must be there."""
        sheet, _ = read_sheet(self.backend)
        assert sheet
        return sheet

    def rewrite(self, sheet: Sheet) -> None:
        """Put another sheet in its place, as a restored backup would."""
        write_sheet(self.backend, sheet, read_sheet(self.backend)[1])

    @property
    def report(self) -> DivergenceReport:
        """What is kept here of those that returned."""
        return DivergenceReport(self.backend)


class World:
    """Three regions of one domain; prod-eu is the source, and the others were brought up once."""

    def __init__(
        self,
        capabilities: Capability = ALL,
        names: Sequence[str] = ("db/password",),
        *,
        encrypted: bool = True,
    ) -> None:
        self.clock, self.told = FakeClock(), Recorder()
        self.eu, self.us, self.dr = (
            Region(alias, self.clock, capabilities, encrypted=encrypted)
            for alias in ("prod-eu", "prod-us", "prod-dr")
        )
        self.coordinator = self.another_coordinator()
        for name in names:
            self.eu.put(name, "first")
        self.sync(self.eu, self.us)
        self.sync(self.eu, self.dr)

    def another_coordinator(self) -> StoreCoordinator:
        """One that knows nothing: the first was lost, or restored from before."""
        return StoreCoordinator(MemoryBackend(clock=self.clock), self.clock)

    def replicator(self, source: Region, replica: Region) -> Replicator:
        return Replicator(source.member, replica.member, clock=self.clock, hooks=[self.told], parallel=1)

    def sync(self, source: Region, replica: Region) -> Report:
        """All names, and none may fail."""
        report = self.replicator(source, replica).sync()
        assert not report.failed, {name: str(error) for name, error in report.failed.items()}
        return report

    def takeover(self, region: Region, coordinator: StoreCoordinator | None = None) -> Takeover:
        """By `region`, with the other two configured."""
        others = [one.member for one in (self.eu, self.us, self.dr) if one is not region]
        return Takeover(
            region.member,
            coordinator or self.coordinator,
            others=others,
            hooks=[self.told],
            clock=self.clock,
        )

    def lost(self, region: Region) -> None:
        """Nobody reaches it any more, until `back`."""
        region.provider.unreachable()

    def back(self, region: Region) -> None:
        """It answers again."""
        region.provider.clear()

    def taken(self, region: Region, *, drained_from: Region | None = None) -> Taken:
        """A takeover from its beginning to its end."""
        drain = self.replicator(drained_from, region).sync if drained_from else None
        return self.takeover(region).run(drain)

    @property
    def operations(self) -> list[str]:
        """What the audit was told has gone well."""
        return [event.operation for event in self.told.events if event.outcome == "ok"]
