"""Metrics and traces through OpenTelemetry (``pip install 'strongroom[opentelemetry]'``).

::

    instrument()

All stores of the process are measured from then on, by the providers that the application has set up or sets
up later. No secret's name is told unless `secret_names` allows it, no value and no error's text ever.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final, final

from strongroom import observing
from strongroom.cardinality import Budget, ShownNames
from strongroom.errors import BackendNotInstalledError, InvalidRequestError
from strongroom.patterns import matcher

from .opentelemetry_catalogue import ASKED, DURATION, METRICS, OPERATIONS, REQUESTS, SECONDS, SECRETS

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import Observation
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    hint = "pip install 'strongroom[opentelemetry]'"
    raise BackendNotInstalledError("OpenTelemetry is not installed", hint=hint)

from .opentelemetry_spans import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import TracerProvider

    from strongroom.telemetry import Labels

    from .opentelemetry_catalogue import Metric

SCOPE: Final = "strongroom"
"""The name of the meter and of the tracer."""

SERIES: Final = 195
"""Series of one process at most, as Prometheus counts them, each bucket of a histogram as one."""

_lock = threading.Lock()
_instrumented: list[Instrumentation] = []


def instrument(
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    secret_names: Sequence[str] = (),
    most_names: int = 20,
    series: int = SERIES,
) -> Instrumentation:
    """Measure what the stores of this process do, those that are open already among them, until it is closed.

    Args:
        meter_provider: takes the metrics; None for the global one.
        tracer_provider: takes the spans; None for the global one.
        secret_names: patterns of names that spans and one metric may tell, such as ``db/**``.
        most_names: so many different ones of them at most; whatever comes later is ``other``.
        series: time series at most, each bucket as one; label sets beyond are ``other``.

    Raises:
        InvalidRequestError: the process is measured already, or a bound is too small.
    """
    if most_names < 1:
        raise InvalidRequestError("most_names is one or more")
    with _lock:
        if _instrumented:
            raise InvalidRequestError("this process is instrumented already", hint="close the first one")
        budget = _budget(series)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        shown = ShownNames(matcher(secret_names), most_names)
        made = Instrumentation(meter, trace.get_tracer(SCOPE, tracer_provider=tracer_provider), budget, shown)
        _instrumented.append(made)
    observing.observe(made)
    return made


def _budget(series: int) -> Budget:
    """With room for each metric of its own, less of it where there is less."""
    budget, least = Budget(series), sum(metric.cost for metric in METRICS)
    share = max(0, min(series, SERIES) - least), SERIES - least
    for metric in METRICS:
        keep = metric.keep * share[0] // share[1]
        budget.reserve(metric.name, metric.labels, metric.cost, keep * metric.cost)
    return budget


@final
class Instrumentation(observing.Observer):
    """Measures this process; made by `instrument`, and a context manager."""

    def __init__(self, meter: Meter, tracer: trace.Tracer, budget: Budget, names: ShownNames):
        self._tracer, self._budget, self._names = tracer, budget, names
        self._asked: _Asked | None = _Asked(budget)
        self._duration = meter.create_histogram(
            DURATION.dotted, DURATION.unit, DURATION.meaning, explicit_bucket_boundaries_advisory=SECONDS
        )
        self._counters = {
            metric.name: meter.create_counter(metric.dotted, metric.unit, metric.meaning)
            for metric in (REQUESTS, OPERATIONS, SECRETS)
        }
        for metric in ASKED:
            kind = "observable_counter" if metric.kind == "counter" else "observable_gauge"
            create = getattr(meter, f"create_{kind}")
            create(metric.dotted, [self._callback(metric)], metric.unit, metric.meaning)

    def close(self) -> None:
        """Measure nothing any more. Safe to repeat."""
        with _lock:
            if self in _instrumented:
                _instrumented.remove(self)
                observing.observe(None)
        self._asked = None

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def operation(self, operation: str, store: str, name: str | None) -> AbstractContextManager[object]:
        return self._operation(operation, store, name, current=True)

    def listing(self, operation: str, store: str) -> AbstractContextManager[object]:
        return self._operation(operation, store, None, current=False)

    def request(self, operation: str, backend: str, name: str | None) -> AbstractContextManager[object]:
        facts = {"strongroom.operation": operation, "strongroom.backend": backend}
        if shown := self._names.shown(name):
            facts["strongroom.secret.name"] = shown

        def ended(outcome: str, seconds: float) -> None:
            labels = (("kind", _kind_of(operation)), ("backend", backend))
            told = self._budget.admit(DURATION.name, labels, DURATION.cost)
            self._duration.record(seconds, dict(told))
            self._count(REQUESTS, ("backend", backend), ("outcome", outcome))

        return Block(self._tracer, f"{backend} {operation}", trace.SpanKind.CLIENT, facts, ended)

    def after_fork(self) -> None:
        """In a forked child."""
        self._budget.after_fork()
        if self._asked:
            self._asked.after_fork()

    def _operation(
        self, operation: str, store: str, name: str | None, *, current: bool
    ) -> AbstractContextManager[object]:
        facts = {"strongroom.operation": operation, "strongroom.store": store}
        if shown := self._names.shown(name):
            facts["strongroom.secret.name"] = shown

        def ended(outcome: str, _seconds: float) -> None:
            self._count(OPERATIONS, ("operation", operation), ("outcome", outcome))
            if shown:
                word = "ok" if outcome == "ok" else "failed"
                self._count(SECRETS, ("secret", shown), ("outcome", word))

        span = f"strongroom {operation}"
        return Block(self._tracer, span, trace.SpanKind.INTERNAL, facts, ended, current=current)

    def _count(self, metric: Metric, *labels: tuple[str, str]) -> None:
        self._counters[metric.name].add(1, dict(self._budget.admit(metric.name, labels)))

    def _callback(self, metric: Metric) -> Callable[[Any], Iterable[Observation]]:
        def observe(_options: object) -> Iterator[Observation]:
            asked = self._asked  # None once it is closed: instruments cannot be taken back
            for labels, value in asked.samples(metric).items() if asked else ():
                yield Observation(value, dict(labels))

        return observe


@final
class Instrumentor:
    """What ``opentelemetry-instrument PROGRAM`` finds by its entry point: `instrument` without names."""

    def instrument(self, **_options: object) -> None:
        """Measure the process, unless it is already."""
        if not _instrumented:
            instrument()

    def uninstrument(self, **_options: object) -> None:
        """Measure nothing any more."""
        while _instrumented:
            _instrumented[0].close()


@final
class _Asked:
    """What everything in this process tells when it is asked: once for all metrics of a collection."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self.after_fork()

    def after_fork(self) -> None:
        """With a lock of our own."""
        self._lock = threading.Lock()
        self._left: dict[str, tuple[str, dict[Labels, float]]] = {}
        self._given: set[str] = set()

    def samples(self, metric: Metric) -> dict[Labels, float]:
        """A metric's, within the budget."""
        with self._lock:
            # Asked for one again, somebody collects again.
            if metric.name in self._given or not self._given:
                self._left = {name: (kind, dict(some)) for name, kind, _, some in observing.families()}
                self._given = set()
            self._given.add(metric.name)
            _, found = self._left.pop(metric.name, ("", {}))
        told: dict[Labels, float] = {}
        for labels, value in found.items():
            observing.merge(metric.kind, told, {self._budget.admit(metric.name, labels, metric.cost): value})
        return told


_LISTS: Final = frozenset({"list", "versions", "versions_after"})
_READS: Final = frozenset({"get", "get_many", "describe", "get_pending", "refresh"})
_KEYS: Final = frozenset({"wrap", "unwrap", "generate_data_key", "sign"})


def _kind_of(operation: str) -> str:
    """What a request is like: twenty operations with a histogram each would be most of all series."""
    kinds = {"list": _LISTS, "read": _READS, "key": _KEYS}
    return next((kind for kind, some in kinds.items() if operation in some), "write")


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  (the parent may be holding it)
    _lock = threading.Lock()
    for one in _instrumented:
        one.after_fork()


os.register_at_fork(after_in_child=_after_fork)
