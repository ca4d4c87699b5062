"""Many workers on one ledger, as processes: each rotation happens once, also when some are killed."""

from __future__ import annotations

import os
import select
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import time

import pytest

from strongroom.clock import Clock
from strongroom.postgres import Login
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import LEASE_SECONDS, Entry, Ledger, OvertakenError, State
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.schedule import Schedule
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.store import SecretStore
from tests.chaos.forked import Forked, Say, forked
from tests.rotation_target import OneSlot, Target, TwoSlots, credential, identifier_of, no_fault
from tests.scale import scaled
from tests.servers.postgres import Postgres
from tests.unit.ledger_support import empty_database
from tests.unit.local_support import encrypted, local

pytestmark = pytest.mark.timeout(1800)
NAME = "db/password"
RACERS = 8
SPEED = 20.0
"""Seconds of the ledger's in one of ours: a lease ends after three."""
KILL_EVERY = 60
"""Effects at targets between two kills: about 30 rotations, in the time of a minute of the ledger's."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def open_store(folder: Path) -> SecretStore:
    """The store that all processes share."""
    return SecretStore(encrypted(local(folder)), cache=None, alias="prod")


@contextmanager
def racer(folder: Path) -> Iterator[Engine]:
    """One worker of a single secret, whose target has one slot."""
    store, target = open_store(folder), Target(folder / "target.db")
    policy = Policy(NAME, store, OneSlot(target), grace=timedelta())
    with store, closing(Engine(SQLiteLedger(folder / "ledger.db"), [policy])) as engine:
        yield engine


def race(folder: Path, rounds: int, go: int, say: Say) -> None:
    """In each round begin the same rotation as all others, and carry it on until it is over."""
    with racer(folder) as engine:
        for number in range(rounds):
            say("ready")
            os.read(go, 1)
            rotation_id = str(uuid.UUID(int=number + 1))
            engine.start(NAME, rotation_id=rotation_id)
            while (entry := engine.advance(rotation_id)).state.open:
                select.select([], [], [], 0.001)  # another has it: its steps are a few milliseconds
            say([entry.state.value, entry.epoch])


def test_eight_processes_that_race_rotate_once(tmp_path: Path) -> None:
    """All begin one rotation at the same moment: one value is made, set once, and all see the same end."""
    rounds = scaled(200, share=50)
    store, target, first = open_store(tmp_path), Target(tmp_path / "target.db"), credential("app")
    target.issue("app", first)
    with store:
        store.put(NAME, first)
    waiting, go = os.pipe()
    with forked(*[partial(race, tmp_path, rounds, waiting)] * RACERS) as racers:
        for _ in range(rounds):
            assert [one.hear() for one in racers] == ["ready"] * RACERS
            os.write(go, b"g" * RACERS)
            ends = [one.hear() for one in racers]
            assert ends == [["done", ends[0][1]]] * RACERS
    assert len(target.changes("change")) == rounds
    with open_store(tmp_path) as store:
        assert target.accepts(store.get(NAME).value)
    with closing(SQLiteLedger(tmp_path / "ledger.db")) as ledger:
        assert [entry.state for entry in ledger.find()] == [State.DONE] * rounds
    os.close(waiting)
    os.close(go)


class Fast(Clock):
    """The ledger's time, which passes quickly, and for all processes alike."""

    def __init__(self, start: datetime):
        self._start, self._began = start, time()

    def now(self) -> datetime:
        return self._start + SPEED * timedelta(seconds=time() - self._began)


class Fleet:
    """Workers of many secrets, each with two slots at a target of its own.

    Args:
        folder: of the store and the targets.
        login: of the ledger's database.
        count: how many secrets.
    """

    def __init__(self, folder: Path, login: Login, count: int):
        self.folder, self.login = folder, login
        self.names = [f"exchange/{number}" for number in range(count)]
        self.clock: Clock = Fast(START)

    def target(self, name: str, fault: Callable[[str], None] = no_fault) -> Target:
        """What accepts a secret."""
        return Target(self.folder / f"{name.replace('/', '-')}.db", fault)

    @contextmanager
    def engine(self, fault: Callable[[str], None] = no_fault) -> Iterator[Engine]:
        """One worker."""
        store, schedule = open_store(self.folder), Schedule("rate(30 days)")
        policies = [
            Policy(name, store, TwoSlots(self.target(name, fault)), schedule, grace=timedelta(seconds=1))
            for name in self.names
        ]
        with store, closing(Engine(PostgresLedger(self.login, self.clock), policies)) as engine:
            yield engine

    def prepare(self) -> None:
        """Give every secret a first value and a due time; then let that come."""
        with open_store(self.folder) as store:
            for name in self.names:
                value = credential(f"first-{name}")
                self.target(name).issue(identifier_of(value), value)
                store.put(name, value)
        with self.engine() as engine:
            assert engine.tick().begun == ()
        self.clock = Fast(START + timedelta(days=30, hours=1))

    def work(self, say: Say) -> None:
        """Pass after pass, until nothing is due and nothing open; every effect at a target is said."""

        def fault(point: str) -> None:
            if not point.startswith("at:"):
                say(point)

        with self.engine(fault) as engine:
            while engine.ledger.due(1) or engine.ledger.find(states=OPEN, limit=1):
                done = engine.tick()
                if not done.begun and not done.advanced:
                    select.select([], [], [], 0.05)  # another has the rest, or a lease has to end


OPEN = [state for state in State if state.open]


def run(fleet: Fleet, workers: int) -> int:
    """Let them work, and kill one every so often, in whose place another comes; how many were killed."""
    children = {child.pid: child for child in (Forked(fleet.work) for _ in range(workers))}
    heard = killed = 0
    while children:
        ready, _, _ = select.select([child._reader for child in children.values()], [], [])
        child = next(child for child in children.values() if child._reader == ready[0])
        said = child.hear()
        if said is None:
            del children[child.pid]
            assert child.wait() == 0
        elif (heard := heard + 1) % KILL_EVERY == KILL_EVERY // 2:
            child.kill()
            child.wait()
            del children[child.pid]
            replacement = Forked(fleet.work)
            children[replacement.pid] = replacement
            killed += 1
    return killed


def test_workers_of_which_some_are_killed_rotate_every_due_secret_once(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    """Three workers on PostgreSQL: each secret has one new version, its target one credential, the ledger one
    entry, and none was begun twice.
    """
    fleet = Fleet(tmp_path, empty_database(postgres_server, "fleet"), scaled(1000, share=100))
    fleet.prepare()
    assert run(fleet, 3) >= 1
    with fleet.engine() as engine, open_store(tmp_path) as store:
        entries = Counter(entry.secret for entry in engine.ledger.find(limit=10_000))
        assert entries == Counter(f"prod:{name}" for name in fleet.names)
        assert {entry.state for entry in engine.ledger.find(limit=10_000)} == {State.DONE}
        assert engine.tick().begun == ()
        for name in fleet.names:
            current = identifier_of(store.get(name).value)
            assert fleet.target(name).live() == {current}
            assert not current.startswith("first-")


def test_a_worker_that_wakes_after_its_lease_records_nothing(tmp_path: Path) -> None:
    """It was stopped between two steps; whoever took over has finished meanwhile."""
    clock = Fast(START)

    def begin(ledger: Ledger) -> Entry:
        entry = ledger.claim(ledger.begin(str(uuid.uuid4()), f"prod:{NAME}", base=None).id)
        assert entry
        return entry

    def asleep(go: int, say: Say) -> None:
        with closing(SQLiteLedger(tmp_path / "ledger.db", clock)) as ledger:
            entry = begin(ledger)
            say(entry.id)
            os.read(go, 1)  # as under SIGSTOP: it does nothing until the lease is over
            try:
                ledger.record(entry, State.CREATED)
            except OvertakenError:
                say("overtaken")

    waiting, go = os.pipe()
    with forked(partial(asleep, waiting)) as (child,):
        rotation_id = child.hear()
        with closing(SQLiteLedger(tmp_path / "ledger.db", clock)) as ledger:
            assert ledger.claim(rotation_id) is None
            clock._began -= LEASE_SECONDS / SPEED
            taken = ledger.claim(rotation_id)
            assert taken
            done = ledger.record(ledger.record(taken, State.PROMOTED), State.DONE)
            os.write(go, b"g")
            assert child.hear() == "overtaken"
            assert ledger.get(rotation_id) == done
    os.close(waiting)
    os.close(go)
