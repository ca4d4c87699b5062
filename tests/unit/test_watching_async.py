"""Change notice for asyncio: in the loop's thread, without blocking it, and without a thread left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from strongroom.aio import AsyncSecretStore
from strongroom.errors import InvalidRequestError, PermissionDeniedError
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.watching import POLL
from tests.unit.core_support import DEADLINE, KEY, NAME, Gate, memory, overwrite, text
from tests.unit.test_watching import gone, pollers, settled

Main = Callable[[AsyncSecretStore], Coroutine[Any, Any, None]]


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> Iterator[SecretStore]:
    with SecretStore(backend, clock=clock) as store:
        yield store
    assert gone()


def run(store: SecretStore, main: Main) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await main(AsyncSecretStore(store))

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (of another thread, mostly)
        await asyncio.sleep(0)


def watched(store: SecretStore) -> int:
    """How many watch the secret."""
    names = store._watcher._names
    return len(names[KEY].subscribers) if KEY in names else 0


class TestWatch:
    """``async for version in store.watch(name)``."""

    def test_changes_by_others_and_own_writes_come_in_order(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """By the poll, and at once."""

        async def main(served: AsyncSecretStore) -> None:
            versions = served.watch(NAME)
            first = asyncio.ensure_future(anext(versions))
            await until(lambda: watched(store) == 1 and store.is_warm(NAME))
            second = overwrite(backend.inner, "second")
            clock.advance(POLL)
            assert await first == second.id
            own = await served.put(NAME, text("own"))
            assert await anext(versions) == own.id

        run(store, main)
        assert gone()

    def test_a_task_that_is_cancelled_leaves_no_thread(self, store: SecretStore) -> None:
        """Cancelled while it waits for a change: the subscription ends, and the poller with it."""

        async def follow(served: AsyncSecretStore) -> None:
            async for _ in served.watch(NAME):
                pass

        async def main(served: AsyncSecretStore) -> None:
            tasks = [asyncio.ensure_future(follow(served)) for _ in range(50)]
            await until(lambda: watched(store) == 50)
            assert len(pollers()) == 1
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert await asyncio.to_thread(gone)

        run(store, main)
        assert not store._watcher._names

    def test_a_task_that_is_cancelled_while_it_learns_leaves_no_thread(self, clock: FakeClock) -> None:
        """The provider's answer is still on its way: nobody waits for it, and nothing is left."""
        inner = memory(clock=clock)
        overwrite(inner.inner, "first")
        gate = Gate(inner)
        gate.arm()

        async def main(served: AsyncSecretStore) -> None:
            first = asyncio.ensure_future(anext(served.watch(NAME)))
            await asyncio.to_thread(gate.asked.wait, DEADLINE)
            first.cancel()
            await asyncio.wait([first])
            assert await asyncio.to_thread(gone)
            gate.open()

        with SecretStore(gate, clock=clock) as store:
            run(store, main)
            assert not store._watcher._names

    def test_the_loop_goes_on_while_the_provider_is_slow(self, clock: FakeClock) -> None:
        """Beginning to watch asks the provider, in another thread."""
        inner = memory(clock=clock)
        overwrite(inner.inner, "first")
        gate = Gate(inner)
        gate.arm()

        async def main(served: AsyncSecretStore) -> None:
            begun = asyncio.ensure_future(served.on_change(NAME, lambda name, version: None))
            await until(gate.asked.is_set)  # would hang if the loop did
            assert not begun.done()
            gate.open()
            (await begun)()

        with SecretStore(gate, clock=clock) as store:
            run(store, main)

    def test_it_ends_when_nothing_came_in_time_and_when_the_store_closes(self, store: SecretStore) -> None:
        """As the other one does."""

        async def main(served: AsyncSecretStore) -> None:
            assert [version async for version in served.watch(NAME, timeout=0.001)] == []
            last = asyncio.ensure_future(_all(served.watch(NAME)))
            await until(lambda: watched(store) == 1)
            await served.close()
            assert await last == []

        run(store, main)

    def test_what_may_not_be_watched_says_so(self, store: SecretStore, backend: FaultyBackend) -> None:
        """At the first step."""

        async def main(served: AsyncSecretStore) -> None:
            backend.deny("get", times=1)
            with pytest.raises(PermissionDeniedError):
                await _all(served.watch(NAME))
            with pytest.raises(InvalidRequestError):
                await _all(served.watch("../up"))
            assert await asyncio.to_thread(gone)

        run(store, main)


class TestOnChange:
    """Callbacks for a loop."""

    def test_the_callback_runs_in_the_loops_thread_until_it_is_ended(self, store: SecretStore) -> None:
        """And what was on its way when it was ended is not told."""
        told: list[tuple[str, str, int]] = []

        async def main(served: AsyncSecretStore) -> None:
            end = await served.on_change(NAME, lambda *args: told.append((*args, threading.get_ident())))
            first = await served.put(NAME, text("one"))
            await until(lambda: bool(told))
            store.put(NAME, text("two"))
            end()
            end()
            await asyncio.sleep(0)
            assert told == [(NAME, first.id, threading.get_ident())]

        run(store, main)

    def test_a_callback_that_raises_is_logged_and_harms_no_other(
        self, store: SecretStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By type: its text may hold a value."""
        told: list[str] = []

        def bad(name: str, version: str) -> None:
            raise RuntimeError(text("which it was given"))

        async def main(served: AsyncSecretStore) -> None:
            await served.on_change(NAME, bad)
            await served.on_change(NAME, lambda name, version: told.append(version))
            await served.put(NAME, text("one"))
            await until(lambda: bool(told))

        run(store, main)
        assert f"a callback on changes of {NAME} raised RuntimeError" in caplog.messages

    def test_a_loop_that_is_closed_is_told_nothing(self, store: SecretStore) -> None:
        """Somebody forgot to unsubscribe: a write goes on as if nobody watched."""

        async def main(served: AsyncSecretStore) -> None:
            await served.on_change(NAME, lambda name, version: None)

        run(store, main)
        store.put(NAME, text("one"))
        settled()


async def _all(versions: AsyncIterator[str]) -> list[str]:
    return [version async for version in versions]
