"""Hedged reads: a second member is asked when the first has not answered in time, by few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import cast

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Clock, Secret, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers import racing
from strongroom.layers.breaker import BreakerPolicy
from strongroom.layers.failover import Failover
from strongroom.layers.reading import Reading
from strongroom.layers.sightings import Sightings
from strongroom.memory import MemoryBackend
from strongroom.names import Companion, Name
from strongroom.replication.record import Record
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, Killed, kill
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.chaos.forked import Forked, Say
from tests.scale import scaled

NAME = Name("db/password")
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"
HEDGE = 0.05
PATIENCE = 60


class Slow(FaultyBackend):
    """While it is held, its reads of current versions do not come back."""

    def __init__(self, clock: FakeClock):
        super().__init__(MemoryBackend(), clock=clock)
        self.inner.put(NAME, SecretValue(CANARY), None)
        self.asked = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def get(self, key: object, version: str | Stage) -> Secret:
        self.asked.release()
        if not self.free.is_set():
            self.clock.sleep(HEDGE)  # the reader's patience ends
        assert self.free.wait(PATIENCE)
        return super().get(key, version)  # type: ignore[arg-type]

    def hold(self) -> None:
        """Do not answer before `release`."""
        self.free.clear()

    def release(self) -> None:
        """Answer."""
        self.free.set()

    def numbered(self, seq: int) -> None:
        """Its current version has this number."""
        record = Record(1, seq, "0" * 32, f"{seq:032x}").text
        self.inner.put(NAME, SecretValue(CANARY), None, record)


@pytest.fixture
def eu(clock: FakeClock) -> Iterator[Slow]:
    """Takes the writes."""
    member = Slow(clock)
    yield member
    member.release()


@pytest.fixture
def us(clock: FakeClock) -> Iterator[Slow]:
    """A replica."""
    member = Slow(clock)
    yield member
    member.release()


@pytest.fixture
def both(eu: Slow, us: Slow, clock: FakeClock) -> Iterator[Failover]:
    """The two as one; no thread of theirs is left when it is closed."""
    failover = Failover({"eu": eu, "us": us}, hedge=HEDGE, clock=clock)
    yield failover
    eu.release()
    us.release()
    failover.close()
    assert not hedging()


def hedging() -> list[threading.Thread]:
    """The threads that ask members now."""
    return [thread for thread in threading.enumerate() if thread.name == "strongroom-hedge"]


def read(both: Failover) -> str:
    """Whose answer it is."""
    return both.get(NAME, Stage.CURRENT).version.partition(":")[0]


def test_an_answer_in_time_asks_nobody_else(both: Failover, us: Slow) -> None:
    """A hedge costs nothing while nothing is slow."""
    assert [read(both) for _ in range(5)] == ["eu"] * 5
    assert us.calls["get"] == 0


def test_a_slow_first_member_is_not_waited_for(both: Failover, eu: Slow) -> None:
    """The second one is asked, and its answer is marked as ever."""
    eu.hold()
    secret = both.get(NAME, Stage.CURRENT)
    assert (secret.version[:3], secret.degraded) == ("us:", True)


def test_the_first_good_answer_wins(both: Failover, eu: Slow, us: Slow) -> None:
    """Both are under way; here the first one comes first after all."""
    eu.hold()
    us.hold()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(read, both)
        assert us.asked.acquire(timeout=PATIENCE)
        eu.release()
        assert answer.result(PATIENCE) == "eu"


def test_a_failure_asks_the_next_one_at_once(both: Failover, eu: Slow, us: Slow, clock: FakeClock) -> None:
    """Nobody waits for a hedge when there is nothing to wait for."""
    eu.unreachable()
    assert read(both) == "us"
    assert clock.monotonic() == 0


def test_an_older_answer_does_not_win(both: Failover, eu: Slow, us: Slow) -> None:
    """The second is faster, and its record says that it is behind: the first is waited for."""
    eu.numbered(6)
    us.numbered(5)
    read(both)
    eu.hold()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(both.get, NAME, Stage.CURRENT)
        assert us.asked.acquire(timeout=PATIENCE)
        eu.release()
        secret = answer.result(PATIENCE)
    assert (secret.version[:3], secret.behind, secret.degraded) == ("eu:", False, False)


def test_only_older_answers_are_unavailable(both: Failover, eu: Slow, us: Slow) -> None:
    """Hedged or not, nothing goes back behind what was handed out."""
    eu.numbered(6)
    us.numbered(5)
    read(both)
    eu.unreachable()
    with pytest.raises(UnavailableError, match="us has an older version"):
        read(both)


@pytest.mark.parametrize("answer", [PermissionDeniedError, SecretNotFoundError])
def test_the_seconds_denial_does_not_speak_for_a_slow_first(
    both: Failover, eu: Slow, us: Slow, answer: type[SecretStoreError]
) -> None:
    """It may not have, or be granted, all that the first has: the first is waited for."""
    us.fault("get", lambda: answer("no"), times=9)
    eu.hold()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read, both)
        assert us.asked.acquire(timeout=PATIENCE)
        eu.release()
        assert found.result(PATIENCE) == "eu"


def test_the_seconds_denial_stands_when_the_first_fails(both: Failover, eu: Slow, us: Slow) -> None:
    """As it would have without a hedge."""
    us.deny()
    eu.hold()
    eu.unreachable()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read, both)
        assert us.asked.acquire(timeout=PATIENCE)
        eu.release()
        with pytest.raises(PermissionDeniedError):
            found.result(PATIENCE)


def test_the_firsts_denial_stands_at_once(both: Failover, eu: Slow, us: Slow) -> None:
    """Asking around after a denial would bring revoked secrets back ▲."""
    eu.deny()
    with pytest.raises(PermissionDeniedError):
        read(both)
    assert us.calls["get"] == 0


def test_when_all_fail_the_firsts_error_stands(both: Failover, eu: Slow, us: Slow) -> None:
    """It is the one to repair."""
    eu.fault("get", lambda: UnavailableError("eu is down"))
    us.fault("get", lambda: UnavailableError("us is down"))
    with pytest.raises(UnavailableError, match="eu is down"):
        read(both)


class Still(Clock):
    """Nothing happens while it is waited for, until it is waited for without end."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []
        self.begun: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return 0.0

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        self.waits.append(seconds)
        if seconds is None:
            self.begun[0]()
        return event.is_set()

    def start(self, call: Callable[[], None]) -> bool:
        """As `Lanes`; the call is made by `wait`."""
        self.begun.append(call)
        return True


def test_at_most_two_members_are_asked_side_by_side(eu: Slow) -> None:
    """A third one is not asked because the two are slow: that would be a storm in every slow hour."""
    still, reading = Still(), Reading(NAME, "eu", Sightings())
    race = racing.Race(["eu", "us", "asia"], lambda alias: eu.get(NAME, Stage.CURRENT), reading, still)
    race.run(cast("racing.Lanes", still), HEDGE)
    assert (still.waits, len(still.begun)) == ([HEDGE, None], 2)
    assert reading.result().version.startswith("eu:")


def test_a_third_member_is_asked_when_one_of_two_has_failed(eu: Slow, us: Slow, clock: FakeClock) -> None:
    """There is room for it then."""
    asia = Slow(clock)
    three = Failover({"eu": eu, "us": us, "asia": asia}, hedge=HEDGE, clock=clock)
    us.unreachable()
    eu.hold()
    assert read(three) == "asia"
    eu.release()
    three.close()


def test_a_member_that_is_passed_over_is_not_hedged_either(eu: Slow, us: Slow, clock: FakeClock) -> None:
    """The next one is asked at once, without waiting for the hedge."""
    failover = Failover(
        {"eu": eu, "us": us}, hedge=HEDGE, breaker=BreakerPolicy(failures=1, pause=30), clock=clock
    )
    eu.unreachable(times=1)
    assert [read(failover) for _ in range(4)] == ["us"] * 4
    assert (eu.calls["get"], clock.monotonic()) == (1, 0)
    failover.close()


def test_an_answer_that_nobody_waits_for_still_counts(both: Failover, eu: Slow, us: Slow) -> None:
    """It tells how new versions are, and that the member is there."""
    eu.numbered(6)
    us.numbered(5)
    eu.hold()
    assert read(both) == "us"
    eu.release()
    wait_for_quiet()
    eu.unreachable()
    assert both.get(NAME, Stage.CURRENT).behind


def wait_for_quiet() -> None:
    for thread in hedging():
        thread.join(PATIENCE)


OTHERS: dict[str, Callable[[Failover], object]] = {
    "companion": lambda both: both.get(Companion(NAME), Stage.CURRENT),
    "version": lambda both: both.get(NAME, "eu:" + both.writer.get(NAME, Stage.CURRENT).version),
    "previous": lambda both: both.get(NAME, Stage.PREVIOUS),
    "writer": lambda both: both.writer.get(NAME, Stage.CURRENT),
    "get_many": lambda both: both.get_many([NAME]),
    "put": lambda both: both.put(NAME, SecretValue("n"), None),
    "put_pending": lambda both: both.put_pending(
        NAME, ROTATION, SecretValue("n"), both.writer.get(NAME, Stage.CURRENT).version
    ),
}


@pytest.mark.parametrize("operation", OTHERS)
def test_nothing_but_a_current_version_is_hedged(both: Failover, us: Slow, eu: Slow, operation: str) -> None:
    """No write, no read that feeds a write: those run in the caller's thread, at one member."""
    threads: set[str] = set()
    eu.inner.put(NAME, SecretValue(CANARY), None)
    eu.inner.put(Companion(NAME), SecretValue(CANARY), None)
    for name in ("get", "get_many", "put", "put_pending"):
        eu.run(name, lambda: threads.add(threading.current_thread().name), times=9)
    OTHERS[operation](both)
    assert threads == {threading.current_thread().name}
    assert us.calls.total() == 0


def test_threads_are_bounded_and_where_none_is_free_the_readers_own_asks(
    both: Failover, eu: Slow, us: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow region under load must not fill the process with threads."""
    monkeypatch.setattr(racing, "MOST_THREADS", 1)
    asking: list[str] = []
    for member in (eu, us):
        member.run("get", lambda: asking.append(threading.current_thread().name), times=9)
    eu.hold()
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as pool:
        assert pool.submit(read, both).result(PATIENCE) == "us"
        assert (asking, len(hedging())) == (["reader_0"], 1)
        answer = pool.submit(read, both)
        for _ in range(2):
            assert eu.asked.acquire(timeout=PATIENCE)
        assert len(hedging()) == 1
        eu.release()
        assert answer.result(PATIENCE) == "eu"
    wait_for_quiet()
    assert sorted(asking) == ["reader_0", "reader_0", "strongroom-hedge"]


def test_where_no_thread_can_be_started_reads_go_on(
    both: Failover, us: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter ends, or the machine has no more: one member after the other, as without a hedge."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert read(both) == "eu"


def test_many_readers_all_get_an_answer_however_their_threads_run(eu: Slow, us: Slow) -> None:
    """By the system's clock, with a hedge about as long as a read takes; afterwards no thread is left."""
    failover = Failover({"eu": eu, "us": us}, hedge=0.0005)
    never = threading.Event()
    eu.run("get", lambda: never.wait(0.0005 * (eu.calls["get"] % 3)), times=1 << 30)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: read(failover), range(scaled(4_000, "hedged reads of eight threads")))
        )
    assert set(answers) == {"eu", "us"}
    failover.close()
    assert not hedging()


def test_close_waits_for_the_reads_that_were_left_behind(eu: Slow, us: Slow, clock: FakeClock) -> None:
    """A session must not be closed under the thread that uses it."""
    order: list[str] = []
    failover = Failover({"eu": eu, "us": us}, hedge=HEDGE, clock=clock)
    eu.close = lambda: order.append("closed")  # type: ignore[method-assign]
    eu.run("get", lambda: order.append("answered"), after=True)
    eu.hold()
    assert read(failover) == "us"
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(failover.close)
        eu.release()
        closing.result(PATIENCE)
    assert order == ["answered", "closed"]
    assert not hedging()


def test_after_close_no_thread_is_begun(both: Failover) -> None:
    """A late reader asks in its own thread, and meets whatever the member says to that."""
    both.close()
    assert read(both) == "eu"
    assert not hedging()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_fork_waits_for_no_thread_or_lock_of_its_parents(
    both: Failover, eu: Slow, clock: FakeClock
) -> None:
    """They are not there: the child's reads are answered, its close returns, and the parent goes on."""
    store = SecretStore(both, cache=None, clock=clock)
    eu.hold()
    assert store.get("db/password").version.startswith("us:")

    def child(say: Say) -> None:
        eu.release()
        say(len(both._lanes._running))
        say(store.get("db/password").version[:2])
        store.close()

    with both._sights._lock, both._lanes._lock, both._breakers["eu"]._lock:
        forked = Forked(child)
    assert (forked.hear(PATIENCE), forked.hear(PATIENCE)) == (0, "eu")
    assert hedging()
    eu.release()
    assert store.get("db/password").version.startswith("eu:")


def test_an_interrupt_in_a_members_call_reaches_the_reader(both: Failover, eu: Slow) -> None:
    """Whatever ends the thread must not leave the reader waiting."""
    eu.fault("get", kill)
    with pytest.raises(Killed):
        read(both)


def test_a_member_sees_the_readers_context(both: Failover, eu: Slow) -> None:
    """Traces and actors are context variables: they follow the read into its thread."""
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []
    eu.run("get", lambda: seen.append(who.get()))
    who.set("me")
    read(both)
    assert seen == ["me"]


class Recorder(AuditHook):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def before(self, event: AuditEvent) -> None:
        self.events.append(event)

    def after(self, event: AuditEvent) -> None:
        self.events.append(event)


def test_a_hedged_read_is_one_event(both: Failover, eu: Slow, clock: FakeClock) -> None:
    """Audit stands outside: one intent, one outcome, by the reader's thread, however many were asked."""
    recorder = Recorder()
    eu.hold()
    with SecretStore(both, cache=None, clock=clock, hooks=[recorder]) as store:
        assert store.get("db/password").degraded
        assert len(recorder.events) == 2
        eu.release()


@pytest.mark.parametrize("hedge", [-1, float("inf"), float("nan")])
def test_a_hedge_is_a_time(hedge: float) -> None:
    """One that never comes is left away."""
    with pytest.raises(InvalidRequestError):
        Failover({"eu": MemoryBackend()}, hedge=hedge)
