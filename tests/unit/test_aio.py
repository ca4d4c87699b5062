"""AsyncSecretStore: the same store, warm reads without a thread, and writes that cancelling does not stop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
import threading
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from strongroom.aio import AsyncPending, AsyncSecretStore
from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnavailableError
from strongroom.names import Name
from strongroom.stages import Pending
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.core_support import DEADLINE, NAME, Recorder, memory, text

ROTATION = "00000000-0000-4000-8000-000000000001"


def public(cls: type) -> dict[str, Callable[..., Any]]:
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: method for name, method in methods if not name.startswith("_")}


PAIRS = [
    pytest.param(sync, other, name, id=f"{other.__name__}.{name}")
    for sync, other in ((SecretStore, AsyncSecretStore), (Pending, AsyncPending))
    for name in public(sync)
]


class TestParity:
    """What the one can the other can, by the same name with the same arguments."""

    @pytest.mark.parametrize(("sync", "other", "name"), PAIRS)
    def test_signatures_are_equal(self, sync: type, other: type, name: str) -> None:
        """Parameters, kinds, defaults and annotations; an iterator becomes an asynchronous one."""
        ours, theirs = inspect.signature(getattr(sync, name)), inspect.signature(getattr(other, name))
        assert list(ours.parameters.values()) == list(theirs.parameters.values())
        returned = re.sub(r"^(Iterator\[|Pending$)", r"Async\1", ours.return_annotation)
        assert theirs.return_annotation == returned

    @pytest.mark.parametrize(("sync", "other", "name"), PAIRS)
    def test_what_may_wait_is_awaited(self, sync: type, other: type, name: str) -> None:
        """Only what does no I/O is a plain method."""
        method = getattr(other, name)
        plain = name in ("pending", "is_warm", "hint")
        assert plain is not (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))

    def test_neither_has_more(self) -> None:
        """Methods and properties."""
        for sync, other in ((SecretStore, AsyncSecretStore), (Pending, AsyncPending)):
            slots = {name for name in getattr(sync, "__slots__", ()) if not name.startswith("_")}
            names = {name for name in vars(sync) if not name.startswith("_")} | slots
            assert names == {name for name in vars(other) if not name.startswith("_")}

    def test_annotations_mean_the_same(self) -> None:
        """They are resolved, not only spelt alike."""
        hints = typing.get_type_hints(AsyncSecretStore.list_names)
        assert hints["return"] == AsyncIterator[str]
        assert typing.get_type_hints(SecretStore.list_names)["return"] == Iterator[str]


@pytest.fixture
def backend(clock: FakeClock) -> FaultyBackend:
    backend = memory(clock=clock)
    backend.inner.put(Name(NAME), SecretValue(text("first")), None)
    return backend


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> SecretStore:
    return SecretStore(backend, clock=clock)


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent to another thread."""
    sent: list[str] = []
    original = asyncio.to_thread

    async def to_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sent.append(call.__name__)
        return await original(call, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    return sent


class TestWarmReads:
    """They do not leave the event loop's thread."""

    def test_only_the_cold_read_hops(self, store: SecretStore, hops: list[str]) -> None:
        """A thousand warm reads use no thread and do not yield to the loop."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            await served.get(NAME)
            for _ in range(1000):
                read = served.get(NAME)
                with pytest.raises(StopIteration):
                    read.send(None)

        asyncio.run(main())
        assert hops == ["get"]

    def test_what_may_wait_hops(self, store: SecretStore, hops: list[str], clock: FakeClock) -> None:
        """Past fresh, by id, and with a cold name."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            version = (await served.get(NAME)).version
            await served.get(NAME, version=version)
            clock.advance(300)
            await served.get(NAME)
            with pytest.raises(SecretNotFoundError):
                await served.get("missing")

        asyncio.run(main())
        assert hops == ["get"] * 4

    def test_an_illegal_name_is_refused(self, store: SecretStore, hops: list[str]) -> None:
        """At once."""
        with pytest.raises(InvalidRequestError):
            asyncio.run(AsyncSecretStore(store).get("Illegal Name"))
        assert not hops


class TestContext:
    """Context variables of the caller are those of the hook and the backend."""

    def test_they_carry_into_the_thread(self, backend: FaultyBackend) -> None:
        """A tracing span, a tenant: hooks see the caller's, in every operation, listings too."""
        tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
        seen: list[tuple[str, str]] = []

        class Seeing(AuditHook):
            def before(self, event: AuditEvent) -> None:
                seen.append((event.operation, tenant.get()))

            after = before

        async def main() -> None:
            tenant.set("acme")
            store = AsyncSecretStore(SecretStore(backend, hooks=[Seeing()]))
            await store.put(NAME, text("x"))
            await store.get(NAME)
            await store.get(NAME)
            assert [name async for name in store.list_names()] == [NAME]

        asyncio.run(main())
        assert {who for _, who in seen} == {"acme"}
        assert [operation for operation, _ in seen[::2]] == ["put", "get", "get", "list"]


def _paused(begun: threading.Event, go: threading.Event) -> None:
    begun.set()
    assert go.wait(DEADLINE)


class TestCancel:
    """Cancelling stops the waiting, not the work."""

    @pytest.mark.parametrize("operation", ["put", "pending.put"])
    def test_a_cancelled_write_completes_and_is_audited(self, backend: FaultyBackend, operation: str) -> None:
        """Its caller gave up while the provider worked: value and both events are there in the end."""
        recorder = Recorder()
        store = SecretStore(backend, hooks=[recorder], cache=None)
        base = store.get(NAME).version
        recorder.events.clear()
        writing, go, done = threading.Event(), threading.Event(), threading.Event()
        method = "put" if operation == "put" else "put_pending"
        backend.run(method, lambda: _paused(writing, go))

        class Last(AuditHook):
            def after(self, event: AuditEvent) -> None:
                done.set()

        store._auditor.hooks += (Last(),)
        served = AsyncSecretStore(store)
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "put": lambda: served.put(NAME, text("second")),
            "pending.put": lambda: served.pending(NAME, ROTATION).put(text("second"), base_version=base),
        }

        async def main() -> None:
            write = asyncio.ensure_future(writes[operation]())
            await asyncio.to_thread(writing.wait, DEADLINE)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            go.set()
            assert await asyncio.to_thread(done.wait, DEADLINE)

        asyncio.run(main())
        assert recorder.told() == [(operation, None), (operation, "ok")]
        read = store.get(NAME) if operation == "put" else store.pending(NAME, ROTATION).get()
        assert read.value.matches(text("second"))

    def test_a_write_that_waits_for_a_thread_completes_too(self, backend: FaultyBackend) -> None:
        """All threads were busy when its caller gave up."""
        store = SecretStore(backend, cache=None)
        go = threading.Event()

        async def main() -> None:
            loop, begun = asyncio.get_running_loop(), asyncio.Event()
            loop.set_default_executor(ThreadPoolExecutor(1))
            begin = partial(loop.call_soon_threadsafe, begun.set)
            busy = asyncio.ensure_future(asyncio.to_thread(lambda: (begin(), go.wait(DEADLINE))))
            write = asyncio.ensure_future(AsyncSecretStore(store).put(NAME, text("second")))
            await begun.wait()
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            go.set()
            await busy
            await asyncio.to_thread(lambda: None)  # behind the write in the queue

        asyncio.run(main())
        assert store.get(NAME).value.matches(text("second"))

    def test_a_failure_that_nobody_waits_for_is_quiet(self, backend: FaultyBackend) -> None:
        """The loop does not log the exception of a call that was cancelled: it could be about anything."""
        store = AsyncSecretStore(SecretStore(backend, cache=None))
        started, go = threading.Event(), threading.Event()
        backend.run("put", lambda: _paused(started, go))
        complaints: list[object] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            write = asyncio.ensure_future(store.put(NAME, text("x"), if_version="not current"))
            await asyncio.to_thread(started.wait, DEADLINE)
            write.cancel()
            with pytest.raises(asyncio.CancelledError):
                await write
            go.set()

        asyncio.run(main())
        assert complaints == []


class TestErrors:
    """They are the store's own."""

    def test_a_bad_value_shows_nowhere(self, store: SecretStore) -> None:
        """Not in the coroutine's frames either."""
        served = AsyncSecretStore(store)
        bad: Any = {"password": CANARY, "cannot": object()}
        for call in (
            lambda: served.put(NAME, bad),
            lambda: served.pending(NAME, ROTATION).put(bad, base_version="1"),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                asyncio.run(call())
            assert_no_canary_in(caught.value)

    def test_a_bad_value_names_operation_and_secret(self, store: SecretStore) -> None:
        """As without asyncio."""
        with pytest.raises(InvalidRequestError) as caught:
            asyncio.run(AsyncSecretStore(store).put(NAME, 1))  # type: ignore[arg-type]
        assert (caught.value.operation, caught.value.name) == ("put", NAME)

    def test_a_value_stays_out_of_the_frames_of_a_failed_write(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """The coroutine that waited stands in the traceback; it no longer holds the value."""
        backend.unreachable("put")
        with pytest.raises(UnavailableError) as caught:
            asyncio.run(AsyncSecretStore(store).put(NAME, text("second")))
        assert_no_canary_in(caught.value)


class TestLifecycle:
    """Listing and closing."""

    def test_an_abandoned_listing_ends(self, backend: FaultyBackend) -> None:
        """Its outcome is told when its reader goes."""
        recorder = Recorder()
        backend.inner.put(Name("second"), SecretValue(text("x")), None)

        async def main() -> None:
            names = AsyncSecretStore(SecretStore(backend, hooks=[recorder])).list_names()
            async for _ in names:
                break
            await names.aclose()  # type: ignore[attr-defined]

        asyncio.run(main())
        assert recorder.told() == [("list", None), ("list", "ok")]

    def test_a_block_closes(self, store: SecretStore) -> None:
        """For both views of the store."""

        async def main() -> None:
            async with AsyncSecretStore(store) as served:
                await served.get(NAME)
            with pytest.raises(InvalidRequestError):
                await served.get(NAME)

        asyncio.run(main())
        with pytest.raises(InvalidRequestError):
            store.get(NAME)
