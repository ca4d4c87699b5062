"""Google Secret Manager's writes: lost answers, dead and slow writers, foreign versions and late losers."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from strongroom.backend import ABSENT, Clock, Settings, Stage
from strongroom.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.gcp_support import NAME, SECRET, added, made, native, opened, shown, store_of
from tests.servers.google import Google

CALLS = ("GetSecret", "AccessSecretVersion", "UpdateSecret", "AddSecretVersion")
KEY = Name(NAME)


@pytest.fixture
def client(google_server: Google) -> Any:
    return native(google_server)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(google_server: Google, clock: FakeClock) -> Iterator[SecretStore]:
    with store_of(google_server, clock) as store:
        yield store


def kept(client: Any) -> dict[str, str]:
    """All annotations."""
    return dict(client.get_secret(name=SECRET).annotations)


class DiedError(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("condition", ["none", "version"])
def test_a_lost_answer_is_read_back(
    store: SecretStore, google_server: Google, client: Any, call: str, when: Any, skip: int, condition: str
) -> None:
    """The put succeeds, or says that nobody knows, or that nothing happened; and that is true."""
    one = store.put(NAME, "one")
    google_server.faults.drop(call, when, skip=skip)
    performed: bool | None = True
    try:
        store.put(NAME, "two", if_version=one.id if condition == "version" else None)
    except UnavailableError as error:
        performed = error.performed
    google_server.faults.clear()
    current = shown(client)
    if performed is not None:
        assert current == (b"two" if performed else b"one")
    store_of(google_server, FakeClock()).put(NAME, "three")
    assert shown(client) == b"three", "whatever was left does not keep the next writer out for ever"


@pytest.mark.parametrize("call", ["CreateSecret", "AddSecretVersion", "UpdateSecret"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_first_write_survives_a_lost_answer(
    store: SecretStore, google_server: Google, client: Any, call: str, when: Any
) -> None:
    """With the creation of the digest key before it."""
    for skip in range(2):
        google_server.faults.drop(call, when, skip=skip)
        try:
            store.put(NAME, "one", if_version=ABSENT)
        except SecretStoreError as error:
            assert isinstance(error, UnavailableError | SecretConflictError)  # noqa: PT017
        google_server.faults.clear()
    store_of(google_server, FakeClock()).put(NAME, "two")
    assert shown(client) == b"two"


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_writer_that_dies_anywhere_is_succeeded(
    google_server: Google, client: Any, clock: FakeClock, calls: int
) -> None:
    """Until its deadline others get a conflict that may be tried again; then its version counts, or it is
    as if it had never begun."""
    store_of(google_server, clock).put(NAME, "one")
    dying = opened(google_server, clock)
    _die_at(dying, calls)
    with pytest.raises(DiedError):
        dying.put(KEY, SecretValue("two"), None)
    before = shown(client)
    clock.advance(25)
    successor = store_of(google_server, clock)
    current = successor.get(NAME)
    assert current.value.matches(before)
    successor.put(NAME, "three", if_version=current.version)
    assert shown(client) == b"three"
    assert "strongroom.intent" not in kept(client)


def _die_at(backend: Any, calls: int) -> None:
    """After so many calls on the network."""
    client, left = backend.inner._client, [calls]
    inner = client._attempt

    def attempt(*args: Any) -> Any:
        if not left[0]:
            raise DiedError
        left[0] -= 1
        return inner(*args)

    client._attempt = attempt


def test_a_live_intent_keeps_others_out_for_a_while(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """They wait, then get a conflict that may be tried again: nobody is overwritten."""
    slow = _suspended(google_server, clock, "slow")
    with store_of(google_server, Frozen(clock)) as store:
        one = store.get(NAME)
        for condition in (None, one.version):
            with pytest.raises(SecretConflictError) as caught:
                store.put(NAME, "mine", if_version=condition)
            assert caught.value.retryable
            assert caught.value.performed is False
    assert slow.finish() is None, "and the one that was at work ends well"
    assert shown(client) == b"slow"


class Frozen(Clock):
    """Of which waiting does not pass any time."""

    def __init__(self, like: Clock):
        self._now = like.now()

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0


class Suspended:
    """A writer stopped right before one of its calls, or after it; `finish` lets it go on."""

    def __init__(self, backend: Any, act: Callable[[], object], stop: str, *, after: bool = False):

        self._go, self._reached = threading.Event(), threading.Event()
        client, inner = backend.inner._client, backend.inner._client._attempt
        self.error: BaseException | None = None

        def attempt(method: str, *args: Any) -> Any:
            answer = inner(method, *args) if after or method != stop else None
            if method == stop and not self._reached.is_set():
                self._reached.set()
                assert self._go.wait(30)
            return answer if after or method != stop else inner(method, *args)

        def run() -> None:
            try:
                act()
            except SecretStoreError as exc:
                self.error = exc

        client._attempt = attempt
        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert self._reached.wait(30)

    def finish(self) -> BaseException | None:
        """Go on to the end; the error it ended with."""
        self._go.set()
        self._thread.join(30)
        return self.error


def _suspended(
    server: Google,
    clock: FakeClock,
    text: str,
    stop: str = "AddSecretVersion",
    condition: str | None = None,
    *,
    after: bool = False,
) -> Suspended:
    """A writer that stands right before it adds its version (or after); ``one`` is current."""
    first = opened(server, clock)
    if not server.calls["AddSecretVersion"]:
        first.put(KEY, SecretValue("one"), None)
    backend = opened(server, clock)
    return Suspended(backend, lambda: backend.put(KEY, SecretValue(text), condition), stop, after=after)


def test_a_late_loser_is_never_a_version_and_the_next_writer_repairs(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """It is suspended before its add, overtaken, and wakes: `latest` shows it until the next write."""
    slow = _suspended(google_server, clock, "slow")
    clock.advance(25)
    with store_of(google_server, clock) as store:
        two = store.put(NAME, "two")
        error = slow.finish()
        assert isinstance(error, UnavailableError)
        assert error.performed is None
        assert_no_canary_in(error)
        assert shown(client) == b"slow", "Google cannot be told not to"
        assert store.versions(NAME)[0].id == two.id
        assert opened(google_server).versions_after(KEY, two.id) == []
        loser = store_of(google_server, clock).get(NAME).version
        with pytest.raises(SecretConflictError):
            store.put(NAME, "mine", if_version=loser)
        assert shown(client) == b"two", "a conflict, but what counts was written again"
        four = store.get(NAME)
        store.put(NAME, "five", if_version=four.version)
        assert shown(client) == b"five"


def test_the_recorded_version_can_be_written_over_although_a_late_loser_is_newest(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """Who saw what counts is not refused because of it; and it is no successor of anything."""
    slow = _suspended(google_server, clock, "slow")
    clock.advance(25)
    with store_of(google_server, clock) as store:
        two = store.put(NAME, "two")
        slow.finish()
        three = store.put(NAME, "three", if_version=two.id)
        assert shown(client) == b"three"
        after = opened(google_server).versions_after(KEY, two.id)
        assert [version.id for version in after] == [three.id]
        assert store.get(NAME, stage=Stage.PREVIOUS).version == two.id


def test_a_slow_writer_whose_version_was_rolled_forward_succeeded(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """It added, was suspended before it recorded, and another found its version: it was current once."""
    slow = _suspended(google_server, clock, "slow", after=True)
    clock.advance(25)
    with store_of(google_server, clock) as store:
        two = store.get(NAME)
        assert two.value.matches("slow")
        three = store.put(NAME, "three", if_version=two.version)
        assert slow.finish() is None
        assert store.get(NAME).version == three.id
        assert store.get(NAME, stage=Stage.PREVIOUS).version == two.version


def test_a_version_is_rolled_forward_with_its_kind_and_record(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """Both stand in the intent, so that whoever finds the version knows them."""
    opened(google_server, clock).put(KEY, SecretValue("one"), None)
    dying = opened(google_server, clock)
    google_server.faults.run("UpdateSecret", lambda: _die_at(dying, 1), skip=0)
    with pytest.raises(DiedError):
        dying.put(KEY, SecretValue(b"binary like text"), None, "v1.1.2.a.b")
    assert shown(client) == b"binary like text"
    clock.advance(25)
    opened(google_server, clock).put(KEY, SecretValue("three"), None)
    previous = opened(google_server, clock).get(KEY, Stage.PREVIOUS)
    assert (previous.value.kind, previous.record) == ("binary", "v1.1.2.a.b")


def test_a_foreign_version_counts_and_is_reported(
    store: SecretStore, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program added it: it is current, for `if_version` too, and the log says its number."""
    one = store.put(NAME, "one")
    added(client, "foreign")
    with caplog.at_level(logging.WARNING, "strongroom.gcp"):
        with pytest.raises(SecretConflictError):
            store.put(NAME, "mine", if_version=one.id)
        foreign = store.get(NAME)
        assert foreign.value.matches("foreign")
        store.put(NAME, "three", if_version=foreign.version)
    assert "version 2 was written by another program" in caplog.text
    assert store.get(NAME, stage=Stage.PREVIOUS).version == foreign.version
    assert [version.id.partition(".")[0] for version in store.versions(NAME)] == ["3", "2", "1"]


def test_a_foreign_version_that_comes_between_is_written_over(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """Another program does not ask: whichever side of our add it lands on, ours is the newest in the end."""
    with store_of(google_server, clock) as store:
        store.put(NAME, "one")
        for when in ("before", "after"):
            google_server.faults.run("AddSecretVersion", lambda: _added_there(google_server, "foreign"), when)
            written = store.put(NAME, f"ours {when}")
            assert shown(client) == f"ours {when}".encode()
            assert store.get(NAME).version == written.id


def _added_there(server: Google, text: str) -> None:
    """By another program, in the middle of a call: not through the network, which that call holds."""
    from google.cloud import secretmanager_v1 as api

    server.secrets.add_secret_version(
        api.AddSecretVersionRequest(parent=SECRET, payload={"data": text.encode()})
    )


def test_tags_set_meanwhile_do_not_disturb(google_server: Google, client: Any, clock: FakeClock) -> None:
    """They change the etag and not the intent: the writer looks, and records."""
    slow = _suspended(google_server, clock, "slow")
    with store_of(google_server, clock) as store:
        store.set_tags(NAME, {"env": "prod"})
        assert slow.finish() is None
        assert shown(client) == b"slow"
        assert dict(store.describe(NAME).tags) == {"env": "prod"}
    assert "strongroom.intent" not in kept(client)


def test_a_writer_suspended_past_its_time_adds_nothing(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """It looks at the clock before it adds; what nobody took over is free again."""
    first = opened(google_server, clock)
    first.put(KEY, SecretValue("one"), None)
    google_server.faults.run("UpdateSecret", lambda: clock.advance(25), "after")
    with pytest.raises(UnavailableError) as caught:
        first.put(KEY, SecretValue("two"), None)
    assert caught.value.performed is False
    assert shown(client) == b"one"
    first.put(KEY, SecretValue("three"), None)
    assert shown(client) == b"three"


@pytest.mark.parametrize("stop", ["UpdateSecret", "AddSecretVersion"])
@pytest.mark.parametrize("again", [False, True])
def test_a_purge_under_a_writer_is_no_success_of_it(
    google_server: Google, clock: FakeClock, stop: str, again: bool
) -> None:
    """The secret is gone, or begins a new life, which the writer does not touch."""
    slow = _suspended(google_server, clock, "slow", stop)
    with store_of(google_server, clock) as store:
        store.purge(NAME)
        if again:
            store.put(NAME, "new life")
        error = slow.finish()
        if again:
            assert store_of(google_server, clock).put(NAME, "next").id
        elif stop == "AddSecretVersion":
            assert isinstance(error, SecretConflictError)
            assert error.retryable


def test_a_purge_whose_answer_is_lost_is_read_back(store: SecretStore, google_server: Google) -> None:
    """Gone is gone; a repeat of the purge would say not found."""
    store.put(NAME, "one")
    google_server.faults.drop("DeleteSecret", "after")
    store.purge(NAME)
    with pytest.raises(SecretNotFoundError):
        store.get(NAME)
    store.put(NAME, "one")
    google_server.faults.drop("DeleteSecret", "before")
    with pytest.raises(UnavailableError) as caught:
        store.purge(NAME)
    assert caught.value.performed is None


def test_an_id_of_a_former_life_opens_nothing_even_if_all_is_the_same(
    store: SecretStore, google_server: Google
) -> None:
    """The number and the value are equal; the secret was made anew by another process."""
    old = store.put(NAME, "same")
    with store_of(google_server) as other:
        other.purge(NAME)
        new = other.put(NAME, "same")
    assert new.id.partition(".")[0] == old.id.partition(".")[0]
    with pytest.raises(SecretConflictError):
        store.put(NAME, "mine", if_version=old.id)
    with pytest.raises(SecretNotFoundError):
        store.get(NAME, version=old.id)
    assert store.get(NAME, version=new.id).value.matches("same")
    assert store.get(NAME).version == new.id


def test_a_promote_that_meets_another_writer_is_not_superseded(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """It gets a conflict that may be tried again; the rotation goes on with the same pending value."""
    with store_of(google_server, clock) as store:
        base = store.put(NAME, "one")
        pending = store.pending(NAME, str(uuid.uuid4()))
        pending.put("two", base_version=base.id)
        slow = _suspended(google_server, clock, "two", condition=base.id)
        with store_of(google_server, Frozen(clock)) as other, pytest.raises(SecretConflictError) as caught:
            other.pending(NAME, pending.rotation_id).promote()
        assert caught.value.retryable
        assert slow.finish() is None
        assert pending.promote().id == store.get(NAME).version
        assert shown(client) == b"two"


def test_a_promoted_value_is_known_again_above_a_late_loser(
    google_server: Google, client: Any, clock: FakeClock
) -> None:
    """The loser stands right after the base, but never counted: the rotation is no superseded one."""
    slow = _suspended(google_server, clock, "slow")
    clock.advance(25)
    with store_of(google_server, clock) as store:
        base = store.put(NAME, "two")
        pending = store.pending(NAME, str(uuid.uuid4()))
        pending.put("rotated", base_version=base.id)
        slow.finish()
        first = pending.promote()
        assert pending.promote().id == first.id
        assert shown(client) == b"rotated"
        assert store.get(NAME, stage=Stage.PREVIOUS).version == base.id


def test_only_a_version_that_is_not_current_is_retired(google_server: Google, client: Any) -> None:
    """A destroyed newest would make `latest` fail for everybody."""
    backend = opened(google_server)
    one = backend.put(KEY, SecretValue("one"), None)
    two = backend.put(KEY, SecretValue("two"), None)
    with pytest.raises(SecretConflictError):
        backend.retire(KEY, two.id)
    for version in (one.id, one.id, "1.1", "nonsense", f"7{two.id[1:]}"[:1] + one.id[1:]):
        with_error = None
        try:
            backend.retire(KEY, version)
        except SecretConflictError as exc:
            with_error = exc
        assert (with_error is None) == (not version.startswith("7"))
    state = client.get_secret_version(name=f"{SECRET}/versions/1").state
    assert state.name == "DESTROYED"
    assert shown(client) == b"two"


@pytest.mark.parametrize("call", CALLS)
def test_no_error_of_a_write_holds_the_value(store: SecretStore, google_server: Google, call: str) -> None:
    """Whatever fails, at whichever call."""
    store.put(NAME, "one")
    google_server.faults.drop(call, "before", times=50)
    with pytest.raises(UnavailableError) as caught:
        store.put(NAME, CANARY)
    assert_no_canary_in(caught.value)


def test_the_settings_name_the_time_an_intent_holds(google_server: Google, client: Any) -> None:
    """Four attempts' time, on the store's clock."""
    clock, seen = FakeClock(), list[str]()
    google_server.faults.run(
        "AddSecretVersion",
        lambda: seen.append(client.get_secret(name=SECRET).annotations["strongroom.intent"]),
        skip=1,
    )
    store_of(google_server, clock).put(NAME, "one")
    deadline = int(seen[0].split(".")[3])
    assert deadline - int(clock.now().timestamp() * 1000) == int(4 * 1000 * Settings().timeout)


def test_a_secret_that_somebody_made_and_never_filled(store: SecretStore, client: Any) -> None:
    """It has no value: not found, vacant for ABSENT."""
    made(client)
    with pytest.raises(SecretNotFoundError):
        store.get(NAME)
    with pytest.raises(SecretNotFoundError):
        store.versions(NAME)
    with pytest.raises(SecretNotFoundError):
        store.describe(NAME)
    assert store.put(NAME, "one", if_version=ABSENT).id.startswith("1.")
