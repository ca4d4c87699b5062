"""What the audit is told of rotations: each step as an operation, before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, final

from strongroom.audit.event import AuditEvent, Auditor, outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock

    from .policy import Policy

T = TypeVar("T")

START: Final = "rotation.start"
CREATE: Final = "rotation.create"
SET: Final = "rotation.set"
TEST: Final = "rotation.test"
PROMOTE: Final = "rotation.promote"
REVOKE: Final = "rotation.revoke"
FINISH: Final = "rotation.finish"
DONE: Final = "rotation.done"
FAILED: Final = "rotation.failed"
ORPHANED: Final = "rotation.orphaned"
OVERDUE: Final = "rotation.overdue"
SKIPPED: Final = "rotation.skipped"
STRANGERS: Final = "rotation.strangers"
ABORT: Final = "rotation.abort"
SUPERSEDED: Final = "rotation.superseded"
ROLLBACK: Final = "rotation.rollback"
TAKE_IN: Final = "rotation.take-in"
CLEAN: Final = "rotation.clean"


@final
class Events:
    """Tells the hooks of an engine.

    Args:
        hooks: as of a store; one that refuses an intent keeps the step from beginning.
        clock: injected in tests.
    """

    def __init__(self, hooks: Sequence[AuditHook], clock: Clock):
        self._auditor, self._clock = Auditor(hooks), clock

    def run(
        self,
        operation: str,
        policy: Policy,
        rotation_id: str | None,
        call: Callable[[], T],
        *,
        version: str | None = None,
    ) -> T:
        """Run a step between the hooks.

        Raises:
            PermissionDeniedError: a hook vetoed it; nothing was begun.
            UnavailableError: with ``performed=False``, it could not be recorded, and was not begun.
        """
        if not self._auditor:
            return call()
        event = self._event(operation, policy, rotation_id, version)
        self._auditor.intent(event)
        return self._auditor.run(event, call, self._clock)

    def tell(
        self, operation: str, policy: Policy, rotation_id: str | None, *, outcome: str | None = None
    ) -> None:
        """Tell of what has happened already.

        Args:
            outcome: the class of an error; None: it went well.
        """
        if not self._auditor:
            return
        event = self._event(operation, policy, rotation_id, None)
        self._auditor.intent(event)
        told = outcome_of(event, self._clock.now(), None)
        self._auditor.outcome(told if outcome is None else replaced(told, outcome))

    def after_fork(self) -> None:
        """As `strongroom.audit.event.Auditor.after_fork`."""
        self._auditor.after_fork()

    def _event(
        self, operation: str, policy: Policy, rotation_id: str | None, version: str | None
    ) -> AuditEvent:
        from strongroom.audit.actor import current, traceparent

        return AuditEvent(
            operation,
            policy.name,
            "intent",
            self._clock.now(),
            store=policy.store.alias,
            backend=policy.store.origin,
            version=version,
            rotation_id=rotation_id,
            actor=current(),
            trace=traceparent(),
        )


def replaced(event: AuditEvent, outcome: str) -> AuditEvent:
    """The same event with another outcome."""
    from dataclasses import replace

    return replace(event, outcome=outcome)
