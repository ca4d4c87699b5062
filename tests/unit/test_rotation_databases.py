"""Rotators of database users, without a database."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strongroom.errors import BackendNotInstalledError, InvalidRequestError
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.rotators.logins import Admin, Server
from strongroom.rotation.rotators.mysql import MySQLRotator
from strongroom.rotation.rotators.postgresql import PostgreSQLRotator
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in

VALUE = SecretValue(CANARY)
R = Rotation("00000000-0000-4000-8000-000000000001", "db/password", current=VALUE)


@pytest.mark.parametrize(
    ("kind", "driver", "extra"),
    [(PostgreSQLRotator, "psycopg", "psycopg"), (MySQLRotator, "pymysql", "mysql")],
)
def test_a_driver_that_is_missing_is_named(
    kind: type[PostgreSQLRotator | MySQLRotator],
    driver: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the line that installs it; a value can be made without."""
    monkeypatch.setitem(sys.modules, driver, None)
    rotator = kind(host="127.0.0.1", user="app")
    assert not rotator.create_secret(R).matches(VALUE)
    with pytest.raises(BackendNotInstalledError, match=rf"strongroom\[{extra}\]") as caught:
        rotator.test_secret(R, VALUE)
    assert_no_canary_in(caught.value)


def test_no_driver_is_loaded_before_a_session() -> None:
    """A plan, a check and a worker of other rotators do without."""
    code = (
        "import sys; from strongroom.rotation.rotators import mysql, postgresql;"
        "postgresql.PostgreSQLRotator(host='h', user='u'); mysql.MySQLRotator(host='h', user='u');"
        "assert not {'psycopg', 'pymysql'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("host", "ca", "plain"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("127.0.0.1,127.0.0.2", None, True),
        ("127.0.0.1", "ca.pem", False),
        ("localhost", None, False),
        ("127.0.0.1.example.net", None, False),
        ("127.0.0.1,db.example.net", None, False),
        ("db.example.net@127.0.0.1", None, False),
    ],
)
def test_only_literal_loopback_goes_without_tls(host: str, ca: str | None, plain: bool) -> None:
    """A name may lead anywhere."""
    assert Server(host, 5432, ca).plain == plain


def test_an_admin_is_somebody() -> None:
    """By the credential itself, or by the option; the credential is asked for each time."""
    given = iter([SecretValue.of({"username": "root", "password": CANARY}), VALUE, VALUE])
    assert Admin(lambda: next(given), "dba").login() == ("root", VALUE)
    assert Admin(lambda: next(given), "dba").login() == ("dba", VALUE)
    with pytest.raises(InvalidRequestError, match="names no user") as caught:
        Admin(lambda: next(given)).login()
    assert_no_canary_in(caught.value)


def test_there_must_be_a_value_to_renew() -> None:
    """The first one is put by hand: it says the form."""
    with pytest.raises(InvalidRequestError, match="no current value"):
        PostgreSQLRotator(host="h", user="u").create_secret(Rotation(R.id, R.name))
