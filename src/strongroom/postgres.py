"""Transactions on a PostgreSQL database that several processes share, through fail-over and lost connections.

psycopg is loaded when a connection is made (``pip install 'strongroom[psycopg]'``).
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from .errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from .names import StoreURL, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from .value import SecretValue

T = TypeVar("T")
CONNECTIONS: Final = 4
"""At once, for all threads of a process."""
ATTEMPTS: Final = 3
"""How often a transaction is run that was rolled back for another's sake, or whose connection was lost."""
_TIMES: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Seconds, but the second in milliseconds: a server that vanished is noticed well before a lease ends."""
_SAID: Final = {
    "target_session_attrs": "read-write",
    "require_auth": "!password,!gss,!sspi",
    "gssencmode": "disable",
    "options": "",
    "application_name": "strongroom",
}
"""▲ What is not said, libpq takes from the environment (PGHOSTADDR, PGSSLMODE, PGOPTIONS). No server gets the
password itself: one that stands in another's place on loopback could ask for it.
"""
_BEGIN: Final = """BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '10s';
    SET LOCAL idle_in_transaction_session_timeout = '30s'; SET LOCAL search_path = public, pg_temp;
    SELECT set_config('synchronous_commit', 'on', true)
        WHERE current_setting('synchronous_commit') IN ('off', 'local')"""
"""What is acknowledged is on disk, and on a synchronous standby's, whatever the role's default. It is said in
each transaction, in one request with its begin: a pooler between may give each one another session.
"""
_MAKES: Final = 0x5374726F6E67
"""An advisory lock: of processes that make the same missing table at once, PostgreSQL fails all but one."""
_OPEN: Final = (2, 3)
"""libpq's PQTRANS_INTRANS and PQTRANS_INERROR."""
_LOST_RACES: Final = ("40001", "40P01", "23505")
"""SQLSTATEs of a transaction that was rolled back for another's sake."""
_GONE: Final = ("25006", "57P01", "57P02", "57P03", "08")
"""SQLSTATEs of a server that goes away, or takes no writes any more."""


@dataclass(frozen=True)
class Login:
    """How to reach a database.

    Attributes:
        url: ``postgresql://HOST[:PORT][,HOST…]/DATABASE``; of several, the one that takes writes.
        user: who logs in; None leaves it to libpq.
        password: asked anew for each connection, since it is rotated too.
        ca: a PEM file with the authorities to trust instead of the system's.
    """

    url: str
    user: str | None = None
    password: Callable[[], SecretValue] | None = field(default=None, repr=False)
    ca: str | os.PathLike[str] | None = None

    def parameters(self) -> dict[str, Any]:
        """What libpq is told, but for the password.

        Raises:
            InvalidRequestError: the URL is none of a database.
        """
        url = StoreURL.parse(self.url)
        url.allow()
        if url.scheme != "postgresql" or not url.host or not url.path or "/" in url.path:
            raise InvalidRequestError("not a PostgreSQL URL", hint="write postgresql://HOST/DATABASE")
        hosts, ports = zip(*(_host_and_port(part) for part in url.host.split(",")), strict=True)
        found = {"host": ",".join(hosts), "port": ",".join(ports), "dbname": url.path}
        user = {"user": self.user} if self.user else {}
        return {**_SAID, **found, **user, **self._tls(hosts)}

    def _tls(self, hosts: tuple[str, ...]) -> dict[str, str]:
        """▲ libpq's own default falls back to plaintext, and verifies nobody."""
        if not self.ca and all(map(_is_loopback, hosts)):
            return {"sslmode": "disable", "sslrootcert": "", "hostaddr": ",".join(hosts)}
        return {"sslmode": "verify-full", "sslrootcert": os.fspath(self.ca or "system"), "hostaddr": ""}


def _is_loopback(host: str) -> bool:
    return is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


def _host_and_port(text: str) -> tuple[str, str]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, "5432"
    if not port.isdigit() or not host:
        raise InvalidRequestError("not a PostgreSQL URL", hint="write postgresql://HOST:PORT/DATABASE")
    return host.strip("[]"), port


@final
class Postgres:
    """Runs transactions, at most `CONNECTIONS` at once. Safe across threads and forks.

    Args:
        login: how to reach the database.
        schema: statements that make the tables; run if the first of them is missing.
        table: that first table.
        what: whose database it is, for errors.
    """

    def __init__(self, login: Login, schema: str, table: str, what: str):
        self._login, self._schema, self._table, self._what = login, schema, table, what
        self._parameters = login.parameters()
        self._made = False
        self.renew()
        _databases.add(self)

    def transact(self, work: Callable[[psycopg.Cursor[Any]], T]) -> T:
        """Run `work` in a transaction, and again, whole, if it was rolled back or its outcome is unknown.

        So a `work` whose first run was committed, and the answer lost, finds its own rows.

        Raises:
            PermissionDeniedError: the login was refused, or lacks a grant.
            UnavailableError: the database does not answer; what `work` does may have been done.
            BackendNotInstalledError: there is no psycopg.
        """
        failures: list[SecretStoreError] = []
        again = True
        while again and len(failures) < ATTEMPTS:
            with self._slots:
                answers, failure, again = self._attempt(work)
            if failure is None:
                return answers[0]
            failures.append(failure)
        unknown = any(failure.performed is None for failure in failures)
        failures[-1].performed = None if unknown else False
        raise failures[-1]

    def close(self) -> None:
        """Safe to repeat; another call connects again."""
        while self._idle:
            self._idle.pop().close()

    def renew(self) -> None:
        """After a fork, in the child: forget the parent's connections, which psycopg then does not close."""
        self._idle: list[psycopg.Connection[Any]] = []
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._pid = os.getpid()

    def _attempt(
        self, work: Callable[[psycopg.Cursor[Any]], T]
    ) -> tuple[list[T], SecretStoreError | None, bool]:
        package, connection = driver(), None
        try:
            connection = self._take()
            answer = _in_transaction(connection, work)
            self._give(connection)
            return [answer], None, False
        except package.Error as exc:
            failure = self._failure(exc, connected=connection is not None)
            gone = connection is None or connection.closed or _is(exc, _GONE)
            again = connection is not None and (gone or _is(exc, _LOST_RACES))
        except BaseException:
            self._give(connection)
            raise
        if gone:  # what took this one from us has mostly taken all
            self.close()
        self._give(connection, keep=not gone)
        return [], failure, again

    def _take(self) -> psycopg.Connection[Any]:
        if self._pid != os.getpid():  # a fork made in C, of which nobody was told
            self.renew()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> psycopg.Connection[Any]:
        package = driver()
        connection: psycopg.Connection[Any] = package.connect(
            **self._parameters, **_TIMES, **self._secret(), autocommit=True, prepare_threshold=None
        )
        try:
            self._make(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _secret(self) -> dict[str, str]:
        return {"password": self._login.password().reveal_text()} if self._login.password else {}

    def _make(self, connection: psycopg.Connection[Any]) -> None:
        """The tables, unless they are there: then no right to make any is needed."""

        def make(cursor: psycopg.Cursor[Any]) -> None:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKES])
            there = cursor.execute("SELECT to_regclass(%s)", [self._table]).fetchone()
            if not there or there[0] is None:
                cursor.execute(self._schema.encode())

        if not self._made:
            _in_transaction(connection, make)
            self._made = True

    def _give(self, connection: psycopg.Connection[Any] | None, *, keep: bool = True) -> None:
        if connection is None:
            return
        idle = connection.info.transaction_status == 0
        if keep and idle:  # an interrupt may have left a query running
            self._idle.append(connection)
        else:
            connection.close()

    def _failure(self, exc: psycopg.Error, *, connected: bool) -> SecretStoreError:
        code = exc.sqlstate or type(exc).__name__
        if not connected and isinstance(exc, driver().ProgrammingError):
            return InvalidRequestError(
                "libpq does not take these options", hint="libpq 16 or newer is needed"
            )
        if code == "42501":
            return PermissionDeniedError(
                f"{self._what} refuses", hint=f"grant SELECT, INSERT, UPDATE and DELETE on {self._table}"
            )
        if not connected and (code.startswith("28") or "password authentication failed" in str(exc)):
            return PermissionDeniedError(f"{self._what} refuses the login", hint="check user and password")
        return UnavailableError(
            f"{self._what} does not answer ({code})", performed=None if connected else False
        )


def _in_transaction(connection: psycopg.Connection[Any], work: Callable[[psycopg.Cursor[Any]], T]) -> T:
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN)
        try:
            answer = work(cursor)
        except BaseException:
            if connection.info.transaction_status in _OPEN:
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")
        return answer


def driver() -> Any:
    """The package that speaks to PostgreSQL.

    Raises:
        BackendNotInstalledError: it is not there.
    """
    try:
        import psycopg
    except ImportError:
        found = None
    else:
        found = psycopg
    if found is None:
        raise BackendNotInstalledError("psycopg is not installed", hint="pip install 'strongroom[psycopg]'")
    return found


def _is(exc: psycopg.Error, states: tuple[str, ...]) -> bool:
    return exc.sqlstate is not None and exc.sqlstate.startswith(states)


_databases: weakref.WeakSet[Postgres] = weakref.WeakSet()


def _after_in_child() -> None:
    for database in list(_databases):
        database.renew()


os.register_at_fork(after_in_child=_after_in_child)
