"""The ledger and the coordinator in PostgreSQL: lost connections, forks, logins, grants, many threads."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.pgcoordinator import PostgresCoordinator
from strongroom.postgres import CONNECTIONS, Login
from strongroom.rotation.ledger import LEASE_SECONDS, Entry, InProgressError, Ledger, State
from strongroom.rotation.ledgers import open_ledger
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.chaos.forked import Say, forked
from tests.integration.test_rotation_postgresql import _hba, _tls
from tests.pages import ROOT, marked
from tests.servers.https import Authority
from tests.servers.postgres import ADMIN, Postgres
from tests.servers.process import free_port
from tests.servers.relay import Relay
from tests.unit.ledger_conformance import SECRET, at, begun, claimed, new_id
from tests.unit.ledger_support import empty, empty_database

COMMIT = b"COMMIT\0"
"""In a simple query of the client, and in the server's CommandComplete (PostgreSQL 15, section 55.7)."""
RESET = struct.pack("ii", 1, 0)


class LosingCommits(Relay):
    """Cuts connections in the middle of a commit: its request is lost, or its answer.

    Attributes:
        lose: what of the next commits is lost; as many as are named.
    """

    lose: list[str]

    def __init__(self, target_port: int):
        self.lose = []
        self._held: dict[socket.socket, bytes] = {}
        super().__init__(target_port)

    def _forward(self, source: socket.socket) -> None:
        if source not in self._peers or not self.lose:
            return super()._forward(source)
        answers = source.getpeername()[1] == self._target[1]
        if answers != (self.lose[0] == "answer"):
            return super()._forward(source)
        data = source.recv(1 << 16)
        if COMMIT not in data:
            return self._peers[source].sendall(data) if data else self._close(source)
        self.lose.pop(0)
        for end in (source, self._peers[source]):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return self._close(source)


@pytest.fixture(scope="module")
def login(postgres_server: Postgres) -> Login:
    return empty_database(postgres_server)


@pytest.fixture(scope="module")
def relay(postgres_server: Postgres) -> Iterator[LosingCommits]:
    with LosingCommits(postgres_server.port) as relay:
        yield relay


@pytest.fixture(scope="module")
def shared(login: Login, relay: LosingCommits) -> Iterator[tuple[PostgresLedger, FakeClock]]:
    clock = FakeClock()
    ledger = PostgresLedger(replace(login, url=login.url.replace(str(_port(login)), str(relay.port))), clock)
    yield ledger, clock
    ledger.close()


def _port(login: Login) -> int:
    return int(login.url.split(":")[2].split("/")[0])


@pytest.fixture
def ledger(shared: tuple[PostgresLedger, FakeClock]) -> PostgresLedger:
    empty(shared[0])
    return shared[0]


@pytest.fixture
def clock(shared: tuple[PostgresLedger, FakeClock]) -> FakeClock:
    return shared[1]


Act = Callable[[Ledger, Entry], Any]
ACTS: dict[str, Act] = {
    "begin": lambda ledger, entry: ledger.begin(
        "0" * 32, "prod:other", base="b", tick=entry.started, next_due=entry.started + timedelta(1)
    ),
    "claim": lambda ledger, entry: ledger.claim(entry.id),
    "claim_due": lambda ledger, entry: list(ledger.claim_due(5)),
    "renew": lambda ledger, entry: ledger.renew(entry, 120),
    "record": lambda ledger, entry: ledger.record(entry, State.PROMOTED, version="v", attempts=2),
    "close": lambda ledger, entry: ledger.record(entry, State.SUPERSEDED),
    "release": lambda ledger, entry: ledger.release(entry, due=timedelta(hours=1)),
    "move": lambda ledger, entry: ledger.move(entry.id, [State.SET], State.ORPHANED),
    "plan": lambda ledger, entry: ledger.plan("prod:other", entry.started, expected=entry.started),
}


def _scene(ledger: Ledger, act: str) -> Entry:
    entry = at(ledger, State.SET)
    if act.startswith("claim"):
        ledger.release(entry)
    ledger.plan("prod:other", entry.started, expected=None)
    return entry


def _seen(ledger: Ledger, answer: object) -> object:
    """What is known afterwards; the ids and the tokens differ from ledger to ledger."""

    def plain(found: object) -> object:
        if isinstance(found, Entry):
            return replace(found, id="", token="")
        return [plain(each) for each in found] if isinstance(found, list) else found

    facts = [ledger.next_due("prod:other"), ledger.last_success(SECRET)]
    return plain(answer), plain(sorted(ledger.find(), key=lambda entry: entry.secret)), facts


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("act", ACTS)
def test_a_call_whose_connection_breaks_in_its_commit_is_done_once(
    ledger: PostgresLedger, relay: LosingCommits, clock: FakeClock, act: str, lost: str
) -> None:
    """It answers and leaves behind what it would have without the break, whether the commit came through."""
    specified = MemoryLedger(clock)
    wanted = _seen(specified, ACTS[act](specified, _scene(specified, act)))
    entry = _scene(ledger, act)
    relay.lose = [lost]
    answer = ACTS[act](ledger, entry)
    assert relay.lose == []
    assert _seen(ledger, answer) == wanted


def test_a_claim_whose_answer_was_lost_is_not_left_to_its_lease(
    ledger: PostgresLedger, relay: LosingCommits
) -> None:
    """The repeat finds its own token, under one epoch: otherwise it would be told that another has it."""
    entry = begun(ledger)
    for number, claim in enumerate((lambda: ledger.claim(entry.id), lambda: ledger.claim_due(1)[0])):
        relay.lose = ["answer"]
        found = claim()
        assert found is not None
        assert found.epoch == number + 1
        assert relay.lose == []
        ledger.release(found)


def test_a_database_that_loses_every_commit_is_unavailable(
    ledger: PostgresLedger, relay: LosingCommits
) -> None:
    """What was done is not known, and is said to be unknown; the next call works."""
    entry = begun(ledger)
    relay.lose = ["answer"] * 3
    with pytest.raises(UnavailableError) as caught:
        ledger.claim(entry.id)
    assert (caught.value.performed, caught.value.retryable, relay.lose) == (None, True, [])
    assert caught.value.__context__ is None
    assert ledger.get(entry.id).epoch == 1


def test_connections_that_break_while_idle_are_replaced(ledger: PostgresLedger, relay: LosingCommits) -> None:
    """A firewall's doing, or a restart's; nobody is told."""
    entry = begun(ledger)
    relay.cut()
    assert claimed(ledger, entry).epoch == 1


def test_threads_share_a_few_connections(ledger: PostgresLedger, relay: LosingCommits, login: Login) -> None:
    """Sixteen threads at once: the server sees no more than the limit."""
    entries = [begun(ledger, f"prod:{number}") for number in range(16)]
    claims = at_once([partial(ledger.claim, entry.id) for entry in entries])
    assert all(isinstance(claim, Entry) for claim in claims)
    assert 1 <= len(ledger._database._idle) <= CONNECTIONS


def test_a_forked_child_has_connections_of_its_own(ledger: PostgresLedger) -> None:
    """The parent's stay open and are not written to: both go on, on different sessions."""
    entry = begun(ledger)
    session = _session(ledger)

    def work(say: Say) -> None:
        say([claimed(ledger, entry).epoch, _session(ledger)])
        ledger.close()

    with forked(work) as (child,):
        epoch, theirs = child.hear()
    assert (epoch, theirs != session, _session(ledger)) == (1, True, session)
    assert ledger.get(entry.id).epoch == 1


def _session(ledger: PostgresLedger) -> int:
    found = ledger._database.transact(lambda cursor: cursor.execute("SELECT pg_backend_pid()").fetchone())
    assert found
    return int(found[0])


def test_leases_go_by_the_databases_clock(login: Login) -> None:
    """Whatever this machine's says: nothing of it is asked."""
    ledger = open_ledger(login.url, user=ADMIN, password=login.password, clock=FakeClock())
    assert isinstance(ledger, PostgresLedger)
    empty(ledger)
    entry = claimed(ledger, begun(ledger))
    assert entry.lease_until
    lease = timedelta(seconds=LEASE_SECONDS)
    assert entry.started <= entry.lease_until - lease <= ledger.now() < entry.lease_until
    ledger.close()


def test_a_worker_without_the_right_to_make_tables_uses_those_that_are_there(
    postgres_server: Postgres, login: Login
) -> None:
    """One who lacks a grant is told which; neither sees the password in what is said."""
    with closing(PostgresLedger(login)) as made:
        made.now()
    password = f"{CANARY}-pg"
    role = postgres_server.new_role(password)
    mine = replace(login, user=role, password=lambda: SecretValue(password))
    ledger = PostgresLedger(mine)
    with pytest.raises(PermissionDeniedError, match="grant SELECT, INSERT, UPDATE and DELETE"):
        begun(ledger)
    with postgres_server.admin("ledger") as admin:
        [grant] = marked("sql ledger", ROOT / "docs" / "rotation-ledger.md")
        admin.execute(grant.text.replace("rotation_worker", role).encode())
    empty(ledger)
    assert claimed(ledger, begun(ledger)).epoch == 1
    ledger.close()


def test_a_role_cannot_make_what_is_recorded_less_durable_or_put_it_elsewhere(
    postgres_server: Postgres, login: Login
) -> None:
    """Its defaults are what an administrator set for other programs."""
    with postgres_server.admin() as admin:
        admin.execute("ALTER DATABASE ledger SET synchronous_commit = off")
        admin.execute("ALTER DATABASE ledger SET search_path = elsewhere, public")
    asked = "SELECT current_setting('synchronous_commit'), current_schemas(false)"
    with closing(PostgresLedger(login)) as ledger:
        assert ledger._database.transact(lambda cursor: cursor.execute(asked).fetchone()) == (
            "on",
            ["public"],
        )
        assert claimed(ledger, begun(ledger, f"prod:{new_id()}")).epoch == 1
    with postgres_server.admin() as admin:
        admin.execute("ALTER DATABASE ledger RESET ALL")


def test_a_refused_login_is_told_apart_from_a_server_that_is_away(login: Login) -> None:
    """A person does different things about them."""
    wrong = replace(login, password=lambda: SecretValue(CANARY))
    with pytest.raises(PermissionDeniedError) as caught:
        PostgresLedger(wrong).now()
    assert CANARY not in str(caught.value)
    away = replace(login, url=f"postgresql://127.0.0.1:{free_port()}/ledger")
    with pytest.raises(UnavailableError) as gone:
        PostgresLedger(away).get("x")
    assert gone.value.performed is False


def test_a_server_without_tls_gets_no_password_where_tls_is_wanted(
    login: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With authorities to verify by there is no way back to plaintext, on loopback neither."""
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("PGSSLMODE", "disable")
    with pytest.raises(UnavailableError):
        PostgresLedger(replace(login, ca=tmp_path / "ca.pem")).now()
    parameters = Login("postgresql://db.example.net,db2.example.net:6432/rotation").parameters()
    assert (parameters["sslmode"], parameters["sslrootcert"]) == ("verify-full", "system")
    assert (parameters["host"], parameters["port"]) == ("db.example.net,db2.example.net", "5432,6432")


def test_tls_is_verified_by_the_authorities_that_are_named(
    postgres_server: Postgres, login: Login, authority: Authority
) -> None:
    """Another authority's servers are not talked to."""
    stranger = Authority("another")
    with _tls(postgres_server, authority):
        ledger = PostgresLedger(replace(login, ca=authority.ca_file))
        shown = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert ledger._database.transact(lambda cursor: cursor.execute(shown).fetchone()) == (True,)
        ledger.close()
        with pytest.raises(UnavailableError):
            PostgresLedger(replace(login, ca=stranger.ca_file)).now()
    stranger.close()


def test_the_environment_does_not_say_where_the_database_is(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets a variable would have the ledger read from his own server."""
    for name, value in {
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c default_transaction_read_only=on",
    }.items():
        monkeypatch.setenv(name, value)
    with closing(PostgresLedger(login)) as ledger:
        assert ledger.find(limit=1) is not None


def test_a_server_that_asks_for_the_password_itself_does_not_get_it(
    postgres_server: Postgres, login: Login
) -> None:
    """One that stands in another's place on loopback could; SCRAM proves knowledge, and tells nothing."""
    with _hba(postgres_server, "host all all 127.0.0.1/32 password"), pytest.raises(UnavailableError):
        PostgresLedger(login).now()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host", "postgresql:///database", "postgresql://host/a/b", "postgresql://user@host/database",
        "postgresql://host:port/database", "postgresql://host/database?sslmode=disable", "mysql://host/database",
    ],
)  # fmt: skip
def test_only_a_host_and_a_database_are_in_the_url(url: str) -> None:
    """No credential, and nothing that weakens the connection."""
    with pytest.raises(InvalidRequestError):
        Login(url).parameters()


def test_processes_that_make_the_tables_at_once_all_work(postgres_server: Postgres) -> None:
    """PostgreSQL fails all but one of those that create one table at the same moment."""
    login = empty_database(postgres_server, "fresh")
    ledgers = [PostgresLedger(login) for _ in range(6)]
    found = at_once([partial(begun, ledger) for ledger in ledgers])
    assert [type(answer) for answer in found].count(Entry) == 1
    assert [type(answer) for answer in found].count(InProgressError) == 5
    for ledger in ledgers:
        ledger.close()


def test_a_coordinator_in_the_database_goes_by_its_clock(login: Login) -> None:
    """A lease whose answer was lost is found by the repeat, under one fence."""
    coordinator = PostgresCoordinator(login)
    lease = coordinator.acquire("azure-kv://vault/x", 30)
    assert lease
    assert 25 < coordinator.seconds_left(lease) <= 30
    coordinator.release(lease)
    again = coordinator.acquire("azure-kv://vault/x", 30)
    assert again
    assert again.fence == lease.fence + 1
    coordinator.close()


def test_no_error_of_the_driver_is_passed_on(ledger: PostgresLedger) -> None:
    """They hold the connection, whose repr shows every option, and statements."""

    def broken(cursor: Any) -> None:
        cursor.execute("SELECT no_such_function()")

    with pytest.raises(SecretStoreError) as caught:
        ledger._database.transact(broken)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "42883" in str(caught.value)
    assert new_id() not in str(caught.value)
