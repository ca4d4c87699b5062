"""How a store runs an operation: refused after close, with its hooks before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, final

from . import observing
from .audit.event import AuditEvent, Auditor, Part, outcome_of, unheard
from .backend import SecretVersion, Stage
from .names import Name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .backend import Backend, Clock, SecretInfo
    from .gate import Gate

T = TypeVar("T")


@final
class Operations:
    """Runs the operations of one store.

    Args:
        backend: the outermost one.
        auditor: tells the hooks.
        gate: knows whether the store is closed.
        clock: gives the events their times.
        alias: what the configuration calls the store.
    """

    def __init__(self, backend: Backend, auditor: Auditor, gate: Gate, clock: Clock, alias: str):
        self._backend, self._auditor, self._gate, self._clock = backend, auditor, gate, clock
        self._alias, self._store = alias, alias or observing.scheme_of(backend.origin)

    def run(self, operation: str, key: Name | str, call: Callable[[], T], **facts: object) -> T:
        """Run a call between the hooks, if there are any."""
        observer = observing.observer
        if observer is None:
            return self._told(operation, key, call, **facts)
        with observer.operation(operation, self._store, str(key) if isinstance(key, Name) else None):
            return self._told(operation, key, call, **facts)

    def _told(self, operation: str, key: Name | str, call: Callable[[], T], **facts: object) -> T:
        if not self._auditor:  # nobody listens: making events would cost more than a read from a token
            self._gate.usable(operation)
            return unheard(operation, str(key), call)
        event = self._intent(operation, key, **facts)
        return self._auditor.run(event, call, self._clock)

    def run_many(self, operation: str, keys: Sequence[Name], call: Callable[[], T]) -> T:
        """Run a call on many names between the hooks, as one operation."""
        name = f"{len(keys)} names"
        if not self._auditor:
            return self.run(operation, name, call)
        return self.run(operation, name, call, parts=tuple(Part(key.text) for key in keys))

    def listed(self, prefix: str, *, detail: bool = False) -> Iterator[SecretInfo]:
        """What is under a prefix; the outcome is told when the last was taken, or no more are wanted.

        `detail` is what the provider tells with the names, where that costs no request more.
        """
        observer = observing.observer
        if observer is None:
            yield from self._listed(prefix, detail)
            return
        with observer.listing("list", self._store):
            yield from self._listed(prefix, detail)

    def _listed(self, prefix: str, detail: bool) -> Iterator[SecretInfo]:
        event = self._intent("list", prefix)
        error: BaseException | None = None
        try:
            for info in self._backend.list_info(prefix, detail and self._backend.lists_records):
                if isinstance(info.key, Name):
                    yield info
        except GeneratorExit:
            raise  # the caller has seen enough
        except BaseException as exc:
            error = exc
            raise
        finally:
            self._auditor.outcome(outcome_of(event, self._clock.now(), error))

    def _intent(self, operation: str, key: Name | str, **facts: object) -> AuditEvent:
        self._gate.usable(operation)
        if self._auditor:
            facts |= self._circumstances(key)
        event = AuditEvent(
            operation,
            str(key),
            "intent",
            self._clock.now(),
            store=self._alias,
            backend=self._backend.origin,
            **facts,  # type: ignore[arg-type]
        )
        self._auditor.intent(event)
        return event

    def _circumstances(self, key: Name | str) -> dict[str, object]:
        """What costs something to find out; who acts is told by a module that without hooks nobody needs."""
        from .audit.actor import current, traceparent

        location = self._backend.locate(key) if isinstance(key, Name) else ""
        return {"location": location, "actor": current(), "trace": traceparent()}


def made_current(operation: str, result: object) -> SecretVersion | None:
    """The version that a write made current, if it did that now."""
    made = getattr(result, "written", result)
    # A repeated promote answers with what it did once; something else may be current by now.
    repeated = operation == "pending.promote" and Stage.CURRENT not in getattr(made, "stages", ())
    return made if isinstance(made, SecretVersion) and not repeated else None
