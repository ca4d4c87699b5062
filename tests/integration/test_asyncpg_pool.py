"""asyncpg logs in with a password that is rotated under load: nobody restarts, and no query fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from strongroom.errors import SecretNotFoundError
from strongroom.integrations.asyncpg_pool import connect_with
from strongroom.integrations.database_login import user_and_password
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.integration.test_database_recipes import NAME, Database, Refused
from tests.scale import scaled
from tests.servers.postgres import Postgres


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[Database]:
    database = Database(postgres_server)
    with database.store:
        yield database


def where(database: Database) -> dict[str, Any]:
    return {
        "host": "127.0.0.1", "port": database.server.port, "user": database.role, "database": "postgres",
    }  # fmt: skip


async def one(database: Database, connect: Callable[..., Awaitable[Any]]) -> Any:
    """A connection of its own, and what it answers."""
    connection = await connect(**where(database))
    try:
        return await connection.fetchval("SELECT current_user")
    finally:
        await connection.close()


def test_a_pool_fails_no_query_while_its_password_rotates(database: Database) -> None:
    """Connections serve a moment: new ones are made all the time, before, in and after each gap."""
    refused, ended = Refused(), False
    logged_in = connect_with(database.store, NAME, refused=refused)

    async def main() -> None:
        done = asyncio.Semaphore(0)

        async def queries(pool: Any) -> None:
            while not ended:
                async with pool.acquire() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
                done.release()

        async def rotations() -> None:
            nonlocal ended
            for number in range(1, 1 + scaled(30, "rotations under asyncpg's load")):
                for _ in range(10):
                    await done.acquire()
                await asyncio.to_thread(database.rotate, number, refused.once_more)
            ended = True

        async with (
            asyncpg.create_pool(
                **where(database), min_size=1, max_size=4, max_queries=3, connect=logged_in
            ) as pool,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(4):
                group.create_task(queries(pool))
            group.create_task(rotations())

    asyncio.run(main())


class TestPeers:
    """What asyncpg does with a password that it was given."""

    def test_a_pool_with_a_password_fails_after_a_rotation(self, database: Database) -> None:
        """Its new connections are refused for as long as the process lives."""

        async def main() -> None:
            theirs = asyncpg.create_pool(**where(database), password=f"{CANARY}-0", min_size=1)
            ours = asyncpg.create_pool(
                **where(database), connect=connect_with(database.store, NAME), min_size=1
            )
            async with theirs, ours:
                await asyncio.to_thread(database.rotate, 1)
                await theirs.expire_connections()
                await ours.expire_connections()
                assert await ours.fetchval("SELECT 1") == 1
                with pytest.raises(asyncpg.InvalidPasswordError):
                    await theirs.fetchval("SELECT 1")

        asyncio.run(main())

    def test_what_a_connection_keeps_shows_no_password(self, database: Database) -> None:
        """asyncpg's keeps the parameters that it was made with, which print the password."""

        async def kept(connect: Callable[..., Awaitable[Any]], **options: Any) -> str:
            connection = await connect(**where(database), **options)
            shown = repr(connection._params)
            await connection.close()
            return shown

        assert f"{CANARY}-0" in asyncio.run(kept(asyncpg.connect, password=f"{CANARY}-0"))
        assert_no_canary(asyncio.run(kept(connect_with(database.store, NAME))))


class TestLogins:
    """What a new connection does, and what it does not."""

    def test_another_programs_rotation_is_met_by_one_question(self, database: Database) -> None:
        """The cached password is refused, the store is asked once, the connection comes about."""
        connect = connect_with(database.store, NAME)
        asyncio.run(one(database, connect))
        database.server.set_password(database.role, f"{CANARY}-other")
        type(database.store)(database.backend.inner).put(NAME, f"{CANARY}-other")
        database.backend.calls.clear()
        assert asyncio.run(one(database, connect)) == database.role
        assert asyncio.run(one(database, connect)) == database.role
        assert database.backend.calls == {"get": 1}

    def test_a_wrong_password_fails_after_its_patience_and_shows_nothing(self, database: Database) -> None:
        """asyncpg's error goes on without the frames that hold the password."""
        clock = FakeClock()
        database.server.set_password(database.role, "another")
        with pytest.raises(asyncpg.InvalidPasswordError) as caught:
            asyncio.run(one(database, connect_with(database.store, NAME, patience=1.0, clock=clock)))
        assert_no_canary_in(caught.value)
        assert clock.slept == [0.25] * 4

    def test_user_and_password_may_come_from_one_secret(self, database: Database) -> None:
        """As AWS writes it for its databases; what the secret says goes before what the pool was told."""
        database.store.put("db/login", {"username": database.role, "password": f"{CANARY}-0"})
        connect = connect_with(database.store, "db/login", parts=user_and_password)
        assert asyncio.run(one(database, connect)) == database.role

    def test_a_missing_secret_says_so(self, database: Database) -> None:
        """And is no failure of the database's."""
        with pytest.raises(SecretNotFoundError):
            asyncio.run(one(database, connect_with(database.store, "db/missing")))
