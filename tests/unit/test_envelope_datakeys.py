"""The data-key cache: how many calls reach the KEKs, and what may never share a data key."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from strongroom import DataKeyCache, decrypt, encrypt
from strongroom.envelope import datakeys
from strongroom.envelope.binding import join
from strongroom.envelope.message import decode_header
from strongroom.envelope.sealing import Sealing
from strongroom.envelope.suites import COMMITTING, SIGNED
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import WrappedKey
from tests.scale import scaled
from tests.unit.envelope_support import SpyKey, local_key
from tests.unit.test_fork import in_child

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

_CONTEXT = {"tenant": "acme"}


class Clock:
    """Seconds that go on when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class GatedKey(SpyKey):
    """A KEK whose calls wait for the gate."""

    def __init__(self, failure: SecretStoreError | None = None) -> None:
        super().__init__("gated", failure)
        self.gate, self.entered = threading.Event(), threading.Event()

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self.entered.set()
        self.gate.wait(30)
        return super().wrap(data_key, context)


def _wrapped(message: bytes) -> tuple[WrappedKey, ...]:
    return decode_header(message)[0].wrapped_keys


def _seal(
    key: SpyKey, cache: DataKeyCache, value: bytes = b"v", context: Mapping[str, str] = _CONTEXT
) -> bytes:
    return encrypt(value, keys=[key], context=context, data_keys=cache)


def _opened(message: bytes, key: SpyKey, cache: DataKeyCache) -> bytes:
    return decrypt(message, keys=[key], context=_CONTEXT, data_keys=cache).value


def test_a_thousand_messages_under_one_context_cost_one_call() -> None:
    """And each has a message id, and so a message key and a commitment, of its own."""
    key, cache = SpyKey(), DataKeyCache()
    messages = [_seal(key, cache) for _ in range(1_000)]
    assert key.calls == ["wrap"]
    headers = [decode_header(message)[0] for message in messages]
    assert len({header.message_id for header in headers}) == len({h.commitment for h in headers}) == 1_000
    assert {_opened(message, key, cache) for message in messages} == {b"v"}
    assert key.calls == ["wrap", "unwrap"]


def test_eight_threads_cost_one_call_too() -> None:
    """One asks the KEK; the others wait for its answer."""
    key, cache = GatedKey(), DataKeyCache()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(_seal, key, cache) for _ in range(1_000)]
        assert key.entered.wait(30)
        key.gate.set()
        messages = [future.result(30) for future in futures]
    assert key.calls == ["wrap"]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda message: _opened(message, key, cache), messages)) == {b"v"}
    assert key.calls == ["wrap", "unwrap"]


class WatchedFlight(datakeys._Flight):
    """A call under way that says when somebody begins to wait for it."""

    waiting = threading.Semaphore(0)

    def __init__(self) -> None:
        super().__init__()
        self.done = WatchedEvent()


class WatchedEvent(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        WatchedFlight.waiting.release()
        return super().wait(timeout)


def test_those_who_wait_for_a_failing_call_fail_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 threads do not each wait out the timeout of a KEK that does not answer; the next use asks again."""
    monkeypatch.setattr(datakeys, "_Flight", WatchedFlight)
    key, cache = GatedKey(UnavailableError("down", retry_after=2.0)), DataKeyCache()
    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(_seal, key, cache)
        assert key.entered.wait(30)
        waiting = [pool.submit(_seal, key, cache) for _ in range(7)]
        assert all(WatchedFlight.waiting.acquire(timeout=30) for _ in waiting)
        key.gate.set()
        errors = [future.exception(30) for future in (leader, *waiting)]
    assert all(isinstance(error, UnavailableError) and error.retry_after == 2.0 for error in errors)
    assert len(set(map(id, errors))) == 8  # each has a traceback of its own
    assert key.calls == ["wrap"]
    key.failure = None
    _seal(key, cache)
    assert key.calls == ["wrap", "wrap"]


def test_one_that_stops_while_others_wait_leaves_the_call_to_them() -> None:
    """An interrupt is nobody else's: another asks."""
    key, cache = GatedKey(), DataKeyCache()
    stopped = KeyboardInterrupt()
    real, key.wrap = key.wrap, _raising(key, stopped)  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(_seal, key, cache)
        assert key.entered.wait(30)
        waiting = pool.submit(_seal, key, cache)
        key.wrap = real  # type: ignore[method-assign]
        key.gate.set()
        assert leader.exception(30) is stopped
        assert _opened(waiting.result(30), key, cache) == b"v"


def test_one_that_never_began_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt may come between taking the call upon oneself and making it."""
    monkeypatch.setattr(datakeys, "_PATIENCE", 0.001)
    key, cache = SpyKey(), DataKeyCache()
    with monkeypatch.context() as patch:
        patch.setattr(DataKeyCache, "_call", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            _seal(key, cache)
    assert _opened(_seal(key, cache), key, cache) == b"v"


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _raising(key: GatedKey, stopped: BaseException) -> Callable[..., WrappedKey]:
    def wrap(data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        key.entered.set()
        key.gate.wait(30)
        raise stopped

    return wrap


@pytest.mark.parametrize(("age", "calls"), [(0.0, 1), (299.9, 1), (300.0, 2), (-1.0, 2)])
def test_a_data_key_lives_for_its_age_and_no_longer(age: float, calls: int) -> None:
    """Nor on a clock that went back."""
    clock, key = Clock(), SpyKey()
    cache = DataKeyCache(clock=clock)
    message = _seal(key, cache)
    _opened(message, key, cache)
    clock.now += age
    _seal(key, cache)
    _opened(message, key, cache)
    assert (key.calls.count("wrap"), key.calls.count("unwrap")) == (calls, calls)


def test_the_call_itself_counts_against_the_age() -> None:
    """A KEK that answered late gave a data key that was made early."""
    clock = Clock()

    class SlowKey(SpyKey):
        def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
            clock.now += 200
            return super().wrap(data_key, context)

    key, cache = SlowKey(), DataKeyCache(clock=clock)
    _seal(key, cache)
    clock.now += 100
    _seal(key, cache)
    assert key.calls == ["wrap", "wrap"]


def test_messages_are_counted() -> None:
    """The last one allowed is made, the next has a new data key."""
    key, cache = SpyKey(), DataKeyCache(max_messages=3)
    made = [_wrapped(_seal(key, cache)) for _ in range(7)]
    assert [made.count(wrapped) for wrapped in dict.fromkeys(made)] == [3, 3, 1]


def test_bytes_are_counted_before_they_are_encrypted() -> None:
    """Exactly the limit fits; a value above it is never cached, and spends nothing."""
    key, cache = SpyKey(), DataKeyCache(max_bytes=10)
    made = [_wrapped(_seal(key, cache, bytes(size))) for size in (4, 6, 0, 1, 11, 9, 1)]
    assert [made.index(wrapped) for wrapped in made] == [0, 0, 0, 3, 4, 3, 6]


@pytest.mark.parametrize(
    "limits",
    [
        {"max_age": 300.1},
        {"max_age": 0},
        {"max_age": float("nan")},
        {"max_messages": 2**20 + 1},
        {"max_messages": 0},
        {"max_bytes": 2**36 + 1},
        {"max_bytes": -1},
        {"capacity": 0},
    ],
)
def test_limits_above_the_maxima_are_refused(limits: dict[str, float]) -> None:
    """300 s, 2^20 messages and 2^36 bytes are the bounds of the design, not defaults."""
    with pytest.raises(InvalidRequestError, match=next(iter(limits))):
        DataKeyCache(**limits)  # type: ignore[arg-type]


def test_another_context_is_another_entry() -> None:
    """By its canonical bytes: the order of the pairs says nothing."""
    key, cache = SpyKey(), DataKeyCache()
    contexts: list[dict[str, str]] = [{}, {"a": "1"}, {"a": "2"}, {"a": "1", "b": "2"}, {"b": "2", "a": "1"}]
    made = [_wrapped(_seal(key, cache, context=context)) for context in contexts]
    assert [made.index(wrapped) for wrapped in made] == [0, 1, 2, 3, 3]


def test_other_keys_are_another_entry() -> None:
    """Though they bear the same name: another object may have another identity, which may be denied."""
    one, other, cache = SpyKey("same"), SpyKey("same"), DataKeyCache()
    message = _seal(one, cache)
    assert _wrapped(_seal(other, cache)) != _wrapped(message)
    assert _wrapped(encrypt(b"v", keys=[one, other], context=_CONTEXT, data_keys=cache))[:1] != _wrapped(
        message
    )
    _opened(message, one, cache)
    other.failure = PermissionDeniedError("no")
    with pytest.raises(PermissionDeniedError):
        _opened(message, other, cache)


def test_an_alias_that_has_come_to_mean_another_key_is_asked_again() -> None:
    """The name it gets by its first answer is no change; a later one is."""
    cache = DataKeyCache()

    class Alias(SpyKey):
        def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
            self.key_id = "arn-1"
            return super().wrap(data_key, context)

    key = Alias("alias")
    for _ in range(3):
        _seal(key, cache)
    assert key.calls == ["wrap"]
    key.key_id = "arn-2"
    _seal(key, cache)
    assert key.calls == ["wrap", "wrap"]


def test_the_suite_is_part_of_the_entry() -> None:
    """CVE-2026-6550: a cache without it hands a data key of one suite to another."""
    key, cache, pairs = SpyKey(), DataKeyCache(), join(_CONTEXT)
    unsigned = datakeys.make([key], pairs, COMMITTING, 1, cache)
    signed = datakeys.make([key], pairs, SIGNED, 1, cache)
    assert unsigned[0] != signed[0]
    assert datakeys.make([key], pairs, COMMITTING, 1, cache) == unsigned


def test_what_was_made_for_writing_is_not_taken_for_reading() -> None:
    """Reading asks the KEK whether this identity may read."""
    key, cache = SpyKey(), DataKeyCache()
    message = _seal(key, cache)
    key.failure = PermissionDeniedError("only kms:GenerateDataKey")
    with pytest.raises(PermissionDeniedError):
        _opened(message, key, cache)


def test_a_changed_wrapped_key_is_another_entry() -> None:
    """A cached data key never vouches for a header that differs."""
    key, cache = SpyKey(), DataKeyCache()
    message = _seal(key, cache)
    _opened(message, key, cache)
    position = message.index(_wrapped(message)[0].ciphertext)
    changed = message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]
    with pytest.raises(IntegrityError):
        _opened(changed, key, cache)
    assert key.calls.count("unwrap") == 2


def test_signed_messages_are_not_cached() -> None:
    """Their context holds a key of their own, so no entry would serve again."""
    key, cache = SpyKey(), DataKeyCache()
    for _ in range(3):
        message = encrypt(b"v", keys=[key], context=_CONTEXT, signed=True, data_keys=cache)
        _opened(message, key, cache)
    assert key.calls == ["wrap", "unwrap"] * 3


def test_local_keys_are_passed_through_unless_a_remote_one_is_there() -> None:
    """They cost less than a look into the cache, and a data key of their own is worth more."""
    local, remote, cache = local_key(), SpyKey(), DataKeyCache()
    made = {_wrapped(encrypt(b"v", keys=[local], context={}, data_keys=cache)) for _ in range(3)}
    assert len(made) == 3
    for _ in range(3):
        encrypt(b"v", keys=[local, remote], context={}, data_keys=cache)
    assert remote.calls == ["wrap"]


def test_a_message_of_unknown_length_is_not_cached() -> None:
    """Its bytes could not be counted before they are encrypted; more than announced is refused."""
    key, cache = SpyKey(), DataKeyCache()
    for _ in range(2):
        Sealing.begin([key], join(_CONTEXT), data_keys=cache)
    assert key.calls == ["wrap", "wrap"]
    sealing = Sealing.begin([key], join(_CONTEXT), data_keys=cache, length=3)
    with pytest.raises(InvalidRequestError, match="announced"):
        sealing.seal(b"four", final=True)


def test_a_key_that_was_passed_over_is_reported_from_the_cache_too() -> None:
    """The message was opened past it, and still is."""
    first, second, cache = SpyKey("first"), SpyKey("second"), DataKeyCache()
    message = encrypt(b"v", keys=[first, second], context={})
    first.failure = UnavailableError("down")
    for _ in range(3):
        opened = decrypt(message, keys=[first, second], context={}, data_keys=cache)
        assert opened.passed_over == ("first",)
    assert second.calls.count("unwrap") == 1


def test_clear_forgets_at_once() -> None:
    """Also what a call under way brings back after it."""
    key, cache = GatedKey(), DataKeyCache()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(_seal, key, cache)
        assert key.entered.wait(30)
        cache.clear()
        key.gate.set()
        message = future.result(30)
    assert _wrapped(_seal(key, cache)) != _wrapped(message)
    assert key.calls == ["wrap", "wrap"]
    cache.clear()
    _seal(key, cache)
    assert len(key.calls) == 3


def test_the_entry_unused_for_longest_goes_first() -> None:
    """And what is past its age goes before a place is needed."""
    clock, key = Clock(), SpyKey()
    cache = DataKeyCache(capacity=2, clock=clock)
    for tenant in ("a", "b", "a", "c", "a"):  # c takes the place of b
        _seal(key, cache, context={"tenant": tenant})
    assert len(key.calls) == 3
    _seal(key, cache, context={"tenant": "b"})
    assert len(key.calls) == 4
    clock.now += 300
    _seal(key, cache, context={"tenant": "d"})
    assert len(cache._entries) == 1


def test_a_forked_child_has_no_data_keys() -> None:
    """It makes its own; a lock held by a thread that is not there cannot stop it."""
    key, cache = SpyKey(), DataKeyCache()
    _seal(key, cache)

    def check() -> bool:
        _seal(key, cache)
        return key.calls == ["wrap", "wrap"]

    with cache._lock:
        in_child(check)
    _seal(key, cache)
    assert key.calls == ["wrap"]


def test_a_cache_shows_and_gives_away_nothing() -> None:
    """No repr and no pickle holds a data key."""
    cache = DataKeyCache()
    _seal(SpyKey(), cache)
    assert "bytes" not in repr(cache)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(cache)


def test_many_threads_and_contexts_never_mix_data_keys() -> None:
    """Evictions, limits and expiry at once: every message opens under its own context, and counts hold."""
    clock, key, numbers = Clock(), SpyKey(), count()
    cache = DataKeyCache(capacity=3, max_messages=5, clock=clock)

    def work(_: int) -> Iterator[tuple[bytes, dict[str, str]]]:
        number = next(numbers)
        if number % 17 == 0:
            clock.now += 100
        context = {"tenant": str(number % 5)}
        yield encrypt(str(number).encode(), keys=[key], context=context, data_keys=cache), context

    with ThreadPoolExecutor(8) as pool:
        results = [
            pair for pairs in pool.map(lambda n: list(work(n)), range(scaled(5_000))) for pair in pairs
        ]
    used: dict[tuple[WrappedKey, ...], set[str]] = {}
    times: dict[tuple[WrappedKey, ...], int] = {}
    for message, context in results:
        decrypt(message, keys=[key], context=context)
        used.setdefault(_wrapped(message), set()).add(context["tenant"])
        times[_wrapped(message)] = times.get(_wrapped(message), 0) + 1
    assert all(len(tenants) == 1 for tenants in used.values())
    assert max(times.values()) <= 5
