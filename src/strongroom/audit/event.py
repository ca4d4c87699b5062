"""The audit seam: a hook is called before and after every operation, once, whatever answers it.

An event is an allow-list of fields. It never holds a value, a key, a token or a provider's text, and
it never will: what is not a field here cannot leak through a hook.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.backend import Clock

T = TypeVar("T")


@dataclass(frozen=True)
class AuditEvent:
    """One side of one operation.

    Attributes:
        operation: ``get``, ``put``, ``pending.promote``, …
        name: the secret's name, or for operations on many, the prefix or the number of names.
        phase: ``intent`` before the operation, ``outcome`` after it.
        time: UTC, by the store's clock.
        correlation_id: the same in both events of an operation.
        store: the alias it was opened by, if any.
        backend: the origin of the outermost backend.
        location: the provider's own name of the resource.
        version: the version asked for, or in the outcome the one that answered.
        stage: the stage asked for.
        rotation_id: for pending values.
        outcome: ``ok`` or the error's class; None in the intent.
        performed: whether a failed write happened: True, False, None if unknown.
        request_id: the provider's id of the failed request.
    """

    operation: str
    name: str
    phase: Literal["intent", "outcome"]
    time: datetime
    correlation_id: str = field(default_factory=lambda: os.urandom(16).hex())
    store: str = ""
    backend: str = ""
    location: str = ""
    version: str | None = None
    stage: str | None = None
    rotation_id: str | None = None
    outcome: str | None = None
    performed: bool | None = None
    request_id: str | None = None


class AuditHook:
    """Subclass it and pass instances as ``hooks``. Hooks are called in order, in the calling thread."""

    def before(self, event: AuditEvent) -> None:
        """Called before any I/O. Raise ``PermissionDeniedError`` to veto; any other exception refuses too."""

    def after(self, event: AuditEvent) -> None:
        """Called once the outcome is known. If it raises, the result is flagged ``audit_degraded``."""


class Auditor:
    """Calls the hooks, and keeps outcomes that could not be recorded.

    An operation whose outcome went unrecorded has happened, so its result is returned, flagged. The
    next operation first hands the outcome in again, and is refused while that fails.

    Attributes:
        hooks: those that are told, in order.
    """

    def __init__(self, hooks: Sequence[AuditHook]):
        self.hooks = tuple(hooks)
        self.after_fork()

    def after_fork(self) -> None:
        """Owe nothing, with a lock of our own: what the parent could not record the parent hands in again."""
        self._unrecorded: list[tuple[AuditHook, AuditEvent]] = []
        self._lock = threading.RLock()

    def intent(self, event: AuditEvent) -> None:
        """Record an intent with every hook; those that recorded one which another refused get its outcome.

        Raises:
            PermissionDeniedError: a hook vetoed it.
            UnavailableError: with ``performed=False``, a hook failed; this never allows stale answers.
        """
        self._hand_in_again(event)
        recorded: list[AuditHook] = []
        refusal: BaseException | None = None
        try:
            for hook in self.hooks:
                self._record(hook.before, event, PermissionDeniedError)
                recorded.append(hook)
        except BaseException as exc:
            refusal = exc
            raise
        finally:
            if refusal is not None:
                self._tell(recorded, outcome_of(event, event.time, refusal))

    def outcome(self, event: AuditEvent) -> bool:
        """Record an outcome with every hook; False if one of them failed."""
        return self._tell(self.hooks, event)

    def _tell(self, hooks: Sequence[AuditHook], event: AuditEvent) -> bool:
        """Whoever did not take the event is owed it, also when an interrupt arrives in the middle."""
        waiting, failed = list(hooks), []
        try:
            while waiting:
                if not _quietly(waiting[0], event):
                    failed.append(waiting[0])
                del waiting[0]
        finally:
            self._unrecorded += [(hook, event) for hook in failed + waiting]
        return not failed

    def run(self, event: AuditEvent, call: Callable[[], T], clock: Clock) -> T:
        """Run what an intent announced and record one outcome, whatever it is.

        Returns the result, flagged if its outcome could not be recorded.
        """
        error: BaseException | None = None
        result: object = None
        recorded = False
        try:
            result = answer = call()
        except BaseException as exc:
            error = exc
            if isinstance(exc, SecretStoreError):
                exc.operation, exc.name = event.operation, event.name
            raise
        finally:
            version = getattr(result, "id", None) or getattr(result, "version", None) or event.version
            recorded = self.outcome(outcome_of(event, clock.now(), error, version=version))
        return answer if recorded else _degraded(answer)

    def _hand_in_again(self, wanted: AuditEvent) -> None:
        """One thread at a time: two would both record the first, and drop the second unrecorded."""
        with self._lock:
            while self._unrecorded:
                hook, event = self._unrecorded[0]
                self._record(hook.after, event, (), wanted)
                del self._unrecorded[0]

    @staticmethod
    def _record(
        method: Callable[[AuditEvent], None],
        event: AuditEvent,
        vetoes: type[SecretStoreError] | tuple[()],
        wanted: AuditEvent | None = None,
    ) -> None:
        error: SecretStoreError
        try:
            return method(event)
        except vetoes as veto:
            error = veto
        except Exception as exc:  # noqa: BLE001  (a hook is a stranger's code)
            error = UnavailableError(f"the audit hook failed ({type(exc).__name__})")
        refused = wanted or event
        error.operation, error.name, error.performed = refused.operation, refused.name, False
        raise error

    def __bool__(self) -> bool:
        return bool(self.hooks)


def unheard(operation: str, name: str, call: Callable[[], T]) -> T:
    """Run an operation of a store without hooks."""
    try:
        return call()
    except SecretStoreError as error:
        error.operation, error.name = operation, name
        raise


def outcome_of(event: AuditEvent, now: datetime, error: BaseException | None, **facts: object) -> AuditEvent:
    """The outcome that belongs to an intent."""
    known = error if isinstance(error, SecretStoreError) else None
    return replace(
        event,
        phase="outcome",
        time=now,
        outcome="ok" if error is None else type(error).__name__,
        performed=known.performed if known else None,
        request_id=known.request_id if known else None,
        **facts,  # type: ignore[arg-type]
    )


def _degraded(result: T) -> T:
    if hasattr(result, "audit_degraded"):
        return replace(result, audit_degraded=True)  # type: ignore[type-var]
    if isinstance(result, dict):
        return {name: _degraded(item) for name, item in result.items()}  # type: ignore[return-value]
    return [_degraded(item) for item in result] if isinstance(result, list) else result  # type: ignore[return-value]


def _quietly(hook: AuditHook, event: AuditEvent) -> bool:
    try:
        hook.after(event)
    except Exception:  # noqa: BLE001  (a hook is a stranger's code; the effect has happened)
        return False
    return True
