"""A delivery takes effect once, however often and by however many hands it comes."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.testing.clock import FakeClock
from strongroom.webhooks import Delivery, Receiver, ReplayStore, Sender, WebhookError
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.unit.webhook_support import BODY, NAME, headers, opened, secret

DIGEST = "d" * 64


class Effects:
    """A table beside the ids, in one file: what the effect of a delivery is."""

    def __init__(self, path: Path):
        self.path = path
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE IF NOT EXISTS effect (id TEXT)")
            db.commit()

    def __call__(self, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO effect VALUES ('x')")

    def of(self, delivery: Delivery, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO effect VALUES (?)", (delivery.id,))

    @property
    def count(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            found: int = db.execute("SELECT count(*) FROM effect").fetchone()[0]
        return found


@pytest.fixture
def clock() -> FakeClock:
    """The receiver's."""
    return FakeClock()


@pytest.fixture
def seen(tmp_path: Path, clock: FakeClock) -> ReplayStore:
    """The ids that were seen."""
    return ReplayStore(tmp_path / "seen.db", clock=clock, wait=timedelta(seconds=20))


@pytest.fixture
def effects(tmp_path: Path, seen: ReplayStore) -> Effects:
    """In the same file."""
    return Effects(tmp_path / "seen.db")


@pytest.fixture
def receiver(seen: ReplayStore, clock: FakeClock) -> Receiver:
    """Of one sender."""
    store = opened(MemoryBackend(clock=clock), clock)
    store.put(NAME, secret())
    return Receiver(store, NAME, replays=seen, clock=clock)


def test_fifty_at_once_take_effect_once(receiver: Receiver, effects: Effects) -> None:
    """Fifty threads with one delivery; all but one are told that it was there."""
    found, count = headers(), scaled(50, share=2)
    with ThreadPoolExecutor(count) as threads:
        answers = list(threads.map(lambda _: receiver.receive(found, BODY, effects.of), range(count)))
    assert (answers.count(True), effects.count) == (1, 1)


def test_another_attempt_is_the_same_delivery(receiver: Receiver, effects: Effects, clock: FakeClock) -> None:
    """Its timestamp and signature are new, its id is not."""
    assert receiver.receive(headers(), BODY, effects.of)
    clock.advance(7200)
    again = headers(at=int(clock.now().timestamp()))
    assert not receiver.receive(again, BODY, effects.of)
    assert effects.count == 1


def test_the_same_id_with_another_body_is_refused_and_told(
    receiver: Receiver, effects: Effects, caplog: pytest.LogCaptureFixture
) -> None:
    """Only who has the secret can do that: somebody should know."""
    receiver.receive(headers(), BODY, effects.of)
    with pytest.raises(WebhookError) as caught, caplog.at_level(logging.WARNING):
        receiver.receive(headers(b"{}"), b"{}", effects.of)
    assert caught.value.reason == "another body"
    assert str(caught.value) == "webhook: the webhook was refused"
    assert "another body" in caplog.text
    assert effects.count == 1


def test_a_forgery_does_not_use_up_an_id(receiver: Receiver, effects: Effects) -> None:
    """Only what is genuine is remembered."""
    with pytest.raises(WebhookError):
        receiver.receive(headers(number=1), BODY, effects.of)
    assert receiver.receive(headers(), BODY, effects.of)


def test_senders_do_not_share_ids(seen: ReplayStore, effects: Effects) -> None:
    """Each counts its own messages."""
    assert seen.once("1", DIGEST, effects, source="acme")
    assert seen.once("1", DIGEST, effects, source="other")


def test_an_effect_that_fails_is_undone_with_its_id(seen: ReplayStore, effects: Effects) -> None:
    """Its own error reaches the caller, and the next attempt runs it."""

    def failing(db: sqlite3.Connection) -> None:
        effects(db)
        raise KeyError("effect")

    with pytest.raises(KeyError, match="effect"):
        seen.once("1", DIGEST, failing)
    assert effects.count == 0
    assert seen.once("1", DIGEST, effects)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "END"])
def test_an_effect_cannot_end_the_transaction(seen: ReplayStore, effects: Effects, ending: str) -> None:
    """A crash right after would double it; neither by a statement nor by the connection's own method."""

    def by_statement(db: sqlite3.Connection) -> None:
        effects(db)
        db.execute(ending)

    def by_method(db: sqlite3.Connection) -> None:
        effects(db)
        db.commit()

    for effect in (by_statement, by_method):
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            seen.once("1", DIGEST, effect)
    assert effects.count == 0


def test_a_coroutine_is_no_effect(seen: ReplayStore) -> None:
    """Nobody would await it, and the delivery would be lost."""

    async def effect(db: sqlite3.Connection) -> None:
        raise AssertionError

    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="ordinary function"):
            seen.once("1", DIGEST, effect)


def test_ids_are_kept_for_as_long_as_a_sender_tries_again(
    seen: ReplayStore, effects: Effects, clock: FakeClock
) -> None:
    """And not for ever: the next delivery sweeps up."""
    seen.once("1", DIGEST, effects)
    clock.advance(timedelta(days=7).total_seconds())
    assert not seen.once("1", DIGEST, effects)
    clock.advance(1)
    assert seen.once("2", DIGEST, effects)
    with closing(sqlite3.connect(effects.path)) as db:
        assert db.execute("SELECT id FROM strongroom_deliveries").fetchall() == [("2",)]


def test_a_retention_shorter_than_a_recording_is_good_for_is_refused(tmp_path: Path) -> None:
    """A recorded request is good for the tolerance, on both sides."""
    with pytest.raises(InvalidRequestError):
        ReplayStore(tmp_path / "seen.db", retention=timedelta(hours=1))


def test_the_file_is_the_users_own(tmp_path: Path) -> None:
    """Made with 0600, whatever the umask."""
    before = os.umask(0)
    try:
        ReplayStore(tmp_path / "seen.db")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_an_applications_own_database_keeps_its_journal(tmp_path: Path) -> None:
    """The ids may live beside its tables, in its own mode."""
    with closing(sqlite3.connect(tmp_path / "app.db")) as db:
        db.execute("CREATE TABLE t (a)")
        ReplayStore(tmp_path / "app.db").once("1", DIGEST, lambda db: db.execute("INSERT INTO t VALUES (1)"))
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("SELECT a FROM t").fetchall() == [(1,)]


def test_a_file_that_is_held_or_no_database_is_unavailable(tmp_path: Path, effects: Effects) -> None:
    """Never "not seen": nothing was done, and the sender tries again."""
    impatient = ReplayStore(effects.path, wait=timedelta(milliseconds=1))
    with closing(sqlite3.connect(effects.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as caught:
            impatient.once("1", DIGEST, effects)
    assert (caught.value.performed, caught.value.__context__) == (False, None)
    assert effects.count == 0
    (tmp_path / "text").write_text("no database" * 100)
    for path in (tmp_path / "text", tmp_path / "no" / "folder"):
        with pytest.raises(UnavailableError):
            ReplayStore(path)


def test_a_secret_of_another_form_is_no_refusal(seen: ReplayStore, clock: FakeClock) -> None:
    """It is the receiver's own fault, told with the secret's name; a sender gives up on who refuses it."""
    store = opened(MemoryBackend(clock=clock), clock)
    store.put(NAME, f"not a webhook's, {CANARY}")
    with pytest.raises(InvalidRequestError) as caught:
        Receiver(store, NAME, replays=seen, clock=clock).verify(headers(), BODY)
    assert_no_canary_in(caught.value)
    assert str(caught.value).startswith(f"webhook {NAME}: not a key of Standard Webhooks (")
    with pytest.raises(InvalidRequestError, match=f"webhook {NAME}: not a key"):
        Sender(store, NAME, clock=clock).headers(BODY)


_KILLED = """
import os, signal, sys
from strongroom.webhooks import ReplayStore
path, ids, point = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def effect(db, number):
    if number == ids and point == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    db.execute("INSERT INTO effect VALUES (?)", (str(number),))
    if number == ids and point == "after":
        os.kill(os.getpid(), signal.SIGKILL)
store = ReplayStore(path)
for number in range(ids + 1):
    store.once(str(number), "d", lambda db, number=number: effect(db, number))
    if number == ids and point == "committed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("point", ["before", "after", "committed"])
def test_a_kill_around_the_effect_loses_and_doubles_nothing(
    tmp_path: Path, effects: Effects, point: str
) -> None:
    """Between the effect and the id's commit too; after a restart every id is sent again."""
    argv = [sys.executable, "-c", _KILLED, str(effects.path), "3", point]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
    store = ReplayStore(effects.path)
    ran = [store.once(str(n), "d", effects) for n in range(5)]
    assert ran == [False, False, False, point != "committed", True]
    assert effects.count == 5
