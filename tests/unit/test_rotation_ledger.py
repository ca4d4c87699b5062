"""The ledger's promises, kept by each of the four."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest

from strongroom.memory import MemoryBackend
from strongroom.rotation.ledger import Ledger
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.rotation.sqliteledger import SQLiteLedger
from strongroom.rotation.storeledger import StoreLedger
from strongroom.testing.clock import FakeClock
from tests.servers.postgres import Postgres
from tests.unit.ledger_conformance import LedgerConformance, Make
from tests.unit.ledger_support import empty, empty_database


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class TestMemoryLedger(LedgerConformance):
    """The specification."""

    @pytest.fixture
    def make(self, clock: FakeClock) -> Make:
        ledger = MemoryLedger(clock)
        return lambda: ledger


class TestSQLiteLedger(LedgerConformance):
    """A file; two ledgers on it are two processes."""

    @pytest.fixture
    def make(self, tmp_path: Path, clock: FakeClock) -> Iterator[Make]:
        with ExitStack() as ends:

            def made() -> Ledger:
                ledger = SQLiteLedger(tmp_path / "ledger.db", clock)
                ends.callback(ledger.close)
                return ledger

            yield made


class TestStoreLedger(LedgerConformance):
    """Records in a store with compare-and-set."""

    @pytest.fixture
    def make(self, clock: FakeClock) -> Make:
        backend = MemoryBackend(clock=clock)
        return lambda: StoreLedger(backend, clock)


@pytest.fixture(scope="module")
def shared(postgres_server: Postgres) -> Iterator[tuple[FakeClock, list[PostgresLedger]]]:
    login, clock = empty_database(postgres_server), FakeClock()
    ledgers = [PostgresLedger(login, clock) for _ in range(2)]
    yield clock, ledgers
    for ledger in ledgers:
        ledger.close()


class TestPostgresLedger(LedgerConformance):
    """A real PostgreSQL. A login costs more than a test: all share two ledgers, and a time that goes on."""

    @pytest.fixture
    def clock(self, shared: tuple[FakeClock, list[PostgresLedger]]) -> FakeClock:
        return shared[0]

    @pytest.fixture
    def make(self, shared: tuple[FakeClock, list[PostgresLedger]]) -> Make:
        ledgers = shared[1]
        empty(ledgers[0])
        turn = cycle(ledgers)
        return lambda: next(turn)
