"""The listener between a queue and a store: what it passes on, and what it survives."""

from __future__ import annotations

import gc
import logging
import queue
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

import strongroom
from strongroom import observing, registry
from strongroom.backend import Settings
from strongroom.errors import BackendNotInstalledError, InvalidRequestError, UnavailableError
from strongroom.names import StoreURL
from strongroom.notices import Message, Receiver
from strongroom.notify.listener import Listener, listen
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.toml.file import read_text
from tests.canary import CANARY
from tests.unit.core_support import NAME, overwrite
from tests.unit.test_fork import in_child
from tests.unit.test_hinting import ended, met, until


class Queue(Receiver):
    """A queue in memory: a message's body is what it names, or what is raised for it."""

    loggers = ("strongroom.tests.queue",)

    def __init__(self, clock: FakeClock) -> None:
        self.origin = "queue://test"
        self.coming: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.acknowledged: list[object] = []
        self.asked = 0
        self.closed = self.forked = False
        self.refuses: Exception | None = None
        self._clock = clock

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        raise NotImplementedError

    def receive(self, timeout: float) -> Sequence[Message]:
        self.asked += 1
        try:
            body = self.coming.get(timeout=0.01)
        except queue.Empty:
            return []
        if isinstance(body, Exception):
            raise body
        bodies = body if isinstance(body, list) else [body]
        return [Message(one, one) for one in bodies]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        if self.refuses:
            raise self.refuses
        self.acknowledged += [message.handle for message in messages]

    def resources(self, message: Message) -> Collection[str]:
        if message.body == "poison":
            raise RuntimeError(CANARY)
        return {str(message.body)} if message.body else set()

    def resource(self, location: str) -> str:
        return location.rpartition("/db/")[2]

    def close(self) -> None:
        self.closed = True

    def after_fork(self) -> None:
        self.forked = True


@pytest.fixture
def incoming(clock: FakeClock) -> Queue:
    return Queue(clock)


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> Iterator[SecretStore]:
    with SecretStore(backend, clock=clock) as store:
        store.get(NAME)
        yield store
    ended()


@pytest.fixture
def listener(store: SecretStore, incoming: Queue, clock: FakeClock) -> Iterator[Listener]:
    listener = Listener(store, incoming)
    clock.advance(1)
    yield listener
    listener.close()
    assert not listener._thread.is_alive()


def listeners() -> list[threading.Thread]:
    """Those of this file: nobody else's last a test."""
    return [thread for thread in threading.enumerate() if thread.name == "strongroom-listen"]


class TestListening:
    """From a message to a read."""

    def test_a_notice_makes_the_store_read_again(
        self, store: SecretStore, backend: FaultyBackend, listener: Listener, incoming: Queue
    ) -> None:
        """And is taken out of the queue."""
        second = overwrite(backend.inner, "second")
        incoming.coming.put("password")
        met(store, second)
        until(lambda: incoming.acknowledged == ["password"])
        assert listener.counts == {"received": 1, "understood": 1, "hinted": 1, "failures": 0}

    def test_what_is_not_understood_is_taken_out_too(
        self, store: SecretStore, backend: FaultyBackend, listener: Listener, incoming: Queue
    ) -> None:
        """Poison, nothing, and other secrets: none may come for ever, and none costs a call."""
        incoming.coming.put(["poison", "", "other", *(f"forged/{number}" for number in range(2000))])
        until(lambda: len(incoming.acknowledged) == 2003)
        assert backend.calls["get"] == 1
        assert listener.counts == {"received": 2003, "understood": 2001, "hinted": 0, "failures": 0}

    def test_a_name_that_was_read_since_is_found(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        listener: Listener,
        incoming: Queue,
        clock: FakeClock,
    ) -> None:
        """The names that a store knows change; they are looked at again once a second."""
        incoming.coming.put("password")
        until(lambda: listener.counts["hinted"] == 1)
        store.put("db/other", "value")
        store.get("db/other")
        clock.advance(1)
        incoming.coming.put("other")
        until(lambda: listener.counts["hinted"] == 2)

    def test_a_queue_that_fails_is_asked_again_later(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        listener: Listener,
        incoming: Queue,
        clock: FakeClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """After a pause that grows; it is told once, and so is the end of it. Readers notice nothing."""
        caplog.set_level(logging.INFO, "strongroom")
        for failure in (UnavailableError("down"), UnavailableError("down"), RuntimeError(CANARY)):
            incoming.coming.put(failure)
            until(incoming.coming.empty)
            asked = listener.counts["failures"]
            until(lambda before=asked: listener.counts["failures"] >= max(before, 1))  # type: ignore[misc]
            clock.advance(60)
        assert store.get(NAME).version
        until(lambda: len(caplog.records) == 3)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "INFO"]
        assert caplog.records[1].getMessage().endswith("RuntimeError")
        assert listener.counts["failures"] == 3

    def test_while_it_fails_it_is_not_asked(
        self, listener: Listener, incoming: Queue, clock: FakeClock
    ) -> None:
        """No time passes, and nothing is sent."""
        incoming.coming.put(UnavailableError("down"))
        until(lambda: listener.counts["failures"] == 1)
        asked = incoming.asked
        threading.Event().wait(0.05)
        assert incoming.asked == asked

    def test_what_cannot_be_taken_out_comes_again(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        listener: Listener,
        incoming: Queue,
        clock: FakeClock,
    ) -> None:
        """It was hinted at before, so nothing waits for that."""
        second = overwrite(backend.inner, "second")
        incoming.refuses = UnavailableError("down")
        incoming.coming.put("password")
        met(store, second)
        until(lambda: listener.counts["failures"] == 1)
        incoming.refuses = None
        clock.advance(60)
        incoming.coming.put("password")
        until(lambda: incoming.acknowledged == ["password"])

    def test_metrics_name_no_secret(self, listener: Listener) -> None:
        """Counters by store and kind of queue."""
        found = {name: samples for name, _, _, samples in observing.families() if "notices" in name}
        assert set(found) == {
            f"strongroom_notices_{what}_total" for what in ("received", "understood", "hinted", "failures")
        }
        assert {label for samples in found.values() for labels in samples for label, _ in labels} == {
            "store",
            "queue",
        }


class TestEnds:
    """When it begins and when it is over."""

    def test_a_command_that_is_done_at_once_takes_nothing(self, store: SecretStore, incoming: Queue) -> None:
        """In the first second nothing is received: a message belongs to who stays."""
        incoming.coming.put("password")
        listener = Listener(store, incoming)
        listener.close()
        assert not incoming.asked
        assert incoming.closed

    def test_a_store_that_has_read_nothing_takes_nothing(
        self, backend: FaultyBackend, clock: FakeClock, incoming: Queue
    ) -> None:
        """No notice could be about anything; once there is a value, they are taken."""
        with SecretStore(backend, clock=clock) as store:
            listener = Listener(store, incoming)
            for _ in range(5):
                clock.advance(1)
                threading.Event().wait(0.01)
            assert not incoming.asked
            store.get(NAME)
            clock.advance(1)
            until(lambda: bool(incoming.asked))
            listener.close()

    def test_it_ends_with_its_store(self, backend: FaultyBackend, clock: FakeClock, incoming: Queue) -> None:
        """And closing it twice is closing it once."""
        store = SecretStore(backend, clock=clock)
        listener = Listener(store, incoming)
        store._hints.own(listener)
        store.close()
        listener.close()
        assert incoming.closed
        assert not listener._thread.is_alive()

    def test_it_ends_with_a_store_that_was_forgotten(
        self, backend: FaultyBackend, clock: FakeClock, incoming: Queue
    ) -> None:
        """Nobody closed it; a thread must not keep it, and take notices for nobody."""
        store = SecretStore(backend, clock=clock)
        store.get(NAME)
        listener = Listener(store, incoming)
        store._hints.own(listener)
        clock.advance(1)
        until(lambda: bool(incoming.asked))
        del store
        gc.collect()
        until(lambda: not listener._thread.is_alive())
        assert incoming.closed

    def test_a_child_does_not_listen(self, store: SecretStore, incoming: Queue, clock: FakeClock) -> None:
        """It would take what its parent needs; the parent goes on."""
        listener = Listener(store, incoming)
        store._hints.own(listener)
        clock.advance(1)

        def check() -> bool:
            store.close()
            return incoming.forked and not listeners()

        in_child(check)
        incoming.coming.put("password")
        until(lambda: incoming.acknowledged == ["password"])

    def test_loggers_of_the_sdk_are_kept_quiet(self, store: SecretStore, incoming: Queue) -> None:
        """They print requests, with what they are signed by."""
        logger = logging.getLogger(incoming.loggers[0])
        logger.setLevel(logging.DEBUG)
        listener = Listener(store, incoming)
        assert not logger.isEnabledFor(logging.DEBUG)
        listener.close()
        assert logger.isEnabledFor(logging.DEBUG)

    def test_no_thread_is_our_error(
        self, store: SecretStore, monkeypatch: pytest.MonkeyPatch, incoming: Queue
    ) -> None:
        """And what was opened is closed."""
        before = logging.getLogger(incoming.loggers[0]).level
        monkeypatch.setattr("strongroom.notify.listener.open_receiver", lambda *_: incoming)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _no_thread)
            with pytest.raises(UnavailableError):
                listen(store, [("sqs://eu-west-1/123456789012/changes", Settings())])
        assert incoming.closed
        assert logging.getLogger(incoming.loggers[0]).level == before
        assert not store._hints._sources


CONFIG = """
default = "prod"
[store.prod]
url = "memory://prod"
notices = [{ url = "sqs://eu-west-1/123456789012/changes", auth = { profile = "notices" } },
           { url = "pubsub://acme-prod/changes", timeout = "3s" }]
"""


class TestConfigured:
    """``notices`` of a store in strongroom.toml."""

    def test_they_are_opened_and_closed_with_the_store(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
    ) -> None:
        """Each with its own settings."""
        opened: list[tuple[str, Settings, Queue]] = []

        def opens(url: str, settings: Settings) -> Queue:
            opened.append((url, settings, Queue(clock)))
            return opened[-1][2]

        monkeypatch.setattr("strongroom.notify.listener.open_receiver", opens)
        config = read_text(tmp_path / "strongroom.toml", CONFIG, "")
        with strongroom.open("prod", config=config, clock=clock) as store:
            assert len(listeners()) == 2
            assert [url.partition(":")[0] for url, _, _ in opened] == ["sqs", "pubsub"]
            assert [settings.timeout for _, settings, _ in opened] == [5.0, 3.0]
            assert dict(opened[0][1].auth) == {"profile": "notices"}
            assert store.alias == "prod"
        assert all(one.closed for _, _, one in opened)
        assert not listeners()

    def test_a_wrong_queue_opens_nothing(self, tmp_path: Path) -> None:
        """The store would go on without what it was told to listen to."""
        text = CONFIG.replace("pubsub://acme-prod/changes", "pubsub://acme-prod")
        config = read_text(tmp_path / "strongroom.toml", text, "")
        with pytest.raises(InvalidRequestError, match="subscription"):
            strongroom.open("prod", config=config)
        assert not listeners()

    def test_a_missing_sdk_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the line that installs it."""
        monkeypatch.setitem(registry._QUEUES, "pubsub", ("strongroom_gcp.no_such:X", "pubsub"))
        with pytest.raises(BackendNotInstalledError) as caught:
            registry.open_receiver("pubsub://acme-prod/changes")
        assert caught.value.hint == "install it with: pip install 'strongroom[pubsub]'"

    @pytest.mark.parametrize(
        ("written", "problem"),
        [
            ('notices = [{ url = "kafka://a/b" }]', "unknown queue scheme"),
            ("notices = [{}]", "needs a url"),
            ("notices = []", "list of tables"),
            ('notices = "sqs://eu-west-1/123456789012/q"', "list of tables"),
            ('notices = [{ url = "sqs://r/1/q", every = "1s" }]', "there is no such key"),
            ('notices = [{ url = "sqs://r/1/q", auth = { token = "env://T" } }]', "there is no such key"),
            (
                'notices = [{ url = "sqs://r/1/q", auth = { secret_access_key = "strongroom://prod/a" } }]',
                "no credential that a store keeps",
            ),
        ],
    )
    def test_what_is_wrong_is_told(self, tmp_path: Path, written: str, problem: str) -> None:
        """With file, line and key."""
        with pytest.raises(InvalidRequestError, match=problem):
            read_text(tmp_path / "c.toml", f'[store.prod]\nurl = "memory://prod"\n{written}\n', "")

    def test_a_failover_has_notices_too(self, tmp_path: Path) -> None:
        """They belong to what is opened, not to its members."""
        text = CONFIG.replace('url = "memory://prod"', 'failover = ["one", "two"]')
        text += '[store.one]\nurl = "memory://one"\n[store.two]\nurl = "memory://two"\n'
        assert len(read_text(tmp_path / "c.toml", text, "").stores["prod"].notices) == 2


def _no_thread(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
