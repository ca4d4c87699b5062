"""Whose password a value holds, and at which server: what rotators of database logins have in common."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.names import is_loopback
from strongroom.rotation.generating import login, new_password, password_policy, renewed
from strongroom.rotation.rotator import SingleSlot

if TYPE_CHECKING:
    from strongroom.passwords import Policy
    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue


@dataclass(frozen=True)
class Server:
    """A server as the configuration names it. A value never says where a rotator connects to.

    Attributes:
        host: its name or address; of PostgreSQL several, with commas, of which the one is used that takes
            writes.
        port: its port.
        ca: a PEM file with the authorities to trust instead of the system's.
        aliases: other hosts that a value may name for it, such as a pooler's.
    """

    host: str
    port: int
    ca: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Its names and addresses."""
        return tuple(host.strip().lower() for host in self.host.split(","))

    @property
    def plain(self) -> bool:
        """Whether it is reached without TLS: on literal loopback, if no authority is named."""
        urls = (f"http://[{host}]" if ":" in host else f"http://{host}" for host in self.hosts)
        return not self.ca and all(is_loopback(url) for url in urls)

    def is_called(self, hosts: tuple[tuple[str, int | None], ...]) -> bool:
        """Whether these, from a value, are this server; a value that names none is meant for it."""
        aliases = {alias.lower() for alias in self.aliases}
        return all(
            host in aliases or (host in self.hosts and port in (None, self.port)) for host, port in hosts
        )


@dataclass(frozen=True)
class Principal:
    """Whom a value logs in as, and where.

    Attributes:
        user: who logs in.
        database: which of the server's.
        hosts: as the value names them.
    """

    user: str
    database: str | None = None
    hosts: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True)
class Logins:
    """The logins of one server that a rotator may change.

    Attributes:
        server: where they are good.
        users: of whom; empty for whoever a value names, which then changes nobody's password but its own.
        policy: of generated passwords.
    """

    server: Server
    users: tuple[str, ...] = ()
    policy: Policy = field(default_factory=password_policy)

    def principal(self, value: SecretValue) -> Principal:
        """Whom a value logs in as.

        Raises:
            IntegrityError: at another server, or another user.
            InvalidRequestError: it does not say.
        """
        found = login(value)
        if not self.server.is_called(found.hosts):
            hint = "if that is another name of it, add it to `aliases`"
            raise IntegrityError("the value names another server than the rotator's", hint=hint)
        user = found.user or (self.users[0] if len(self.users) == 1 else None)
        if not user:
            hint = "store a URL or JSON with username and password, or give the rotator `user`"
            raise InvalidRequestError("the value does not say whose password it is", hint=hint)
        if self.users and user not in self.users:
            raise IntegrityError(f"the value is for another user than {' and '.join(self.users)}")
        return Principal(user, found.database, found.hosts)

    def password(self, value: SecretValue) -> SecretValue:
        """What of a value is the password; it raises as `principal` does."""
        self.principal(value)
        return login(value).password

    def next_value(self, r: Rotation, *, user: str | None = None) -> SecretValue:
        """The current value with a new password, and with another user if one is given.

        Raises:
            InvalidRequestError: there is no current value, or none that is understood.
            IntegrityError: it is not for this server.
        """
        if r.current is None:
            raise InvalidRequestError("there is no current value to renew", hint="put the first one by hand")
        self.principal(r.current)
        return renewed(r.current, new_password(self.policy), user=user)


@dataclass(frozen=True)
class Admin:
    """Who may change the passwords of others.

    Attributes:
        source: gives the credential, a password or a value that says the user too.
        user: who that is, if the value does not say it.
    """

    source: Source = field(repr=False)
    user: str | None = None

    def login(self) -> tuple[str, SecretValue]:
        """User and password, asked anew: this credential rotates too.

        Raises:
            InvalidRequestError: nobody says the user.
        """
        found = login(self.source())
        user = found.user or self.user
        if not user:
            raise InvalidRequestError("the admin's credential names no user", hint="set `admin_user`")
        return user, found.password


def admin_of(source: Source | None, user: str | None) -> Admin | None:
    """None if there is no source."""
    return Admin(source, user) if source else None


class PasswordRotator(SingleSlot):
    """Changes the password of a user in place; how to log in and to change it is the database's matter.

    Args:
        logins: whose passwords, and where.
    """

    def __init__(self, logins: Logins):
        self._logins = logins

    def create_secret(self, r: Rotation) -> SecretValue:
        """The current value with another password."""
        return self._logins.next_value(r)

    def principal(self, value: SecretValue) -> Principal:
        """User and database, and where, as the value says."""
        return self._logins.principal(value)

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """If it still works, give the user the password in use, or else one that nobody gets to know.

        The latter when a value has leaked, and none could be put in its place.
        """
        if self.refuses(r, previous):
            return
        known = r.pending is not None and r.pending != previous
        other = r.pending if known else renewed(previous, new_password(self._logins.policy))
        assert other is not None
        self.set_secret(replace(r, current=previous), other)
