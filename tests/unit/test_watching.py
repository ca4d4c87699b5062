"""Change notice: who is told what and how often, and what the thread behind it costs."""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from strongroom import watching
from strongroom.backend import ABSENT, Capability, Clock, Secret
from strongroom.cache import CachePolicy
from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.layers.failover import Failover
from strongroom.memory import ALL
from strongroom.names import Name
from strongroom.replication.record import Record
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from strongroom.watching import POLL, Watcher
from tests.scale import scaled
from tests.unit.core_support import (
    DEADLINE,
    KEY,
    NAME,
    Recorder,
    memory,
    overwrite,
    text,
)
from tests.unit.test_fork import in_child

ROTATION = "00000000-0000-4000-8000-000000000001"


class Told:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def __call__(self, name: str, version: str) -> None:
        self._told.put((name, version))

    def next(self) -> str:
        """The version of the next notice."""
        return self._told.get(timeout=DEADLINE)[1]

    def all(self) -> list[str]:
        """Everything told by now; waits for what is being told."""
        settled()
        return [self.next() for _ in range(self._told.qsize())]


def settled() -> None:
    """Wait until nobody is being told anything."""
    for thread in threading.enumerate():
        if thread.name == "strongroom-notice":
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a callback is stuck"


def pollers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "strongroom-watch"]


def gone() -> bool:
    """Whether no thread polls any more, once those that were told to end have."""
    for thread in pollers():
        thread.join(DEADLINE)
    return not pollers()


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> Iterator[SecretStore]:
    with SecretStore(backend, clock=clock) as store:
        yield store
    assert gone()


@pytest.fixture
def told() -> Told:
    return Told()


def look(store: SecretStore) -> bool:
    """One round of the poller, in this thread."""
    return store._watcher.look()


class TestNotice:
    """Each change once for each subscriber, and nothing else."""

    def test_a_change_by_another_program_is_found_by_the_thread(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """After at most the interval of the poll, with nobody reading."""
        store.on_change(NAME, told)
        second = overwrite(backend.inner, "second")
        clock.advance(POLL)
        assert told.next() == second.id
        assert store.get(NAME).value.matches(text("second"))

    def test_own_writes_are_told_at_once(self, store: SecretStore, told: Told) -> None:
        """Without a look at the provider: a put, a rollback, a promote, which repeated changes nothing."""
        store.on_change(NAME, told)
        first = store.put(NAME, text("second"))
        second = store.rollback(NAME, if_version=first.id)
        store.pending(NAME, ROTATION).put(text("third"), base_version=second.id)
        third = store.pending(NAME, ROTATION).promote()
        assert told.all() == [first.id, second.id, third.id]
        assert store.pending(NAME, ROTATION).promote() == third
        assert told.all() == []

    def test_a_change_is_told_once_however_many_see_it(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """A look, a read, a refresh and the next look see the same version."""
        other = Told()
        store.on_change(NAME, told)
        store.on_change(NAME, other)
        second = overwrite(backend.inner, "second")
        look(store)
        store.refresh(NAME, rejected="0")
        store.get(NAME)
        look(store)
        assert told.all() == other.all() == [second.id]

    def test_what_a_read_meets_is_told_before_the_next_look(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """The target refused the old one: whoever watches need not find that out too."""
        store.on_change(NAME, told)
        rejected = store.get(NAME).version
        second = overwrite(backend.inner, "second")
        store.refresh(NAME, rejected=rejected)
        assert told.all() == [second.id]

    def test_nothing_is_told_of_what_did_not_change(self, store: SecretStore, told: Told) -> None:
        """Neither the first look, nor any after it."""
        store.on_change(NAME, told)
        for _ in range(3):
            assert look(store)
        assert told.all() == []

    def test_a_subscriber_learns_what_its_process_was_served(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """It connected with the cached version: that another is current by now is news to it."""
        store.get(NAME)
        second = overwrite(backend.inner, "second")
        store.on_change(NAME, told)
        look(store)
        assert told.all() == [second.id]

    @pytest.mark.parametrize(
        "cache", [None, CachePolicy(0, 0), CachePolicy()], ids=["none", "zero", "default"]
    )
    def test_without_a_cache_it_is_the_same(
        self, backend: FaultyBackend, clock: FakeClock, cache: CachePolicy | None, told: Told
    ) -> None:
        """A store that asks each time tells as well."""
        with SecretStore(backend, cache=cache, clock=clock) as store:
            store.on_change(NAME, told)
            look(store)
            own = store.put(NAME, text("own"))
            other = overwrite(backend.inner, "other")
            look(store)
            assert told.all() == [own.id, other.id]

    def test_what_is_known_is_not_asked_for_again(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """The second subscriber of a name costs no request, also without a cache."""
        with SecretStore(backend, cache=None, clock=clock) as store:
            for _ in range(3):
                store.on_change(NAME, Told())
        assert backend.calls["get"] == 1

    def test_every_name_is_asked_in_one_request(self, clock: FakeClock) -> None:
        """One thread, and one batch, whoever watches what."""
        backend = memory(clock=clock)
        names = [f"db/p{number}" for number in range(20)]
        with SecretStore(backend, clock=clock) as store:
            for name in names:
                store.put(name, text(name))
                store.on_change(name, Told())
            assert len(pollers()) == 1
            backend.calls.clear()
            look(store)
            assert backend.calls == {"get_many": 1}


class TestMissing:
    """A deleted secret is no change until it is back."""

    def test_a_deleted_secret_is_told_when_it_is_back_with_another_version(
        self, store: SecretStore, told: Told
    ) -> None:
        """Deleted, and restored as it was: nothing to tell. Written anew: that is."""
        store.on_change(NAME, told)
        store.delete(NAME)
        look(store)
        store.restore(NAME)
        look(store)
        assert told.all() == []
        store.purge(NAME)
        look(store)
        assert told.all() == []
        back = store.put(NAME, text("back"), if_version=ABSENT)
        assert told.all() == [back.id]

    def test_a_secret_that_is_not_there_yet_can_be_watched(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """Its first version is a change."""
        store.on_change("db/new", told)
        look(store)
        assert told.all() == []
        first = backend.inner.put(Name("db/new"), SecretValue(text("x")), None)
        look(store)
        assert told.all() == [first.id]

    def test_what_may_not_be_read_cannot_be_watched(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """It is said at once, and nothing is left behind."""
        backend.deny("get", times=1)
        with pytest.raises(PermissionDeniedError):
            store.on_change(NAME, told)
        assert gone()
        store.put(NAME, text("x"))
        assert told.all() == []

    def test_a_bad_name_and_a_closed_store_are_refused(self, store: SecretStore, told: Told) -> None:
        """Before any thread."""
        with pytest.raises(InvalidRequestError):
            store.on_change("../up", told)
        store.close()
        with pytest.raises(InvalidRequestError):
            store.watch(NAME)
        assert not pollers()


class TestCallbacks:
    """What one callback does harms no other."""

    def test_a_callback_that_raises_is_logged_by_type(
        self, store: SecretStore, told: Told, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its text may hold the value it could not use; it is called again, and so are the others."""
        raised = []

        def bad(name: str, version: str) -> None:
            raised.append(version)
            raise RuntimeError(text("which it was given"))

        store.on_change(NAME, bad)
        store.on_change(NAME, told)
        versions = [store.put(NAME, text(label)).id for label in ("one", "two")]
        assert told.all() == raised == versions
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
            f"a callback on changes of {NAME} raised RuntimeError"
        ] * 2

    def test_a_slow_callback_delays_nobody(
        self, store: SecretStore, backend: FaultyBackend, told: Told
    ) -> None:
        """Not the writer, not readers, not other subscribers, not the next look; it misses nothing itself."""
        go, slow = threading.Event(), Told()

        def wait(name: str, version: str) -> None:
            assert go.wait(DEADLINE)
            slow(name, version)

        store.on_change(NAME, wait)
        store.on_change(NAME, told)
        own = store.put(NAME, text("own"))
        assert told.next() == own.id
        other = overwrite(backend.inner, "other")
        look(store)
        assert told.next() == other.id
        go.set()
        assert slow.all() == [own.id, other.id]

    def test_a_callback_may_unsubscribe_itself_and_others(self, store: SecretStore, told: Told) -> None:
        """It is called once; the other, which it ended, never again."""
        calls = []
        end_other = store.on_change(NAME, told)

        def once(name: str, version: str) -> None:
            calls.append(version)
            end()
            end_other()

        end = store.on_change(NAME, once)
        first = store.put(NAME, text("one"))
        settled()
        told.all()
        store.put(NAME, text("two"))
        assert (calls, told.all()) == ([first.id], [])

    def test_a_callback_may_read_write_and_subscribe(self, store: SecretStore, told: Told) -> None:
        """No lock is held while it runs."""
        seen = []

        def follow(name: str, version: str) -> None:
            seen.append(store.get(name).version)
            store.on_change(name, told)
            if len(seen) == 1:
                store.put(name, text("from the callback"))

        store.on_change(NAME, follow)
        store.put(NAME, text("one"))
        settled()
        assert len(seen) == 2
        assert seen[1] in told.all()

    def test_who_is_told_reads_what_it_is_told_of(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The cache has it by then, whoever found it: a write, a look or a refresh."""
        read: list[bool] = []
        store.get(NAME)
        store.on_change(NAME, lambda name, version: read.append(store.get(name).version == version))
        store.put(NAME, text("own"))
        settled()
        overwrite(backend.inner, "looked")
        look(store)
        settled()
        rejected = store.get(NAME).version
        overwrite(backend.inner, "refreshed")
        store.refresh(NAME, rejected=rejected)
        settled()
        assert read == [True] * 3

    def test_a_subscriber_that_falls_far_behind_loses_the_oldest(self, store: SecretStore) -> None:
        """What waits is bounded; the newest is always told."""
        waiting = store.watch(NAME, timeout=0)
        versions = [store.put(NAME, text(str(number))).id for number in range(watching._BACKLOG + 3)]
        assert list(waiting) == versions[3:]

    def test_the_hooks_hear_of_a_subscription_and_of_no_poll(
        self, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """No value leaves the library by a poll."""
        hook = Recorder()
        with SecretStore(backend, hooks=[hook], clock=clock) as store:
            store.on_change(NAME, told)
            store.watch(NAME)
            look(store)
        assert hook.told() == [("on_change", None), ("on_change", "ok"), ("watch", None), ("watch", "ok")]

    def test_a_hook_may_refuse_it(self, backend: FaultyBackend, clock: FakeClock, told: Told) -> None:
        """Then nobody is told, and no thread is left."""
        hook = Recorder()
        hook.fails_before = PermissionDeniedError("not for you")
        with SecretStore(backend, hooks=[hook], clock=clock) as store, pytest.raises(PermissionDeniedError):
            store.on_change(NAME, told)
        assert gone()


class TestOutage:
    """While the provider does not answer it is asked ever less, and nothing is told."""

    def test_pauses_double_up_to_their_bound(self) -> None:
        """And are a little shorter by chance, so that a fleet spreads out."""
        watcher = Watcher(lambda names: {}, _never, 30.0, spread(1))
        assert [watcher._pause(failures) for failures in (0, 1, 2, 3, 4, 5000)] == [
            30,
            60,
            120,
            240,
            300,
            300,
        ]
        assert Watcher(lambda names: {}, _never, 30.0, spread(0))._pause(0) == 27

    def test_an_interval_longer_than_the_bound_stays_as_it_is(self) -> None:
        """Who asks every hour is not made to ask every five minutes by an outage."""
        watcher = Watcher(lambda names: {}, _never, 3600.0, spread(1))
        assert watcher._pause(3) == 3600

    def test_an_outage_is_waited_out(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        clock: FakeClock,
        told: Told,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It is logged once; what changed meanwhile is told when the provider is back."""
        store.on_change(NAME, told)
        backend.unreachable()
        assert [look(store) for _ in range(3)] == [False] * 3
        second = overwrite(backend.inner, "second")
        backend.clear()
        clock.advance(60)
        assert look(store)
        assert told.all() == [second.id]
        assert [record.message for record in caplog.records if record.name == watching.__name__] == [
            "changes of 1 secrets cannot be seen: the provider does not answer"
        ]

    def test_the_thread_backs_off(self, clock: FakeClock) -> None:
        """Between two looks that failed it waits twice as long as before."""
        waited = queue.SimpleQueue[float]()

        class Seen(Clock):
            def wait(self, event: threading.Event, seconds: float | None) -> bool:
                assert seconds is not None
                waited.put(seconds)
                return waited.qsize() > 5

            def chance(self) -> float:
                return 1.0

        failing = UnavailableError("down")
        watcher = Watcher(lambda names: dict.fromkeys(names, failing), _never, 1.0, Seen())
        watcher.join(KEY, watching.Calls(NAME, Told()))
        assert gone()
        assert [waited.get() for _ in range(waited.qsize())] == [1, 2, 4, 8, 16, 32]

    def test_a_subscriber_in_an_outage_is_not_told_of_the_first_answer(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """An application starts while the provider is down: what it answers first is no change."""
        backend.unreachable()
        store.on_change(NAME, told)
        backend.clear()
        clock.advance(60)
        look(store)
        assert told.all() == []
        second = overwrite(backend.inner, "second")
        look(store)
        assert told.all() == [second.id]

    def test_a_secret_that_is_denied_meanwhile_is_logged_once_and_others_are_still_seen(
        self, clock: FakeClock, told: Told, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By name and type; when it can be read again, what changed is told."""
        backend = memory(ALL & ~Capability.BATCH_GET, clock)
        overwrite(backend.inner, "first")
        with SecretStore(backend, clock=clock) as store:
            store.on_change(NAME, told)
            backend.deny("get")
            look(store)
            look(store)
            second = overwrite(backend.inner, "second")
            backend.clear()
            look(store)
            assert told.all() == [second.id]
        assert [record.message for record in caplog.records if record.name == watching.__name__] == [
            f"changes of {NAME} cannot be seen: PermissionDeniedError"
        ]


def spread(share: float) -> FakeClock:
    """A clock by which all waits are so long, between their shortest and their longest."""
    clock = FakeClock()
    clock.spread = share
    return clock


def _never(name: Name) -> Secret:
    raise AssertionError("nobody asked")


class TestLag:
    """Answers that are older than what is known."""

    def test_an_answer_that_was_on_its_way_when_a_write_was_made_is_no_change(
        self, store: SecretStore, told: Told
    ) -> None:
        """The old version is not told after the new one, nor the new one twice."""
        store.on_change(NAME, told)
        old = store.get(NAME)
        new = store.put(NAME, text("new"))
        store._watcher.saw(KEY, old)
        store._watcher.saw(KEY, new)
        assert told.all() == [new.id]

    def test_an_answer_overtaken_by_another_is_no_change(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """A version nobody here knew, made before the one that was told: the last told is the newest."""
        store.on_change(NAME, told)
        clock.advance(1)
        overtaken = overwrite(backend.inner, "overtaken")
        clock.advance(1)
        new = store.put(NAME, text("new"))
        store._watcher.saw(KEY, overtaken)
        store._watcher.saw(KEY, new)
        assert told.all() == [new.id]

    def test_a_label_that_is_moved_back_is_a_change(
        self, store: SecretStore, clock: FakeClock, told: Told
    ) -> None:
        """Somebody made the version before current again: found when labels no longer lag."""
        store.on_change(NAME, told)
        old = store.get(NAME)
        clock.advance(1)
        new = store.put(NAME, text("new"))
        clock.advance(watching._LABEL_LAG)
        store._watcher.saw(KEY, old)
        assert told.all() == [new.id, old.version]

    def test_who_begins_at_another_failover_member_is_not_told_of_the_first(
        self, clock: FakeClock, told: Told
    ) -> None:
        """The first member is down at the start: its return is no change, what it then writes is."""
        first, second = memory(clock=clock), memory(clock=clock)
        with SecretStore(Failover({"a": first, "b": second}), clock=clock) as store:
            for member in (first, second):
                overwrite(member.inner, "same")
            first.unreachable()
            store.on_change(NAME, told)
            first.clear()
            clock.advance(60)
            look(store)
            assert told.all() == []
            own = store.put(NAME, text("own"))
            assert told.all() == [own.id]

    def test_a_replica_of_the_same_version_is_no_change_and_one_of_the_next_is(
        self, clock: FakeClock, told: Told
    ) -> None:
        """Members with replication's records are ordered by them: the same record is the same secret."""
        first, second = memory(clock=clock), memory(clock=clock)

        def replicate(place: int, *members: FaultyBackend) -> None:
            record = Record(1, place, "0" * 32, f"{place:032x}").text
            for member in members:
                member.inner.put(KEY, SecretValue(text(str(place))), None, record)

        with SecretStore(Failover({"a": first, "b": second}, clock=clock), cache=None, clock=clock) as store:
            replicate(1, first, second)
            store.on_change(NAME, told)
            first.unreachable()
            look(store)
            first.clear()
            clock.advance(60)
            look(store)
            assert told.all() == []
            replicate(2, first, second)
            first.unreachable()
            look(store)
            first.clear()
            clock.advance(60)
            look(store)
            (version,) = told.all()
            assert version.startswith("b:")

    def test_another_failover_member_is_no_change(self, clock: FakeClock, told: Told) -> None:
        """Its version ids are its own; when the first member is back, nothing has changed."""
        first, second = memory(clock=clock), memory(clock=clock)
        with SecretStore(Failover({"a": first, "b": second}), clock=clock) as store:
            for member in (first, second):
                overwrite(member.inner, "same")
            store.on_change(NAME, told)
            first.unreachable()
            look(store)
            first.clear()
            look(store)
            assert told.all() == []


class TestThread:
    """One for all names, and only while somebody watches."""

    def test_it_starts_with_the_first_and_ends_with_the_last(self, store: SecretStore) -> None:
        """A store that nobody watches has no thread."""
        assert gone()
        ends = [store.on_change(name, Told()) for name in (NAME, NAME, "db/other")]
        (thread,) = pollers()
        assert thread.daemon
        for end in ends:
            assert pollers()
            end()
            end()
        assert gone()
        store.on_change(NAME, Told())
        assert len(pollers()) == 1

    def test_close_ends_it_and_every_watch(self, store: SecretStore, told: Told) -> None:
        """A loop over changes ends; a callback is not called any more."""
        waiting = store.watch(NAME)
        store.on_change(NAME, told)
        store.close()
        assert list(waiting) == []
        assert gone()

    def test_a_machine_out_of_threads_says_so(
        self, store: SecretStore, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A subscription that could see nothing is refused."""
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _no_more_threads)
            with pytest.raises(UnavailableError, match="no thread can be started"):
                store.on_change(NAME, told)
        store.on_change(NAME, told)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _no_more_threads)
            first = store.put(NAME, text("told later"))
        second = store.put(NAME, text("told now"))
        assert told.all() == [first.id, second.id]

    def test_who_comes_and_goes_at_once_leaves_nothing(self, store: SecretStore) -> None:
        """From many threads, while others write: no thread and no subscriber is left."""

        def come_and_go() -> None:
            for _ in range(scaled(200, "subscriptions that come and go")):
                end = store.on_change(NAME, Told())
                store.put(NAME, text("x"))
                end()

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        settled()
        assert gone()
        assert not store._watcher._names


class TestRaces:
    """Many see the same changes at once."""

    @pytest.mark.parametrize("cache", [CachePolicy(), None], ids=["cached", "uncached"])
    def test_no_change_is_told_twice_and_the_last_is_told_last(
        self, backend: FaultyBackend, cache: CachePolicy | None, told: Told
    ) -> None:
        """A writer, another program, readers and looks, all at the same time."""
        rounds = scaled(300, "changes seen by many at once")
        with SecretStore(backend, cache=cache) as store:
            store.on_change(NAME, told)
            jobs = (
                lambda: store.put(NAME, text("own")),
                lambda: overwrite(backend.inner, "other"),
                lambda: store.refresh(NAME, rejected=store.get(NAME).version),
                lambda: look(store),
            )

            def repeat(job: Callable[[], object]) -> None:
                for _ in range(rounds):
                    job()

            threads = [threading.Thread(target=repeat, args=(job,)) for job in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
            last = store.put(NAME, text("last"))
            look(store)
            versions = told.all()
        assert len(versions) == len(set(versions))
        assert versions[-1] == last.id


def _no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestWatch:
    """Iterating over changes."""

    def test_it_gives_every_change_from_the_call_on(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Also those between the call and the first step."""
        versions = store.watch(NAME, timeout=5)
        own = store.put(NAME, text("own"))
        assert next(versions) == own.id
        other = overwrite(backend.inner, "other")
        look(store)
        assert next(versions) == other.id

    def test_it_ends_when_nothing_came_in_time(self, backend: FaultyBackend) -> None:
        """By the store's own clock; and with it the thread."""
        with SecretStore(backend) as store:
            assert list(store.watch(NAME, timeout=0.001)) == []
            assert gone()

    def test_a_loop_that_is_left_unsubscribes(self, store: SecretStore) -> None:
        """Without a word: the iterator is dropped, or was never begun."""
        for number in range(2):
            versions = store.watch(NAME)
            store.put(NAME, text(str(number)))
            if number:
                next(versions)
            assert pollers()
            del versions
            gc.collect()
            assert gone()


def _advance(clock: FakeClock) -> None:
    """Let the intervals pass once somebody polls."""
    while not pollers():
        threading.Event().wait(0.001)
    for _ in range(100):
        clock.advance(POLL)
        threading.Event().wait(0.001)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
class TestFork:
    """The thread does not exist in the child, which makes its own when it first sees anything."""

    def test_the_child_polls_by_itself_lazily(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, told: Told
    ) -> None:
        """Subscriptions go on there; the parent's thread notices nothing."""
        store.on_change(NAME, told)

        def check() -> bool:
            lazy = not pollers()
            store.get(NAME)
            mine = len(pollers()) == 1
            second = overwrite(backend.inner, "second")
            clock.advance(POLL)
            return lazy and mine and told.next() == second.id

        in_child(check)
        assert len(pollers()) == 1
        assert told.all() == []

    def test_a_child_that_only_iterates_polls_as_well(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """It reads nothing else, so that nothing else would begin it."""
        versions = store.watch(NAME)

        def check() -> bool:
            second = overwrite(backend.inner, "second")
            threading.Thread(target=_advance, args=(clock,), daemon=True).start()
            return next(versions) == second.id

        in_child(check)
        store.close()
        assert list(versions) == []

    def test_a_fork_while_a_callback_runs_tells_the_child_of_the_next_change(
        self, store: SecretStore, told: Told
    ) -> None:
        """The lock and the thread that the parent's callback has are not the child's."""
        begun, go = threading.Event(), threading.Event()
        parent = os.getpid()

        def slow(name: str, version: str) -> None:
            if os.getpid() == parent:
                begun.set()
                assert go.wait(DEADLINE)
            told(name, version)

        store.on_change(NAME, slow)
        store.put(NAME, text("one"))
        assert begun.wait(DEADLINE)
        watcher, calls = store._watcher, store._watcher._names[KEY].subscribers[0]
        assert isinstance(calls, watching.Calls)
        with watcher._lock, calls._lock:
            in_child(lambda: store.put(NAME, text("two")).id == told.next())
        go.set()
        settled()
