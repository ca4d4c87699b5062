"""Recipes without the library that they are for."""

from __future__ import annotations

import importlib
import sys

import pytest

from strongroom.errors import BackendNotInstalledError
from strongroom.integrations.database_login import bare, is_refusal


@pytest.mark.parametrize(
    ("module", "library"),
    [("sqlalchemy_engine", "sqlalchemy"), ("psycopg_pool", "psycopg"), ("httpx_auth", "httpx")],
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str
) -> None:
    """With the line that installs it."""
    monkeypatch.setitem(sys.modules, library, None)
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


def test_an_error_keeps_its_facts_but_not_its_frames() -> None:
    """What holds no connection is the same error."""
    try:
        raise Told("28P01", sqlstate="28P01")
    except Told as raised:
        error = raised
    assert bare(error) is error
    assert error.__traceback__ is None
