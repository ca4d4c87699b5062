"""Two real OpenBao servers as two regions: their link is cut and healed, and `status` tells what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from strongroom import pairs
from strongroom.backend import Backend, Settings, Stage
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.failover import Failover
from strongroom.layers.recorded import Recorded
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.replication.member import Member
from strongroom.replication.replicator import Replicator
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.scale import NIGHTLY
from tests.servers import netns
from tests.servers.https import Authority
from tests.servers.openbao import OpenBao, tls_server
from tests.servers.relay import Relay
from tests.session import note
from tests.unit.envelope_support import local_key

pytestmark = pytest.mark.timeout(300)

DOMAIN = "prod"
TIMEOUT = 1.5
"""Seconds that a client waits for a server behind a cut link: far more than any other needs to answer."""
LINKS = ["namespaces", "relay"] if NIGHTLY else ["either"]


@dataclass(frozen=True)
class Region:
    """A store as seen from here, and its link."""

    alias: str
    cut: Callable[[], None]
    heal: Callable[[], None]
    backend: Backend

    @property
    def member(self) -> Member:
        return Member(self.alias, self.backend, DOMAIN)

    def now(self, name: Name) -> str | None:
        try:
            return self.backend.get(name, Stage.CURRENT).value.reveal_text().removeprefix(f"{CANARY}-")
        except SecretNotFoundError:
            return None


@dataclass(frozen=True)
class Link:
    """A server and what cuts its link; the address is the one that goes through it."""

    server: OpenBao
    cut: Callable[[], None]
    heal: Callable[[], None]


@contextmanager
def _link(authority: Authority, kind: str) -> Iterator[Link]:
    if kind == "namespaces" or (kind == "either" and not netns.refused()):
        with netns.region() as region, tls_server(authority, region) as server:
            yield Link(server, region.cut, region.heal)
        return
    note("servers", name="a relay in place of a link between network namespaces")
    with tls_server(authority) as server, Relay(int(server.address.rpartition(":")[2])) as relay:
        through = replace(server, address=f"https://127.0.0.1:{relay.port}")
        yield Link(through, relay.sever, relay.mend)


@pytest.fixture(scope="module", params=LINKS)
def links(request: pytest.FixtureRequest, authority: Authority) -> Iterator[dict[str, Link]]:
    """Two servers, each in a region of its own."""
    if request.param == "namespaces" and netns.refused():
        pytest.skip(netns.refused())
    with ExitStack() as stack:
        yield {alias: stack.enter_context(_link(authority, request.param)) for alias in ("eu", "us")}


@pytest.fixture
def regions(links: dict[str, Link], authority: Authority) -> Iterator[tuple[Region, Region]]:
    """The source's and the replica's, each with an empty store and a KEK of its own."""
    with ExitStack() as stack:
        for link in links.values():
            stack.callback(link.heal)
        eu, us = (stack.enter_context(_region(alias, link, authority)) for alias, link in links.items())
        yield eu, us


@contextmanager
def _region(alias: str, link: Link, authority: Authority) -> Iterator[Region]:
    auth: dict[str, str | SecretValue] = {"method": "token", "token": SecretValue(link.server.token)}
    settings = Settings(auth=auth, ca=str(authority.ca_file), timeout=TIMEOUT, attempts=1)
    address = link.server.address.removeprefix("https://")
    backend = open_backend(f"vault://{address}/{link.server.mount_kv(2)}/app", settings)
    key = local_key(alias.encode().ljust(32, b"k"), name=alias)
    yield Region(alias, link.cut, link.heal, Encrypted(backend, [key], DOMAIN))
    backend.close()


def _value(number: int) -> SecretValue:
    return SecretValue(f"{CANARY}-{number}")


def test_what_happens_to_the_link_is_what_status_says(regions: tuple[Region, Region]) -> None:
    """Lag in writes and in time, what is missing, drift by somebody else, and recovery after each."""
    eu, us = regions
    app = Recorded(eu.backend, DOMAIN, alias="eu")
    replicator = Replicator(eu.member, us.member)
    names = [Name(f"db/n{number}") for number in range(5)]
    for name in names:
        app.put(name, _value(1), None)
    assert replicator.status().missing == 5
    assert len(replicator.sync().done) == 5
    status = replicator.status()
    assert (status.names, status.in_sync, status.lag_versions, status.lag) == (5, 5, 0, None)
    assert status.healthy

    us.cut()
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        replicator.status()
    app.put(names[0], _value(2), None)
    app.put(names[0], _value(3), None)
    app.put(Name("db/new"), _value(1), None)
    pairs.delete(app, names[1])
    with pytest.raises(UnavailableError):
        replicator.sync()

    us.heal()
    status = replicator.status()
    waited = timedelta(seconds=time.monotonic() - began)
    assert (status.names, status.in_sync, status.missing) == (5, 3, 1)
    assert status.lag_versions == 2 + 1 + 1
    assert status.lag is not None
    assert timedelta(0) < status.lag <= waited
    assert us.now(names[0]) == "1"
    assert len(replicator.sync().done) == 3
    assert (us.now(names[0]), us.now(names[1]), us.now(Name("db/new"))) == ("3", None, "1")
    assert len(us.backend.versions(names[0])) == 2, "one version for what was missed of one name"
    assert replicator.status().healthy

    us.backend.put(names[2], _value(9), None)
    status = replicator.status()
    assert (status.drift, status.foreign, status.healthy) == (1, 1, False)
    assert not replicator.adopt([str(names[2])]).failed
    assert us.now(names[2]) == "1"
    assert replicator.status().healthy


def test_a_link_that_is_cut_in_the_middle_of_a_sync_is_gone_on_with(regions: tuple[Region, Region]) -> None:
    """What was done stays done, what was not is told, and the next sync writes nothing twice."""
    eu, us = regions
    app = Recorded(eu.backend, DOMAIN, alias="eu")
    names = [Name(f"db/n{number}") for number in range(4)]
    replicator = Replicator(eu.member, us.member, parallel=1)
    for number in (1, 2):
        for name in names:
            app.put(name, _value(number), None)
        if number == 1:
            replicator.sync()
    report = replicator.sync(progress=lambda done, _: us.cut() if done == 2 else None)
    assert len(report.done) == 2
    assert len(report.failed) + len(report.skipped) == 2
    assert all(isinstance(error, UnavailableError) for error in report.failed.values())
    us.heal()
    assert [us.now(name) for name in names] == ["2"] * 2 + ["1"] * 2
    assert len(replicator.sync().done) == 2
    assert {len(us.backend.versions(name)) for name in names} == {2}
    assert replicator.status().healthy


def test_a_region_that_is_lost_is_read_from_its_replica_with_a_mark(regions: tuple[Region, Region]) -> None:
    """What was replicated is served as degraded; what is known to be newer is told; healed, all is plain."""
    eu, us = regions
    app = Recorded(eu.backend, DOMAIN, alias="eu")
    name = Name("db/password")
    app.put(name, _value(1), None)
    Replicator(eu.member, us.member).sync()
    store = Failover({"eu": eu.backend, "us": us.backend})
    assert store.get(name, Stage.CURRENT).version.startswith("eu:")
    eu.cut()
    served = store.get(name, Stage.CURRENT)
    assert served.version.startswith("us:")
    assert served.value == _value(1)
    eu.heal()
    app.put(name, _value(2), None)
    fresh = Failover({"eu": eu.backend, "us": us.backend})
    assert fresh.get(name, Stage.CURRENT).value == _value(2)
    eu.cut()
    with pytest.raises(UnavailableError):  # the replica has an older one than this process has seen
        fresh.get(name, Stage.CURRENT)
    eu.heal()
    Replicator(eu.member, us.member).sync()
    eu.cut()
    assert fresh.get(name, Stage.CURRENT).value == _value(2)
