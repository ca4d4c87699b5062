"""From ``[replica.ALIAS]`` to what keeps each replica as its source is."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from .clock import Clock
from .config import Opening
from .replication.member import Member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .audit.event import AuditHook
    from .replication.replicating import Replicating
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


@contextmanager
def members(config: Config, *, clock: Clock | None = None) -> Iterator[dict[str, Member]]:
    """Every source and every replica of the file by its alias, as replication sees them: for a takeover.

    Raises: as `replicas`.
    """
    with ExitStack() as opened:
        building = _Building(config, (), clock or Clock(), opened)
        pairs = [(one, alias) for one in config.replicas.values() for alias in (one.source, one.alias)]
        yield {alias: building.member(alias, one.domain) for one, alias in pairs}


class _Building:
    def __init__(self, config: Config, hooks: Sequence[AuditHook], clock: Clock, opened: ExitStack):
        self._config, self._clock, self._opened = config, clock, opened
        self._opening = Opening(config, clock, opened, hooks)
        trail = self._opening.trail()
        self._hooks: tuple[AuditHook, ...] = (*([trail.hook()] if trail else []), *hooks)
        self._opening.coordinate()
        self._members: dict[str, Member] = {}

    def replicator(self, entry: ReplicaEntry) -> Replicating:
        """One source, one replica; it is made by the provider where that is asked for."""
        make = partial(_native, entry.regions) if entry.native else _ours
        made = make(
            self.member(entry.source, entry.domain),
            self.member(entry.alias, entry.domain),
            names=entry.names,
            hooks=self._hooks,
            clock=self._clock,
            max_lag=entry.max_lag,
        )
        self._opened.callback(made.close)
        return made

    def member(self, alias: str, domain: str) -> Member:
        """A store that takes part, opened once however many replicas it has."""
        if alias not in self._members:
            backend = self._opening.member(self._config.stores[alias])
            self._members[alias] = Member(alias, backend, domain)
        return self._members[alias]


def _ours(source: Member, replica: Member, **facts: Any) -> Replicating:
    from .replication.replicator import Replicator

    return Replicator(source, replica, **facts)


def _native(regions: Mapping[str, str], source: Member, replica: Member, **facts: Any) -> Replicating:
    from .replication.native import NativeReplicator

    return NativeReplicator(source, replica, places=regions, **facts)
