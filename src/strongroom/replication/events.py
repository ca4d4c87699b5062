"""What the audit is told of replication: each change of a replica as an operation, before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, final

from strongroom.audit.event import AuditEvent, Auditor, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock

    from .member import Member

T = TypeVar("T")

CREATE: Final = "replica.create"
UPDATE: Final = "replica.update"
DELETE: Final = "replica.delete"
RESTORE: Final = "replica.restore"
QUARANTINE: Final = "replica.quarantine"
ADOPT: Final = "replica.adopt"
TAKEOVER: Final = "replica.takeover"
FENCE: Final = "replica.fence"
DIVERGED: Final = "replica.diverged"


@final
class Events:
    """Tells the hooks of a replication.

    Args:
        hooks: as of a store; one that refuses an intent keeps the write from beginning.
        member: the store that is written.
        clock: injected in tests.
    """

    def __init__(self, hooks: Sequence[AuditHook], member: Member, clock: Clock):
        self._auditor, self._member, self._clock = Auditor(hooks), member, clock

    def run(self, operation: str, name: str, call: Callable[[], T], *, version: str | None = None) -> T:
        """Run a write between the hooks.

        Raises:
            PermissionDeniedError: a hook vetoed it; nothing was begun.
            UnavailableError: with ``performed=False``, it could not be recorded, and was not begun.
        """
        if not self._auditor:
            return call()
        event = self._event(operation, name, version)
        self._auditor.intent(event)
        return self._auditor.run(event, call, self._clock)

    def tell(self, operation: str, name: str, *, version: str | None = None) -> None:
        """Tell of what has happened already."""
        if self._auditor:
            event = self._event(operation, name, version)
            self._auditor.intent(event)
            self._auditor.outcome(outcome_of(event, self._clock.now(), None))

    def after_fork(self) -> None:
        """As `strongroom.audit.event.Auditor.after_fork`."""
        self._auditor.after_fork()

    def _event(self, operation: str, name: str, version: str | None) -> AuditEvent:
        from strongroom.audit.actor import current, traceparent

        return AuditEvent(
            operation,
            name,
            "intent",
            self._clock.now(),
            store=self._member.alias,
            backend=self._member.backend.origin,
            version=version,
            actor=current(),
            trace=traceparent(),
        )
