"""Replicating: what keeps a replica as its source is, whoever does the copying: we, or the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from .member import Member
    from .plan import Plan, Report, Status


class Replicating(Protocol):
    """A `Replicator`, or a `NativeReplicator`: see there."""

    source: Member
    replica: Member
    max_lag: timedelta | None

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """What `sync` would do. Writes nothing."""

    def apply(self, plan: Plan, progress: Callable[[int, int], object] | None = None) -> Report:
        """Carry a plan out."""

    def sync(
        self, names: Sequence[str] | None = None, progress: Callable[[int, int], object] | None = None
    ) -> Report:
        """Plan and apply."""

    def status(self) -> Status:
        """How the replica stands. Writes nothing."""

    def adopt(self, names: Sequence[str]) -> Report:
        """Have the source's values written over what the replica holds, where that can be done."""

    def after_fork(self) -> None:
        """In a forked child."""

    def close(self) -> None:
        """Release what is held."""
