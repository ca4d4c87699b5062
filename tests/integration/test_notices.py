"""Notices through real queues: whatever becomes of them, values are right, and only latency differs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from random import Random

import pytest

from strongroom.cache import CachePolicy
from strongroom.notify.listener import Listener
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.integration import notice_worlds
from tests.integration.notice_worlds import World
from tests.scale import scaled
from tests.servers import azure, google, moto
from tests.servers.https import Authority
from tests.unit.core_support import DEADLINE, text
from tests.unit.test_fork import in_child

NAME = "db/password"
POLL = 3600.0
POLICY = CachePolicy(fresh=POLL, stale=0, poll=POLL, spread=0)
_STEP = 0.005


class Scene:
    """A program that reads and listens, another that writes, and the time, which passes while one waits."""

    def __init__(self, world: World):
        self.world, self.clock = world, FakeClock()
        self.other = SecretStore(open_backend(world.url, world.settings), cache=None)
        self.written = [self.other.put(NAME, text("first")).id]
        self.provider = FaultyBackend(open_backend(world.url, world.settings))
        self.store = SecretStore(self.provider, cache=POLICY, clock=self.clock)
        self.told: list[str] = []
        self.store.on_change(NAME, lambda _, version: self.told.append(version))
        self.listener = Listener(self.store, world.receiver(self.clock), wait=1, clock=self.clock)
        self.seen = 0

    def write(self) -> None:
        """Another program changes the secret."""
        self.written.append(self.other.put(NAME, text(f"value {len(self.written)}")).id)

    def read(self) -> str:
        """A value that was current once, and never one from before what was served already."""
        secret = self.store.get(NAME)
        index = self.written.index(secret.version)
        assert index >= self.seen
        assert secret.value.matches(text(f"value {index}" if index else "first"))
        assert not secret.stale
        self.seen = index
        return secret.version

    def until(self, happened: Callable[[], bool]) -> float:
        """Wait for what other threads do; seconds of the clock that it took."""
        began, event = self.clock.monotonic(), threading.Event()
        for _ in range(int(DEADLINE / _STEP)):
            if happened():
                return self.clock.monotonic() - began
            event.wait(_STEP)
            self.clock.advance(10 * _STEP)
        raise AssertionError("it never happened")

    def met(self) -> float:
        """Wait until the newest value is served; seconds of the clock that it took."""
        return self.until(lambda: self.read() == self.written[-1])

    def close(self) -> None:
        self.listener.close()
        self.listener._thread.join(DEADLINE)
        self.store.close()
        self.other.close()


@pytest.fixture(params=["aws", "gcp", "azure"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "aws":
        server: moto.Moto = request.getfixturevalue("moto_server")
        yield notice_worlds.Amazon(server)
    elif request.param == "gcp":
        process: google.Process = request.getfixturevalue("google_process")
        with notice_worlds.google(process.url) as made:
            yield made
    else:
        vault: azure.Vault = request.getfixturevalue("azure_server")
        authority: Authority = request.getfixturevalue("authority")
        with notice_worlds.microsoft(vault, authority) as made_too:
            yield made_too


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    scene = Scene(world)
    yield scene
    scene.close()


def test_whatever_becomes_of_a_notice_only_latency_changes(scene: Scene) -> None:
    """Sent, dropped, repeated, late and out of order, and forged in between."""
    random, late = Random(5), []
    forgeries = scene.world.forgeries(NAME)
    pushed: list[float] = []
    for round_ in range(scaled(100, "fates of a notice")):
        fate = ["sent", "dropped", "repeated", "late"][round_ % 4]
        scene.write()
        event = scene.world.event(NAME)
        for _ in range({"sent": 1, "repeated": 3}.get(fate, 0)):
            scene.world.send(event)
        late += [event] if fate == "late" else []
        scene.world.send(random.choice(forgeries))
        if fate in ("sent", "repeated"):
            pushed.append(scene.met())
        scene.read()
    scene.write()
    random.shuffle(late)
    for event in late:
        scene.world.send(event)
    pushed.append(scene.met())
    scene.write()  # of which nobody is told
    scene.clock.advance(POLL)
    assert scene.met() <= POLL
    scene.until(lambda: scene.world.empty)
    assert max(pushed) < POLL / 10
    assert scene.listener.counts["failures"] == 0
    scene.until(lambda: scene.told[-1] == scene.written[-1])
    assert scene.told == sorted(set(scene.told), key=scene.written.index)


def test_forgeries_are_taken_out_and_cost_next_to_nothing(scene: Scene) -> None:
    """Each kind, twice over; the secret is unchanged, and hardly asked for."""
    scene.read()
    before = scene.provider.calls["get"]
    for forged in [*scene.world.forgeries(NAME)] * 2:
        scene.world.send(forged)
    scene.until(lambda: scene.world.empty)
    assert scene.read() == scene.written[0]
    assert scene.provider.calls["get"] - before <= 8
    assert scene.listener.counts["failures"] == 0
    assert scene.told == []


def test_a_child_reads_and_its_parent_goes_on_listening(scene: Scene) -> None:
    """It forks while a request is held open; the child has no part in that, nor in its parent's channels."""
    scene.clock.advance(1)
    scene.world.send(scene.world.event(NAME))
    scene.until(lambda: scene.world.empty)
    # gRPC does not let a process fork in the middle of a call, whoever makes it: the hint's reads are over.
    scene.until(lambda: scene.listener.counts["hinted"] == 1 and not scene.store._hints._woken)

    def check() -> bool:
        alone = not any(thread.name == "strongroom-listen" for thread in threading.enumerate())
        return alone and scene.store.get(NAME).value.matches(text("first"))

    in_child(check)
    scene.write()
    scene.world.send(scene.world.event(NAME))
    scene.met()
