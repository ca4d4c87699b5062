"""What metrics and traces cost: a read that the cache answers nothing, a request its spans and counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from strongroom import observing
from strongroom.integrations.opentelemetry_instrument import Instrumentation, instrument
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from tests.bench.harness import Bar, Row, Run, interleaved

NAME = "db/password"
PEER = "not instrumented"
_TOLD = 0.0002
"""Seconds that a request may take longer: a share of what a provider in a network takes to answer."""


def rows() -> Iterator[Row]:
    """A warm read with and without; a read from the provider with and without."""
    with _instrumented() as made:
        with SecretStore(MemoryBackend()) as store:
            store.put(NAME, "correct horse battery staple")
            store.get(NAME)
            yield _compared(made, "warm get, measured", lambda: store.get(NAME), Bar(ratio=1.2))
        with SecretStore(MemoryBackend(), cache=None) as store:
            store.put(NAME, "correct horse battery staple")
            yield _compared(
                made, "get of a provider, measured", lambda: store.get(NAME), Bar(over_peer=_TOLD)
            )


def _compared(made: Instrumentation, what: str, run: Run, bar: Bar) -> Row:
    """Thread time with the observer and without."""

    def by(observer: observing.Observer | None) -> Run:
        def once() -> None:
            observing.observe(observer)
            for _ in range(100):
                run()

        return once

    times = interleaved({"ours": by(made), "peer": by(None)}, 101, 0.002, time.thread_time)
    return bar.row(what, times["ours"] / 100, times["peer"] / 100, PEER)


@contextmanager
def _instrumented() -> Iterator[Instrumentation]:
    meters, tracers = MeterProvider([InMemoryMetricReader()]), TracerProvider()
    with instrument(meter_provider=meters, tracer_provider=tracers) as made:
        yield made
    meters.shutdown()
    tracers.shutdown()
