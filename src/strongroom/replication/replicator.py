"""Replicator: keeps what one store holds of a source's secrets as the source has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from strongroom.clock import Clock

from .plan import Plan, Report, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from strongroom.audit.event import AuditHook

    from .member import Member

    Progress = Callable[[int, int], object]


@final
class Replicator:
    """One source, one replica. Safe for threads; several processes may run it, and one of them suffices.

    Args:
        source: the only store of the two whose secrets applications write.
        replica: what is written here.
        names: patterns of the names that the replica is to hold, see `strongroom.patterns.matcher`.
        hooks: as of a store; told of each change, and able to refuse it.
        clock: injected in tests.
        parallel: how many names are brought up at once, within the provider's budget.
        max_lag: how far behind the replica may be before `Status` is no longer healthy.
        checker: which versions are revoked; they are not replicated.
    """

    def __init__(
        self,
        source: Member,
        replica: Member,
        *,
        names: Sequence[str] = ("**",),
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
        parallel: int = 4,
        max_lag: timedelta | None = None,
        checker: object = None,
    ):
        self.source, self.replica, self.max_lag = source, replica, max_lag
        self._clock = clock or Clock()

    def plan(self, names: Sequence[str] | None = None) -> Plan:
        """What `sync` would do. Writes nothing.

        Args:
            names: only these; None for all that the patterns mean.

        Raises:
            SecretStoreError: a list of names, or what the two say of their domain, cannot be read.
        """
        raise NotImplementedError

    def apply(self, plan: Plan, progress: Progress | None = None) -> Report:
        """Carry a plan out. Each name is looked at again first: what has changed since is not overwritten.

        Args:
            progress: called after each step with how many of them are done, and how many there are.
        """
        raise NotImplementedError

    def sync(self, names: Sequence[str] | None = None, progress: Progress | None = None) -> Report:
        """Plan and apply. What was interrupted is gone on with; what is as it should be costs no write."""
        raise NotImplementedError

    def status(self) -> Status:
        """How the replica stands. Writes nothing."""
        raise NotImplementedError

    def adopt(self, names: Sequence[str]) -> Report:
        """Have the source's values written over what the replica holds: a person has decided so."""
        raise NotImplementedError

    def close(self) -> None:
        """End the threads. The members' backends are their owner's to close."""
