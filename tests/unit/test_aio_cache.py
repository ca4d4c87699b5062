"""AsyncSecretStore over the cache: what is known takes no thread, and a crowd of coroutines takes one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from strongroom.aio import AsyncSecretStore
from strongroom.backend import Secret
from strongroom.cache import CachePolicy
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.scale import scaled
from tests.unit.core_support import DEADLINE, NAME, Gate, Recorder, text

FRESH, STALE = 100.0, 1000.0


@pytest.fixture
def gate(backend: FaultyBackend) -> Gate:
    return Gate(backend)


@pytest.fixture
def store(gate: Gate, clock: FakeClock) -> SecretStore:
    return SecretStore(gate, cache=CachePolicy(FRESH, STALE, absent=0), clock=clock)


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


async def begun(gate: Gate) -> None:
    """Until the provider has been asked; the loop goes on meanwhile."""
    assert await asyncio.to_thread(gate.asked.wait, DEADLINE)


def matches(secrets: list[Secret], label: str) -> bool:
    return all(secret.value.matches(text(label)) for secret in secrets)


class TestCrowds:
    """Thousands of coroutines are not thousands of threads."""

    def test_a_cold_name_takes_one_thread_and_one_request(
        self, store: SecretStore, backend: FaultyBackend, hops: list[str]
    ) -> None:
        """And a warm one none: ten thousand coroutines, twice."""
        count = scaled(10_000)

        async def main() -> None:
            served = AsyncSecretStore(store)
            before = threading.active_count()
            assert matches(await asyncio.gather(*(served.get(NAME) for _ in range(count))), "first")
            assert threading.active_count() <= before + 1
            assert matches(await asyncio.gather(*(served.get(NAME) for _ in range(count))), "first")

        asyncio.run(main())
        assert hops == ["get"]
        assert backend.calls["get"] == 1

    def test_many_cold_names_take_the_threads_of_the_loop(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """Each name once, in the loop's own executor, which is bounded."""
        names = [f"n{number}" for number in range(scaled(500))]
        for name in names:
            backend.inner.put(Name(name), SecretValue(text(name)), None)

        async def main() -> int:
            served = AsyncSecretStore(store)
            before = threading.active_count()
            await asyncio.gather(*(served.get(name) for name in names for _ in range(5)))
            return threading.active_count() - before

        assert asyncio.run(main()) <= 32
        assert backend.calls["get"] == len(names)

    def test_another_name_does_not_wait_behind_a_crowd(
        self, store: SecretStore, gate: Gate, backend: FaultyBackend
    ) -> None:
        """A slow name holds one thread, however many want it."""
        backend.inner.put(Name("other"), SecretValue(text("other")), None)

        async def main() -> None:
            served = AsyncSecretStore(store)
            gate.arm()
            crowd = [asyncio.ensure_future(served.get(NAME)) for _ in range(100)]
            await begun(gate)
            assert matches([await served.get("other")], "other")
            assert not any(reader.done() for reader in crowd)
            gate.open()
            assert matches(await asyncio.gather(*crowd), "first")

        asyncio.run(main())

    def test_with_hooks_each_read_is_its_own(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """The audit log has every one of them."""
        recorder = Recorder()
        store = SecretStore(backend, clock=clock, hooks=[recorder])

        async def main() -> None:
            served = AsyncSecretStore(store)
            await asyncio.gather(*(served.get(NAME) for _ in range(20)))

        asyncio.run(main())
        assert [outcome for _, outcome in recorder.told()].count("ok") == 20


class TestSharing:
    """Who shares a read is not worse off than who reads by himself."""

    def test_who_gives_up_takes_nobody_along(self, store: SecretStore, gate: Gate) -> None:
        """The first to ask is cancelled: the others get the answer."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            gate.arm()
            first, second = (asyncio.ensure_future(served.get(NAME)) for _ in range(2))
            await begun(gate)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            gate.open()
            assert matches([await second], "first")

        asyncio.run(main())

    def test_a_read_begun_before_a_write_is_not_joined_after_it(self, store: SecretStore, gate: Gate) -> None:
        """Whoever asks after his own write gets what he wrote, though an older read is still on its way."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            gate.arm()
            early = asyncio.ensure_future(served.get(NAME))
            await begun(gate)
            await served.put(NAME, text("second"))
            assert matches([await served.get(NAME)], "second")
            gate.open()
            assert matches([await early], "first")
            assert matches([await served.get(NAME)], "second")

        asyncio.run(main())

    def test_each_has_an_error_of_its_own(self, store: SecretStore) -> None:
        """One object raised a thousand times would drag a thousand tracebacks along."""

        async def main() -> list[BaseException | Secret]:
            served = AsyncSecretStore(store)
            crowd = [served.get("missing") for _ in range(10)]
            return await asyncio.gather(*crowd, return_exceptions=True)

        errors = asyncio.run(main())
        assert {type(error) for error in errors} == {SecretNotFoundError}
        assert len({id(error) for error in errors}) == 10
        assert {(error.name, error.operation) for error in errors} == {("missing", "get")}  # type: ignore[union-attr]

    def test_an_error_that_nobody_waits_for_is_quiet(self, store: SecretStore, gate: Gate) -> None:
        """The loop has nothing to complain of."""
        complaints: list[object] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            served = AsyncSecretStore(store)
            gate.arm()
            reader = asyncio.ensure_future(served.get("missing"))
            await begun(gate)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            gate.open()

        asyncio.run(main())
        gc.collect()
        assert complaints == []

    def test_nothing_stays_of_a_read_that_is_done(self, store: SecretStore) -> None:
        """Neither names nor loops are kept."""
        served = AsyncSecretStore(store)
        reads: list[Callable[[], Coroutine[Any, Any, Secret]]] = [
            lambda: served.get(NAME),
            lambda: served.get("missing"),
        ]
        for read in reads:
            asyncio.run(_quietly(read()))
        assert not served._reading

    def test_each_loop_waits_for_its_own(self, store: SecretStore, gate: Gate) -> None:
        """A store serves several loops; what one waits for is no use to another."""
        served, answers = AsyncSecretStore(store), list[Secret]()
        gate.arm()
        threads = [
            threading.Thread(target=lambda: answers.append(asyncio.run(served.get(NAME)))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert gate.asked.wait(DEADLINE)
        gate.open()
        for thread in threads:
            thread.join(DEADLINE)
        assert len(answers) == 3
        assert matches(answers, "first")


class TestOutage:
    """What an outage leaves is answered in the loop."""

    def test_stale_answers_take_no_thread(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, hops: list[str]
    ) -> None:
        """Between two attempts."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            await served.get(NAME)
            backend.unreachable("get")
            clock.advance(FRESH)
            for _ in range(100):
                assert (await served.get(NAME)).stale
            clock.advance(STALE)
            with pytest.raises(UnavailableError):
                await served.get(NAME)

        asyncio.run(main())
        assert hops == ["get"] * 3

    def test_prefetch_warms_for_the_loop(
        self, store: SecretStore, backend: FaultyBackend, hops: list[str]
    ) -> None:
        """One thread for all of it."""

        async def main() -> None:
            served = AsyncSecretStore(store)
            await served.prefetch([NAME])
            assert served.is_warm(NAME)
            await served.get(NAME)

        asyncio.run(main())
        assert hops == ["prefetch"]


async def _quietly(read: Coroutine[Any, Any, Secret]) -> None:
    await asyncio.gather(read, return_exceptions=True)
