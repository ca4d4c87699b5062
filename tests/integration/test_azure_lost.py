"""Lost answers and throttling: what is repeated, what is looked up, and on whose clock it is waited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.backend import Backend, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.testing.clock import FakeClock
from tests.canary import assert_no_canary_in
from tests.integration.azure_support import DB, open_store, text
from tests.servers.azure import Vault
from tests.servers.https import Response

NONSENSE = Response(200, b"{}")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["plain", "guarded"])
def store(
    request: pytest.FixtureRequest, azure_server: Vault, clock: FakeClock, tmp_path: Path
) -> Iterator[Backend]:
    coordinator = SQLiteCoordinator(tmp_path / "leases.db", clock) if request.param == "guarded" else None
    store = open_store(azure_server, coordinator, clock=clock)
    store.put(DB, text("1"), None)
    azure_server.calls.clear()
    yield store
    store.close()
    if coordinator:
        coordinator.close()


def _is_missing(store: Backend) -> bool:
    try:
        store.get(DB, Stage.CURRENT)
    except SecretNotFoundError:
        return True
    return False


Write = Callable[[Backend], object]
WRITES: dict[str, tuple[str, Write]] = {
    "put": ("secrets.set", lambda store: store.put(DB, text("2"), None)),
    "set_tags": ("secrets.update", lambda store: store.set_tags(DB, {"team": "core"})),
    "delete": ("secrets.delete", lambda store: store.delete(DB)),
    "purge": ("deletedsecrets.purge", lambda store: store.purge(DB)),
    "retire": ("secrets.update", lambda store: store.retire(DB, store.get(DB, Stage.CURRENT).version)),
}
EFFECTS: dict[str, Callable[[Backend], bool]] = {
    "put": lambda store: store.get(DB, Stage.CURRENT).value == text("2"),
    "set_tags": lambda store: dict(store.describe(DB).tags) == {"team": "core"},
    "delete": _is_missing,
    "purge": _is_missing,
    "retire": _is_missing,
}


def _error(call: Callable[[], object]) -> SecretStoreError:
    with pytest.raises(UnavailableError) as caught:
        call()
    assert_no_canary_in(caught.value)
    return caught.value


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_is_lost_is_looked_up(store: Backend, azure_server: Vault, write: str) -> None:
    """And not repeated, but for what may be done twice: it succeeds, having been done once."""
    operation, call = WRITES[write]
    azure_server.faults.drop_answers(operation)
    call(store)
    assert EFFECTS[write](store)
    assert azure_server.calls[operation] == (2 if write == "retire" else 1)


@pytest.mark.parametrize("write", [name for name in WRITES if name != "retire"])
def test_a_write_that_may_have_been_lost_is_not_repeated(
    store: Backend, azure_server: Vault, write: str
) -> None:
    """Nobody saw it arrive, but it may be on its way: the caller is told so."""
    operation, call = WRITES[write]
    azure_server.faults.drop_requests(operation)
    assert _error(lambda: call(store)).performed is None
    assert azure_server.calls[operation] == 1


def test_a_restore_whose_answer_is_lost_is_looked_up(store: Backend, azure_server: Vault) -> None:
    """The secret is there again."""
    store.delete(DB)
    azure_server.faults.drop_answers("deletedsecrets.recover")
    store.restore(DB)
    assert store.get(DB, Stage.CURRENT).value == text("1")


@pytest.mark.parametrize(("write", "look"), [
    ("put", "secrets.versions"), ("set_tags", "secrets.get"),
    ("delete", "deletedsecrets.get"), ("purge", "deletedsecrets.get"),
])  # fmt: skip
def test_who_may_not_look_it_up_is_told_that_nobody_knows(
    store: Backend, azure_server: Vault, monkeypatch: pytest.MonkeyPatch, write: str, look: str
) -> None:
    """The denial is of the look, not of the write."""
    operation, call = WRITES[write]
    before = azure_server.faults.before

    def losing(asked: str) -> object:
        if asked == operation:
            azure_server.faults.deny(look)
        return before(asked)

    if write == "purge":
        store.delete(DB)
    monkeypatch.setattr(azure_server.faults, "before", losing)
    azure_server.faults.drop_answers(operation)
    assert _error(lambda: call(store)).performed is None


def test_a_lost_put_is_found_by_its_own_id(store: Backend, azure_server: Vault) -> None:
    """Not by its value, nor by being the newest: the version returned is the one that was written."""
    azure_server.faults.drop_answers("secrets.set")
    version = store.put(DB, text("1"), None)
    assert store.get(DB, version.id).value == text("1")
    assert store.versions(DB)[0].id == version.id
    assert len(store.versions(DB)) == 2


def test_an_answer_without_sense_is_looked_up_too(store: Backend, azure_server: Vault) -> None:
    """With status 200 the SDK takes any JSON for an answer; a put does not happen by it."""
    azure_server.faults.answer_with("secrets.set", NONSENSE)
    assert _error(lambda: store.put(DB, text("2"), None)).performed is None
    azure_server.faults.answer_with("secrets.get", NONSENSE, times=3)
    assert "sense" in _error(lambda: store.get(DB, Stage.CURRENT)).message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"value": "x"}', b'{"id": "x", "value": "y"}'])
def test_no_page_passes_for_a_secret(store: Backend, azure_server: Vault, body: bytes) -> None:
    """Whatever a gateway answers in the vault's place."""
    azure_server.faults.answer_with("secrets.get", Response(200, body), times=3)
    assert _error(lambda: store.get(DB, Stage.CURRENT)).performed is False


def test_reads_are_repeated_and_writes_that_did_not_begin(
    store: Backend, azure_server: Vault, clock: FakeClock
) -> None:
    """Two answers lost of three attempts cost two pauses, on the store's clock."""
    azure_server.faults.drop_answers("secrets.get", times=2)
    assert store.get(DB, Stage.CURRENT).value == text("1")
    assert len(clock.slept) == 2
    assert azure_server.calls["secrets.get"] == 3


def test_a_vault_that_does_not_answer_in_time_is_unavailable(azure_server: Vault, clock: FakeClock) -> None:
    """Nothing came of a read; a write is in doubt, and is not repeated."""
    store = open_store(azure_server, clock=clock, timeout=1.0, attempts=1)
    with azure_server.faults.holding("secrets.get"):
        assert _error(lambda: store.get(DB, Stage.CURRENT)).performed is False
    with azure_server.faults.holding("secrets.set"):
        assert _error(lambda: store.put(DB, text("2"), None)).performed is None
    assert azure_server.calls["secrets.set"] == 1
    store.close()


@pytest.mark.parametrize(("operation", "call"), [
    ("secrets.get", lambda store: store.get(DB, Stage.CURRENT)),
    ("secrets.set", lambda store: store.put(DB, text("2"), None)),
    ("secrets.update", lambda store: store.set_tags(DB, {"team": "core"})),
    ("secrets.delete", lambda store: store.delete(DB)),
    ("secrets.list", lambda store: list(store.list_info(""))),
])  # fmt: skip
def test_retry_after_is_honoured_without_waiting_for_real(
    store: Backend, azure_server: Vault, clock: FakeClock, operation: str, call: Write
) -> None:
    """As long as the vault asks, for reads and writes: a throttled write was not performed."""
    azure_server.faults.throttle(operation, times=2, retry_after=7)
    call(store)
    assert clock.slept[:2] == [7.0, 7.0]
    assert azure_server.calls[operation] == 3


def test_after_three_attempts_the_vault_has_the_last_word(
    store: Backend, azure_server: Vault, clock: FakeClock
) -> None:
    """The error says how long it asked to wait, and that nothing happened."""
    azure_server.faults.throttle("secrets.set", times=9, retry_after=5)
    error = _error(lambda: store.put(DB, text("2"), None))
    assert (error.retry_after, error.performed, error.retryable) == (5.0, False, True)
    assert azure_server.calls["secrets.set"] == 3
    assert clock.slept == [5.0, 5.0]


def test_a_vault_that_asks_for_minutes_is_not_waited_for(
    store: Backend, azure_server: Vault, clock: FakeClock
) -> None:
    """The caller learns it at once."""
    azure_server.faults.throttle("secrets.get", retry_after=600)
    assert _error(lambda: store.get(DB, Stage.CURRENT)).retry_after == 600
    assert clock.slept == []


def test_the_limit_of_creates_is_kept_by_waiting(
    store: Backend, azure_server: Vault, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 in 10 seconds, here 3: the fourth comes through once the vault's own window has passed."""
    monkeypatch.setattr(azure_server.faults, "_clock", clock)
    azure_server.faults.limit_creates(3)
    for number in range(4):
        store.put(DB, text(str(number)), None)
    assert clock.slept == [10.0]
    assert store.get(DB, Stage.CURRENT).value == text("3")


def test_a_fault_of_the_vault_leaves_a_write_in_doubt(store: Backend, azure_server: Vault) -> None:
    """500 does not say that nothing happened."""
    azure_server.faults.answer_with("secrets.set", Response(500))
    assert _error(lambda: store.put(DB, text("2"), None)).performed is None
    azure_server.faults.answer_with("secrets.get", Response(503), times=2)
    assert store.get(DB, Stage.CURRENT).value == text("1")
