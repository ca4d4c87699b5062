"""MariaDB accounts get new passwords, on the real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.rotation.rotators import mysql
from strongroom.rotation.rotators.mysql import MySQLRotator, Session
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.integration.rotation_databases import NEW, OLD, Account, rotation
from tests.servers.https import Authority
from tests.servers.mariadb import ADMIN, MariaDB


@pytest.fixture
def account(mariadb_server: MariaDB) -> Account:
    return Account(mariadb_server)


@pytest.fixture
def administered(mariadb_server: MariaDB) -> Account:
    """By an admin, whose credential says who it is."""
    fields = {"username": ADMIN, "password": mariadb_server.password}
    return Account(mariadb_server, admin=lambda: SecretValue.of(fields))


class TestChange:
    """By the account itself, or by an admin."""

    def test_a_new_password_ends_the_old_one(self, account: Account) -> None:
        """And to set it again changes nothing; the way back is the same."""
        r = rotation(OLD)
        new = SecretValue.of(account.rotator.create_secret(r))
        account.rotator.set_secret(r, new)
        account.rotator.set_secret(r, new)
        account.rotator.test_secret(r, new)
        assert account.accepts(new)
        assert account.rotator.refuses(r, OLD)
        account.rotator.set_secret(rotation(OLD, pending=new), OLD)
        assert account.accepts(OLD)
        assert account.rotator.refuses(r, new)

    @pytest.mark.parametrize("who", ["account", "administered"])
    def test_a_leaked_password_ends_even_where_none_can_take_its_place(
        self, who: str, request: pytest.FixtureRequest
    ) -> None:
        """The account gets one that nobody knows."""
        account: Account = request.getfixturevalue(who)
        account.rotator.revoke_secret(rotation(OLD), OLD)
        assert not account.accepts(OLD)

    def test_an_admin_sets_it_whatever_it_is_now(self, administered: Account) -> None:
        """The account is named with the host that it may log in from."""
        administered.server.run(f"SET PASSWORD FOR {administered.user}@'%%' = PASSWORD('another')")
        administered.rotator.set_secret(rotation(OLD), NEW)
        assert administered.accepts(NEW)
        missing = SecretValue(f"{CANARY}-3")
        elsewhere = MySQLRotator(
            host="127.0.0.1", port=administered.server.port, user=administered.user, account_host="10.%",
            admin=lambda: SecretValue(administered.server.password), admin_user=ADMIN,
        )  # fmt: skip
        with pytest.raises(UnavailableError) as caught:
            elsewhere.set_secret(rotation(NEW), missing)
        assert_no_canary_in(caught.value)

    def test_json_says_the_user_itself(self, mariadb_server: MariaDB) -> None:
        """As AWS RDS has it."""
        account = Account(mariadb_server, user=None)
        fields = {"engine": "mariadb", "host": "127.0.0.1", "username": account.user}
        r = rotation(SecretValue.of({**fields, "password": OLD.reveal_text()}))
        new = SecretValue.of(account.rotator.create_secret(r))
        account.rotator.set_secret(r, new)
        account.rotator.test_secret(r, new)
        assert account.accepts(new)
        assert new.reveal_json("/engine") == "mariadb"

    def test_nobody_elses_and_nowhere_else(self, administered: Account) -> None:
        """With an admin's power the user is named in the configuration, and so is the server always."""
        foreign = SecretValue.of({"username": ADMIN, "password": CANARY})
        elsewhere = SecretValue(f"mysql://{administered.user}:{CANARY}@db.example.net/shop")
        for value in (foreign, elsewhere):
            with pytest.raises(IntegrityError, match="another"):
                administered.rotator.set_secret(rotation(OLD), value)
        with pytest.raises(InvalidRequestError, match="needs `user`"):
            MySQLRotator(host="h", admin=lambda: OLD)
        with pytest.raises(InvalidRequestError, match="one server"):
            MySQLRotator(host="a,b")

    def test_no_known_password_is_an_error_and_shows_none(self, account: Account) -> None:
        """Neither the pending, nor the current, nor the one before."""
        account.server.run(f"SET PASSWORD FOR {account.user}@'%%' = PASSWORD('another')")
        with pytest.raises(PermissionDeniedError) as caught:
            account.rotator.set_secret(rotation(OLD), NEW)
        assert_no_canary_in(caught.value)

    def test_a_probe_shows_what_the_login_is_for(self, mariadb_server: MariaDB) -> None:
        """A grant that is missing is no refused password."""
        account = Account(mariadb_server, probe="SELECT 1 FROM mysql.global_priv LIMIT 1")
        with pytest.raises(PermissionDeniedError, match="not let this user"):
            account.rotator.test_secret(rotation(OLD), OLD)
        assert not account.rotator.refuses(rotation(OLD), OLD)
        mariadb_server.run(f"GRANT SELECT ON mysql.global_priv TO {account.user}@'%%'")
        account.rotator.test_secret(rotation(OLD), OLD)


class TestStatements:
    """What the server is told."""

    @pytest.mark.parametrize("who", ["account", "administered"])
    def test_the_servers_log_shows_no_password(self, who: str, request: pytest.FixtureRequest) -> None:
        """MariaDB notes each statement as it is: it gets the hash."""
        account: Account = request.getfixturevalue(who)
        with _log(account.server) as log:
            account.rotator.set_secret(rotation(OLD), NEW)
        assert "PASSWORD" in log[0]
        assert_no_canary(log[0])
        assert account.accepts(NEW)

    def test_a_server_that_wants_to_see_passwords_does(self, account: Account) -> None:
        """And what it rejects by its policy is another value's turn."""
        seen: list[str] = []

        class Strict(Session):
            def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
                seen.append(statement)
                code = 1290 if values[-1:] == (mysql._hash(NEW),) else 1819
                if not statement.startswith("SHOW"):
                    raise mysql._failure(code)
                return super().run(statement, *values)

        with account.rotator.connect(rotation(OLD), OLD) as session, pytest.raises(InvalidRequestError):
            account.rotator.change(rotation(OLD), Strict(session.connection), NEW)
        assert seen == ["SHOW CREATE USER ", "SET PASSWORD = %s", "SET PASSWORD = PASSWORD(%s)"]

    def test_a_hash_of_another_kind_is_made_by_the_server(self, account: Account) -> None:
        """An account of ed25519 keeps its plugin."""
        seen: list[str] = []

        class Ed25519(Session):
            def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
                seen.append(statement)
                return [("CREATE USER a IDENTIFIED VIA ed25519 USING 'x'",)]

        with account.rotator.connect(rotation(OLD), OLD) as session:
            account.rotator.change(rotation(OLD), Ed25519(session.connection), NEW)
        assert seen[1:] == ["SET PASSWORD = PASSWORD(%s)"]

    @pytest.mark.parametrize("who", ["account", "administered"])
    def test_other_ways_into_an_account_stay_open(self, who: str, request: pytest.FixtureRequest) -> None:
        """Such as by the socket's owner; the server hashes the password then."""
        account: Account = request.getfixturevalue(who)
        ways = "mysql_native_password USING PASSWORD(%s) OR unix_socket"
        account.server.run(f"ALTER USER {account.user}@'%%' IDENTIFIED VIA {ways}", OLD.reveal_text())
        account.rotator.set_secret(rotation(OLD), NEW)
        assert account.accepts(NEW)
        [(made,)] = account.server.run(f"SHOW CREATE USER {account.user}@'%%'")
        assert "OR unix_socket" in made

    def test_mysql_is_told_in_its_own_words(self) -> None:
        """It has no PASSWORD(); its own logs show none."""
        for account, names in (("", ()), ("%s@%s", ("app", "%"))):
            server = _MySQL([])
            mysql._change(server, account, names, NEW)
            who = account or "USER()"
            assert server.connection == [(f"ALTER USER {who} IDENTIFIED BY %s", *names, NEW.reveal_text())]


class TestUnproved:
    """What is not a refusal is never taken for one."""

    def test_a_server_that_is_not_there(self, account: Account) -> None:
        """It may be there again tomorrow, and accept the password."""
        gone = MySQLRotator(host="127.0.0.1", port=1, user=account.user)
        with pytest.raises(UnavailableError) as caught:
            gone.refuses(rotation(OLD), OLD)
        assert_no_canary_in(caught.value)

    def test_an_account_that_is_locked(self, account: Account) -> None:
        """Once unlocked it has its password again."""
        account.server.run(f"ALTER USER {account.user}@'%%' ACCOUNT LOCK")
        with pytest.raises(UnavailableError):
            account.rotator.refuses(rotation(OLD), OLD)

    def test_a_server_that_hangs(self, mariadb_server: MariaDB) -> None:
        """The hook ends with its time."""
        account = Account(mariadb_server, probe="SELECT SLEEP(60)")
        with pytest.raises(UnavailableError) as caught:
            account.rotator.test_secret(rotation(OLD, remaining=lambda: 0.5), OLD)
        assert_no_canary_in(caught.value)


class TestTLS:
    """Verified, or none at all: there is no fall back."""

    def test_with_an_authority_the_session_is_encrypted(self, mariadb_server: MariaDB) -> None:
        """The account accepts no other."""
        account = Account(mariadb_server, host="localhost", ca=str(mariadb_server.ca_file))
        mariadb_server.run(f"ALTER USER {account.user}@'%%' REQUIRE SSL")
        account.rotator.set_secret(rotation(OLD), NEW)
        account.rotator.test_secret(rotation(OLD), NEW)
        assert not account.accepts(NEW)  # in clear

    def test_another_authority_is_not_believed(self, mariadb_server: MariaDB) -> None:
        """Nor the system's, if none is named for a host that is not literal loopback."""
        other = Authority("another")
        for options in ({"ca": str(other.ca_file)}, {"host": "localhost"}):
            account = Account(mariadb_server, **options)
            with pytest.raises(UnavailableError, match="TLS"):
                account.rotator.test_secret(rotation(OLD), OLD)
        other.close()

    def test_a_server_without_tls_is_told_nothing(self, authority: Authority) -> None:
        """As one that somebody put in between, which asks for the password in clear."""
        heard = _told(ca=str(authority.ca_file))
        assert heard == b""

    def test_a_password_in_clear_is_never_given(self) -> None:
        """Even on loopback: no server whose passwords we set asks for that."""
        heard = _told()
        assert b"app" in heard
        assert_no_canary(heard)


class _MySQL(Session):
    """Notes what MySQL would be told, in place of the connection."""

    mariadb = False

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self.connection.append((statement, *values))
        return []


@contextmanager
def _log(server: MariaDB) -> Iterator[list[str]]:
    """What the server noted within the block, once that is over."""
    path, noted = server.folder.parent / "log", [""]
    server.run("SET GLOBAL general_log = ON")
    start = len(path.read_bytes())
    try:
        yield noted
    finally:
        server.run("SET GLOBAL general_log = OFF")
        noted[0] = path.read_bytes()[start:].decode()


def _told(**options: Any) -> bytes:
    """What a rotator tells a server that speaks no TLS, and asks for the password in clear."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_ask_in_clear, args=(listener, heard))
        thread.start()
        rotator = MySQLRotator(host="127.0.0.1", port=listener.getsockname()[1], user="app", **options)
        with pytest.raises(UnavailableError) as caught:
            rotator.test_secret(rotation(OLD, remaining=lambda: 5.0), OLD)
        assert_no_canary_in(caught.value)
        thread.join()
    return b"".join(heard)


def _ask_in_clear(listener: socket.socket, heard: list[bytes]) -> None:
    """The first packets of MySQL's connection phase (protocol version 10), then an auth switch request."""
    greeting = b"\x0a5.7.0\0" + bytes(4) + b"saltsalt\0" + b"\xff\xf7" + b"\x21\x02\0" + b"\xff\x81\x15"
    greeting += bytes(10) + b"saltsaltsalt\0" + b"mysql_native_password\0"
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        connection.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        heard.append(connection.recv(65536))
        switch = b"\xfemysql_clear_password\0"
        connection.sendall(len(switch).to_bytes(3, "little") + b"\x02" + switch)
        heard.append(connection.recv(65536))
