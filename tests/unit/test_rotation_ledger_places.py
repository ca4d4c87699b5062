"""What is particular to a ledger in a file, to one in a store, and to the URLs that name them."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import (
    BackendNotInstalledError,
    IntegrityError,
    InvalidRequestError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry, State
from strongroom.rotation.ledgerpage import KEPT
from strongroom.rotation.ledgers import open_ledger
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.rotation.storeledger import PER_PAGE, SETTLES, StoreLedger, _key
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.testing.faults import FaultyBackend
from strongroom.value import SecretValue
from tests.chaos.forked import Say, forked
from tests.rotation_scene import NAME, Scene
from tests.scale import scaled
from tests.unit.ledger_conformance import SECRET, at, begun, claimed, closed


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> FaultyBackend:
    return FaultyBackend(MemoryBackend(clock=clock), clock=clock)


@pytest.fixture
def in_store(store: FaultyBackend, clock: FakeClock) -> StoreLedger:
    return StoreLedger(store, clock)


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whoever writes it decides what is revoked."""
    with closing(SQLiteLedger(tmp_path / "ledger.db")) as ledger:
        begun(ledger)
        assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_ledgers_that_make_one_file_at_once_all_work(tmp_path: Path) -> None:
    """SQLite turns away at once whoever meets another turning a new file to WAL."""
    for number in range(scaled(50)):
        ledgers = [SQLiteLedger(tmp_path / f"{number}.db") for _ in range(4)]
        answers = at_once([partial(begun, ledger) for ledger in ledgers])
        assert [type(answer) for answer in answers].count(Entry) == 1
        for ledger in ledgers:
            ledger.close()


@pytest.mark.parametrize("content", [None, b"not a database, long enough to be read as one" * 40])
def test_a_file_that_does_not_answer_is_unavailable(tmp_path: Path, content: bytes | None) -> None:
    """Without a ledger nothing may be done at a target: a missing folder, and no database."""
    path = tmp_path / "no" / "ledger.db" if content is None else tmp_path / "junk"
    if content:
        path.write_bytes(content)
    with pytest.raises(UnavailableError) as caught:
        begun(SQLiteLedger(path))
    assert caught.value.performed is False


def test_a_forked_worker_and_its_parent_fence_each_other(tmp_path: Path) -> None:
    """Both go on with the ledger that was open: the child takes over, and the parent is told."""
    clock = FakeClock()
    ledger = SQLiteLedger(tmp_path / "ledger.db", clock)
    entry = claimed(ledger, begun(ledger))

    def work(say: Say) -> None:
        clock.advance(60)
        say(claimed(ledger, entry).epoch)

    with forked(work) as (child,):
        assert child.hear() == entry.epoch + 1
    with pytest.raises(Exception, match="taken over"):
        ledger.record(entry, State.CREATED)
    ledger.close()


@pytest.mark.parametrize("hours", [-24, 24], ids=["back", "ahead"])
def test_a_clock_that_jumps_costs_a_wait_or_a_takeover_and_never_the_fence(
    tmp_path: Path, hours: int
) -> None:
    """Back: the next worker waits, and the one that has it goes on. Ahead: it is taken over at once."""
    clock = FakeClock()
    one, two = SQLiteLedger(tmp_path / "ledger.db", clock), SQLiteLedger(tmp_path / "ledger.db", clock)
    entry = claimed(one, begun(one))
    clock.advance(hours * 3600)
    taken = two.claim(entry.id)
    if hours < 0:
        assert taken is None
        assert one.record(one.renew(entry), State.CREATED).epoch == entry.epoch
    else:
        assert taken
        with pytest.raises(Exception, match="taken over"):
            one.record(entry, State.CREATED)
    one.close()
    two.close()


def test_no_pass_looks_at_what_waits_or_is_over(tmp_path: Path) -> None:
    """What is due, what a person has to do and what is old has an index, however much else there is."""
    with closing(SQLiteLedger(tmp_path / "ledger.db")) as ledger:
        ledger.now()
        begun(ledger)
        connection = ledger._file._open()
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        ledger.due(10)
        ledger.claim_due(10)
        ledger.find(states=[State.WAITING, State.ORPHANED])
        ledger.purge(ledger.now())
        ledger.known([SECRET])
        connection.set_trace_callback(None)
        found = [text for text in asked if text.lstrip().startswith(("SELECT", "DELETE"))]
        steps = [row[3] for text in found for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    used = {step.split("INDEX ")[1].split(" ")[0] for step in steps if "INDEX" in step}
    assert {
        f"strongroom_{name}" for name in ("secret_due", "rotation_due", "rotation_old", "rotation_moving")
    } <= used
    assert [step for step in steps if step.startswith("SCAN") and "rotation_moving" not in step] == []


def test_a_store_without_compare_and_set_keeps_no_ledger() -> None:
    """Two workers would both believe that they have a rotation."""
    with pytest.raises(UnsupportedOperationError, match="no compare-and-set"):
        StoreLedger(MemoryBackend(ALL & ~Capability.CAS))


@pytest.mark.parametrize("after", [False, True], ids=["request", "answer"])
def test_a_write_whose_answer_is_lost_is_looked_at_again(
    in_store: StoreLedger, store: FaultyBackend, after: bool
) -> None:
    """Of every call; whether it was performed or not, it is performed once."""
    entry = begun(in_store)
    for position, call in enumerate(
        (
            lambda: claimed(in_store, entry),
            lambda: in_store.record(in_store.get(entry.id), State.PROMOTED),
            lambda: in_store.release(in_store.get(entry.id)),
            lambda: in_store.claim_due(1)[0],
            lambda: in_store.move(entry.id, [State.PROMOTED], State.ORPHANED),
        )
    ):
        store.timeout("put", after=after)
        call()
        assert in_store._read(SECRET)[0].revision == position + 2
    assert in_store.get(entry.id).epoch == 3


def test_a_store_that_never_answers_is_unavailable(in_store: StoreLedger, store: FaultyBackend) -> None:
    """What was asked of it may have been done: that is said."""
    entry = begun(in_store)
    store.timeout("put", times=1 << 30)
    with pytest.raises(UnavailableError) as caught:
        in_store.claim(entry.id)
    assert caught.value.performed is None


def test_labels_that_lag_do_not_fence_a_worker(
    in_store: StoreLedger, store: FaultyBackend, clock: FakeClock
) -> None:
    """A read right after a write may answer with the record before it: the worker reads again."""
    mine = claimed(in_store, begun(in_store))
    store.stale("get", times=3)
    assert in_store.record(mine, State.CREATED).state is State.CREATED
    assert len(clock.slept) >= 1
    store.stale("get", times=1 << 30)
    start = clock.monotonic()
    with pytest.raises(UnavailableError, match="old record"):
        in_store.get(mine.id)
    assert SETTLES <= clock.monotonic() - start <= SETTLES + 1


def test_a_store_that_lags_for_other_processes_only_costs_a_repeat(
    in_store: StoreLedger, store: FaultyBackend, clock: FakeClock
) -> None:
    """The write is compared with what is there: a stale reader loses no one's rotation."""
    other = StoreLedger(store, clock)
    entry = begun(in_store)
    assert other.get(entry.id).epoch == 0
    claimed(in_store, entry)
    store.stale("get")
    assert other.claim(entry.id) is None


def test_many_secrets_are_found_by_the_index(
    in_store: StoreLedger, store: FaultyBackend, clock: FakeClock
) -> None:
    """On more than one page of it, and by a process that has seen none of them."""
    names = [f"prod:{number}" for number in range(PER_PAGE + 3)]
    for name in names:
        in_store.plan(name, clock.now(), expected=None)
    other = StoreLedger(store, clock)
    assert sorted(secret for secret, _ in other.due(1000)) == sorted(names)
    entry = begun(in_store, names[-1])
    assert StoreLedger(store, clock).get(entry.id) == entry
    assert len(other.due(1000)) == PER_PAGE + 2


def test_threads_that_enrol_secrets_lose_none(store: FaultyBackend, clock: FakeClock) -> None:
    """Two workers on each of four ledgers meet new secrets at once, where a page of the index ends."""
    first = StoreLedger(store, clock)
    for number in range(PER_PAGE - 3):
        first._enrol(f"other:{number}")
    ledgers = [StoreLedger(store, clock) for _ in range(4)]
    answers = at_once([partial(begun, ledger, f"prod:{number}") for number, ledger in enumerate(ledgers * 2)])
    assert all(isinstance(answer, Entry) for answer in answers)
    assert len(StoreLedger(store, clock).find()) == 8


def test_a_record_stays_within_the_stores_limit(clock: FakeClock) -> None:
    """The oldest rotations that are over go first; the open one and the last success never."""

    class Small(MemoryBackend):
        def limit(self, key: object) -> int:
            return 2000

    ledger = StoreLedger(Small(clock=clock), clock)
    ids = []
    for _ in range(8):
        ids.append(closed(ledger).id)
        clock.advance(1)
    entry = at(ledger, State.GRACE)
    kept = [found.id for found in ledger.find()]
    assert kept[0] == entry.id
    assert 1 < len(kept) < 8
    assert kept[1:] == ids[::-1][: len(kept) - 1]


def test_a_record_remembers_a_number_of_rotations(in_store: StoreLedger, clock: FakeClock) -> None:
    """It is one value, read and written with every step."""
    for _ in range(KEPT + 3):
        closed(in_store)
        clock.advance(1)
    assert len(in_store.find()) == KEPT


def test_records_are_neither_listed_nor_named_like_a_secret(
    in_store: StoreLedger, store: FaultyBackend
) -> None:
    """They stand in the reserved name space."""
    begun(in_store)
    assert list(store.list_info("")) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"secret":"prod:other"}', "no json", '{"secret": 7}'])
def test_a_damaged_record_is_no_record(in_store: StoreLedger, store: FaultyBackend, text: str) -> None:
    """Another secret's neither: whoever can write the store must not move a rotation's state by a copy."""
    begun(in_store)
    version = store.get(_key(SECRET), Stage.CURRENT).version
    store.put(_key(SECRET), SecretValue(text), version)
    with pytest.raises(IntegrityError, match="damaged"):
        StoreLedger(store).next_due(SECRET)


def test_versions_that_a_provider_bills_are_retired(clock: FakeClock) -> None:
    """Where compare-and-set is among our own writers, such as Google's."""
    guarded = FaultyBackend(MemoryBackend(ALL & ~Capability.CAS | Capability.CAS_GUARDED, clock))
    at(StoreLedger(guarded, clock), State.SET)
    assert guarded.calls["retire"] == guarded.calls["put"] - 2  # the first of the record, and the index


def test_a_forked_process_drops_the_stores_sessions(in_store: StoreLedger, store: FaultyBackend) -> None:
    """Also where the fork came while another thread read the index."""
    begun(in_store)
    dropped = []
    store.after_fork = lambda: dropped.append(os.getpid())  # type: ignore[method-assign]
    busy, let = threading.Event(), threading.Event()

    def hold() -> None:
        with in_store._lock:
            busy.set()
            let.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert busy.wait(30)
    with forked(lambda say: say([len(in_store.find()), len(dropped)])) as (child,):
        assert child.hear(30) == [1, 1]
    let.set()
    holder.join(30)


def test_an_engine_carries_a_rotation_on_in_a_store(tmp_path: Path) -> None:
    """The ledger stands in the secret's own store; two engines, each of which sees what the other did."""
    scene = Scene(tmp_path, "two")
    with closing(Engine(StoreLedger(scene.backend, scene.clock), [scene.policy], clock=scene.clock)) as one:
        entry = one.advance(one.start(NAME).id)
    assert (entry.state, scene.works()) == (State.GRACE, True)
    scene.clock.advance(2 * 3600)
    with closing(Engine(StoreLedger(scene.backend, scene.clock), [scene.policy], clock=scene.clock)) as two:
        assert [done.state for done in two.tick().advanced] == [State.DONE]
        assert two.status(NAME)[0].version == scene.store.get(NAME).version
    assert scene.only_current_is_live()
    assert list(scene.store.list_names()) == [NAME]


def test_a_url_names_a_ledger(tmp_path: Path, clock: FakeClock) -> None:
    """A file, a database, or a store by its alias."""
    with closing(open_ledger(f"sqlite://{tmp_path}/ledger.db", clock=clock)) as ledger:
        assert isinstance(ledger, SQLiteLedger)
        assert begun(ledger).started == clock.now()
    opened: list[str] = []

    def stores(alias: str) -> MemoryBackend:
        opened.append(alias)
        return MemoryBackend(clock=clock)

    assert isinstance(open_ledger("strongroom://prod", stores=stores, clock=clock), StoreLedger)
    assert opened == ["prod"]
    password = SecretValue("x")
    assert isinstance(open_ledger("postgresql://db.example.net/rotation", password=password), PostgresLedger)


def test_a_ledger_whose_driver_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is asked first: to open one loads nothing."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ledger = open_ledger("postgresql://127.0.0.1/rotation")
    with pytest.raises(BackendNotInstalledError, match=r"pip install 'strongroom\[psycopg\]'"):
        ledger.now()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:ledger.db", "sqlite://host/ledger.db", "strongroom://", "strongroom://a/b", "mysql://host/x", "postgresql://host",
        "sqlite:///x?mode=ro",
    ],
)  # fmt: skip
def test_a_url_that_names_none_is_refused(url: str) -> None:
    """A path that depends on the working folder would be another ledger in each."""
    with pytest.raises(InvalidRequestError):
        open_ledger(url, stores=lambda alias: MemoryBackend())
