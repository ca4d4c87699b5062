"""Celery's broker and result backend log in with a password that is rotated: no task is lost."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import celery
import pytest
from celery.contrib.testing.worker import start_worker
from kombu.exceptions import OperationalError

import strongroom
from strongroom.errors import BackendNotInstalledError, InvalidRequestError
from strongroom.integrations.celery_app import SENDS, broker_login, result_login
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from tests.canary import CANARY, assert_no_canary
from tests.integration.data_seams import NAME, Cache
from tests.pages import ROOT
from tests.scale import NIGHTLY, scaled
from tests.servers.redis import Redis
from tests.unit.core_support import DEADLINE

pytestmark = [  # both are Celery's own
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture
def cache(redis_server: Redis) -> Iterator[Cache]:
    cache = Cache(redis_server)
    with cache.store:
        yield cache


@pytest.fixture(autouse=True)
def closed(cache: Cache) -> Iterator[None]:
    """Celery leaves its connections to the garbage collector, and a result unsubscribes when it goes."""
    yield
    gc.collect()
    for app in _made:
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()
        app.pool.force_close_all()
        app.close()
    _made.clear()
    gc.collect()


_made: list[celery.Celery] = []


def plain(cache: Cache, url: str) -> celery.Celery:
    """An app that knows nothing of stores."""
    app = celery.Celery("shop", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_default_queue=cache.user,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        broker_transport_options={"polling_interval": 0.05},
    )

    _made.append(app)

    @app.task(name="shop.add", shared=False)  # type: ignore[untyped-decorator]
    def add(one: int, other: int) -> int:
        return one + other

    return app


def logged_in(cache: Cache) -> celery.Celery:
    app = plain(cache, cache.url)
    broker_login(app, cache.store, NAME, username=cache.user)
    result_login(app, cache.store, NAME, username=cache.user)
    return app


def add(app: celery.Celery, number: int) -> Any:
    return app.tasks["shop.add"].delay(number, 1).get(timeout=DEADLINE)


class TestRotations:
    """A worker and a sender over a password that changes."""

    def test_both_take_each_new_password(self, cache: Cache) -> None:
        """They lose every connection after each rotation, and each task has its result."""
        app = logged_in(cache)
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
            assert add(app, 0) == 1
            for number in range(1, 1 + scaled(20, "Redis passwords rotated under a Celery worker")):
                cache.rotated_elsewhere(number)
                cache.server.disconnect(cache.user)
                assert add(app, number) == number + 1

    def test_a_task_that_is_sent_in_the_gap_is_sent(self, cache: Cache) -> None:
        """Between the password's change at Redis and its promotion, a sender is refused, and tries on."""
        app = logged_in(cache)
        sent: list[str] = []

        def send() -> None:
            sent.append(app.send_task("shop.add", (1, 1)).id)

        def between() -> None:
            thread.start()
            cache.refused_once_more()

        thread = threading.Thread(target=send)
        cache.rotate(1, between=between)
        thread.join(DEADLINE)
        assert len(sent) == 1

    def test_a_url_with_a_password_ends_with_it(self, cache: Cache) -> None:
        """As Celery is set up everywhere: its sender is refused for as long as the process lives."""
        url = f"redis://{cache.user}:{CANARY}-0@127.0.0.1:{cache.server.port}/0"
        peer = plain(cache, url)
        peer.conf.task_publish_retry_policy = {"max_retries": 1, "interval_start": 0}
        peer.send_task("shop.add", (1, 1))
        cache.rotate(1)
        cache.server.disconnect(cache.user)
        with pytest.raises(OperationalError, match="invalid username-password"):
            peer.send_task("shop.add", (1, 1))
        assert CANARY in peer.connection_for_write().as_uri(include_password=True)
        ours = logged_in(cache)
        ours.send_task("shop.add", (1, 1))
        assert_no_canary(repr(ours.conf), ours.connection_for_write().as_uri(include_password=True))


class TestSettings:
    """What the app must be, and what is set."""

    @pytest.mark.parametrize("url", ["amqp://rabbit.example.net//", "redis://a/0;sqs://", "sentinel://a/0"])
    def test_what_is_not_redis_is_refused(self, url: str) -> None:
        """Before anything connects."""
        app = celery.Celery("shop", broker=url, backend="rpc://", set_as_current=False)
        with SecretStore(MemoryBackend()) as store:
            with pytest.raises(InvalidRequestError, match="the broker is not Redis"):
                broker_login(app, store, NAME)
            with pytest.raises(InvalidRequestError, match="the result backend is not Redis: 'rpc'"):
                result_login(app, store, NAME)

    def test_a_login_in_the_url_is_refused_without_being_shown(self) -> None:
        """Which of the two would be taken is not left open."""
        app = celery.Celery("shop", broker=f"redis://app:{CANARY}@a/0", set_as_current=False)
        with (
            SecretStore(MemoryBackend()) as store,
            pytest.raises(InvalidRequestError, match="URL holds a login") as caught,
        ):
            broker_login(app, store, NAME)
        assert_no_canary(str(caught.value))

    def test_a_url_that_is_none_is_refused_without_being_shown(self) -> None:
        """Its scheme was forgotten, so that it begins with a login."""
        app = celery.Celery("shop", broker=f"app:{CANARY}@a/0", set_as_current=False)
        with (
            SecretStore(MemoryBackend()) as store,
            pytest.raises(InvalidRequestError, match="the broker is not Redis") as caught,
        ):
            broker_login(app, store, NAME)
        assert_no_canary(str(caught.value))

    def test_a_kombu_that_drops_credential_providers_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Older ones take any argument and connect without a password."""
        app = celery.Celery("shop", broker="redis://a/0", set_as_current=False)
        monkeypatch.setattr(app.amqp, "Connection", lambda hostname, **_: None)
        with SecretStore(MemoryBackend()) as store, pytest.raises(BackendNotInstalledError, match="kombu"):
            broker_login(app, store, NAME)

    @pytest.mark.parametrize(("given", "taken"), [(3, SENDS), (50, 50), (None, None)])
    def test_sends_are_repeated_for_as_long_as_a_rotation(self, given: int | None, taken: int | None) -> None:
        """An app that tries for longer, or for ever, goes on doing so."""
        app = celery.Celery("shop", broker="redis://a/0", set_as_current=False)
        app.conf.task_publish_retry_policy = {"max_retries": given, "interval_step": 0.5}
        with SecretStore(MemoryBackend()) as store:
            broker_login(app, store, NAME)
        assert app.conf.task_publish_retry_policy == {"max_retries": taken, "interval_step": 0.5}


@contextmanager
def worker(cache: Cache, folder: Path) -> Iterator[tuple[SecretStore, celery.Celery]]:
    """A worker process with a forked child, its store, and an app that sends to it."""
    url = f"local://{folder}/app.db"
    with strongroom.open(f"{url}?create=keyset") as store:
        store.put(NAME, f"{CANARY}-0")
        store.put("app/answer", "DEMO")
        environment = {
            **os.environ, "REDIS_URL": cache.url, "REDIS_USER": cache.user, "STORE": url,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        }  # fmt: skip
        argv = [
            sys.executable, "-m", "celery", "-A", "tests.integration.celery_worker", "worker",
            "--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=ERROR",
        ]  # fmt: skip
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(argv, env=environment, cwd=ROOT, stdout=output, stderr=output)
        app = plain(cache, cache.url)
        broker_login(app, store, NAME, username=cache.user)
        result_login(app, store, NAME, username=cache.user)
        try:
            yield store, app
        finally:
            process.terminate()
            process.wait(DEADLINE)
        assert_no_canary(log.read_bytes())


def test_a_forked_child_has_nothing_of_its_parents_store(cache: Cache, tmp_path: Path) -> None:
    """A real worker: its child reads for itself, and both go on after a rotation in another process."""
    with worker(cache, tmp_path) as (store, app):
        told = app.send_task("shop.told").get(timeout=DEADLINE)
        assert told == {"forked": True, "warm": False, "read": True}
        for number in range(1, 1 + (5 if NIGHTLY else 1)):
            cache.server.set_password(cache.user, f"{CANARY}-{number}")
            store.put(NAME, f"{CANARY}-{number}")
            cache.server.disconnect(cache.user)
            assert app.send_task("shop.told").get(timeout=DEADLINE)["read"]
