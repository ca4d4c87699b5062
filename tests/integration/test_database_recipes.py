"""A PostgreSQL password is rotated under load: nobody restarts, and no query fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Self

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.integrations.database_login import is_refusal, user_and_password
from strongroom.integrations.psycopg_pool import async_connection_class, connection_class
from strongroom.integrations.sqlalchemy_engine import use_secret
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.servers.postgres import Postgres
from tests.unit.core_support import DEADLINE

NAME = "db/password"
ROTATION = "00000000-0000-4000-8000-000000000{:03d}"
Query = Callable[[], object]


class Database:
    """A role of the server, and the store that has its password."""

    def __init__(self, server: Postgres):
        self.server = server
        self.backend = FaultyBackend(MemoryBackend())
        self.store = SecretStore(self.backend)
        self.role = server.new_role(f"{CANARY}-0")
        self.store.put(NAME, f"{CANARY}-0")

    @property
    def conninfo(self) -> str:
        return f"{self.server.where} user={self.role}"

    def url(self, driver: str = "psycopg") -> URL:
        return URL.create(
            f"postgresql+{driver}", self.role, host="127.0.0.1", port=self.server.port, database="postgres"
        )

    def rotate(self, number: int, between: Callable[[], object] = lambda: None) -> None:
        """Hold the new password, set it at the database, promote it: `between` is the moment of the gap."""
        new = f"{CANARY}-{number}"
        pending = self.store.pending(NAME, ROTATION.format(number))
        pending.put(new, base_version=self.store.get(NAME).version)
        self.server.set_password(self.role, new)
        between()
        pending.promote()


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[Database]:
    database = Database(postgres_server)
    with database.store:
        yield database


class Load:
    """Threads that query without a pause until the block ends; the first failure of any is raised then."""

    def __init__(self, query: Query, threads: int = 4):
        self._query, self._ended = query, threading.Event()
        self._done = threading.Semaphore(0)
        self.failures: list[Exception] = []
        self.queries = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def wait(self, queries: int) -> None:
        """Until so many more queries have been answered."""
        for _ in range(queries):
            assert self._done.acquire(timeout=DEADLINE), self.failures[:1]

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not self.failures, self.failures[0]

    def _run(self) -> None:
        while not self._ended.is_set() and not self.failures:
            try:
                self._query()
            except Exception as error:
                self.failures.append(error)
            self._done.release()


def one(engine: Engine) -> Query:
    def query() -> None:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1

    return query


class Refused:
    """Knows a refused login, and when there has been another."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self, error: BaseException) -> bool:
        refused = is_refusal(error)
        if refused:
            self._event.set()
        return refused

    def once_more(self) -> None:
        """Wait until a login is refused."""
        self._event.clear()
        assert self._event.wait(DEADLINE), "nobody logged in"


class TestUnderLoad:
    """Connections come and go while the password changes."""

    def test_a_pool_of_psycopg_fails_no_query(self, database: Database) -> None:
        """Old connections go on, new ones wait out the gap between ALTER ROLE and promote."""
        refused = Refused()
        logged_in = connection_class(database.store, NAME, refused=refused)
        # A connection serves a moment: the pool makes new ones all the time, before, in and after the gap.
        with ConnectionPool(
            database.conninfo, connection_class=logged_in, min_size=1, max_size=4, max_lifetime=0.05
        ) as pool:

            def query() -> None:
                with pool.connection() as connection:
                    assert connection.execute("SELECT 1").fetchone() == (1,)

            with Load(query) as load:
                for number in range(1, 1 + scaled(30, "rotations under a pool's load")):
                    load.wait(20)
                    database.rotate(number, between=refused.once_more)
                load.wait(20)

    def test_an_engine_of_sqlalchemy_fails_no_query(self, database: Database) -> None:
        """Each query with a connection of its own, so that many of them begin in the gap."""
        engine = create_engine(database.url(), poolclass=NullPool)
        refused = Refused()
        use_secret(engine, database.store, NAME, refused=refused)
        with Load(one(engine)) as load:
            for number in range(1, 1 + scaled(20, "rotations under an engine's load")):
                load.wait(10)
                database.rotate(number, between=refused.once_more)
            load.wait(10)


class TestLogins:
    """What a new connection does, and what it does not."""

    def test_connections_that_exist_survive_a_rotation(self, database: Database) -> None:
        """PostgreSQL asks for a password at the beginning of a session only."""
        engine = create_engine(database.url(), pool_size=1)
        use_secret(engine, database.store, NAME)
        one(engine)()
        database.rotate(1)
        one(engine)()
        assert database.server.sessions(database.role) == 1
        engine.dispose()
        one(engine)()
        engine.dispose()

    def test_another_programs_rotation_is_met_by_one_question(self, database: Database) -> None:
        """The cached password is refused, the store is asked once, the connection comes about."""
        engine = create_engine(database.url(), poolclass=NullPool)
        use_secret(engine, database.store, NAME)
        one(engine)()
        SecretStore(database.backend.inner).put(NAME, f"{CANARY}-other")
        database.server.set_password(database.role, f"{CANARY}-other")
        database.backend.calls.clear()
        one(engine)()
        one(engine)()
        assert database.backend.calls == {"get": 1}

    def test_a_wrong_password_fails_after_its_patience_and_shows_nothing(self, database: Database) -> None:
        """The driver's error goes on without the frames and the connection that hold the password."""
        clock = FakeClock()
        engine = create_engine(database.url(), poolclass=NullPool)
        use_secret(engine, database.store, NAME, patience=1.0, clock=clock)
        database.server.set_password(database.role, "another")
        with pytest.raises(OperationalError) as caught:
            one(engine)()
        assert_no_canary_in(caught.value)
        assert clock.slept == [0.25] * 4

    def test_a_pools_error_shows_nothing(self, database: Database) -> None:
        """psycopg's own has the password in the repr of the connection that failed."""
        database.server.set_password(database.role, "another")
        with pytest.raises(psycopg.OperationalError) as caught:
            connection_class(database.store, NAME, patience=0).connect(database.conninfo)
        assert_no_canary_in(caught.value)

    def test_a_server_that_is_not_there_is_no_refusal(self, database: Database) -> None:
        """Nobody waits for another password, nor asks for one."""
        clock = FakeClock()
        conninfo = f"host=127.0.0.1 port=1 user={database.role}"
        database.store.get(NAME)
        database.backend.calls.clear()
        with pytest.raises(psycopg.OperationalError):
            connection_class(database.store, NAME, clock=clock).connect(conninfo)
        assert not clock.slept
        assert not database.backend.calls

    @pytest.mark.parametrize("form", ["json", "url"])
    def test_user_and_password_may_come_from_one_secret(self, database: Database, form: str) -> None:
        """As AWS writes it for its databases, or as a URL; a password alone names no user."""
        fields = {"username": database.role, "password": f"{CANARY}-0"}
        url = f"postgresql://{database.role}:{CANARY}-0@db.example.net/shop"
        database.store.put("db/login", fields if form == "json" else url)
        logged_in = connection_class(database.store, "db/login", parts=user_and_password)
        with logged_in.connect(database.server.where) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (database.role,)
        with pytest.raises(InvalidRequestError, match="names no user") as caught:
            user_and_password(database.store.get(NAME).value)
        assert_no_canary_in(caught.value)

    def test_a_missing_secret_says_so(self, database: Database) -> None:
        """And is no failure of the database's."""
        with pytest.raises(SecretNotFoundError):
            connection_class(database.store, "db/missing").connect(database.conninfo)


class TestAsync:
    """The event loop goes on while a login waits for the store."""

    def test_an_async_pool_and_an_async_engine_log_in_in_the_gap(self, database: Database) -> None:
        """Both begin between ALTER ROLE and promote, and both connect once it is promoted."""

        async def main() -> None:
            engine = create_async_engine(database.url("psycopg_async"), poolclass=NullPool)
            use_secret(engine, database.store, NAME)
            begun = asyncio.Event()

            async def by_engine() -> object:
                begun.set()
                async with engine.connect() as connection:
                    return (await connection.execute(text("SELECT 1"))).scalar()

            async def by_pool() -> object:
                logged_in = async_connection_class(database.store, NAME)
                async with (
                    AsyncConnectionPool(
                        database.conninfo, connection_class=logged_in, min_size=1, open=False
                    ) as pool,
                    pool.connection() as connection,
                ):
                    return await (await connection.execute("SELECT 1")).fetchone()

            pending = database.store.pending(NAME, ROTATION.format(1))
            pending.put(f"{CANARY}-1", base_version=database.store.get(NAME).version)
            database.server.set_password(database.role, f"{CANARY}-1")
            both = asyncio.gather(by_engine(), by_pool())
            await begun.wait()
            await asyncio.to_thread(pending.promote)
            assert tuple(await both) == (1, (1,))

        asyncio.run(main())
