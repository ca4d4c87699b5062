"""A block that is a span and is timed. Of an error it keeps the class alone: its text tells names."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, final

from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # set while exporters send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context

ERROR: Final = "error.type"


@final
class Block(AbstractContextManager[None]):
    """One operation or request. Whatever the tracer or the meter raise is theirs: no secret is kept back.

    Args:
        tracer: makes the span.
        name: the span's.
        kind: the span's.
        facts: its attributes.
        ended: told the outcome, ``ok`` or the error's class, and the seconds it took.
        current: whether spans begun inside are its children; not of what gives way to its caller in between.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        name: str,
        kind: trace.SpanKind,
        facts: Mapping[str, str],
        ended: Callable[[str, float], None],
        *,
        current: bool = True,
    ):
        self._tracer, self._name, self._kind, self._facts = tracer, name, kind, facts
        self._ended, self._current = ended, current
        self._span: trace.Span | None = None
        self._token: Token[Context] | None = None
        self._quiet = False

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        try:
            # A credential that an exporter reads from a store is no span to be exported.
            self._quiet = bool(context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            if self._quiet:
                return
            self._span = self._tracer.start_span(self._name, kind=self._kind, attributes=self._facts)
            if self._current:
                self._token = context.attach(trace.set_span_in_context(self._span))
        except Exception as exc:  # noqa: BLE001  (samplers and processors are strangers' code)
            _failed(exc)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._began
        outcome = "ok" if kind is None or kind is GeneratorExit else kind.__name__
        if not self._quiet:
            _try(lambda: self._ended(outcome, seconds))
            _try(lambda: self._end(outcome))

    def _end(self, outcome: str) -> None:
        if self._token is not None:
            context.detach(self._token)
        if self._span is None:
            return
        if outcome != "ok":
            self._span.set_attribute(ERROR, outcome)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


_told: set[str] = set()


def _try(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as exc:  # noqa: BLE001  (as above)
        _failed(exc)


def _failed(exc: Exception) -> None:
    """Say so, once for each class: a log line for each read would be the next outage."""
    kind = type(exc).__name__
    if kind not in _told:
        import logging

        _told.add(kind)
        logging.getLogger(__name__).warning("telemetry failed: %s; told once", kind)
