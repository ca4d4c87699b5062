"""A process that opens and closes stores all day keeps nothing of them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import strongroom
from strongroom import config
from strongroom.testing import override
from tests.canary import CANARY
from tests.scale import scaled

NAME = "db/password"
ROUNDS = 1000
TOLERATED = 50
"""Objects in all: a store that stays leaves dozens, each round."""


class Held(NamedTuple):
    """What a process holds on to."""

    objects: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        return cls(len(gc.get_objects()), len(os.listdir("/proc/self/fd")), threading.active_count())


def grows(act: Callable[[], None], rounds: int) -> Held:
    """What is held after that many rounds, over what was held after a few."""
    for _ in range(5):  # modules are imported, caches of the interpreter filled
        act()
    before = Held.now()
    for _ in range(rounds):
        act()
    after = Held.now()
    return Held(*(now - then for now, then in zip(after, before, strict=True)))


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A cached failover of two encrypted stores, a memory store, and one that does not open."""
    for alias in ("first", "second"):
        with strongroom.open(f"local://{tmp_path}/{alias}.db?create=keyset") as store:
            store.put(NAME, CANARY)
    file = tmp_path / "strongroom.toml"
    file.write_text(
        f"""[store]
first = {{ url = "local://{tmp_path}/first.db" }}
second = {{ url = "local://{tmp_path}/second.db" }}
both = {{ failover = ["first", "second"] }}
memory = {{ url = "memory://" }}
broken = {{ url = "local://{tmp_path}/none.db" }}
"""
    )
    return file


def read_and_watch(store: strongroom.SecretStore) -> None:
    """What an application does: write, read, be told of changes."""
    store.on_change(NAME, lambda name, version: None)
    store.put(NAME, CANARY)
    assert store.get(NAME).value.matches(CANARY)


def test_stores_that_are_opened_and_closed_leave_nothing(configured: Path) -> None:
    """Neither objects nor descriptors nor threads: with a poller, by asyncio, and not closed by hand."""

    def memory() -> None:
        with strongroom.open("memory", config=configured) as store:
            read_and_watch(store)

    def forgotten() -> None:
        strongroom.open("memory", config=configured).put(NAME, CANARY)

    async def awaited() -> None:
        async with strongroom.AsyncSecretStore(strongroom.open("memory", config=configured)) as store:
            await store.put(NAME, CANARY)
            await asyncio.gather(*(store.get(NAME) for _ in range(3)))

    rounds = scaled(ROUNDS, "stores opened and closed", share=100)
    for act in (memory, forgotten, lambda: asyncio.run(awaited())):
        grown = grows(act, rounds)
        assert grown.objects <= TOLERATED, grown
        assert max(grown.descriptors, grown.threads) <= 0, grown  # a thread of before may end meanwhile


def test_stores_on_disk_leave_nothing(configured: Path) -> None:
    """A failover of two databases under keys of their own, and one that fails to open."""

    def both() -> None:
        with strongroom.open("both", config=configured) as store:
            assert store.get(NAME).value.matches(CANARY)

    def broken() -> None:
        with pytest.raises(strongroom.SecretStoreError):
            strongroom.open("broken", config=configured).get(NAME)

    rounds = scaled(ROUNDS, "databases opened and closed", share=100)
    for act in (both, broken):
        grown = grows(act, rounds)
        assert grown.objects <= TOLERATED, grown
        assert max(grown.descriptors, grown.threads) <= 0, grown  # a thread of before may end meanwhile


def test_overrides_leave_nothing() -> None:
    """Handles that were closed, and handles that were not."""
    with strongroom.open("memory://") as store:
        store.put(NAME, CANARY)

        def overridden() -> None:
            with override(prod=store), strongroom.open("prod") as opened:
                assert opened.get(NAME).value.matches(CANARY)
                strongroom.open("prod").get(NAME)

        rounds = scaled(ROUNDS, "overrides", share=40)
        grown = grows(overridden, rounds)
        assert grown.objects <= TOLERATED, grown
        assert not config.overrides
