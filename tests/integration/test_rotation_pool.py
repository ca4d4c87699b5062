"""PostgreSQL passwords rotate by the engine while a pooled application queries: no query fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from psycopg_pool import ConnectionPool

from strongroom.clock import Clock
from strongroom.integrations.database_login import user_and_password
from strongroom.integrations.psycopg_pool import connection_class
from strongroom.memory import MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.generating import login
from strongroom.rotation.ledger import State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotator
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.integration.rotation_databases import One, Two, logs_in
from tests.integration.test_database_recipes import Load
from tests.scale import scaled
from tests.servers.postgres import Postgres
from tests.unit.core_support import DEADLINE

NAME = "db/login"
GRACE = timedelta(hours=2)


class Jumping(Clock):
    """The system's clock, which a test may put forward: what waits for time in earnest goes on waiting."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()


class Shop:
    """An application with a pool, and an engine that rotates its database login; both read one store."""

    def __init__(self, server: Postgres, rotator: Rotator, first: SecretValue):
        self.server, self.clock = server, Jumping()
        backend = MemoryBackend(clock=self.clock)
        self.store = SecretStore(backend, clock=self.clock)
        self._writing = SecretStore(backend, cache=None, clock=self.clock, alias="prod")
        self._writing.put(NAME, first)
        self.first = first
        policy = Policy(NAME, self._writing, rotator, grace=GRACE)
        self.engine = Engine(MemoryLedger(self.clock), [policy], clock=self.clock)

    def rotate(self, load: Load) -> None:
        """One rotation, with queries before, in and after the grace."""
        entry = self.engine.advance(self.engine.start(NAME).id)
        while entry.state.open:
            load.wait(10)
            assert entry.state is State.GRACE, entry.error
            self.clock.ahead += GRACE
            load.wait(10)
            entry = self.engine.advance(entry.id)
        assert entry.state is State.DONE

    def pool(self) -> ConnectionPool:
        """A connection serves a moment: new ones are made all the time, before, in and after each change."""
        logged_in = connection_class(self.store, NAME, parts=user_and_password, patience=DEADLINE)
        return ConnectionPool(
            self.server.where, connection_class=logged_in, min_size=1, max_size=4, max_lifetime=0.05
        )


@pytest.fixture(params=["one user", "two users"])
def shop(request: pytest.FixtureRequest, postgres_server: Postgres) -> Iterator[Shop]:
    if request.param == "one user":
        one = One(postgres_server, user=None)
        fields = {"username": one.user, "password": f"{CANARY}-old"}
        yield Shop(postgres_server, one.rotator, SecretValue.of(fields))
    else:
        two = Two(postgres_server)
        yield Shop(postgres_server, two.rotator, two.first())


def test_a_pool_under_load_fails_no_query_while_its_login_rotates(shop: Shop) -> None:
    """Neither where the password changes in place, nor where users take turns and the old one is revoked."""
    with shop.pool() as pool:

        def query() -> None:
            with pool.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)

        with Load(query, threads=2) as load:
            for _ in range(scaled(30, "rotations by the engine under a pool's load", 30)):
                shop.rotate(load)
            load.wait(10)
    assert not logs_in(shop.server, login(shop.first).user or "", shop.first)
