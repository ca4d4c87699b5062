"""Sessions at PostgreSQL under time-outs, whose errors tell a refused password from everything else.

psycopg is loaded when a session is opened (``pip install 'strongroom[psycopg]'``), with libpq 16 or newer.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.postgres import driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from psycopg.sql import Composed

    from strongroom.rotation.rotator import Rotation
    from strongroom.value import SecretValue

    from .logins import Server

_AUTHENTICATION: Final = "scram-sha-256,md5"
"""▲ `require_auth` of libpq 16: a server that asks for no password (`trust`) would accept any, so that a test
proved nothing, and one that asks for it in clear is not this one."""
_REFUSED: Final = ("password authentication failed", "is not permitted to log in")
"""PostgreSQL's own words, in English. libpq tells no SQLSTATE of a connection that was refused."""
_SETTINGS: Final = """SELECT set_config('statement_timeout', %(ms)s, false),
    set_config('synchronous_commit', 'on', false)"""
"""What is waited for longer would come into effect after the lease; what is acknowledged is on disk."""
_POLICY: Final = "22023"
"""invalid_parameter_value: what `passwordcheck` answers (contrib/passwordcheck/passwordcheck.c)."""
_PRIVILEGE: Final = "42501"
_LEAST: Final = 0.5
"""Seconds: 0 would be no limit."""


@dataclass(frozen=True)
class Session:
    """A session of one login; what it raises is translated, and holds no statement."""

    connection: psycopg.Connection[Any]

    def run(self, statement: str | bytes | Composed, **values: object) -> list[tuple[Any, ...]]:
        """Execute a statement, and return its rows; several with semicolons are one transaction.

        Raises:
            PermissionDeniedError: the login may not.
            InvalidRequestError: the server will not have a parameter, such as a password.
            UnavailableError: everything else; whether it was done is not known.
        """
        error = driver().Error
        try:
            cursor = self.connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description is not None else []
        except error as exc:
            failure = _failure(exc)
        del statement, values  # they may hold a password
        raise failure

    def verifier(self, user: str, password: SecretValue) -> str:
        """What stands for a password in a statement: a server's log may show statements.

        SCRAM-SHA-256, made here as psql's \\password does (RFC 5803).
        """
        made = self.connection.pgconn.encrypt_password(password.reveal(), user.encode(), b"scram-sha-256")
        return made.decode()


@contextmanager
def opened(r: Rotation, server: Server, user: str, password: SecretValue, database: str) -> Iterator[Session]:
    """Log in; the session ends with the block, or when the hook has no time left.

    Raises:
        PermissionDeniedError: the server refuses this password of this user, and nothing else.
        UnavailableError: there is no session for any other reason.
    """
    seconds = max(_LEAST, r.remaining())
    where = {**_place(server, seconds), "user": user, "dbname": database}
    connection = _connected(where, password)
    if isinstance(connection, SecretStoreError):
        raise connection
    with _limited(connection, seconds):
        session = Session(connection)
        session.run(_SETTINGS, ms=str(int(seconds * 1000)))
        yield session


def _place(server: Server, seconds: float) -> dict[str, Any]:
    """▲ Everything is said: what is not, libpq takes from the environment (PGHOSTADDR, PGSSLMODE)."""
    each = int(max(2, min(seconds / len(server.hosts), 10)))  # libpq takes less for 2 seconds too
    found = {
        "host": server.host, "port": str(server.port), "target_session_attrs": "read-write",
        "require_auth": _AUTHENTICATION, "gssencmode": "disable", "options": "",
        "connect_timeout": str(each), "tcp_user_timeout": str(int(seconds * 1000)),
        "application_name": "strongroom rotation",
    }  # fmt: skip
    if server.plain:
        return {**found, "hostaddr": server.host, "sslmode": "disable", "sslrootcert": ""}
    return {**found, "sslmode": "verify-full", "sslrootcert": server.ca or "system"}


def _connected(where: dict[str, Any], password: SecretValue) -> psycopg.Connection[Any] | SecretStoreError:
    package, text = driver(), ""
    try:
        return package.connect(  # type: ignore[no-any-return]
            **where, password=password.reveal_text(), autocommit=True, prepare_threshold=None
        )
    except package.ProgrammingError:
        return InvalidRequestError("libpq does not take these options", hint="libpq 16 or newer is needed")
    except package.Error as exc:
        text, asked = str(exc), bool(getattr(exc.pgconn, "used_password", False))
    if any(phrase in text for phrase in _REFUSED) or (asked and text == _wrong(where)):
        return PermissionDeniedError("the server refuses this user's password")
    return UnavailableError("the server does not answer", hint=_hint(text))


def _wrong(where: dict[str, Any]) -> str:
    """What the server says to a password that is surely wrong, in whatever language it speaks."""
    package = driver()
    try:
        package.connect(**where, password=secrets.token_hex(16)).close()
    except package.Error as exc:
        return str(exc)
    return ""


def _hint(text: str) -> str:
    if "SSL" in text or "certificate" in text:
        return "it must speak TLS under an authority that `ca` names, or the system's"
    if "authentication method" in text or "did not complete authentication" in text:
        return "pg_hba.conf must ask this user for a password by scram-sha-256 or md5"
    return "check host, port and database"


@contextmanager
def _limited(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """▲ psycopg waits for an answer for ever: a server that hangs would have the hook outlast the lease."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line, closing(connection):
        timer = threading.Timer(seconds, _cut, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _cut(line: socket.socket) -> None:
    with suppress(OSError):  # it ended by itself at this very moment
        line.shutdown(socket.SHUT_RDWR)


def _failure(exc: psycopg.Error) -> SecretStoreError:
    code = exc.sqlstate or type(exc).__name__
    if code == _PRIVILEGE:
        return PermissionDeniedError("the server does not let this user do that", performed=False)
    if code == _POLICY:
        return InvalidRequestError("the server will not have this password: its policy", performed=False)
    return UnavailableError(f"the server did not do it ({code})", performed=None)
