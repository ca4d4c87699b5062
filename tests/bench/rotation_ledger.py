"""A pass over a ledger of a million secrets: what the database has to do until a worker knows what is due.

A thousand secrets are due to begin, a thousand rotations are due to go on; all others wait, each with a
rotation in its grace or one that is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from strongroom.postgres import Login
from strongroom.rotation.ledger import State
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.rotation.sqlledger import Session, SQLLedger
from strongroom.value import SecretValue
from tests.bench.harness import NO_BAR, Bar, Row
from tests.servers.postgres import ADMIN, server

SECRETS, DUE = 1_000_000, 1000
_PART = 100_000
_NUMBERS = (
    "WITH RECURSIVE numbers (i) AS (SELECT CAST(? AS BIGINT) UNION ALL SELECT i + 1 FROM numbers WHERE i < ?)"
)
_SECRETS = f"""INSERT INTO strongroom_secret (secret, next_due) {_NUMBERS}
    SELECT 'prod:' || i, CASE WHEN i < ? THEN ? ELSE ? END FROM numbers"""
_ROTATIONS = f"""INSERT INTO strongroom_rotation
    (id, secret, state, epoch, due, started, updated, attempts, replaced, token)
    {_NUMBERS}, cases (i, due) AS (SELECT i,
        CASE WHEN i < ? THEN 0 WHEN i < ? THEN 1 WHEN mod(i, 3) = 0 THEN 2 ELSE 0 END FROM numbers)
    SELECT 'id-' || i, 'prod:' || i, CASE WHEN due > 0 THEN 'grace' ELSE 'done' END, 3,
    CASE WHEN due < 2 THEN ? ELSE ? END, ?, ?, 0, 0, '' FROM cases"""


def rows() -> Iterator[Row]:
    """Both databases; the peer of each is one query by a primary key."""
    for name, opened in (("PostgreSQL", _postgres()), ("SQLite", _sqlite())):
        with opened as ledger:
            _fill(ledger)
            yield from _rows(name, ledger)


def _rows(name: str, ledger: SQLLedger) -> Iterator[Row]:
    one = _fastest(lambda: ledger.next_due("prod:5"))
    found = _fastest(lambda: _count(ledger.due(DUE)))
    peer = "one secret's due time"
    begin = time.perf_counter()
    claims = ledger.claim_due(DUE)
    taken = time.perf_counter() - begin
    assert len(claims) == DUE
    label = f"{DUE} due among {SECRETS:,}, {name}"
    yield Bar(at_most=1.0).row(label, found + taken, one, peer)
    yield NO_BAR.row(f"of it to find what begins, {name}", found, one, peer)
    waits = _fastest(lambda: ledger.find(states=[State.WAITING, State.ORPHANED]))
    yield NO_BAR.row(f"what waits for a person, {name}", waits, one, peer)
    entry, steps = claims[0], []
    for state in (State.SET, State.TESTED, State.PROMOTED):
        begin = time.perf_counter()
        entry = ledger.record(entry, state)
        steps.append(time.perf_counter() - begin)
    yield NO_BAR.row(f"one step recorded, {name}", min(steps), one, peer)


def _count(found: object) -> None:
    assert isinstance(found, list)
    assert len(found) == DUE


def _fastest(call: object) -> float:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - begin)
    return min(times)


def _fill(ledger: SQLLedger) -> None:
    """A third of the secrets has a rotation in its grace, the others one that is over."""
    now = ledger.now()
    later, earlier = now + timedelta(days=20), now - timedelta(days=10)

    def fill(session: Session, start: int) -> None:
        past, future = session.stored(earlier), session.stored(later)
        last = start + _PART - 1
        session.run(_SECRETS, start, last, DUE, past, future)
        session.run(_ROTATIONS, start, last, DUE, 2 * DUE, past, future, past, past)

    for start in range(0, SECRETS, _PART):
        ledger._transact(partial(fill, start=start))
    ledger._transact(lambda session: session.run("ANALYZE"))


@contextmanager
def _postgres() -> Iterator[PostgresLedger]:
    with server() as postgres:
        url = f"postgresql://127.0.0.1:{postgres.port}/postgres"
        login = Login(url, ADMIN, lambda: SecretValue(postgres.password))
        with closing(PostgresLedger(login)) as ledger:
            ledger._database._connect().close()
            yield ledger


@contextmanager
def _sqlite() -> Iterator[SQLiteLedger]:
    with TemporaryDirectory() as folder, closing(SQLiteLedger(Path(folder) / "ledger.db")) as ledger:
        yield ledger
