"""Metrics and traces through OpenTelemetry's real SDK: what is counted, and what is never told."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest
from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from strongroom import observing
from strongroom.aio import AsyncSecretStore
from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.cache import CachePolicy
from strongroom.cardinality import OTHER, Budget, ShownNames
from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.integrations import opentelemetry_spans
from strongroom.integrations.opentelemetry_instrument import instrument
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.telemetry import Family
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, denied, unavailable
from tests.canary import CANARY
from tests.unit.telemetry_support import Seen, seen

NAME = "db/password"
OTHER_NAME = "db/other"
ALIASES = (f"telemetry-{number}" for number in range(1000))


@pytest.fixture
def sdk() -> Iterator[Seen]:
    """An application's SDK, and the process instrumented for it."""
    with seen() as found:
        yield found


@pytest.fixture
def alias() -> str:
    """No other test's: what caches did is told as long as the process lives."""
    return next(ALIASES)


def _store(alias: str, clock: FakeClock | None = None) -> tuple[SecretStore, FaultyBackend]:
    memory = MemoryBackend(clock=clock)
    faulty = FaultyBackend(memory, clock=clock)
    store = SecretStore(faulty, alias=alias, clock=clock, cache=CachePolicy(fresh=100, stale=900))
    store.put(NAME, CANARY)
    return store, faulty


def test_cache_reads_are_exact(sdk: Seen, alias: str) -> None:
    """One miss, then hits; all that was read warm is counted, also when the value is gone."""
    store, _ = _store(alias)
    for _ in range(1000):
        store.get(NAME)
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="miss") == 1
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="hit") == 999
    assert sdk.value("strongroom.cache.entries", store=alias, state="fresh") == 1
    store.put(NAME, "another")
    store.close()
    del store
    gc.collect()
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="hit") == 999
    assert sdk.value("strongroom.cache.entries", store=alias, state="fresh") == 0


def test_stale_answers_and_refreshes_have_their_own_counts(sdk: Seen, alias: str) -> None:
    """An outage is seen while applications do not notice it yet."""
    clock = FakeClock()
    store, faulty = _store(alias, clock)
    store.get(NAME)
    clock.advance(101)
    faulty.fault("get", unavailable, times=9)
    assert store.get(NAME).stale  # this one has waited for the provider
    assert store.get(NAME).stale
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="stale") == 1
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="miss") == 2
    assert sdk.value("strongroom.cache.entries", store=alias, state="stale") == 1
    assert sdk.value("strongroom.requests", backend="memory", outcome="UnavailableError") == 1
    assert sdk.value("strongroom.operations", operation="get", outcome="ok") == 2


def test_a_value_read_again_behind_is_a_refresh(sdk: Seen, alias: str) -> None:
    """Nobody waited for it."""
    clock = FakeClock()
    store, faulty = _store(alias, clock)
    store.get(NAME)
    clock.advance(95)
    store.get(NAME)
    for thread in threading.enumerate():
        if thread.name == "strongroom-refresh":
            thread.join()
    assert faulty.calls["get"] == 2
    assert sdk.value("strongroom.cache.refreshes", store=alias) == 1
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="miss") == 1


def test_counts_never_fall_while_a_reader_holds_what_left_the_cache(alias: str) -> None:
    """A counter that falls looks like a restart, and its rate like a storm."""
    store, _ = _store(alias)
    for _ in range(100):
        store.get(NAME)
    tally = observing.tally_of(alias)
    held = tally.held()
    assert tally.reads(held)[False] == 99
    store.put(NAME, "another")  # `held` keeps the old value alive
    assert tally.reads(tally.held())[False] == 99
    del held
    assert tally.reads(tally.held())[False] == 99


def test_a_warm_read_tells_no_observer(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs what it costs without one: nothing is called."""
    store, _ = _store(alias)
    store.get(NAME)

    class Refuses(observing.Observer):
        def operation(self, operation: str, store: str, name: str | None) -> AbstractContextManager[object]:
            raise AssertionError(operation)

    monkeypatch.setattr(observing, "observer", Refuses())
    assert store.get(NAME).value.matches(CANARY)
    with pytest.raises(AssertionError):
        store.describe(NAME)


def test_requests_are_timed_by_kind_and_backend(sdk: Seen, alias: str) -> None:
    """Of a listing it is the first page."""
    store, _ = _store(alias)
    store.get(NAME)
    assert list(store.list_names()) == [NAME]
    points = sdk.points()
    kinds = {dict(key)["kind"]: count for key, count in points["strongroom.request.duration"].items()}
    assert kinds == {"write": 1, "read": 1, "list": 1}
    assert sdk.value("strongroom.operations", operation="list", outcome="ok") == 1
    assert (
        'strongroom_request_duration_seconds_bucket{backend="memory",kind="read",le="0.25"}' in sdk.scrape()
    )


def test_a_breaker_that_opens_is_seen(sdk: Seen) -> None:
    """By its member's alias; a closed store's is told no more."""
    faulty = FaultyBackend(MemoryBackend())
    store = SecretStore(Failover({"prod-eu": faulty, "prod-us": MemoryBackend()}), cache=None)
    faulty.fault("get", unavailable, times=9)
    for _ in range(6):
        with suppress(SecretNotFoundError):
            store.get(NAME)
    assert sdk.value("strongroom.breaker.open", member="prod-eu") == 1.0
    assert sdk.value("strongroom.breaker.open", member="prod-us") == 0.0
    store.close()
    assert "strongroom.breaker.open" not in sdk.points()


def test_spans_nest_and_tell_no_names(sdk: Seen, alias: str) -> None:
    """The application's span, the operation, the request to the provider."""
    store, _ = _store(alias)
    with trace.get_tracer("app", tracer_provider=sdk.tracers).start_as_current_span("app"):
        store.get(NAME)
    request, operation, app = sdk.spans()[-3:]
    assert [span.name for span in (request, operation, app)] == ["memory get", "strongroom get", "app"]
    assert request.parent
    assert operation.context
    assert operation.parent
    assert app.context
    assert request.parent.span_id == operation.context.span_id
    assert operation.parent.span_id == app.context.span_id
    told = [{**span.attributes} for span in (request, operation) if span.attributes]
    assert told == [
        {"strongroom.operation": "get", "strongroom.backend": "memory"},
        {"strongroom.operation": "get", "strongroom.store": alias},
    ]
    assert CANARY not in "".join(span.to_json() for span in sdk.spans()) + sdk.scrape()


def test_an_error_is_its_class_and_nothing_more(sdk: Seen, alias: str) -> None:
    """No message, no traceback: an event of an exception would have both."""
    store, faulty = _store(alias)
    faulty.fault("get", denied)
    with pytest.raises(PermissionDeniedError):
        store.get(NAME)
    request, operation = sdk.spans()[-2:]
    for span in (request, operation):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert not span.events
        assert (span.attributes or {})["error.type"] == "PermissionDeniedError"
    assert NAME not in "".join(span.to_json() for span in sdk.spans()) + sdk.scrape()


def test_names_are_told_where_patterns_allow_it_and_only_so_many(alias: str) -> None:
    """The third is `other`; what is not allowed is not told at all."""
    with seen(secret_names=["db/*"], most_names=2) as sdk:
        store, _ = _store(alias)
        for name in ("db/a", "db/b", "exchange/key"):
            with pytest.raises(SecretNotFoundError):
                store.get(name)
        store.get(NAME)
        points = sdk.points()["strongroom.secret.operations"]
        assert {(dict(key)["secret"], dict(key)["outcome"]): count for key, count in points.items()} == {
            (NAME, "ok"): 2,
            ("db/a", "failed"): 1,
            (OTHER, "failed"): 1,
        }
        told = "".join(span.to_json() for span in sdk.spans()) + sdk.scrape()
        assert "db/b" not in told
        assert "exchange" not in told
        assert {(span.attributes or {}).get("strongroom.secret.name") for span in sdk.spans()} == {
            *(NAME, "db/a", OTHER, None)
        }


def test_a_listing_leaves_its_callers_context_alone(sdk: Seen, alias: str) -> None:
    """Its span is nobody's parent: between two names the caller does what it likes."""
    store, _ = _store(alias)
    store.put(OTHER_NAME, "x")
    before = trace.get_current_span()
    names = store.list_names()
    assert next(names)
    assert trace.get_current_span() is before
    del names  # which ends it: a caller that has seen enough is no error
    gc.collect()
    assert sdk.value("strongroom.operations", operation="list", outcome="ok") == 1


def test_an_async_store_keeps_the_trace(sdk: Seen, alias: str) -> None:
    """Its threads carry the context along."""
    store, _ = _store(alias)

    async def read() -> None:
        with trace.get_tracer("app", tracer_provider=sdk.tracers).start_as_current_span("app"):
            await AsyncSecretStore(store).get(NAME)

    asyncio.run(read())
    assert len({span.context.trace_id for span in sdk.spans()[-3:] if span.context}) == 1


def test_an_audit_record_names_the_span_of_its_operation(sdk: Seen) -> None:
    """So that a trace leads to the record, and the record to the trace."""
    heard: list[AuditEvent] = []

    class Hears(AuditHook):
        def after(self, event: AuditEvent) -> None:
            heard.append(event)

    SecretStore(MemoryBackend(), hooks=[Hears()], cache=None).put(NAME, CANARY)
    operation = sdk.spans()[-1]
    assert heard[0].trace
    assert operation.context
    assert f"-{operation.context.span_id:016x}-" in heard[0].trace


class Breaks(SpanProcessor):
    """A processor with a bug."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        raise ValueError(CANARY)

    def on_end(self, span: object) -> None:
        raise ValueError(CANARY)


def test_telemetry_that_fails_keeps_no_secret_back(alias: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, by its class."""
    tracers = TracerProvider()
    tracers.add_span_processor(Breaks())
    opentelemetry_spans._told.clear()
    with instrument(meter_provider=MeterProvider(), tracer_provider=tracers):
        store, _ = _store(alias)
        assert store.get(NAME).value.matches(CANARY)
    said = [record.getMessage() for record in caplog.records if "telemetry" in record.getMessage()]
    assert said == ["telemetry failed: ValueError; told once"]


def test_what_an_exporter_reads_is_not_exported(sdk: Seen, alias: str) -> None:
    """Its own credential, say: each span that it sends would make another one."""
    store, _ = _store(alias)
    before = len(sdk.spans()), sdk.value("strongroom.operations", operation="get", outcome="ok")
    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        store.get(NAME)
    finally:
        context.detach(token)
    after = len(sdk.spans()), sdk.value("strongroom.operations", operation="get", outcome="ok")
    assert after == before


def test_closed_nothing_is_told_and_another_may_begin(alias: str) -> None:
    """A process has one at a time: two would tell everything twice."""
    with seen() as first:
        with pytest.raises(InvalidRequestError, match="already"):
            instrument()
        store, _ = _store(alias)
    store.get(NAME)
    assert observing.observer is None
    assert "strongroom.cache.reads" not in first.points()
    assert not first.value("strongroom.operations", operation="get", outcome="ok")
    with seen() as second:
        store.describe(NAME)
        assert second.value("strongroom.operations", operation="describe", outcome="ok") == 1


@pytest.mark.parametrize("bounds", [{"series": 10}, {"most_names": 0}])
def test_bounds_that_bound_nothing_are_refused(bounds: dict[str, int]) -> None:
    """At the start."""
    with pytest.raises(InvalidRequestError):
        instrument(**bounds)  # type: ignore[arg-type]
    assert observing.observer is None


def test_a_forked_child_counts_its_own(sdk: Seen, alias: str) -> None:
    """The parent tells what it did itself."""
    store, _ = _store(alias)
    for _ in range(10):
        store.get(NAME)

    def child() -> bool:
        store.get(NAME)
        store.get(NAME)
        reads = observing.tally_of(alias).reads(observing.tally_of(alias).held())
        return reads == {False: 1, True: 0} and observing.tally_of(alias).waits.count() == 1

    assert _in_a_fork(child)
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="hit") == 9


def _in_a_fork(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if not pid:
        good = False
        with suppress(BaseException):
            good = contextvars.copy_context().run(check)
        os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_without_opentelemetry_a_store_works_and_the_seam_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nothing of it is loaded for who does not ask."""
    code = "import strongroom, sys; s = strongroom.open('memory://'); s.put('a', 'b'); s.get('a')"
    code += "; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "strongroom.integrations.opentelemetry_instrument")
    with pytest.raises(BackendNotInstalledError) as caught:
        __import__("strongroom.integrations.opentelemetry_instrument")
    assert caught.value.hint == "pip install 'strongroom[opentelemetry]'"


def test_a_budget_gives_room_to_the_first_and_keeps_some_for_the_rest() -> None:
    """What was told once is told on; a histogram costs its buckets."""
    budget = Budget(20)
    budget.reserve("a", ("x", "y"))
    budget.reserve("b", ("x",), 8)
    assert budget.admit("b", (("x", "1"),), 8) == (("x", "1"),)
    assert budget.admit("b", (("x", "2"),), 8) == (("x", OTHER),)
    assert budget.admit("a", (("x", "1"), ("y", "1"))) == (("x", "1"), ("y", "1"))
    for number in range(9):
        budget.admit("a", (("x", str(number)), ("y", "2")))
    assert budget.admit("a", (("x", "8"), ("y", "2"))) == (("x", OTHER), ("y", OTHER))
    assert budget.admit("a", (("x", "1"), ("y", "1"))) == (("x", "1"), ("y", "1"))
    assert ShownNames(lambda name: True, 1).shown(None) is None


def test_a_source_that_fails_takes_nobodys_numbers_along(sdk: Seen, alias: str) -> None:
    """A ledger that is down, say."""

    class Down:
        def families(self) -> list[Family]:
            raise UnavailableError(CANARY)

    down = Down()
    observing.tell_of(down)
    store, _ = _store(alias)
    store.get(NAME)
    assert sdk.value("strongroom.cache.reads", store=alias, outcome="miss") == 1
    observing.tell_no_more_of(down)
