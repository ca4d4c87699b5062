"""OpenTelemetry's real SDK, collected in memory and as Prometheus would scrape it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from strongroom import observing
from strongroom.integrations.opentelemetry_instrument import Instrumentation, instrument

Attributes = frozenset[tuple[str, object]]


class Seen:
    """What an application's SDK has got of the process."""

    def __init__(self) -> None:
        self._reader, self._spans = InMemoryMetricReader(), InMemorySpanExporter()
        self._registry = CollectorRegistry()
        scraped = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        self.meters = MeterProvider([self._reader, scraped])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.instrumentation: Instrumentation

    def points(self) -> dict[str, dict[Attributes, Any]]:
        """The data points of each metric by their attributes: numbers, and counts of histograms."""
        found: dict[str, dict[Attributes, Any]] = {}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = {
                        frozenset((point.attributes or {}).items()): getattr(point, "value", None)
                        if hasattr(point, "value")
                        else point.count
                        for point in metric.data.data_points
                    }
        return found

    def value(self, metric: str, **attributes: str) -> Any:
        """One point's number, or 0."""
        return self.points().get(metric, {}).get(frozenset(attributes.items()), 0)

    def scrape(self) -> str:
        """As Prometheus gets it."""
        return generate_latest(self._registry).decode()

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Those that ended, in that order."""
        return self._spans.get_finished_spans()


@contextmanager
def alone() -> Iterator[None]:
    """What other tests' stores did, or go on to tell, is not told in this block."""
    kept = observing._caches.tallies, observing._sources
    observing._caches.tallies, observing._sources = {}, WeakSet()
    try:
        yield
    finally:
        observing._caches.tallies, observing._sources = kept


@contextmanager
def seen(**arguments: Any) -> Iterator[Seen]:
    """Instrument the process for a block, which is `alone`."""
    sdk = Seen()
    try:
        with (
            alone(),
            instrument(meter_provider=sdk.meters, tracer_provider=sdk.tracers, **arguments) as made,
        ):
            sdk.instrumentation = made
            yield sdk
    finally:
        sdk.meters.shutdown()
        sdk.tracers.shutdown()


def series(text: str) -> Counter[str]:
    """How many time series a text in Prometheus' format has, by metric: each bucket is one."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        found[family.name] += sum(not sample.name.endswith("_created") for sample in family.samples)
    return found


def labels(text: str) -> dict[str, set[str]]:
    """The names of samples in a text in Prometheus' format, and the labels that they carry."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
