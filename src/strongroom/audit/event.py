"""The audit seam: a hook is called before and after every operation, once, whatever answers it.

An event is an allow-list of fields. It never holds a value, a key, a token or a provider's text, and
it never will: what is not a field here cannot leak through a hook.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from strongroom.errors import PartialFailureError, PermissionDeniedError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend import Clock

    from .actor import Actor

T = TypeVar("T")
Hit = tuple[str, str, int]
"""Name, version, and how often it was read."""


class Part(NamedTuple):
    """One name of an operation on many: in the outcome also how it went, and which version answered."""

    name: str
    outcome: str | None = None
    version: str | None = None


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
        actor: who asked, if the program said so, see `strongroom.actor`.
        trace: the W3C ``traceparent`` of the OpenTelemetry span it happened in, if there is one.
        parts: of an operation on many names, each of them.
        degraded: the answer was stale, or of a failover member that cannot prove how new it is.
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
    actor: Actor | None = None
    trace: str | None = None
    parts: tuple[Part, ...] = ()
    degraded: bool = False


class WarmReads:
    """The reads that one store answers from its cache, for a hook that takes their counts."""

    def drain(self) -> Sequence[Hit]:
        """What was read since this was called last."""
        raise NotImplementedError

    def serve(self, allowed: bool) -> None:
        """Whether they may go on; where not, each read is an operation with its own events."""


class AuditHook:
    """Subclass it and pass instances as ``hooks``. Hooks are called in order, in the calling thread."""

    def before(self, event: AuditEvent) -> None:
        """Called before any I/O. Raise ``PermissionDeniedError`` to veto; any other exception refuses too."""

    def after(self, event: AuditEvent) -> None:
        """Called once the outcome is known. If it raises, the result is flagged ``audit_degraded``."""

    def account(self, reads: WarmReads) -> bool:
        """Called when a store opens whose only hook this is. True: count its warm reads, tell me no events.

        The hook then drains the counts at least every second, and stops the reads while it cannot record
        them. They are not served before it allows them.
        """
        return False

    def leave(self, reads: WarmReads) -> None:
        """Called when a store closes whose warm reads are accounted: the last counts wait to be drained."""


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
                self._record(hook.before, event, (PermissionDeniedError, UnavailableError))
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
            told = outcome_of(event, clock.now(), error, **_facts(event, result, error))
            recorded = self.outcome(told)
        return answer if recorded else _degraded(answer)

    def _hand_in_again(self, wanted: AuditEvent) -> None:
        """One thread at a time: two would both record the first, and drop the second unrecorded."""
        with self._lock:
            while self._unrecorded:
                hook, event = self._unrecorded[0]
                self._record(hook.after, event, UnavailableError, wanted)
                del self._unrecorded[0]

    @staticmethod
    def _record(
        method: Callable[[AuditEvent], None],
        event: AuditEvent,
        vetoes: type[SecretStoreError] | tuple[type[SecretStoreError], ...],
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


def _facts(event: AuditEvent, result: object, error: BaseException | None) -> dict[str, object]:
    version = getattr(result, "id", None) or getattr(result, "version", None) or event.version
    doubtful = any(getattr(result, mark, False) for mark in ("stale", "degraded", "behind"))
    results = error.results if isinstance(error, PartialFailureError) else result
    known: Mapping[str, object] = results if isinstance(results, dict) else {}
    errors = error.errors if isinstance(error, PartialFailureError) else {}
    parts = tuple(
        _part(part.name, known.get(part.name), errors.get(part.name) or error) for part in event.parts
    )
    return {"version": version, "degraded": doubtful, "parts": parts}


def _part(name: str, result: object, error: BaseException | None) -> Part:
    if result is not None or error is None:
        return Part(name, "ok", getattr(result, "version", None))
    return Part(name, type(error).__name__)


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
