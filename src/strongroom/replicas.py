"""From ``[replica.ALIAS]`` to what keeps each replica as its source is."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .carrying import Carrying, bring_list
from .clock import Clock
from .config import Opening
from .errors import InvalidRequestError, SecretStoreError
from .replication.member import Member
from .revokedlist import CopyPlace
from .revoking import revocations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .audit.event import AuditHook
    from .layers.revocable import Checker
    from .lease import Coordinator
    from .replication.native import NativeReplicator
    from .replication.plan import Report
    from .replication.replicating import Replicating
    from .replication.takeover import Takeover
    from .rotation.revocations import RevocationList
    from .toml.file import Config
    from .toml.replicas import ReplicaEntry


@contextmanager
def replicas(
    config: Config, *, hooks: Sequence[AuditHook] = (), clock: Clock | None = None
) -> Iterator[dict[str, Replicating]]:
    """What keeps each replica of the file, by its alias; closed at the end. Nothing is compared yet.

    Args:
        config: the file.
        hooks: called before and after every change of a replica, after the audit's.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the configuration is wrong.
        BackendNotInstalledError: an SDK is missing.
        SecretStoreError: as a store says that cannot be opened.
    """
    with ExitStack() as opened:
        building = _Building(config, hooks, clock or Clock(), opened)
        yield {alias: building.replicator(entry) for alias, entry in config.replicas.items()}


@dataclass(frozen=True, slots=True)
class Domains:
    """All that a takeover needs of a strongroom.toml, opened.

    Attributes:
        members: every source and every replica by its alias, as replication sees them.
        away: why others could not be opened, by alias: a lost region takes what stands in it along.
        replicas: what keeps each replica, where both its stores could be opened.
        detach: makes a replica's copies secrets of their own, where the provider made them.
        coordinator: gives the epochs; None if the file names none.
        hooks: the audit's, then those given.
        clock: as it was given.
    """

    members: Mapping[str, Member]
    away: Mapping[str, SecretStoreError]
    replicas: Mapping[str, Replicating]
    detach: Mapping[str, Callable[[], Report]]
    coordinator: Coordinator | None
    hooks: tuple[AuditHook, ...]
    clock: Clock

    def takeover(self, alias: str) -> Takeover:
        """The takeover by a member, with all others of its domain.

        Raises:
            InvalidRequestError: no such member, or nobody gives epochs.
            SecretStoreError: it could not be opened.
        """
        from .replication.takeover import Takeover

        if alias in self.away:
            raise self.away[alias]
        member = self.members.get(alias)
        if member is None:
            hint = f"there are: {', '.join(sorted({*self.members, *self.away})) or 'none'}"
            raise InvalidRequestError(f"no replica is called {alias!r}", hint=hint)
        if self.coordinator is None:
            raise InvalidRequestError(
                "a takeover needs a coordinator, which gives an epoch once",
                hint="write [coordinator] in strongroom.toml, in another region than the source",
            )
        return Takeover(
            member,
            self.coordinator,
            others=self.others(alias),
            away=self.away,
            detach=self.detach.get(alias),
            hooks=self.hooks,
            clock=self.clock,
        )

    def others(self, alias: str) -> list[Member]:
        """The other members of a member's domain."""
        mine = self.members[alias]
        return [one for one in self.members.values() if one is not mine and one.domain == mine.domain]


@contextmanager
def domains(
    config: Config, *, hooks: Sequence[AuditHook] = (), clock: Clock | None = None
) -> Iterator[Domains]:
    """What takes part in replication, and who decides; closed at the end. Nothing is asked yet.

    Raises:
        InvalidRequestError: the configuration is wrong.
        SecretStoreError: the coordinator, or where the audit is kept, cannot be opened.
    """
    with ExitStack() as opened:
        clock = clock or Clock()
        building = _Building(config, hooks, clock, opened)
        away: dict[str, SecretStoreError] = {}
        made: dict[str, Replicating] = {}
        for entry in config.replicas.values():
            for alias in (entry.source, entry.alias):
                if error := building.problem(alias, entry.domain):
                    away[alias] = error
            if not away.keys() & {entry.source, entry.alias}:
                made[entry.alias] = building.replicator(entry)
        coordinator = building.coordinator()
        yield Domains(building.members, away, made, building.detaching(), coordinator, building.hooks, clock)


def carried(config: Config, alias: str, clock: Clock | None = None) -> RevocationList | None:
    """The list of revocations that a replica has a copy of, however old; None where it has none.

    Raises:
        IntegrityError: it is not to be believed.
        SecretStoreError: as the replica says.
    """
    if config.revocations is None:
        return None
    with ExitStack() as opened:
        clock = clock or Clock()
        backend = _Building(config, (), clock, opened).member(alias, config.replicas[alias].domain).backend
        place = CopyPlace(backend, config.revocations.domain)
        found = opened.enter_context(revocations(config, clock, place=place))
        return found.newest() if found else None


class _Building:
    def __init__(self, config: Config, hooks: Sequence[AuditHook], clock: Clock, opened: ExitStack):
        self._config, self._clock, self._opened = config, clock, opened
        self._opening = Opening(config, clock, opened, hooks)
        trail = self._opening.trail()
        self.hooks: tuple[AuditHook, ...] = (*([trail.hook()] if trail else []), *hooks)
        self._opening.coordinate()
        self.members: dict[str, Member] = {}
        self._revocations = opened.enter_context(revocations(config, clock)) if config.replicas else None

    def coordinator(self) -> Coordinator | None:
        """What the file names, for itself: what guards the stores is theirs."""
        return self._opening.coordinator()

    def detaching(self) -> dict[str, Callable[[], Report]]:
        """By the replica's alias; the source of one need not be there."""
        from .replication.detaching import Detaching

        entries = self._config.replicas.values()
        return {
            one.alias: Detaching(
                self.members[one.alias], names=one.names, hooks=self.hooks, clock=self._clock
            ).run
            for one in entries
            if one.native and one.alias in self.members
        }

    def replicator(self, entry: ReplicaEntry) -> Replicating:
        """One source, one replica; it is made by the provider where that is asked for."""
        pair = self.member(entry.source, entry.domain), self.member(entry.alias, entry.domain)
        facts: dict[str, Any] = {
            "names": entry.names,
            "hooks": self.hooks,
            "clock": self._clock,
            "max_lag": entry.max_lag,
        }
        made: Replicating
        if entry.native:
            made = _native(entry.regions, *pair, **facts)
        else:
            made = _ours(self._opening.checker(entry), *pair, **facts)
        self._opened.callback(made.close)
        if not (entry.adopt or self._revocations):
            return made
        return Carrying(made, bring=self._bring(entry), adopt=entry.adopt)

    def _bring(self, entry: ReplicaEntry) -> Callable[[], None]:
        found = self._revocations
        if found is None:
            return lambda: None
        marked = self._config.replicas.values() if entry.revocable else ()
        others = lambda: [self._copy(one, found.domain) for one in marked]  # noqa: E731
        return partial(bring_list, found, self._copy(entry, found.domain), others=others)

    def _copy(self, entry: ReplicaEntry, domain: str) -> CopyPlace:
        return CopyPlace(self.member(entry.alias, entry.domain).backend, domain)

    def problem(self, alias: str, domain: str) -> SecretStoreError | None:
        """Why a member cannot be opened; None if it can, and is."""
        try:
            self.member(alias, domain)
        except SecretStoreError as error:
            return error.with_traceback(None)
        return None

    def member(self, alias: str, domain: str) -> Member:
        """A store that takes part, opened once however many replicas it has."""
        if alias not in self.members:
            backend = self._opening.member(self._config.stores[alias])
            names = self._config.stores[alias].settings.names
            self.members[alias] = Member(alias, backend, domain, names)
        return self.members[alias]


def _ours(checker: Checker | None, source: Member, replica: Member, **facts: Any) -> Replicating:
    from .replication.replicator import Replicator

    return Replicator(source, replica, checker=checker, **facts)


def _native(regions: Mapping[str, str], source: Member, replica: Member, **facts: Any) -> NativeReplicator:
    from .replication.native import NativeReplicator

    return NativeReplicator(source, replica, places=regions, **facts)
