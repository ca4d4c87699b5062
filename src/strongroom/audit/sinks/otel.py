"""Records as OpenTelemetry log records, through the SDK that the application set up."""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import BackendNotInstalledError, UnavailableError

from .base import Sink
from .logger import is_alarm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import LoggerProvider

    from .base import Entry

SCOPE: Final = "strongroom.audit"
"""The instrumentation scope, and the first part of each attribute's name: no convention has secrets yet."""

_ATTRIBUTES: Final = {
    "kind": "kind", "phase": "phase", "op": "operation", "name": "secret.name", "cid": "correlation_id",
    "store": "store", "backend": "backend", "location": "location", "version": "version", "stage": "stage",
    "rotation_id": "rotation.id", "outcome": "outcome", "performed": "performed",
    "request_id": "request.id", "rule": "rule", "severity": "severity", "sink": "sink", "count": "count",
}  # fmt: skip


class OpenTelemetrySink(Sink):
    """One log record each; returns when the provider's processors have flushed.

    Args:
        form: how the record is written in the body.
        provider: the logger provider; None: the one set globally when the first batch is sent.
        timeout: seconds to flush in.
        limit: bytes of one body.

    Raises:
        BackendNotInstalledError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        form: str = "json",
        *,
        provider: LoggerProvider | None = None,
        timeout: float = 10.0,
        limit: int | None = None,
    ):
        super().__init__(form, limit=limit)
        self._provider, self._timeout = provider, timeout
        _check_installed()

    def deliver(self, entries: Sequence[Entry]) -> None:
        provider = self._provider or _global_provider()
        logger = provider.get_logger(SCOPE)
        for entry, text in zip(entries, self.all_written(entries), strict=True):
            logger.emit(**_record(entry, text))
        # The processor's queue is bounded and lives in memory: only what it has let go counts as handed over.
        if not provider.force_flush(round(self._timeout * 1000)):
            raise UnavailableError("the OpenTelemetry exporter did not take the records", performed=None)


def _record(entry: Entry, text: bytes) -> dict[str, Any]:
    from opentelemetry._logs import SeverityNumber

    severity = SeverityNumber.WARN if is_alarm(entry) else SeverityNumber.INFO
    return {
        "timestamp": _nanoseconds(str(entry.fields.get("time"))),
        "severity_number": severity,
        "severity_text": severity.name,
        "body": text.decode(),
        "attributes": _attributes(entry),
        "event_name": "strongroom.audit",
        "context": _context(entry.fields.get("trace")),
    }


def _check_installed() -> None:
    problem = None
    try:
        import opentelemetry.sdk._logs  # noqa: F401
    except ImportError:
        hint = "pip install 'strongroom[opentelemetry]'"
        problem = BackendNotInstalledError("OpenTelemetry's SDK is not installed", hint=hint)
    if problem:
        raise problem


def _global_provider() -> LoggerProvider:
    """The application's provider; until it sets one, nothing may be taken for sent."""
    from opentelemetry._logs import get_logger_provider

    provider = get_logger_provider()
    if not hasattr(provider, "force_flush"):
        raise UnavailableError("the application has set no OpenTelemetry logger provider yet")
    return provider  # type: ignore[return-value]


def _attributes(entry: Entry) -> dict[str, str | int | bool]:
    found = {f"{SCOPE}.{name}": entry.fields[key] for key, name in _ATTRIBUTES.items() if key in entry.fields}
    return {f"{SCOPE}.id": entry.id, **found}


def _nanoseconds(text: str) -> int | None:
    """Nanoseconds since 1970 of a record's time, whose nine digits `datetime` would cut."""
    try:
        seconds = calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))
        return seconds * 10**9 + int(text[20:29])
    except ValueError:
        return None


def _context(trace: Any) -> Context | None:
    """The span that the operation ran in, not whatever this thread is doing."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: Mapping[str, str] = {"traceparent": trace} if isinstance(trace, str) else {}
    return TraceContextTextMapPropagator().extract(dict(carrier), context=Context())
