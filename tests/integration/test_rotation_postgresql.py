"""PostgreSQL users get new passwords: one user in place, or two in turns, on the real server."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)
from strongroom.rotation.generating import login
from strongroom.rotation.rotators.postgresql import PostgreSQLRotator, PostgreSQLTwoUsersRotator
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in, holds_canary
from tests.integration.rotation_databases import NEW, OLD, One, Two, rotation
from tests.servers.https import Authority
from tests.servers.postgres import ADMIN, Postgres


@pytest.fixture
def one(postgres_server: Postgres) -> One:
    return One(postgres_server)


class TestOneUser:
    """Changed in place, by itself or by an admin."""

    def test_a_new_password_ends_the_old_one(self, one: One) -> None:
        """And to set it again changes nothing."""
        r = rotation(OLD)
        new = SecretValue.of(one.rotator.create_secret(r))
        one.rotator.set_secret(r, new)
        one.rotator.set_secret(r, new)
        one.rotator.test_secret(r, new)
        assert one.accepts(new)
        assert not one.accepts(OLD)
        assert one.rotator.refuses(r, OLD)
        assert not one.rotator.refuses(r, new)

    @pytest.mark.parametrize("form", ["json", "url"])
    def test_json_and_urls_say_the_user_themselves(self, postgres_server: Postgres, form: str) -> None:
        """The rest of the value is as it was, and the server need not be told whose password it is."""
        one = One(postgres_server, user=None)
        if form == "json":
            fields = {"engine": "postgres", "host": "127.0.0.1", "username": one.user, "dbname": "template1"}
            current = SecretValue.of({**fields, "password": OLD.reveal_text()})
        else:
            where = f"127.0.0.1:{postgres_server.port}/template1?application_name=shop"
            current = SecretValue(f"postgresql://{one.user}:{OLD.reveal_text()}@{where}")
        r = rotation(current)
        new = SecretValue.of(one.rotator.create_secret(r))
        one.rotator.set_secret(r, new)
        one.rotator.test_secret(r, new)
        assert one.accepts(new)
        assert replace(login(new), password=OLD) == replace(login(current), password=OLD)

    def test_the_value_before_heals_what_an_older_rotation_left_half_done(self, one: One) -> None:
        """The user still has the password before the current one."""
        r = rotation(SecretValue(f"{CANARY}-never-set"), previous=OLD)
        one.rotator.set_secret(r, NEW)
        assert one.accepts(NEW)

    def test_a_rotation_that_is_given_up_gives_the_old_password_back(self, one: One) -> None:
        """The pending value is what the server accepts by then."""
        one.rotator.set_secret(rotation(OLD), NEW)
        one.rotator.set_secret(rotation(OLD, pending=NEW), OLD)
        assert one.accepts(OLD)
        assert not one.accepts(NEW)

    def test_no_known_password_is_an_error_and_shows_none(self, one: One) -> None:
        """Somebody changed it at the server: without an admin nobody can heal that."""
        one.server.set_password(one.user, "another")
        with pytest.raises(PermissionDeniedError) as caught:
            one.rotator.set_secret(rotation(OLD, previous=SecretValue(f"{CANARY}-older")), NEW)
        assert_no_canary_in(caught.value)

    def test_a_leaked_password_ends_even_where_none_can_take_its_place(self, one: One) -> None:
        """The user gets one that nobody knows; one that is refused already, or another in use, stays."""
        one.rotator.revoke_secret(rotation(NEW, pending=OLD), NEW)
        assert one.accepts(OLD)
        one.rotator.revoke_secret(rotation(OLD), OLD)
        assert not one.accepts(OLD)

    def test_a_late_set_of_the_old_password_is_taken_back(self, one: One) -> None:
        """The user gets the one in use."""
        one.rotator.revoke_secret(rotation(OLD, pending=NEW), OLD)
        assert one.accepts(NEW)

    def test_an_admin_sets_it_whatever_it_is_now(self, postgres_server: Postgres) -> None:
        """The admin's credential is asked for in each hook."""
        asked: list[str] = []

        def admin() -> SecretValue:
            asked.append("admin")
            return SecretValue(postgres_server.password)

        one = One(postgres_server, admin=admin, admin_user=ADMIN)
        one.server.set_password(one.user, "another")
        one.rotator.set_secret(rotation(OLD), NEW)
        assert one.accepts(NEW)
        one.rotator.set_secret(rotation(OLD), NEW)
        assert asked == ["admin"]

    def test_an_admin_may_change_one_named_user_only(self, postgres_server: Postgres) -> None:
        """Or a value that names the superuser would have the superuser's password changed."""
        with pytest.raises(InvalidRequestError, match="needs `user`"):
            One(postgres_server, user=None, admin=lambda: OLD)
        one = One(postgres_server, admin=lambda: SecretValue(postgres_server.password), admin_user=ADMIN)
        foreign = SecretValue.of({"username": ADMIN, "password": CANARY})
        for call in (
            lambda: one.rotator.create_secret(rotation(foreign)),
            lambda: one.rotator.set_secret(rotation(foreign), foreign),
            lambda: one.rotator.set_secret(rotation(OLD), foreign),
        ):
            with pytest.raises(IntegrityError, match="another user"):
                call()
        postgres_server.admin().close()

    def test_a_value_that_names_another_server_is_refused(self, one: One) -> None:
        """Nothing is sent to where a value points; a host in `aliases` is another name of ours."""
        for host in ("db.example.net", "127.0.0.1:1", "127.0.0.1,db.example.net"):
            value = SecretValue(f"postgresql://{one.user}:{CANARY}@{host}/postgres")
            with pytest.raises(IntegrityError, match="another server"):
                one.rotator.test_secret(rotation(value), value)
        one = One(one.server, aliases=["Pool.example.net"])
        value = SecretValue(f"postgresql://{one.user}:{OLD.reveal_text()}@pool.example.net:6432/postgres")
        one.rotator.test_secret(rotation(value), value)

    def test_a_probe_shows_what_the_login_is_for(self, postgres_server: Postgres) -> None:
        """It is tried read-only; a grant that is missing is no refused password."""
        one = One(postgres_server, probe="SELECT FROM pg_catalog.pg_authid LIMIT 1")
        with pytest.raises(PermissionDeniedError, match="not let this user"):
            one.rotator.test_secret(rotation(OLD), OLD)
        assert not one.rotator.refuses(rotation(OLD), OLD)
        writer = One(postgres_server, probe="CREATE TEMP TABLE t ()")
        with pytest.raises(UnavailableError):
            writer.rotator.test_secret(rotation(OLD), OLD)
        One(postgres_server, user=one.user, probe="SELECT '100%'").rotator.test_secret(rotation(OLD), OLD)

    def test_sessions_that_begin_in_another_role_change_their_own_user(self, one: One) -> None:
        """As each of two alternating users has it."""
        role = one.server.new_role("unused")
        with one.server.admin() as admin:
            names = sql.Identifier(role), sql.Identifier(one.user)
            admin.execute(sql.SQL("GRANT {} TO {}").format(*names))
            admin.execute(sql.SQL("ALTER ROLE {} SET role TO {}").format(*reversed(names)))
        one.rotator.set_secret(rotation(OLD), NEW)
        assert one.accepts(NEW)


class TestStatements:
    """What the server is told, and what it may say about it."""

    @pytest.fixture
    def logged(self, one: One) -> Iterator[One]:
        """The server notes every statement of the user, and sends it what it notes."""
        with _set(one, "log_statement", "all"):
            yield one

    def test_no_statement_holds_a_password(self, logged: One) -> None:
        """A server may log statements; what stands for the password is a SCRAM verifier."""
        seen = _statements(logged, NEW)
        assert any("SCRAM-SHA-256$" in statement for statement in seen)
        assert not any(holds_canary(statement) for statement in seen)

    def test_a_server_with_a_policy_may_see_the_password(self, postgres_server: Postgres) -> None:
        """What it rejects is another value's turn, and the error does not show it."""
        one = One(postgres_server, checked=True)
        with _set(one, "session_preload_libraries", "passwordcheck"):
            weak = SecretValue("wea1")
            with pytest.raises(InvalidRequestError, match="policy") as caught:
                one.rotator.set_secret(rotation(OLD), weak)
            assert "wea1" not in repr(caught.value) + str(caught.value)
            contained = SecretValue(f"{one.user}{CANARY}")
            with pytest.raises(InvalidRequestError, match="policy") as caught:
                one.rotator.set_secret(rotation(OLD), contained)
            assert_no_canary_in(caught.value)
            assert one.accepts(OLD)
            one.rotator.set_secret(rotation(OLD), NEW)
        assert one.accepts(NEW)

    def test_a_refusal_is_told_in_any_language(self, one: One, monkeypatch: pytest.MonkeyPatch) -> None:
        """libpq gives the server's words alone: they are compared with those for a wrong password."""
        monkeypatch.setattr(
            "strongroom.rotation.rotators.pgsession._REFUSED", ("Passwort-Authentifizierung",)
        )
        assert one.rotator.refuses(rotation(OLD), NEW)
        with one.server.admin() as admin:
            admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(sql.Identifier(one.user)))
        with pytest.raises(UnavailableError):
            one.rotator.refuses(rotation(OLD), OLD)


class TestUnproved:
    """What is not a refusal is never taken for one."""

    def test_a_server_that_is_not_there(self, one: One) -> None:
        """It may be there again tomorrow, and accept the password."""
        gone = PostgreSQLRotator(host="127.0.0.1", port=1, user=one.user)
        with pytest.raises(UnavailableError) as caught:
            gone.refuses(rotation(OLD), OLD)
        assert_no_canary_in(caught.value)

    def test_the_first_of_several_hosts_may_be_down(self, one: One) -> None:
        """As after a fail-over: the one is used that takes writes."""
        several = PostgreSQLRotator(host="127.0.0.2,127.0.0.1", port=one.server.port, user=one.user)
        several.set_secret(rotation(OLD), NEW)
        assert several.refuses(rotation(OLD), OLD)

    def test_a_server_that_takes_no_writes(self, one: One) -> None:
        """A standby's answer about a password may be an old one."""
        with one.server.admin() as admin:
            statement = sql.SQL("ALTER ROLE {} SET default_transaction_read_only TO on")
            admin.execute(statement.format(sql.Identifier(one.user)))
        with pytest.raises(UnavailableError):
            one.rotator.test_secret(rotation(OLD), OLD)

    def test_a_database_that_is_not_there(self, one: One) -> None:
        """The password was good."""
        lost = PostgreSQLRotator(host="127.0.0.1", port=one.server.port, user=one.user, database="nowhere")
        with pytest.raises(UnavailableError):
            lost.refuses(rotation(OLD), OLD)

    def test_a_server_that_asks_for_no_password(self, one: One) -> None:
        """It would accept any, so that neither a test nor a revoke proved anything."""
        with _hba(one.server, f"host all {one.user} 127.0.0.1/32 trust"):
            for value in (OLD, NEW):
                with pytest.raises(UnavailableError, match=r"pg_hba\.conf"):
                    one.rotator.test_secret(rotation(OLD), value)

    def test_a_server_that_wants_the_password_in_clear(self, one: One) -> None:
        """It does not get it."""
        with (
            _hba(one.server, f"host all {one.user} 127.0.0.1/32 password"),
            pytest.raises(UnavailableError, match=r"pg_hba\.conf"),
        ):
            one.rotator.test_secret(rotation(OLD), OLD)

    def test_a_server_without_tls_is_not_spoken_to(
        self, postgres_server: Postgres, authority: Authority
    ) -> None:
        """As one that somebody put in between."""
        one = One(postgres_server, ca=str(authority.ca_file))
        with pytest.raises(UnavailableError, match="TLS"):
            one.rotator.test_secret(rotation(OLD), OLD)

    def test_a_server_that_hangs(self, one: One) -> None:
        """The hook ends with its time, long before the lease does."""
        r = rotation(OLD, remaining=lambda: 0.5)
        with (
            one.rotator.connect(r, OLD) as session,
            _stopped(session.connection.info.backend_pid),
            pytest.raises(UnavailableError),
        ):
            session.run("SELECT 1")

    def test_a_statement_that_waits(self, one: One) -> None:
        """The server gives it up too: it must not come into effect after the lease."""
        r = rotation(OLD, remaining=lambda: 0.5)
        with one.server.admin() as admin, admin.transaction():
            admin.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 9").format(sql.Identifier(one.user)))
            with pytest.raises(UnavailableError):
                one.rotator.set_secret(r, NEW)
        assert one.accepts(OLD)


@pytest.fixture(scope="class")
def ca(postgres_server: Postgres, authority: Authority) -> Iterator[str]:
    """Under whom the server speaks TLS meanwhile."""
    with _tls(postgres_server, authority):
        yield str(authority.ca_file)


class TestTLS:
    """Verified, or none at all: there is no fall back."""

    def test_with_an_authority_the_session_is_encrypted(self, postgres_server: Postgres, ca: str) -> None:
        """And goes on to be so when the environment says otherwise."""
        one = One(
            postgres_server,
            ca=ca,
            host="localhost",
            probe="SELECT 1/count(*) FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()",
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGSSLMODE", "disable")
            one.rotator.set_secret(rotation(OLD), NEW)
            one.rotator.test_secret(rotation(OLD), NEW)

    def test_another_authority_is_not_believed(self, postgres_server: Postgres, ca: str) -> None:
        """Nor the system's, if none is named for a host that is not literal loopback."""
        other = Authority("another")
        for options in ({"ca": str(other.ca_file)}, {"host": "localhost"}):
            one = One(postgres_server, **options)
            with pytest.raises(UnavailableError, match="TLS"):
                one.rotator.test_secret(rotation(OLD), OLD)
        other.close()


@pytest.fixture
def two(postgres_server: Postgres) -> Two:
    return Two(postgres_server)


class TestTwoUsers:
    """Both values work until the grace is over."""

    def test_they_take_turns(self, two: Two) -> None:
        """Twice: at each moment the current value works, and after a revoke nothing else does."""
        current = two.first()
        for _ in range(2):
            r = rotation(current)
            new = SecretValue.of(two.rotator.create_secret(r))
            two.rotator.set_secret(r, new)
            two.rotator.set_secret(r, new)
            two.rotator.test_secret(r, new)
            assert two.accepts(current)
            assert two.accepts(new)
            for _again in range(2):
                two.rotator.revoke_secret(replace(r, pending=new), current)
            assert two.rotator.refuses(r, current)
            assert not two.accepts(current)
            two.rotator.test_secret(r, new)
            current = new

    def test_what_one_makes_the_other_may_change(self, two: Two) -> None:
        """It is owned by their role, from which both have all their rights."""
        current = two.first()
        new = SecretValue.of(two.rotator.create_secret(rotation(current)))
        two.rotator.set_secret(rotation(current), new)
        table = sql.Identifier(f"{two.role}_orders")
        for number, value in enumerate((current, new)):
            found = login(value)
            with psycopg.connect(
                two.server.where, user=found.user, password=found.password.reveal_text()
            ) as connection:
                column = sql.Identifier(f"c{number}")
                connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} int").format(table, column))
        with two.server.admin() as admin:
            owner = "SELECT tableowner FROM pg_tables WHERE tablename = %s"
            assert admin.execute(owner, [f"{two.role}_orders"]).fetchone() == (two.role,)

    def test_a_user_without_the_role_does_not_pass_the_test(self, two: Two) -> None:
        """Its password is good, yet it cannot do what it is for."""
        current = two.first()
        with two.server.admin() as admin:
            names = sql.Identifier(two.role), sql.Identifier(two.users[0])
            admin.execute(sql.SQL("REVOKE {} FROM {}").format(*names))
        with pytest.raises(PermissionDeniedError, match="do not begin in the role"):
            two.rotator.test_secret(rotation(current), current)
        assert not two.rotator.refuses(rotation(current), current)

    def test_the_user_that_readers_have_is_never_changed(self, two: Two) -> None:
        """Nor is it revoked, nor anybody else."""
        current = two.first()
        same = SecretValue.of({"username": two.users[0], "password": CANARY})
        stranger = SecretValue.of({"username": ADMIN, "password": CANARY})
        with pytest.raises(IntegrityError, match="readers have now"):
            two.rotator.set_secret(rotation(current), same)
        two.rotator.revoke_secret(rotation(same, pending=current), same)
        for call in (two.rotator.set_secret, two.rotator.test_secret, two.rotator.revoke_secret):
            with pytest.raises(IntegrityError, match="another user"):
                call(rotation(current), stranger)
        assert two.accepts(current)

    def test_a_password_that_somebody_has_set_meanwhile_is_not_revoked(self, two: Two) -> None:
        """A late revoke of the old one must not end the new one."""
        old = two.first()
        newer = SecretValue.of({"username": two.users[0], "password": f"{CANARY}-newer"})
        two.server.set_password(two.users[0], f"{CANARY}-newer")
        two.rotator.revoke_secret(rotation(old), old)
        assert two.accepts(newer)

    def test_a_value_that_was_put_by_hand_for_the_same_user_ends_the_other(self, two: Two) -> None:
        """The server was on the one that is to be revoked: the user gets the one that is in use."""
        old = two.first()
        byhand = SecretValue.of({"username": two.users[0], "password": f"{CANARY}-by-hand"})
        two.rotator.revoke_secret(rotation(old, pending=byhand), old)
        assert two.accepts(byhand)
        assert not two.accepts(old)

    def test_a_user_that_was_put_to_sleep_loses_its_password_too(self, two: Two) -> None:
        """Or who wakes it would bring the revoked password back."""
        old = two.first()
        with two.server.admin() as admin:
            user = sql.Identifier(two.users[0])
            admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(user))
            two.rotator.revoke_secret(rotation(old), old)
            admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(user))
        assert not two.accepts(old)

    def test_old_sessions_end_with_the_grace_if_asked_for(self, postgres_server: Postgres) -> None:
        """By default a revoke leaves them, and pools fail no query."""
        for ends in (False, True):
            two = Two(postgres_server, end_sessions=ends)
            old = two.first()
            found = login(old)
            session = psycopg.connect(
                two.server.where, user=found.user, password=found.password.reveal_text(), autocommit=True
            )
            two.rotator.revoke_secret(rotation(old), old)
            with pytest.raises(psycopg.OperationalError) if ends else nullcontext():
                session.execute("SELECT 1")
            session.close()

    def test_two_users_and_another_role_are_needed(self) -> None:
        """And a value that says the user."""
        for users, role in ((["a"], None), (["a", "a"], None), (["a", "b"], "a")):
            with pytest.raises(InvalidRequestError, match="two"):
                PostgreSQLTwoUsersRotator(host="h", users=users, role=role, admin=lambda: OLD)
        two = PostgreSQLTwoUsersRotator(host="h", users=["a", "b"], admin=lambda: OLD)
        with pytest.raises(InvalidRequestError, match="whose password"):
            two.create_secret(rotation(OLD))


@contextmanager
def _set(one: One, setting: str, value: str) -> Iterator[None]:
    """A setting of every session of the user."""
    statement = sql.SQL("ALTER ROLE {} SET {} TO {}")
    with one.server.admin() as admin:
        admin.execute(statement.format(sql.Identifier(one.user), sql.Identifier(setting), sql.Literal(value)))
    yield


def _statements(one: One, new: SecretValue) -> list[str]:
    """What the server would log of setting a value: it sends the same to the client as notices."""
    seen: list[str] = []
    connect = psycopg.connect

    def listening(*args: Any, **options: Any) -> psycopg.Connection[Any]:
        connection = connect(*args, **options)
        connection.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
        connection.execute("SET client_min_messages TO log")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg, "connect", listening)
        one.rotator.set_secret(rotation(OLD), new)
    return seen


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A process of the server that hangs until the block ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _reload(server: Postgres) -> None:
    """Return once the server has read its files anew: a new session tells when it did so."""
    with server.admin() as admin:
        [before] = admin.execute("SELECT pg_conf_load_time()").fetchone() or [None]
        admin.execute("SELECT pg_reload_conf()")
    while True:
        with server.admin() as admin:
            [now] = admin.execute("SELECT pg_conf_load_time()").fetchone() or [None]
        if now != before:
            return


def _setting(server: Postgres, name: str) -> Path:
    with server.admin() as admin:
        [path] = admin.execute("SELECT current_setting(%s)", [name]).fetchone() or [""]
    return Path(path)


@contextmanager
def _hba(server: Postgres, line: str) -> Iterator[None]:
    """Another first line of pg_hba.conf, until the block ends."""
    path = _setting(server, "hba_file")
    before = path.read_text()
    path.write_text(f"{line}\n{before}")
    _reload(server)
    try:
        yield
    finally:
        path.write_text(before)
        _reload(server)


@contextmanager
def _tls(server: Postgres, authority: Authority) -> Iterator[None]:
    """The server speaks TLS until the block ends."""
    data = _setting(server, "data_directory")
    issued, owner = authority.issue(), data.stat()
    for path in (issued.certificate, issued.key):
        copied = Path(shutil.copy(path, data))
        copied.chmod(0o600)
        os.chown(copied, owner.st_uid, owner.st_gid)
    with server.admin() as admin:
        for name, value in (("ssl_cert_file", "cert.pem"), ("ssl_key_file", "key.pem"), ("ssl", "on")):
            admin.execute(sql.SQL("ALTER SYSTEM SET {} TO {}").format(sql.Identifier(name), value))
    _reload(server)
    try:
        yield
    finally:
        with server.admin() as admin:
            for name in ("ssl", "ssl_cert_file", "ssl_key_file"):
                admin.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
        _reload(server)
