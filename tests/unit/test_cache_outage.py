"""An outage: what is served, what is asked how often, what says so, and what comes after."""

from __future__ import annotations

import logging

import pytest

from strongroom.cache import CachePolicy
from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.canary import assert_no_canary
from tests.unit.core_support import NAME, Gate, Running, overwrite, refreshed, text

FRESH, STALE = 100.0, 1000.0
POLICY = CachePolicy(FRESH, STALE)


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> SecretStore:
    return SecretStore(backend, cache=POLICY, clock=clock)


def out(store: SecretStore, backend: FaultyBackend, clock: FakeClock) -> None:
    """The value is past fresh, and the provider does not answer."""
    store.get(NAME)
    backend.unreachable("get")
    clock.advance(FRESH)


class TestPauses:
    """A provider that is down is left alone for a while, and the readers are not made to wait."""

    def test_stale_answers_come_at_once_between_two_attempts(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A thousand readers of an outage are one request."""
        out(store, backend, clock)
        assert all(store.get(NAME).stale for _ in range(1000))
        assert backend.calls["get"] == 2
        assert store.is_warm(NAME)

    @pytest.mark.parametrize(("spread", "pauses"), [(0.0, [1.0] * 7), (1.0, [1, 2, 4, 8, 16, 30, 30])])
    def test_the_pause_grows_from_a_second_to_half_a_minute(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, spread: float, pauses: list[float]
    ) -> None:
        """The longest doubles; where in between it ends is chance, so that a fleet does not ask together."""
        clock.spread = spread
        out(store, backend, clock)
        for asked, pause in enumerate(pauses, 2):
            store.get(NAME)
            assert backend.calls["get"] == asked
            clock.advance(pause - 0.001)
            store.get(NAME)
            assert backend.calls["get"] == asked
            clock.advance(0.001)

    def test_a_provider_that_asks_for_more_gets_it(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Its Retry-After, up to the longest pause."""
        store.get(NAME)
        clock.advance(FRESH)
        backend.fault("get", lambda: UnavailableError("slow down", retry_after=20.0), times=9)
        store.get(NAME)
        clock.advance(19.9)
        assert store.get(NAME).stale
        assert backend.calls["get"] == 2
        clock.advance(0.1)
        store.get(NAME)
        assert backend.calls["get"] == 3

    def test_past_the_bound_the_error_comes_at_once_too(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A crowd that nothing may be served to does not fall upon the provider; each gets its own error."""
        out(store, backend, clock)
        clock.advance(STALE)
        errors = {id(error): error for error in (_failure(store) for _ in range(100))}
        assert len(errors) > 1
        assert {type(error) for error in errors.values()} == {UnavailableError}
        assert {error.name for error in errors.values()} == {NAME}
        assert backend.calls["get"] == 2

    def test_a_name_that_was_never_read_is_left_alone_too(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A service that starts in an outage asks once a second, whatever its threads do."""
        backend.unreachable("get")
        for _ in range(50):
            _failure(store)
        assert backend.calls["get"] == 1
        clock.advance(1)
        _failure(store)
        assert backend.calls["get"] == 2

    def test_another_name_is_asked_for(self, store: SecretStore, backend: FaultyBackend) -> None:
        """One secret's key may be gone while the others are well."""
        backend.unreachable("get", times=1)
        _failure(store)
        written = store.put("other", text("other"))
        assert store.get("other").version == written.id

    def test_only_one_reader_waits_for_an_attempt(self, backend: FaultyBackend, clock: FakeClock) -> None:
        """The others get the stale value at once, though the provider takes minutes to time out."""
        gate = Gate(backend)
        store = SecretStore(gate, cache=POLICY, clock=clock)
        out(store, backend, clock)
        store.get(NAME)
        clock.advance(1)
        gate.arm()
        asking = Running(lambda: store.get(NAME))
        assert gate.asked.wait(30)
        assert all(store.get(NAME).stale for _ in range(100))
        gate.open()
        asking.result()
        assert backend.calls["get"] == 3

    def test_an_own_write_ends_the_pause(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """It went through, or may have: the next read asks."""
        out(store, backend, clock)
        store.get(NAME)
        backend.clear()
        store.delete(NAME)
        store.restore(NAME)
        assert not store.get(NAME).stale
        assert backend.calls["get"] == 3

    def test_a_refused_credential_is_no_way_around_it(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """``refresh`` in a loop does not ask in a loop, and never gets the old value."""
        version = store.get(NAME).version
        backend.unreachable("get")
        clock.advance(FRESH)
        for _ in range(20):
            with pytest.raises(UnavailableError):
                store.refresh(NAME, rejected=version)
        assert backend.calls["get"] == 2

    def test_a_batch_serves_what_may_be_served(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """As single reads: stale and marked, within the bound; the attempt counts for all of the names."""
        store.put("other", text("other"))
        store.prefetch([NAME, "other"])
        clock.advance(FRESH)
        backend.unreachable()
        for _ in range(5):
            assert all(secret.stale for secret in store.get_many([NAME, "other"]).values())
        assert (backend.calls["get_many"], backend.calls["get"]) == (2, 0)


class TestRecovery:
    """The provider is back."""

    def test_the_first_attempt_that_succeeds_makes_everything_fresh(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """One refresh; no reader gets the stale value after it."""
        out(store, backend, clock)
        assert store.get(NAME).stale
        backend.clear()
        overwrite(backend.inner, "second")
        clock.advance(1)
        secret = store.get(NAME)
        assert not secret.stale
        assert secret.value.matches(text("second"))
        assert store.get(NAME) is secret

    def test_the_pauses_begin_anew(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A later outage starts with a second again."""
        clock.spread = 1.0
        out(store, backend, clock)
        for pause in (1, 2, 4):
            store.get(NAME)
            clock.advance(pause)
        backend.clear()
        assert not store.get(NAME).stale
        backend.unreachable("get")
        clock.advance(FRESH)
        store.get(NAME)
        asked = backend.calls["get"]
        clock.advance(1)
        store.get(NAME)
        assert backend.calls["get"] == asked + 1

    def test_a_denial_after_an_outage_evicts(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Stale is for who is still allowed to read."""
        out(store, backend, clock)
        store.get(NAME)
        backend.clear()
        backend.deny("get")
        clock.advance(1)
        assert isinstance(_failure(store), PermissionDeniedError)
        backend.clear()
        backend.unreachable("get")
        assert isinstance(_failure(store), UnavailableError)


class TestSignal:
    """Somebody is told that what is served is old."""

    def test_the_answer_says_it(self, store: SecretStore, backend: FaultyBackend, clock: FakeClock) -> None:
        """``stale``, and when the provider last confirmed it."""
        confirmed = store.get(NAME).confirmed_at
        out(store, backend, clock)
        secret = store.get(NAME)
        assert (secret.stale, secret.confirmed_at) == (True, confirmed)

    def test_the_log_says_it_once_for_each_name_and_outage(
        self,
        store: SecretStore,
        backend: FaultyBackend,
        clock: FakeClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """On ``strongroom.cache``, with the name and never a value; and when it is over."""
        store.put("other", text("other"))
        store.get("other")
        out(store, backend, clock)
        for _ in range(3):
            store.get(NAME)
            store.get("other")
            clock.advance(1)
        told = [record for record in caplog.records if record.name == "strongroom.cache"]
        assert [record.levelno for record in told] == [logging.WARNING] * 2
        assert [record.getMessage().split(":")[0] for record in told] == [NAME, "other"]
        backend.clear()
        store.get(NAME)
        assert caplog.records[-1].getMessage() == f"{NAME}: the provider answers again"
        assert_no_canary(caplog.text)

    def test_a_handler_of_the_log_may_read_secrets(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """It ships logs with a password from this very store: nothing is locked while it is told."""
        read: list[bool] = []
        handler = logging.Handler()
        handler.emit = lambda record: read.append(store.get(NAME).stale)  # type: ignore[method-assign]
        logger = logging.getLogger("strongroom.cache")
        logger.addHandler(handler)
        try:
            out(store, backend, clock)
            assert Running(lambda: store.get(NAME).stale).result()
        finally:
            logger.removeHandler(handler)
        assert read == [True]

    def test_an_outage_that_nothing_stale_came_of_is_the_readers_to_tell(
        self, store: SecretStore, backend: FaultyBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A refresh behind that failed while the value is fresh is no news yet."""
        store.get(NAME)
        backend.unreachable("get", times=1)
        clock.advance(FRESH * 0.8)
        store.get(NAME)
        refreshed()
        clock.advance(1)
        store.get(NAME)
        refreshed()
        assert not store.get(NAME).stale
        assert not [record for record in caplog.records if record.name == "strongroom.cache"]


def test_a_pause_that_outlasts_fresh_lets_the_value_out_marked(
    store: SecretStore, backend: FaultyBackend, clock: FakeClock
) -> None:
    """A refresh behind has just failed: past ``fresh`` nobody waits, and nobody is told it is fresh."""
    store.get(NAME)
    clock.advance(FRESH - 0.5)
    backend.unreachable("get")
    assert not store.get(NAME).stale
    refreshed()
    clock.advance(0.5)
    assert store.get(NAME).stale
    assert backend.calls["get"] == 2


def test_one_thread_finds_the_outage_and_all_get_its_value(backend: FaultyBackend, clock: FakeClock) -> None:
    """Those who waited for the attempt that failed get the stale value from it, and do not ask again."""
    gate = Gate(backend)
    store = SecretStore(gate, cache=POLICY, clock=clock)
    out(store, backend, clock)
    gate.arm()
    readers = [Running(lambda: store.get(NAME).stale) for _ in range(8)]
    assert gate.asked.wait(30)
    gate.open()
    assert [reader.result() for reader in readers] == [True] * 8
    assert backend.calls["get"] == 2


def test_stale_reads_are_counted_under_their_version(
    store: SecretStore, backend: FaultyBackend, clock: FakeClock
) -> None:
    """They are answered from memory as warm ones are; the one that asked, and was failed, is not."""
    version = store.get(NAME).version
    out(store, backend, clock)
    for _ in range(1 + 7):
        store.get(NAME)
    warm = 1
    assert store._reads.drain_hits() == [(NAME, version, warm + 7)]


def _failure(store: SecretStore) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        store.get(NAME)
    return caught.value
