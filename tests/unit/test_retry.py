"""Attempts and pace on a clock that nobody waits for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import retry
from strongroom.backend import Clock, Settings
from strongroom.errors import (
    IntegrityError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.retry import LONGEST_WAIT, Pace, attempts, pause
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from tests.scale import scaled


def refused() -> UnavailableError:
    """The provider said no for now: nothing was done."""
    return UnavailableError("throttled", performed=False)


def lost() -> UnavailableError:
    """No answer came: it may have been done."""
    return UnavailableError("no answer", performed=None)


class Provider:
    """Answers each attempt with the next of its outcomes, the last one for ever."""

    def __init__(self, *outcomes: str | SecretStoreError):
        self._outcomes = list(outcomes)
        self.asked = 0

    def __call__(self) -> str | SecretStoreError:
        self.asked += 1
        return self._outcomes[min(self.asked, len(self._outcomes)) - 1]


@pytest.fixture
def settings(clock: FakeClock) -> Settings:
    return Settings(clock=clock, attempts=3)


def failed(settings: Settings, provider: Provider, *, again: bool) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        attempts(settings, provider, again=again)
    return caught.value


def test_the_first_answer_is_the_answer(settings: Settings, clock: FakeClock) -> None:
    """No second call, no wait."""
    provider = Provider("value", refused())
    assert attempts(settings, provider, again=True) == "value"
    assert (provider.asked, clock.slept) == (1, [])


@pytest.mark.parametrize("error", [refused, lost])
def test_what_may_be_done_twice_is_tried_again_whatever_became_of_the_first(
    settings: Settings, error: Callable[[], UnavailableError]
) -> None:
    """Reads, and writes with an idempotency token."""
    provider = Provider(error(), error(), "value")
    assert attempts(settings, provider, again=True) == "value"
    assert provider.asked == 3


def test_a_write_without_a_token_is_repeated_only_if_nothing_was_done(settings: Settings) -> None:
    """After a lost answer a repeat could undo what another writer did since ▲."""
    throttled, silent = Provider(refused(), "written"), Provider(lost(), "written twice")
    assert attempts(settings, throttled, again=False) == "written"
    assert failed(settings, silent, again=False).performed is None
    assert (throttled.asked, silent.asked) == (2, 1)


def test_the_attempts_end(settings: Settings) -> None:
    """The last error is raised, with what is known of the write."""
    provider = Provider(refused())
    assert failed(settings, provider, again=True).performed is False
    assert provider.asked == settings.attempts


@pytest.mark.parametrize("number", [1, 0])
def test_one_attempt_and_none_are_one(settings: Settings, clock: FakeClock, number: int) -> None:
    """Whoever turns retries off still wants the call made once."""
    provider = Provider(refused())
    failed(replace(settings, attempts=number), provider, again=True)
    assert (provider.asked, clock.slept) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        SecretNotFoundError("none"),
        SecretConflictError("held"),
        PermissionDeniedError("no"),
        IntegrityError("damaged"),
        SecretConflictError("intent", retryable=True),  # the caller's to decide, who knows the value
        UnavailableError("sealed for good", retryable=False),
    ],
)
def test_a_refusal_is_an_answer(settings: Settings, error: SecretStoreError) -> None:
    """Only what passes by itself is asked again."""
    provider = Provider(error)
    assert failed(settings, provider, again=True) is error
    assert provider.asked == 1


@pytest.mark.parametrize("refusal", [SecretConflictError, PermissionDeniedError, SecretNotFoundError])
def test_a_lost_answer_and_then_a_refusal_is_unknown(
    settings: Settings, refusal: type[SecretStoreError]
) -> None:
    """A conflict reported here would say that nothing of ours was written, and the first may have been ▲."""
    error = failed(settings, Provider(lost(), refusal("no")), again=True)
    assert type(error) is UnavailableError
    assert error.performed is None


def test_a_lost_answer_and_then_a_throttle_is_unknown(settings: Settings) -> None:
    """The last attempt was not performed, and an earlier one may have been."""
    assert failed(settings, Provider(lost(), refused()), again=True).performed is None


def test_what_the_provider_asks_for_is_waited_for(settings: Settings, clock: FakeClock) -> None:
    """Retry-After and RetryInfo, to the second and without jitter."""
    busy = UnavailableError("throttled", performed=False, retry_after=7.0)
    assert attempts(settings, Provider(busy, busy, "value"), again=False) == "value"
    assert clock.slept == [7.0, 7.0]


@pytest.mark.parametrize(
    ("seconds", "asked"), [(LONGEST_WAIT, 2), (LONGEST_WAIT + 0.1, 1), (float("nan"), 1)]
)
def test_a_provider_that_asks_for_too_much_is_not_waited_for(
    settings: Settings, clock: FakeClock, seconds: float, asked: int
) -> None:
    """A caller blocked for an hour has been taken down by a header; he is told the number instead."""
    busy = UnavailableError("throttled", performed=False, retry_after=seconds)
    provider = Provider(busy, "value")
    if asked > 1:
        assert attempts(settings, provider, again=True) == "value"
    else:
        assert failed(settings, provider, again=True).retry_after is busy.retry_after
        assert clock.slept == []
    assert provider.asked == asked


def test_a_time_that_has_passed_is_no_wait(settings: Settings, clock: FakeClock) -> None:
    """Retry-After may be a date, and our clock ahead of the provider's."""
    busy = UnavailableError("throttled", performed=False, retry_after=-3.0)
    assert attempts(settings, Provider(busy, "value"), again=True) == "value"
    assert clock.slept == [0.0]


@given(st.integers(min_value=1, max_value=40))
def test_pauses_double_up_to_two_seconds_and_differ(attempt: int) -> None:
    """Many clients that failed together do not come back together."""
    longest = min(2.0, 0.05 * 2**attempt)
    drawn = [pause(attempt) for _ in range(20)]
    assert all(longest / 2 <= seconds <= longest for seconds in drawn)
    assert len(set(drawn)) > 1


# --- Google's documented limit: two new versions of a secret each second.
GOOGLE = partial(Pace, 2, 1.0)


def test_googles_two_a_second_are_kept_without_waiting_for_real(clock: FakeClock) -> None:
    """Ten calls take four seconds of the clock."""
    pace, made = GOOGLE(clock), []
    for _ in range(10):
        pace.wait("db/password")
        made.append(clock.monotonic())
    assert made == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert clock.slept == [1.0] * 4


def test_each_key_has_its_own_pace(clock: FakeClock) -> None:
    """The limit is a secret's, not the store's."""
    pace = GOOGLE(clock)
    for _ in range(2):
        for key in ("a", "b", "c", ""):
            pace.wait(key)
    assert clock.slept == []
    pace.wait("b")
    assert clock.slept == [1.0]


def test_a_pause_of_the_callers_own_is_counted(clock: FakeClock) -> None:
    """Only what is left of the second is waited."""
    pace = GOOGLE(clock)
    pace.wait()
    clock.advance(0.75)
    pace.wait()
    pace.wait()
    assert clock.slept == [0.25]
    clock.advance(10)
    pace.wait()
    assert clock.slept == [0.25]


@given(
    st.integers(1, 4),
    st.floats(0.1, 5),
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2)), max_size=60),
)
def test_in_any_window_there_are_at_most_so_many(
    count: int, seconds: float, calls: list[tuple[str, float]]
) -> None:
    """Whenever the callers come: of any count + 1 calls of a key the last is a window after the first."""
    clock = FakeClock()
    pace = Pace(count, seconds, clock)
    made: dict[str, list[float]] = {"a": [], "b": []}
    for key, after in calls:
        clock.advance(after)
        pace.wait(key)
        made[key].append(clock.monotonic())
    for times in made.values():
        gaps = [late - early for early, late in zip(times, times[count:], strict=False)]
        assert all(gap >= seconds - 1e-9 for gap in gaps)


class Standing(Clock):
    """Time stands; what each thread would have slept is noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return 100.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_threads_share_one_pace() -> None:
    """All ask at the same moment: each gets a place of its own in the queue."""
    clock = Standing()
    pace, each = GOOGLE(clock), scaled(500)

    def calls() -> None:
        for _ in range(each):
            pace.wait("x")

    at_once([calls] * 8)
    places = [0.0] * 2 + sorted(clock.slept)
    assert places == [float(place // 2) for place in range(8 * each)]


def test_nobody_waits_while_another_sleeps(clock: FakeClock) -> None:
    """The lock is not held during the sleep: a third caller with another key goes at once."""
    asleep, woken = threading.Event(), threading.Event()

    class Slow(Clock):
        def monotonic(self) -> float:
            return 0.0

        def sleep(self, seconds: float) -> None:
            asleep.set()
            assert woken.wait(30)

    pace = Pace(1, 1.0, Slow())
    pace.wait("a")
    sleeper = threading.Thread(target=pace.wait, args=("a",))
    sleeper.start()
    assert asleep.wait(30)
    pace.wait("b")
    woken.set()
    sleeper.join(30)
    assert not sleeper.is_alive()


def test_memory_is_bounded(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a million names does not remember each; those used last are kept."""
    monkeypatch.setattr(retry, "_PACED_KEYS", 3)
    pace = Pace(1, 1.0, clock)
    for key in itertools.chain("abc", "de"):
        pace.wait(key)
    assert len(pace._calls) == 3
    assert clock.slept == []
    pace.wait("e")
    assert clock.slept == [1.0]


def test_a_child_process_waits_for_no_lock_of_its_parents(clock: FakeClock) -> None:
    """A thread of the parent may have held it when the fork was made."""
    pace = Pace(1, 1.0, clock)
    pace.wait()
    assert pace._lock.acquire()
    pace.after_fork()
    pace.wait()
    assert clock.slept == []
