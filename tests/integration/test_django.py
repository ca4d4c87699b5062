"""Django itself, with a real PostgreSQL: what it signs with, and how it logs in."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import django
import pytest
from django.conf import settings
from django.core import signing
from django.core.signals import request_started
from django.db.utils import OperationalError, load_backend
from django.test import RequestFactory, override_settings
from django.views.debug import technical_500_response

from strongroom.errors import InvalidRequestError
from strongroom.integrations.django_settings import database, signing_keys
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FaultyBackend, override
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, assert_no_canary, holds_canary, not_ours
from tests.pages import ROOT, marked
from tests.servers.postgres import Postgres

NAME, KEY = "db/password", "django/secret-key"
POSTGRESQL = "django.db.backends.postgresql"
PAGE = ROOT / "docs" / "frameworks-web.md"


@pytest.fixture(scope="module", autouse=True)
def _django() -> None:
    if not settings.configured:
        settings.configure(LOGGING_CONFIG=None, SECRET_KEY="DEMO", DEBUG=True, DATABASES={})
        django.setup()


@pytest.fixture
def backend() -> FaultyBackend:
    return FaultyBackend(MemoryBackend())


@pytest.fixture
def store(backend: FaultyBackend) -> Iterator[SecretStore]:
    with SecretStore(backend) as store:
        yield store


class Database:
    """A role, its password in a store, and Django's entry for it."""

    def __init__(self, server: Postgres, store: SecretStore):
        self.server, self.role = server, server.new_role(CANARY)
        store.put(NAME, CANARY)
        self.entry = self.filled(database(store, NAME, ENGINE=POSTGRESQL, **self.where))

    @property
    def where(self) -> dict[str, Any]:
        return {"NAME": "postgres", "USER": self.role, "HOST": "127.0.0.1", "PORT": self.server.port}

    def filled(self, entry: dict[str, Any]) -> dict[str, Any]:
        """With the defaults that Django sets for itself."""
        defaults = {"AUTOCOMMIT": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "OPTIONS": {}}
        return {**defaults, "TIME_ZONE": None, "PASSWORD": "", "TEST": {}, **entry}


def connection(entry: dict[str, Any]) -> Any:
    """As Django's own handler makes one."""
    return load_backend(entry["ENGINE"]).DatabaseWrapper(entry, "default")


def query(entry: dict[str, Any]) -> str:
    made = connection(entry)
    with made.cursor() as cursor:
        cursor.execute("SELECT current_user")
        [user] = cursor.fetchone()
    made.close()
    return str(user)


def page_of(error: BaseException) -> str:
    """The page that Django answers with where DEBUG is on."""
    request = RequestFactory(headers={"accept": "text/html"}).get("/")
    with override_settings(DEBUG=True, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__):
        answer = technical_500_response(request, type(error), error, error.__traceback__)
        return str(answer.content.decode())


urlpatterns: list[Any] = []


@pytest.fixture
def db(postgres_server: Postgres, store: SecretStore) -> Database:
    return Database(postgres_server, store)


def test_a_new_connection_takes_the_password_that_is_current(db: Database, store: SecretStore) -> None:
    """Also where the database refuses the cached one first; a copy, as Django makes, logs in alike."""
    assert query(db.entry) == db.role
    db.server.set_password(db.role, f"{CANARY}-1")
    store.put(NAME, f"{CANARY}-1")
    assert query(copy.deepcopy(db.entry)) == db.role


def test_the_page_of_a_failed_login_shows_no_password(db: Database) -> None:
    """Django hides by the name of a key, and shows the parameters of the connection that failed."""
    db.server.set_password(db.role, "DEMO")
    pages = []
    db.entry["STRONGROOM"].login._patience = 0
    for entry in (db.filled({**db.where, "ENGINE": POSTGRESQL, "PASSWORD": CANARY}), db.entry):
        with pytest.raises(OperationalError) as caught:
            connection(entry).ensure_connection()
        with not_ours() if entry["PASSWORD"] else nullcontext():
            pages.append(page_of(caught.value))
    assert holds_canary(pages[0])
    assert_no_canary(pages[1])


@pytest.mark.parametrize(
    "entry", [{}, {"ENGINE": POSTGRESQL, "PASSWORD": "DEMO"}, {"ENGINE": "x", "OPTIONS": {"pool": True}}]
)
def test_an_entry_that_would_not_work_is_refused(store: SecretStore, entry: dict[str, Any]) -> None:
    """At the start, not at the first query."""
    with pytest.raises(InvalidRequestError):
        database(store, NAME, **entry)


@pytest.fixture
def keys(store: SecretStore) -> Iterator[FakeClock]:
    """A key that Django signs with, and the clock by which others settle."""
    clock = FakeClock()
    store.put(KEY, f"{CANARY}-key-0")
    signs, accepted = signing_keys(store, KEY, settle=600, clock=clock)
    with override_settings(SECRET_KEY=signs, SECRET_KEY_FALLBACKS=accepted):
        yield clock
    request_started.disconnect(dispatch_uid=f"strongroom {KEY}")


def test_a_rotated_key_is_accepted_at_once_and_signs_when_it_has_settled(
    store: SecretStore, keys: FakeClock
) -> None:
    """What another process signed with either is accepted all the time; nobody is logged out."""
    signed = signing.dumps("cart")
    store.put(KEY, f"{CANARY}-key-1")
    request_started.send(None)
    new = signing.dumps("cart", key=f"{CANARY}-key-1")
    assert f"{CANARY}-key-0" == settings.SECRET_KEY
    assert signing.loads(signed) == signing.loads(new) == "cart"
    keys.advance(600)
    request_started.send(None)
    assert f"{CANARY}-key-1" == settings.SECRET_KEY
    assert signing.loads(signed) == signing.loads(new) == "cart"


def test_an_outage_leaves_the_keys_as_they_are(
    store: SecretStore, backend: FaultyBackend, keys: FakeClock
) -> None:
    """A request is served with what is known."""
    signed = signing.dumps("cart")
    store.put(KEY, f"{CANARY}-key-1")
    request_started.send(None)
    store.get(KEY)
    backend.deny()
    for _ in range(2):
        keys.advance(600)
        request_started.send(None)
        assert f"{CANARY}-key-1" == settings.SECRET_KEY
        assert signing.loads(signed) == "cart"


def test_the_example_runs(db: Database, store: SecretStore) -> None:
    """As a settings module; its database answers."""
    [block] = marked("python django", PAGE)
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 10
    text = block.text.replace('"db.example.net"', f'"127.0.0.1", PORT={db.server.port}')
    store.put(KEY, f"{CANARY}-key-0")
    names: dict[str, Any] = {"__name__": "example"}
    with override(prod=store):
        exec(compile(text.replace('"app"', f'"{db.role}"'), str(PAGE), "exec", dont_inherit=True), names)
    request_started.disconnect(dispatch_uid=f"strongroom {KEY}")
    assert names["SECRET_KEY"] == f"{CANARY}-key-0"
    assert query(db.filled({**names["DATABASES"]["default"], "NAME": "postgres"})) == db.role


def test_django_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line that installs it."""
    from importlib import import_module

    from strongroom.errors import BackendNotInstalledError

    monkeypatch.setitem(sys.modules, "django.conf", None)
    monkeypatch.delitem(sys.modules, "strongroom.integrations.django_settings")
    with pytest.raises(BackendNotInstalledError, match=r"strongroom\[django\]"):
        import_module("strongroom.integrations.django_settings")
