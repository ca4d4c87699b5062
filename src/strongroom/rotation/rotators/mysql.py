"""Passwords of MariaDB and MySQL accounts, changed in place.

PyMySQL is loaded when a session is opened (``pip install 'strongroom[mysql]'``).
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.rotation.generating import password_policy
from strongroom.rotation.rotator import Rotation, Source

from .logins import Logins, PasswordRotator, Server, admin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.value import SecretValue

_REFUSED: Final = (1045, 1698)
"""ER_ACCESS_DENIED_ERROR and ER_ACCESS_DENIED_NO_PASSWORD_ERROR. A locked account is another matter: it may
be unlocked, and its password is good then."""
_PRIVILEGE: Final = (1044, 1142, 1143, 1227, 1370, 1410)
"""The login may not: a database, a table, a column, CREATE USER, a routine, to make an account."""
_POLICY: Final = (1819, 3638)
"""ER_NOT_VALID_PASSWORD, ER_CREDENTIALS_CONTRADICT_TO_HISTORY."""
_UNSEEN: Final = (1290, 1372)
"""ER_OPTION_PREVENTS_STATEMENT: MariaDB's strict_password_validation wants to see the password;
ER_PASSWD_LENGTH: the account's hash has another form."""
_CLEAR: Final = ("mysql_clear_password", "dialog")
"""▲ By these a server asks for the password itself, which none whose passwords we set has any need for."""


@dataclass(frozen=True)
class Session:
    """A session of one login; what it raises is translated, and holds no statement."""

    connection: Any

    @property
    def mariadb(self) -> bool:
        """Whether it is MariaDB; else it is MySQL."""
        return "MariaDB" in self.connection.get_server_info()

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows.

        Raises:
            PermissionDeniedError: the login may not.
            InvalidRequestError: the server will not have this password.
            UnavailableError: everything else; whether it was done is not known.
        """
        errors = _driver().Error, OSError
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall())
        except errors as exc:
            failure = _failure(_code(exc))
        del statement, values  # they may hold a password
        raise failure


class MySQLRotator(PasswordRotator):
    """Changes a MariaDB or MySQL account's password. The value is that, a URL, or JSON as AWS RDS has it.

    Sessions that exist go on; between the change and the promotion a new connection of a reader that has the
    old value waits a moment (`strongroom.integrations` does so).

    Args:
        host: the server, never taken from the value.
        port: its port.
        user: whose password; may be left out if the value says it, and there is no `admin`.
        account_host: with `admin`: from where that account may log in, as in ``'app'@'%'``.
        admin: gives the credential of who may change it (CREATE USER, and SELECT on ``mysql.*``). By default
            accounts change their own.
        admin_user: who that is, if that credential is a password alone.
        ca: a PEM file with the authorities to trust; TLS is verified always, but for literal loopback
            without `ca`.
        aliases: other hosts that the value may name, such as a proxy's.
        length: of the password.
        symbols: also ``-._~`` in it, as MySQL's validate_password wants.
        probe: a query the new login must be able to do: ``SELECT 1 FROM shop.orders LIMIT 1``.

    Raises:
        InvalidRequestError: the options cannot work.
    """

    def __init__(  # noqa: PLR0913  (the options of a table in strongroom.toml)
        self,
        *,
        host: str,
        port: int = 3306,
        user: str | None = None,
        account_host: str = "%",
        admin: Source | None = None,
        admin_user: str | None = None,
        ca: str | None = None,
        aliases: Sequence[str] = (),
        length: int = 32,
        symbols: bool = True,
        probe: str | None = None,
    ):
        if admin and not user:
            hint = "else whoever can write the value could have anybody's password changed"
            raise InvalidRequestError("a rotator with `admin` needs `user`", hint=hint)
        if "," in host:
            raise InvalidRequestError("`host` is one server", hint="name the one that takes writes")
        server = Server(host, port, ca, tuple(aliases))
        super().__init__(Logins(server, (user,) if user else (), password_policy(length, symbols)))
        self._account_host, self._probe = account_host, probe
        self._admin = admin_of(admin, admin_user)

    def connect(self, r: Rotation, value: SecretValue) -> AbstractContextManager[Session]:
        """Log in at the configured server as the value says."""
        user = self.principal(value).user
        return _opened(r, self._logins.server, user, self._logins.password(value))

    def change(self, r: Rotation, session: Session, pending: SecretValue) -> None:
        """Change the password of the session's own account."""
        _change(session, "", (), self._logins.password(pending))

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        """Change it in a session of the account's, or else of the admin's, whatever the password is now."""
        if self._admin is None:
            return super().set_secret(r, pending)
        self._principal(r, pending)
        if self.refuses(r, pending):
            account = self.principal(pending).user, self._account_host
            with _opened(r, self._logins.server, *self._admin.login()) as session:
                r.check()
                _change(session, "%s@%s", account, self._logins.password(pending))
        return None

    def verify(self, r: Rotation, session: Session) -> None:
        """Do what the login is for."""
        if self._probe:
            session.run("START TRANSACTION READ ONLY")
            session.run(self._probe)
            session.run("ROLLBACK")


def _change(session: Session, account: str, names: tuple[str, ...], password: SecretValue) -> None:
    """▲ MariaDB's logs show the password of a statement, so it gets a hash; MySQL's do not."""
    if not session.mariadb:
        session.run(f"ALTER USER {account or 'USER()'} IDENTIFIED BY %s", *names, password.reveal_text())
        return
    native = _is_native(session, account, names)
    hashed, clear = _statements(account if native else "", account)
    if not native or not _took(session, hashed, *names, _hash(password)):
        session.run(clear, *names, password.reveal_text())


def _statements(altered: str, account: str) -> tuple[str, str]:
    """With a hash, and with the password. To alter somebody else's account CREATE USER is enough.

    But it would lose how the account keeps its password, if that is not the usual way.
    """
    if altered:
        return f"ALTER USER {altered} IDENTIFIED BY PASSWORD %s", f"ALTER USER {altered} IDENTIFIED BY %s"
    whose = f" FOR {account}" if account else ""
    return f"SET PASSWORD{whose} = %s", f"SET PASSWORD{whose} = PASSWORD(%s)"


def _is_native(session: Session, account: str, names: tuple[str, ...]) -> bool:
    """Whether the password is kept as `_hash` makes it, and only so; else the server has to hash it."""
    [(made,)] = session.run(f"SHOW CREATE USER {account}", *names)
    return " VIA " not in made


def _took(session: Session, statement: str, *values: str) -> bool:
    """False if the server wants to see the password itself."""
    try:
        session.run(statement, *values)
    except _UnseenError:
        return False
    return True


def _hash(password: SecretValue) -> str:
    """mysql_native_password's: a star and SHA-1 of SHA-1 (MySQL reference, password hashing)."""
    twice = hashlib.sha1(hashlib.sha1(password.reveal()).digest())  # noqa: S324  (the protocol's)
    return f"*{twice.hexdigest().upper()}"


@contextmanager
def _opened(r: Rotation, server: Server, user: str, password: SecretValue) -> Iterator[Session]:
    seconds = max(0.5, r.remaining())  # 0 would be refused
    connection = _connected(server, user, password, seconds)
    if isinstance(connection, SecretStoreError):
        raise connection
    with closing(connection):
        session = Session(connection)
        session.run("SET SESSION lock_wait_timeout = %s", max(1, int(seconds)))
        yield session


def _connected(server: Server, user: str, password: SecretValue, seconds: float) -> Any:
    driver = _driver()
    try:
        return driver.connect(
            host=server.host, port=server.port, user=user, password=password.reveal(), autocommit=True,
            connect_timeout=min(seconds, 10), read_timeout=seconds, write_timeout=seconds,
            ssl=_tls(server), ssl_disabled=server.plain, auth_plugin_map=dict.fromkeys(_CLEAR, _NoPassword),
        )  # fmt: skip
    except (driver.Error, OSError) as exc:
        code = _code(exc)
    if code in _REFUSED:
        return PermissionDeniedError("the server refuses this user's password")
    hint = "check host and port; but on loopback it must speak TLS under an authority that `ca` names"
    return UnavailableError(f"the server does not answer ({code})", hint=hint)


def _tls(server: Server) -> Any:
    """▲ A context makes PyMySQL 1.2 insist on TLS; without one it takes what it gets, unverified."""
    import ssl

    return None if server.plain else ssl.create_default_context(cafile=server.ca)


class _NoPassword:
    """Answers a server that asks for a password in clear: not at all."""

    def __init__(self, connection: object):
        pass

    def authenticate(self, packet: object) -> None:
        raise _driver().OperationalError(0, "the server asks for the password in clear")


class _UnseenError(UnavailableError):
    """The server wants to see the password to judge it."""


def _code(exc: Exception) -> int | str:
    first = exc.args[0] if exc.args else None
    return first if isinstance(first, int) else type(exc).__name__


def _failure(code: int | str) -> SecretStoreError:
    if code in _PRIVILEGE:
        return PermissionDeniedError("the server does not let this user do that", performed=False)
    if code in _POLICY:
        return InvalidRequestError("the server will not have this password: its policy", performed=False)
    unseen = code in _UNSEEN
    kind = _UnseenError if unseen else UnavailableError
    return kind(f"the server did not do it ({code})", performed=False if unseen else None)


def _driver() -> Any:
    try:
        import pymysql
    except ImportError:
        found = None
    else:
        found = pymysql
    if found is None:
        raise BackendNotInstalledError("PyMySQL is not installed", hint="pip install 'strongroom[mysql]'")
    return found
