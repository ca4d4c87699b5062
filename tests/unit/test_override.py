"""testing.override: the store of a test in the place of the one that the application opens."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

import strongroom
from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Capability
from strongroom.errors import InvalidRequestError, UnavailableError, UnsupportedOperationError
from strongroom.memory import ALL, MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FakeClock, FaultyBackend, override
from tests.canary import CANARY
from tests.unit.core_support import Recorder

NAME = "db/password"


@pytest.fixture
def store() -> Iterator[SecretStore]:
    with SecretStore(MemoryBackend(), alias="test") as store:
        store.put(NAME, CANARY)
        yield store


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing but an override is there to open."""
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def read(target: str | None = "prod") -> bool:
    """What an application does: open, read, close."""
    with strongroom.open(target) as opened:
        return opened.get(NAME).value.matches(CANARY)


def test_the_application_opens_the_store_of_the_test(store: SecretStore) -> None:
    """By an alias that no configuration knows; before and after, nothing is called so."""
    with override(prod=store):
        assert read()
    with pytest.raises(InvalidRequestError, match="no store is called 'prod'"):
        read()


def test_what_either_writes_the_other_reads_at_once(store: SecretStore) -> None:
    """They share a cache, so no old value stands in one of them."""
    with override(prod=store), strongroom.open("prod") as opened:
        assert opened.get(NAME).version == store.get(NAME).version
        store.put(NAME, "two")
        assert opened.get(NAME).value.matches("two")
        opened.put(NAME, "three")
        assert store.get(NAME).value.matches("three")


def test_closing_what_was_opened_leaves_the_tests_store_open(store: SecretStore) -> None:
    """What the application closed refuses it afterwards, as in production; another one is not touched."""
    with override(prod=store), strongroom.open("prod") as other:
        closed = strongroom.open("prod")
        closed.get(NAME)
        closed.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            closed.get(NAME)
        assert other.get(NAME).version == store.get(NAME).version


def test_what_the_application_watches_ends_with_its_handle(store: SecretStore) -> None:
    """What it closed tells it nothing more; what the test watches itself goes on."""
    apps, own, told = queue.SimpleQueue[str](), queue.SimpleQueue[str](), queue.SimpleQueue[str]()
    store.on_change(NAME, lambda name, version: own.put(version))
    with override(prod=store):
        with strongroom.open("prod") as opened:
            opened.on_change(NAME, lambda name, version: apps.put(version))
            versions = opened.watch(NAME)
            first = store.put(NAME, "two").id
            assert (apps.get(timeout=30), own.get(timeout=30), next(versions)) == (first, first, first)
        assert list(versions) == []
        with strongroom.open("prod") as opened:
            opened.on_change(NAME, lambda name, version: told.put(version))
            second = store.put(NAME, "three").id
            assert (own.get(timeout=30), told.get(timeout=30)) == (second, second)
    assert apps.empty()


def test_overrides_nest_and_the_newest_counts(store: SecretStore) -> None:
    """Those inside add to those outside; the outer one stands again afterwards."""
    with SecretStore(MemoryBackend()) as inner, override(prod=store, other=store):
        inner.put(NAME, "inner")
        with override(prod=inner):
            assert not read("prod")
            assert read("other")
        assert read("prod")


def test_overrides_may_end_in_any_order(store: SecretStore) -> None:
    """As they do where two tasks hold one each."""
    with SecretStore(MemoryBackend()) as second:
        second.put(NAME, "second")
        first, newer = override(prod=store), override(prod=second)
        first.__enter__()
        newer.__enter__()
        first.__exit__(None, None, None)
        assert not read()
        newer.__exit__(None, None, None)
        with pytest.raises(InvalidRequestError):
            read()


def test_one_override_can_be_entered_again(store: SecretStore) -> None:
    """Also while it holds."""
    both = override(prod=store)
    with both:
        with both:
            assert read()
        assert read()
    with pytest.raises(InvalidRequestError):
        read()


def test_names_that_are_no_python_names_and_urls_can_be_given(store: SecretStore) -> None:
    """As a mapping."""
    with override({"prod-eu": store, "aws-sm://eu-west-1/prod": store}):
        assert read("prod-eu")
        assert read("aws-sm://eu-west-1/prod")


def test_the_default_store_is_overridden_by_its_alias(store: SecretStore, tmp_path: Path) -> None:
    """A configuration says which it is; without one it is the only one that is given."""
    with override(prod=store):
        assert read(None)
        with override(other=store), pytest.raises(InvalidRequestError, match="no store was named"):
            read(None)
        (tmp_path / "strongroom.toml").write_text('default = "prod"\n[store]\nprod = { url = "memory://" }\n')
        assert read(None)
        with strongroom.open("memory://") as real:
            assert real.origin == "memory"
            assert real is not store


def test_another_default_store_is_opened_for_real(store: SecretStore, tmp_path: Path) -> None:
    """An override stands for what it names and for nothing else."""
    (tmp_path / "strongroom.toml").write_text('[store]\nlaptop = { url = "memory://" }\n')
    with override(prod=store), strongroom.open() as opened:
        assert opened.alias == "laptop"


def test_references_and_dataclasses_are_read_from_it(store: SecretStore) -> None:
    """Whatever opens a store by its alias gets it."""
    with override(prod=store):
        found = strongroom.resolve({"password": f"strongroom://prod/{NAME}"}, allow=["prod"])
        assert found["password"].matches(CANARY)
        app = make_dataclass("App", [("password", Annotated[strongroom.SecretValue, strongroom.Ref(NAME)])])
        loaded: Any = strongroom.load(app, store="prod")
        assert loaded.password.matches(CANARY)


def test_the_alias_is_the_one_that_was_opened(store: SecretStore) -> None:
    """Errors and audit events name it."""
    with override(prod=store), strongroom.open("prod") as opened:
        assert opened.alias == "prod"
        assert repr(opened) == "<SecretStore prod>"


def test_hooks_given_to_open_hear_of_the_applications_operations() -> None:
    """And the test's own hooks hear of all."""
    mine, apps = Recorder(), Recorder()
    with SecretStore(MemoryBackend(), hooks=[mine]) as store, override(prod=store):
        store.put(NAME, CANARY)
        with strongroom.open("prod", hooks=[apps]) as opened:
            opened.get(NAME)
    assert apps.told() == [("get", None), ("get", "ok")]
    assert mine.told() == [("put", None), ("put", "ok"), ("get", None), ("get", "ok")]
    assert {event.store for event in apps.events} == {"prod"}


class Veto(AuditHook):
    """Refuses everything."""

    def before(self, event: AuditEvent) -> None:
        raise strongroom.PermissionDeniedError("not today")


def test_a_hook_vetoes_a_read_that_is_cached(store: SecretStore) -> None:
    """The cache is shared; the hooks of one handle are not passed by."""
    store.get(NAME)
    with override(prod=store), strongroom.open("prod", hooks=[Veto()]) as opened:
        with pytest.raises(strongroom.PermissionDeniedError):
            opened.get(NAME)
        assert store.get(NAME).value.matches(CANARY)


def test_a_capability_that_is_required_is_checked() -> None:
    """As for any store."""
    with SecretStore(MemoryBackend(ALL & ~Capability.VERSIONS)) as lesser, override(prod=lesser):
        with pytest.raises(UnsupportedOperationError):
            strongroom.open("prod", require=Capability.VERSIONS)
        strongroom.open("prod", require=Capability.PUT).close()


def test_every_thread_and_task_sees_it(store: SecretStore) -> None:
    """Also a thread that began before."""
    begun, entered, seen = threading.Event(), threading.Event(), []

    def application() -> None:
        begun.set()
        entered.wait(30)
        seen.append(read())

    thread = threading.Thread(target=application)
    thread.start()
    begun.wait(30)
    with override(prod=store):
        entered.set()
        thread.join(30)
        assert seen == [True]

        async def main() -> list[bool]:
            return await asyncio.gather(*(asyncio.to_thread(read) for _ in range(3)))

        assert asyncio.run(main()) == [True] * 3


def test_a_decorated_function_runs_inside(store: SecretStore) -> None:
    """Each call anew."""

    @override(prod=store)
    def application() -> bool:
        return read()

    assert application()
    assert application()
    with pytest.raises(InvalidRequestError):
        read()


def test_a_decorated_coroutine_function_runs_inside(store: SecretStore) -> None:
    """All of it, and not only its call; several may run at once."""

    @override(prod=store)
    async def application(turns: int) -> bool:
        for _ in range(turns):
            await asyncio.sleep(0)
        async with strongroom.AsyncSecretStore(strongroom.open("prod")) as opened:
            return (await opened.get(NAME)).value.matches(CANARY)

    async def main() -> list[bool]:
        return await asyncio.gather(*(application(turns) for turns in (3, 1, 2)))

    assert asyncio.run(main()) == [True] * 3
    with pytest.raises(InvalidRequestError):
        read()


def test_a_forked_process_sees_it(store: SecretStore) -> None:
    """A worker that is forked inside opens the same store."""
    with override(prod=store):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if read() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_application_survives_an_outage_as_in_production() -> None:
    """What it opened serves stale values within the bound, then fails."""
    clock = FakeClock()
    faults = FaultyBackend(MemoryBackend(clock=clock), clock=clock)
    with SecretStore(faults, clock=clock) as store, override(prod=store), strongroom.open("prod") as opened:
        store.put(NAME, CANARY)
        opened.get(NAME)
        faults.unreachable()
        clock.advance(301)
        assert opened.get(NAME).stale
        clock.advance(3300)
        with pytest.raises(UnavailableError):
            opened.get(NAME)
