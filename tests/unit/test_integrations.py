"""Recipes without the library that they are for."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping

import pytest

from strongroom.errors import BackendNotInstalledError
from strongroom.integrations.database_login import DatabaseLogin, bare, is_refusal
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, assert_no_canary_in

NAME = "db/password"


@pytest.mark.parametrize(
    ("module", "library"),
    [
        ("sqlalchemy_engine", "sqlalchemy"),
        ("psycopg_pool", "psycopg"),
        ("httpx_auth", "httpx"),
        ("redis_credentials", "redis"),
        ("asyncpg_pool", "asyncpg"),
        ("keyring_bridge", "keyring"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str
) -> None:
    """With the line that installs it."""
    loaded = [name for name in sys.modules if name.startswith(f"{library}.")]
    for name in (library, *loaded):  # a module inside that some test has loaded would still be found
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"strongroom.integrations.{module}", raising=False)
    with pytest.raises(BackendNotInstalledError) as caught:
        importlib.import_module(f"strongroom.integrations.{module}")
    assert caught.value.hint == f"pip install 'strongroom[{library}]'"
    assert caught.value.__context__ is None


class Told(Exception):  # noqa: N818
    """A driver's error, with what it tells."""

    def __init__(self, *args: object, **facts: object):
        super().__init__(*args)
        vars(self).update(facts)


class Connection:
    """A connection of psycopg's that did not come about."""

    def __init__(self, used_password: bool):
        self.used_password = used_password


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (Told("FATAL: Passwort-Authentifizierung fehlgeschlagen", pgconn=Connection(True)), True),
        (Told("FATAL: sorry, too many clients already", pgconn=Connection(True)), False),
        (Told('FATAL: database "app" does not exist', pgconn=Connection(True)), False),
        (Told("connection refused", pgconn=Connection(False)), False),
        (Told("28P01", sqlstate="28P01"), True),
        (Told("28000", pgcode="28000"), True),
        (Told("too many connections", sqlstate="53300"), False),
        (Told('FATAL:  password authentication failed for user "app"'), True),
        (Told('FATAL:  role "v-app-1" is not permitted to log in', pgconn=Connection(True)), True),
        (Told('FATAL:  role "v-app-1" is not permitted to log in'), True),
        (Told('FATAL:  role "v-app-1" does not exist', pgconn=Connection(True)), True),
        (Told(1045, "Access denied for user 'app'@'%'"), True),
        (Told(2003, "Can't connect to MySQL server"), False),
        (Told("ORA-01017: invalid username/password; logon denied"), True),
        (Told("Login failed for user 'app'. (18456)"), True),
        (TimeoutError(), False),
    ],
)
def test_a_refused_login_is_known_by_what_its_driver_tells(error: Exception, refused: bool) -> None:
    """Codes where there are any, the server's text where not."""
    assert is_refusal(error) is refused


def test_an_error_keeps_its_facts_but_neither_frames_nor_what_it_came_from() -> None:
    """What holds no connection is the same error."""
    try:
        raise Told("28P01", sqlstate="28P01") from ValueError(CANARY)
    except Told as raised:
        error = raised
    assert bare(error) is error
    assert error.__traceback__ is None
    assert_no_canary_in(error)


@pytest.fixture
def store() -> Iterator[SecretStore]:
    with SecretStore(MemoryBackend()) as store:
        store.put(NAME, CANARY)
        yield store


def test_a_login_with_a_warm_password_waits_for_nothing(store: SecretStore) -> None:
    """An event loop connects with it where it is; only a cold one is asked for elsewhere."""
    elsewhere: list[object] = []

    def run(call: Callable[[], object]) -> object:
        elsewhere.append(call)
        return call()

    login = DatabaseLogin(store, NAME)
    with SecretStore(MemoryBackend()) as cold:
        cold.put(NAME, CANARY)
        assert DatabaseLogin(cold, NAME).connect(dict, run) == {"password": CANARY}
    assert len(elsewhere) == 1
    store.get(NAME)
    assert login.connect(dict, run) == {"password": CANARY}
    assert len(elsewhere) == 1


@pytest.mark.parametrize("waits", [False, True], ids=["sync", "async"])
def test_what_is_no_refusal_is_not_tried_again(store: SecretStore, waits: bool) -> None:
    """The driver's error comes at once; nobody asks the store for another password."""
    attempts = []

    def attempt(parts: Mapping[str, str]) -> None:
        attempts.append(len(parts))
        raise Told("the server is not there", sqlstate="08001")

    async def attempt_async(parts: Mapping[str, str]) -> None:
        attempt(parts)

    clock = FakeClock()
    login = DatabaseLogin(store, NAME, clock=clock)
    with pytest.raises(Told) as caught:
        asyncio.run(login.connect_async(attempt_async)) if waits else login.connect(attempt)
    assert_no_canary_in(caught.value)
    assert (attempts, clock.slept) == ([1], [])


@pytest.mark.parametrize("waits", [False, True], ids=["sync", "async"])
def test_new_versions_without_end_are_tried_for_as_long_as_patience_lasts(
    store: SecretStore, waits: bool
) -> None:
    """As an engine makes them whose users the database refuses: then the driver's error comes."""
    clock = FakeClock()
    attempts = []

    def attempt(parts: Mapping[str, str]) -> None:
        attempts.append(len(parts))
        store.put(NAME, CANARY)
        clock.advance(1)
        raise Told("refused", sqlstate="28P01")

    async def attempt_async(parts: Mapping[str, str]) -> None:
        attempt(parts)

    login = DatabaseLogin(store, NAME, clock=clock, patience=3)
    with pytest.raises(Told):
        asyncio.run(login.connect_async(attempt_async)) if waits else login.connect(attempt)
    assert len(attempts) == 4
