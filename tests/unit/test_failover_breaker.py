"""A member that does not answer is passed over, without I/O, and tried again after its pause."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.backend import Secret, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.layers.breaker import Breaker, BreakerPolicy
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, Killed
from strongroom.value import SecretValue
from tests.canary import CANARY

NAME = Name("db/password")
POLICY = BreakerPolicy(failures=3, pause=30)


def member() -> FaultyBackend:
    """Holds the secret, and counts its calls."""
    faulty = FaultyBackend(MemoryBackend())
    faulty.inner.put(NAME, SecretValue(CANARY), None)
    return faulty


@pytest.fixture
def eu() -> FaultyBackend:
    """Takes the writes."""
    return member()


@pytest.fixture
def us() -> FaultyBackend:
    """A replica."""
    return member()


@pytest.fixture
def both(eu: FaultyBackend, us: FaultyBackend, clock: FakeClock) -> Failover:
    """The two as one; three failures open a breaker for 30 s."""
    return Failover({"eu": eu, "us": us}, breaker=POLICY, clock=clock)


def read(both: Failover) -> Secret:
    return both.get(NAME, Stage.CURRENT)


def reads(both: Failover, times: int) -> None:
    for _ in range(times):
        read(both)


READS: dict[str, Callable[[Failover], object]] = {
    "get": read,
    "previous": lambda both: both.get(NAME, Stage.PREVIOUS),
    "get_many": lambda both: both.get_many([NAME]),
    "versions": lambda both: both.versions(NAME),
    "describe": lambda both: both.describe(NAME),
    "list_info": lambda both: list(both.list_info("")),
}


@pytest.mark.parametrize("ask", READS)
def test_a_member_that_failed_often_is_passed_over_by_every_read(
    both: Failover, eu: FaultyBackend, us: FaultyBackend, ask: str
) -> None:
    """A dead region costs its timeout three times, not on each read."""
    for backend in (eu, us):
        backend.inner.put(NAME, SecretValue(CANARY), None)  # so that there is a previous version
    eu.unreachable()
    reads(both, 3)
    before = eu.calls.total()
    assert READS[ask](both)
    assert eu.calls.total() == before


def test_fewer_failures_than_the_limit_pass_nobody_over(both: Failover, eu: FaultyBackend) -> None:
    """And an answer in between sets the count back: only failures in a row count."""
    for _ in range(3):
        eu.unreachable("get", times=2)
        reads(both, 3)
    assert eu.calls["get"] == 9


ANSWERS = [
    PermissionDeniedError,
    SecretNotFoundError,
    SecretConflictError,
    IntegrityError,
    InvalidRequestError,
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_only_unavailability_opens_a_breaker(
    both: Failover, eu: FaultyBackend, us: FaultyBackend, answer: type[SecretStoreError]
) -> None:
    """Denied and missing are answers: to pass their member over were to ask around after a revocation ▲."""
    eu.fault("get", lambda: answer("no"), times=20)
    for _ in range(20):
        with pytest.raises(answer):
            read(both)
    assert (eu.calls["get"], us.calls["get"]) == (20, 0)


def test_after_the_pause_one_read_tries_and_an_answer_closes(
    both: Failover, eu: FaultyBackend, us: FaultyBackend, clock: FakeClock
) -> None:
    """The member is used again as soon as it is back."""
    eu.unreachable(times=3)
    reads(both, 3)
    clock.advance(29.9)
    assert read(both).degraded
    assert eu.calls["get"] == 3
    clock.advance(0.1)
    assert not read(both).degraded
    asked = us.calls["get"]
    reads(both, 5)
    assert us.calls["get"] == asked


def test_a_trial_that_fails_opens_for_another_pause(
    both: Failover, eu: FaultyBackend, clock: FakeClock
) -> None:
    """One failure, not three: nothing says that it is back."""
    eu.unreachable()
    reads(both, 3)
    for trial in range(1, 4):
        clock.advance(30)
        reads(both, 10)
        assert eu.calls["get"] == 3 + trial


def test_a_flapping_member_is_tried_once_a_pause(both: Failover, eu: FaultyBackend, clock: FakeClock) -> None:
    """Up for one read, down for the next three: each time it is open again."""
    for _ in range(5):
        eu.unreachable(times=3)
        reads(both, 3)
        before = eu.calls["get"]
        reads(both, 10)
        assert eu.calls["get"] == before
        clock.advance(30)
        assert not read(both).degraded


def test_when_all_are_open_the_first_members_error_comes_at_once(
    both: Failover, eu: FaultyBackend, us: FaultyBackend, clock: FakeClock
) -> None:
    """Typed, with what to do, and without a request."""
    eu.unreachable()
    us.unreachable()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="no connection"):
            read(both)
    clock.advance(12)
    with pytest.raises(UnavailableError, match=r"eu did not answer lately.*tried again in 18 s") as caught:
        read(both)
    assert (caught.value.backend, caught.value.retry_after, caught.value.performed) == ("eu", 18, False)
    assert (eu.calls["get"], us.calls["get"]) == (3, 3)


def test_a_version_of_a_member_that_is_passed_over_is_unavailable_at_once(
    both: Failover, eu: FaultyBackend
) -> None:
    """An id names its member, and no other one may answer for it."""
    version = read(both).version
    eu.unreachable()
    reads(both, 3)
    with pytest.raises(UnavailableError, match="not asked for now"):
        both.get(NAME, version)
    assert eu.calls["get"] == 4


def test_writes_and_what_feeds_them_ask_the_first_member_all_the_same(
    eu: FaultyBackend, us: FaultyBackend, clock: FakeClock
) -> None:
    """There is no other one to write to; who writes waits for the provider's own answer."""
    both = Failover({"eu": eu, "us": us}, breaker=POLICY, clock=clock)
    with SecretStore(both, cache=None, clock=clock) as store:
        version = store.get("db/password").version
        eu.unreachable("get", times=3)
        for _ in range(3):
            store.get("db/password")
        store.pending("db/password", "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11").put("n", base_version=version)
        assert eu.calls["put_pending"] == 1


def test_a_write_that_succeeds_closes_the_first_members_breaker(
    both: Failover, eu: FaultyBackend, us: FaultyBackend
) -> None:
    """Or whoever has just written would be handed a replica's older value for the rest of the pause."""
    eu.unreachable(times=3)
    reads(both, 3)
    both.put(NAME, SecretValue("n"), None)
    assert read(both).value.matches("n")
    assert us.calls["get"] == 3


def test_a_failing_write_opens_nothing(both: Failover, eu: FaultyBackend) -> None:
    """Writes go there anyway, and a store that is sealed for writing may still be read."""
    eu.unreachable("put", times=9)
    for _ in range(9):
        with pytest.raises(UnavailableError):
            both.put(NAME, SecretValue("n"), None)
    assert not read(both).degraded


def test_a_child_of_a_fork_knows_who_did_not_answer(both: Failover, eu: FaultyBackend) -> None:
    """It need not find out for itself."""
    eu.unreachable()
    reads(both, 3)
    both.after_fork()
    assert read(both).degraded
    assert eu.calls["get"] == 3


def test_opening_and_closing_stand_in_the_log_without_a_value(
    both: Failover, eu: FaultyBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is on call learns of it once, not on each read."""
    eu.unreachable(times=3)
    with caplog.at_level(logging.WARNING, "strongroom.failover"):
        reads(both, 10)
        clock.advance(30)
        reads(both, 10)
    assert [record.message for record in caplog.records] == [
        "eu did not answer 3 times, it is not asked for now",
        "eu is asked again",
    ]


def unavailable() -> None:
    raise UnavailableError("down")


def killed() -> None:
    raise Killed


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    """Open since now."""
    opened = Breaker("eu", POLICY, clock)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="down"):
            opened.call(unavailable)
    return opened


def test_one_call_tries_and_the_others_do_not_wait_for_it(breaker: Breaker, clock: FakeClock) -> None:
    """A thousand readers must not all find out that the member is still dead."""
    clock.advance(30)
    entered, leave = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        assert leave.wait(60)
        return "here"

    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(breaker.call, slow)
        assert entered.wait(60)
        for _ in range(8):
            with pytest.raises(UnavailableError, match="being tried again"):
                breaker.call(str)
        leave.set()
        assert trial.result() == "here"
    assert breaker.call(lambda: "yes") == "yes"


def test_calls_run_side_by_side(clock: FakeClock) -> None:
    """A breaker whose lock is held during the call would put all reads of a member in one queue."""
    breaker, all_in = Breaker("eu", POLICY, clock), threading.Barrier(8, timeout=60)
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: breaker.call(all_in.wait), range(8))) == list(range(8))


def test_failures_that_come_in_late_do_not_prolong_the_pause(clock: FakeClock) -> None:
    """They began before it opened, and say nothing of now."""
    breaker, all_in = Breaker("eu", POLICY, clock), threading.Barrier(8, timeout=60)

    def late() -> None:
        all_in.wait()
        unavailable()

    def fail(_: int) -> None:
        with pytest.raises(UnavailableError):
            breaker.call(late)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fail, range(8)))
    clock.advance(30)
    assert breaker.call(lambda: "back") == "back"
    assert breaker.call(lambda: "still") == "still"


def test_a_late_answer_does_not_close_it(clock: FakeClock) -> None:
    """What began before the outage may be answered in the middle of it."""
    breaker = Breaker("eu", POLICY, clock)

    def outage() -> str:
        for _ in range(3):
            with pytest.raises(UnavailableError):
                breaker.call(unavailable)
        return "late"

    assert breaker.call(outage) == "late"
    with pytest.raises(UnavailableError, match="not asked"):
        breaker.call(str)


def test_an_interrupted_trial_lets_the_next_one_try(breaker: Breaker, clock: FakeClock) -> None:
    """Ctrl-C says nothing of the member."""
    clock.advance(30)
    with pytest.raises(Killed):
        breaker.call(killed)
    assert breaker.call(lambda: "back") == "back"


def test_a_child_of_a_fork_waits_for_no_trial_of_its_parents(breaker: Breaker, clock: FakeClock) -> None:
    """The thread that was at it is not there: the member would be passed over for ever."""
    clock.advance(30)

    def born_in_a_trial() -> str:
        breaker.after_fork()
        return breaker.call(lambda: "the child's own")

    assert breaker.call(born_in_a_trial) == "the child's own"


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, 30), (-1, 30), (5, 0), (5, -1), (5, float("inf")), (5, float("nan"))]
)
def test_a_policy_has_a_failure_and_a_time(failures: int, pause: float) -> None:
    """Never closing again is no breaker."""
    with pytest.raises(InvalidRequestError):
        BreakerPolicy(failures, pause)
