"""The ledger while its database fails over: nothing acknowledged is lost, and no epoch is given twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import pytest

from strongroom.errors import UnavailableError
from strongroom.postgres import Login
from strongroom.rotation.ledger import OvertakenError, State
from strongroom.rotation.pgledger import PostgresLedger
from strongroom.value import SecretValue
from tests.scale import NIGHTLY
from tests.servers.postgres import ADMIN, Postgres, server, standby
from tests.unit.ledger_conformance import SECRET, at, claimed
from tests.unit.ledger_support import empty_database

Cluster = tuple[Login, Callable[[], None], Callable[[], None]]


@contextmanager
def _demoted(postgres_server: Postgres) -> Iterator[Cluster]:
    """One server, which for a while takes no writes, as one that was demoted."""
    login = empty_database(postgres_server, "failover")

    def writable(answer: str) -> None:
        with postgres_server.admin() as admin:
            admin.execute("SET default_transaction_read_only = off")
            statement = f"ALTER DATABASE failover SET default_transaction_read_only = {answer}"
            admin.execute(statement.encode())
            if answer == "on":
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'failover'"
                admin.execute(ended)

    yield login, lambda: writable("on"), lambda: writable("off")


@contextmanager
def _promoted(_: Postgres) -> Iterator[Cluster]:
    """Two servers: the first loses its power, the second has all that was acknowledged, and is promoted."""
    with ExitStack() as ends:
        first = ends.enter_context(server())
        second = ends.enter_context(standby(first))
        login = empty_database(first, "failover")
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        yield replace(login, url=f"postgresql://{hosts}/failover"), first.kill, second.promote


CLUSTERS = {"demoted": _demoted} | ({"promoted": _promoted} if NIGHTLY else {})


@pytest.fixture(params=CLUSTERS)
def cluster(request: pytest.FixtureRequest, postgres_server: Postgres) -> Iterator[Cluster]:
    with CLUSTERS[request.param](postgres_server) as found:
        yield found


def test_a_ledger_survives_the_fail_over_of_its_database(cluster: Cluster) -> None:
    """In between it is unavailable, and says whether anything was done; then it goes on where it was, and
    who was fenced before stays fenced.
    """
    login, fail, recover = cluster
    with closing(PostgresLedger(login)) as ledger:
        entry = at(ledger, State.CREATED)
        fenced = entry
        ledger.move(entry.id, [State.CREATED], State.ORPHANED)
        entry = claimed(ledger, ledger.move(entry.id, [State.ORPHANED], State.CREATED))
        fail()
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                ledger.record(entry, State.SET)
        assert caught.value.performed is False
        recover()
        done = ledger.record(ledger.record(entry, State.SET), State.PROMOTED)
        assert (done.epoch, ledger.last_success(SECRET)) == (entry.epoch, done.promoted)
        with pytest.raises(OvertakenError):
            ledger.record(fenced, State.SET)
        ledger.release(done)
        assert claimed(ledger, done).epoch == entry.epoch + 1


def test_a_server_that_takes_no_writes_is_not_used(postgres_server: Postgres) -> None:
    """A standby that is asked alone answers no ledger: nothing would be recorded."""
    with _demoted(postgres_server) as (login, fail, recover):
        fail()
        alone = PostgresLedger(
            replace(login, user=ADMIN, password=lambda: SecretValue(postgres_server.password))
        )
        with pytest.raises(UnavailableError):
            alone.now()
        recover()
        assert alone.find() == []
        alone.close()
