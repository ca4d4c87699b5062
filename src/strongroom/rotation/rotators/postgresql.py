"""Passwords of PostgreSQL users: one that is changed in place, or two that take turns.

One user is simplest: its password changes, and between that and the promotion a new connection of a reader
that has the old value waits a moment (`strongroom.integrations` does so). Two users leave both values good
until the grace is over. Their rights, and what they own, are a third role's, whose members they are::

    CREATE ROLE shop NOLOGIN;                    -- owns the tables, has the grants
    GRANT shop TO rotator WITH ADMIN OPTION;     -- who makes shop_a and shop_b its members
    ALTER ROLE rotator CREATEROLE;
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError
from strongroom.rotation.generating import password_policy
from strongroom.rotation.rotator import Rotation, Rotator, Source

from .logins import Logins, PasswordRotator, Server, admin_of
from .pgsession import Session, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import LiteralString

    from psycopg.sql import Composed

    from strongroom.value import SecretValue

    from .logins import Admin


class PostgreSQLRotator(PasswordRotator):
    """Changes a PostgreSQL user's password. The value is the password, a URL, or JSON as AWS RDS has it.

    Args:
        host: the server, never taken from the value; several with commas, of which one takes writes.
        port: its port.
        database: where to log in, if the value does not say one.
        user: whose password; may be left out if the value says it, and there is no `admin`.
        admin: gives the credential of who may change it. By default users change their own.
        admin_user: who that is, if that credential is a password alone.
        ca: a PEM file with the authorities to trust; TLS is verified always, but for literal loopback
            without `ca`.
        aliases: other hosts that the value may name, such as a pooler's.
        length: of the password.
        symbols: also ``-._~`` in it.
        probe: a statement the new login must be able to do, read-only: ``SELECT FROM orders LIMIT 1``.
        checked: whether the server wants to see passwords, to hold them to its policy (`passwordcheck`,
            Cloud SQL); they stand in its log then, if statements do. By default it gets a SCRAM verifier.

    Raises:
        InvalidRequestError: the options cannot work.
    """

    def __init__(  # noqa: PLR0913  (the options of a table in strongroom.toml)
        self,
        *,
        host: str,
        port: int = 5432,
        database: str = "postgres",
        user: str | None = None,
        admin: Source | None = None,
        admin_user: str | None = None,
        ca: str | None = None,
        aliases: Sequence[str] = (),
        length: int = 32,
        symbols: bool = False,
        probe: str | None = None,
        checked: bool = False,
    ):
        if admin and not user:
            hint = "else whoever can write the value could have anybody's password changed"
            raise InvalidRequestError("a rotator with `admin` needs `user`", hint=hint)
        server = Server(host, port, ca, tuple(aliases))
        super().__init__(Logins(server, (user,) if user else (), password_policy(length, symbols)))
        self._database, self._probe, self._checked = database, probe, checked
        self._admin = admin_of(admin, admin_user)

    def connect(self, r: Rotation, value: SecretValue) -> AbstractContextManager[Session]:
        """Log in at the configured server as the value says."""
        return _as(r, self._logins, value, self._database)

    def change(self, r: Rotation, session: Session, pending: SecretValue) -> None:
        """ALTER ROLE, in the user's own session."""
        session.run("SET ROLE NONE")  # a user whose sessions begin in another role has no right to it there
        session.run(_alter(session, self._logins, pending, checked=self._checked))

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        """Change it in a session of the user's, or else of the admin's, whatever the password is now."""
        if self._admin is None:
            return super().set_secret(r, pending)
        self._principal(r, pending)
        if self.refuses(r, pending):
            with _as_admin(r, self._logins.server, self._admin, self._database) as session:
                r.check()
                session.run(_alter(session, self._logins, pending, checked=self._checked))
        return None

    def verify(self, r: Rotation, session: Session) -> None:
        """Do what the login is for."""
        _prove(session, self._probe)


class PostgreSQLTwoUsersRotator(Rotator):
    """Alternates two PostgreSQL users, so that the old value goes on working until the grace is over.

    A new value is for the user that the current one does not name, which is made if it is missing. Both are
    members of one role, to which they owe their rights, and as which their sessions begin: what they make is
    owned by it. At the end of the grace the old user cannot log in until its next turn.

    Args:
        host, port, database, admin_user, ca, aliases, length, symbols, probe, checked: as of
            `PostgreSQLRotator`. A value has to say the user: it is a URL or JSON.
        users: the two; nobody else uses them.
        role: has the grants, owns the objects, and cannot log in; left out if you see to that yourself.
        admin: gives the credential of a user with CREATEROLE, and the ADMIN OPTION of `role`.
        end_sessions: whether connections of the old user are ended with its grace. A pool must replace its
            connections more often than that then.

    Raises:
        InvalidRequestError: the options cannot work.
    """

    slots = "two"

    def __init__(  # noqa: PLR0913  (the options of a table in strongroom.toml)
        self,
        *,
        host: str,
        users: Sequence[str],
        admin: Source,
        role: str | None = None,
        port: int = 5432,
        database: str = "postgres",
        admin_user: str | None = None,
        ca: str | None = None,
        aliases: Sequence[str] = (),
        length: int = 32,
        symbols: bool = False,
        probe: str | None = None,
        checked: bool = False,
        end_sessions: bool = False,
    ):
        if len(set(users)) != 2 or len(users) != 2 or role in users:
            raise InvalidRequestError("`users` are two, and `role` is neither", hint='["shop_a", "shop_b"]')
        server = Server(host, port, ca, tuple(aliases))
        self._logins = Logins(server, tuple(users), password_policy(length, symbols))
        self._admin, self._database = admin_of(admin, admin_user), database
        self._role, self._probe, self._checked, self._ends = role, probe, checked, end_sessions

    def create_secret(self, r: Rotation) -> SecretValue:
        """The current value for the other user, with another password."""
        first, second = self._logins.users
        user = self._logins.principal(r.current).user if r.current else first
        return self._logins.next_value(r, user=second if user == first else first)

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        """Make the user if it is missing, and all that it needs, in one transaction."""
        user = self._logins.principal(pending).user
        if r.current is not None and r.current != pending and user == self._logins.principal(r.current).user:
            raise IntegrityError("the pending value is for the user that readers have now")
        self._give(r, user, pending)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Log in, be in the role, and do what the login is for."""
        with _as(r, self._logins, value, self._database) as session:
            if self._role and session.run("SELECT current_user") != [(self._role,)]:
                raise PermissionDeniedError(f"the user's sessions do not begin in the role {self._role}")
            _prove(session, self._probe)

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        """Whether the server refuses the password, whatever else the user may not."""
        try:
            with _as(r, self._logins, value, self._database):
                return False
        except PermissionDeniedError:
            return True

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """Take the user's password and its right to log in, unless it has another password by now."""
        victim = self._logins.principal(previous).user
        if r.pending not in (None, previous) and self._logins.principal(r.pending).user == victim:
            return self._give(r, victim, r.pending)  # somebody put it by hand: its password ends the other
        with self._as_admin(r) as session:
            asleep = session.run(_ASLEEP, u=victim)
            if asleep or not self.refuses(r, previous):
                r.check()
                session.run(_sql("ALTER ROLE {} NOLOGIN PASSWORD NULL", victim))
            if self._ends:
                session.run(_ENDS, u=victim)
        return None

    def _give(self, r: Rotation, user: str, value: SecretValue) -> None:
        if not self.refuses(r, value):
            return
        with self._as_admin(r) as session:
            missing = not session.run("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %(u)s", u=user)
            r.check()
            session.run(_together(*self._statements(session, user, value, missing=missing)))

    def _as_admin(self, r: Rotation) -> AbstractContextManager[Session]:
        assert self._admin
        return _as_admin(r, self._logins.server, self._admin, self._database)

    def _statements(
        self, session: Session, user: str, value: SecretValue, *, missing: bool
    ) -> Iterator[Composed]:
        if missing:
            yield _sql("CREATE ROLE {}", user)
        if self._role:
            yield _sql("GRANT {} TO {}", self._role, user)
            yield _sql("ALTER ROLE {} SET role TO {}", user, self._role)
        yield _sql("ALTER ROLE {} LOGIN", user)
        yield _alter(session, self._logins, value, checked=self._checked)


_ASLEEP = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %(u)s AND NOT rolcanlogin"
"""Somebody may have taken the right to log in alone; to give it back must not bring back the password."""
_ENDS = """SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity AS a
    JOIN pg_catalog.pg_roles AS r ON r.rolname = a.usename WHERE usename = %(u)s AND NOT rolcanlogin"""
"""Of one whose revoke was taken back meanwhile nothing is ended."""


@contextmanager
def _as(r: Rotation, logins: Logins, value: SecretValue, database: str) -> Iterator[Session]:
    who = logins.principal(value)
    with opened(r, logins.server, who.user, logins.password(value), who.database or database) as session:
        yield session


@contextmanager
def _as_admin(r: Rotation, server: Server, admin: Admin, database: str) -> Iterator[Session]:
    user, password = admin.login()
    with opened(r, server, user, password, database) as session:
        yield session


def _alter(session: Session, logins: Logins, pending: SecretValue, *, checked: bool) -> Composed:
    """▲ With a verifier, unless the server checks passwords: statements stand in its log."""
    from psycopg import sql

    user, password = logins.principal(pending).user, logins.password(pending)
    text = sql.Literal(password.reveal_text() if checked else session.verifier(user, password))
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), text)


def _prove(session: Session, probe: str | None) -> None:
    if probe:
        session.run("BEGIN READ ONLY")
        session.run(probe.encode())
        session.run("ROLLBACK")


def _together(*statements: Composed) -> Composed:
    """PostgreSQL runs what comes in one message as one transaction."""
    from psycopg import sql

    return sql.SQL("; ").join(statements)


def _sql(statement: LiteralString, *names: str) -> Composed:
    from psycopg import sql

    return sql.SQL(statement).format(*map(sql.Identifier, names))
