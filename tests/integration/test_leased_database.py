"""Users that OpenBao makes at PostgreSQL, under load: whatever ends them, no query fails.

The page's statements, commands, policy and snippets are what runs here.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psycopg.errors
import pytest
from psycopg_pool import ConnectionPool
from sqlalchemy import URL, create_engine, text

import strongroom
from strongroom.config import Config
from strongroom.errors import UnavailableError
from strongroom.integrations.asyncpg_pool import connect_with
from strongroom.integrations.database_login import user_and_password
from strongroom.integrations.psycopg_pool import connection_class
from strongroom.integrations.sqlalchemy_engine import use_secret
from strongroom.store import SecretStore
from strongroom.testing import override
from tests.integration.leased_support import PAGE, ROLE, Scene, on_page
from tests.integration.test_database_recipes import Load
from tests.pages import blocks, marked
from tests.scale import scaled
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres
from tests.servers.relay import Relay
from tests.unit.core_support import DEADLINE

THREADS = 8
Query = Callable[[], object]


@pytest.fixture(scope="module")
def scene(
    openbao_server: OpenBao, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    scene = Scene(openbao_server, postgres_server)
    scene.set_up(tmp_path_factory.mktemp("leases"))
    yield scene
    scene.tear_down()


class Seen:
    """The users that queries ran as."""

    def __init__(self) -> None:
        self._users: dict[str, None] = {}
        self._changed = threading.Condition()

    def note(self, user: str) -> None:
        """A query was answered to this user."""
        if user not in self._users:
            with self._changed:
                self._users[user] = None
                self._changed.notify_all()

    @property
    def users(self) -> list[str]:
        return list(self._users)

    def another_than(self, known: list[str]) -> None:
        """Wait until a query runs as a user that is not known."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(self._users) - set(known), DEADLINE), "no new user"


def pool_of(scene: Scene, store: SecretStore, name: str = ROLE, **options: Any) -> ConnectionPool:
    """The page's pool. A connection serves a moment, so that logins happen before, in and after each end."""
    leased = connection_class(store, name, parts=user_and_password, patience=DEADLINE)
    given = {"min_size": 1, "max_size": 4, "max_lifetime": 0.05, "timeout": DEADLINE, **options}
    return ConnectionPool(
        scene.where, connection_class=leased, check=ConnectionPool.check_connection, open=True, **given
    )


def work(pool: ConnectionPool, seen: Seen) -> Query:
    """A transaction that writes and reads."""

    def query() -> None:
        with pool.connection() as connection:
            connection.execute("INSERT INTO item (name) VALUES ('a')")
            row = connection.execute("SELECT session_user, current_user, count(*) > 0 FROM item").fetchone()
        assert row
        assert row[1:] == (ROLE, True)
        seen.note(row[0])

    return query


@contextmanager
def pooled_work(scene: Scene, store: SecretStore, seen: Seen) -> Iterator[Query]:
    """That transaction, by a pool of its own."""
    with pool_of(scene, store) as pool:
        yield work(pool, seen)


@contextmanager
def engine_work(scene: Scene, store: SecretStore, seen: Seen) -> Iterator[Query]:
    """The same by SQLAlchemy's pool, where each tenth transaction takes its connection with it."""
    url = URL.create("postgresql+psycopg", host="127.0.0.1", port=scene.server.port, database=scene.database)
    engine = create_engine(url, pool_pre_ping=True, pool_size=4)
    use_secret(engine, store, ROLE, parts=user_and_password, patience=DEADLINE)
    turns = itertools.count(1)

    def query() -> None:
        with engine.connect() as connection:
            if next(turns) % 10 == 0:
                connection.detach()
            connection.execute(text("INSERT INTO item (name) VALUES ('b')"))
            row = connection.execute(text("SELECT session_user, count(*) > 0 FROM item")).one()
            connection.commit()
        assert row[1] is True
        seen.note(row[0])

    try:
        yield query
    finally:
        engine.dispose()


class TestUnderLoad:
    """Threads that query without a pause; the first failure of any fails the test."""

    @pytest.mark.parametrize("library", ["psycopg_pool", "sqlalchemy"])
    def test_the_parent_token_is_revoked_again_and_again_and_no_query_fails(
        self, scene: Scene, library: str
    ) -> None:
        """All leases of the login end with it; a session in the middle of a transaction ends it in peace."""
        seen = Seen()
        with scene.store() as store:
            made = pooled_work if library == "psycopg_pool" else engine_work
            with made(scene, store, seen) as query, Load(query, threads=THREADS) as load:
                for _ in range(scaled(60, f"revocations of the parent token under load of {library}")):
                    load.wait(20)
                    self._revoked(scene, seen)
                load.wait(20)

    @staticmethod
    def _revoked(scene: Scene, seen: Seen) -> None:
        """Revoke, with a transaction open that began before and ends after."""
        login = scene.fresh_login()
        with scene.connect(login) as connection:
            connection.execute("INSERT INTO item (name) VALUES ('held')")
            known = seen.users
            scene.revoke_logins()
            seen.another_than(known)
            scene.until_refused(login)
            connection.execute("SELECT count(*) FROM item")

    def test_leases_are_revoked_by_an_operator_and_no_query_fails(self, scene: Scene) -> None:
        """The login lives on, and makes the next lease."""
        seen = Seen()
        with (
            scene.store() as store,
            pool_of(scene, store) as pool,
            Load(work(pool, seen), threads=THREADS) as load,
        ):
            for _ in range(scaled(30, "revocations of all leases under load")):
                load.wait(20)
                known = seen.users
                scene.revoke_leases()
                seen.another_than(known)
            load.wait(20)

    def test_leases_come_to_their_end_and_no_query_fails(self, scene: Scene) -> None:
        """Each is renewed until its maximum is near; then another is there before it ends."""
        seen = Seen()
        with scene.store() as store, pool_of(scene, store, scene.brief_role()) as pool:
            with Load(work(pool, seen), threads=1) as load:
                load.wait(1)
                for _ in range(scaled(10, "leases that come to their end under load")):
                    seen.another_than(seen.users)
            assert not [user for user in seen.users if "brief" not in user]

    def test_the_database_ends_every_session_and_the_pool_replaces_them(self, scene: Scene) -> None:
        """Of idle sessions, as a restart of PostgreSQL ends them: the check finds them out before a query."""
        seen = Seen()
        with scene.store() as store, pool_of(scene, store, max_lifetime=3600.0) as pool:
            query = work(pool, seen)
            query()
            scene.end_sessions()
            query()
        assert len(seen.users) == 1


def test_with_the_usual_statements_sessions_fail_though_a_pools_check_passes(scene: Scene) -> None:
    """What the page's statements are for."""
    login = scene.fresh_login(scene.usual_role())
    with scene.connect(login, autocommit=True) as connection:
        connection.execute("INSERT INTO item (name) VALUES ('c')")
        scene.revoke_logins()
        scene.until_refused(login)
        ConnectionPool.check_connection(connection)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM item")


def test_who_has_ended_is_dropped_once_nobody_uses_it(scene: Scene) -> None:
    """Not while a session is open, nor in the two minutes in which a login could still be under way."""
    login = scene.fresh_login()
    user = login["user"]
    with scene.connect(login):
        scene.revoke_leases()
        assert scene.users()[user] is False
        scene.age(user, minutes=3)
        scene.give_and_revoke()
        assert user in scene.users()
    scene.until_gone(user)
    scene.give_and_revoke()
    users = scene.users()
    assert user not in users
    assert users
    assert not any(users.values())


def test_a_renewal_lets_the_user_in_for_longer(scene: Scene) -> None:
    """By the engine's own statement, with the rights of the page's user of the database."""
    login = scene.fresh_login()
    assert scene.hours_left(login["user"]) < 1.1
    scene.renew(login, hours=3)
    assert scene.hours_left(login["user"]) > 2.9


def test_asyncpg_has_a_pool_whose_user_may_end(scene: Scene) -> None:
    """A refused login waits for the next user in another thread."""

    async def users(store: SecretStore) -> tuple[str, str]:
        logged_in = connect_with(store, ROLE, parts=user_and_password, patience=DEADLINE)
        url = f"postgresql://127.0.0.1:{scene.server.port}/{scene.database}"
        asked = "SELECT session_user::text || left(count(*)::text, 0) FROM item"
        async with asyncpg.create_pool(url, connect=logged_in, min_size=1, max_size=1) as pool:
            before = await pool.fetchval(asked)
            scene.revoke_logins()
            scene.until_refused(dict(user_and_password(store.get(ROLE).value)))
            assert await pool.fetchval(asked) == before
            await pool.expire_connections()
            return before, await pool.fetchval(asked)

    with scene.store() as store:
        before, after = asyncio.run(users(store))
    assert before != after


def test_closing_the_store_gives_the_lease_back(scene: Scene) -> None:
    """The user logs in no more."""
    with scene.store() as store:
        login = dict(user_and_password(store.get(ROLE).value))
        scene.connect(login).close()
    scene.until_refused(login)


def test_fifty_threads_share_one_user(scene: Scene) -> None:
    """Also when they all come at once, and again when all of them are refused."""
    with scene.store() as store, ThreadPoolExecutor(50) as threads:
        before = len(scene.users())
        first = list(threads.map(store.get, [ROLE] * 50))
        [version] = {secret.version for secret in first}
        assert len(scene.users()) == before + 1
        scene.revoke_logins()
        again = list(threads.map(lambda _: store.refresh(ROLE, rejected=version), range(50)))
        [successor] = {secret.version for secret in again}
        assert successor != version
        assert len(scene.users()) == before + 2


def test_while_openbao_is_away_the_lease_serves_queries(scene: Scene) -> None:
    """New connections too; a program that starts now is told that it is away."""
    seen = Seen()
    with Relay(int(scene.bao.address.rpartition(":")[2])) as relay:
        address = f"http://127.0.0.1:{relay.port}"
        with scene.store(address, timeout=1.0) as store, pool_of(scene, store) as pool:
            query = work(pool, seen)
            query()
            relay.sever()
            with Load(query, threads=2) as load:
                load.wait(40)
            with scene.store(address, timeout=0.2) as late, pytest.raises(UnavailableError):
                late.get(ROLE)
            relay.mend()
    assert len(seen.users) == 1


class TestPage:
    """What is not a statement of the set-up, which every test here runs on."""

    def test_the_snippets_run(self, scene: Scene) -> None:
        """On the page's roles; each ends what it opened."""
        place = f"host=127.0.0.1 port={scene.server.port} dbname={scene.database}"
        for block in marked("python leased", PAGE):
            code = scene.here(block.text).replace("host=db.example.net dbname=shop", place)
            names: dict[str, Any] = {"__name__": "example"}
            with scene.store() as store, override(prod=store):
                exec(code, names)
                if "engine" in names:
                    names["engine"].dispose()

    def test_the_configuration_is_valid(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAULT_SECRET", "DEMO")
        (tmp_path / "strongroom.toml").write_text(on_page("toml leased"))
        config = Config.load(tmp_path / "strongroom.toml")
        strongroom.open("prod", config=config).close()

    def test_each_snippet_is_short(self) -> None:
        """At most ten lines, without blank ones."""
        for block in blocks(PAGE):
            lines = [line for line in block.text.splitlines() if line.strip()]
            assert block.language != "python" or len(lines) <= 10, block.line
