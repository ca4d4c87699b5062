"""Where the peers fail: each test shows what the real library does, and what Strongroom does in its place.

aws-secretsmanager-caching 1.1.3 stands beside the environment (`make install` puts it there): its
`refresh_secret_now` was mended in 1.2.0, which is what the other tests use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from pydantic import SecretStr
from pydantic_settings import BaseSettings, GoogleSecretManagerSettingsSource, PydanticBaseSettingsSource

import strongroom
from strongroom.errors import PartialFailureError, PermissionDeniedError, UnavailableError
from strongroom.integrations.pydantic_settings import SecretsSource
from strongroom.store import SecretStore
from strongroom.testing import FakeClock
from tests.canary import CANARY, not_ours
from tests.integration import gcp_support
from tests.servers.boto import REGION, session
from tests.servers.moto import Moto
from tests.servers.relay import Relay

if TYPE_CHECKING:
    from tests.servers.google import Google

NAME = "db/password"
OLD, NEW = f"{CANARY} old", f"{CANARY} new"
BESIDE = Path(sys.prefix, "peer")
PEER = "aws_secretsmanager_caching"


class Settings(BaseSettings):
    """An application with a default password, for a developer's machine."""

    db_password: SecretStr = SecretStr("changeme-default")


class TestDenied:
    """The Google source of pydantic-settings 2.16.3 takes "denied" for "not there" (`except Exception`)."""

    @pytest.fixture
    def denied(self, google_server: Google) -> Google:
        """The password is there, and this identity may not read it."""
        client = gcp_support.native(google_server)
        for secret in ("db_password", "app__db__password"):  # the peer's name for it, and ours
            gcp_support.made(client, f"{gcp_support.PARENT}/secrets/{secret}")
            gcp_support.added(client, CANARY, f"{gcp_support.PARENT}/secrets/{secret}")
        google_server.faults.deny("secretmanager.versions.access")
        return google_server

    def test_the_peer_starts_on_the_default_password(self, denied: Google) -> None:
        """Without an exception, a warning or a trace."""
        client = gcp_support.native(denied)

        class Peers(Settings):
            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], *others: Any, **more: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                source = GoogleSecretManagerSettingsSource
                return (source(settings_cls, project_id=gcp_support.PROJECT, secret_client=client),)

        denied.faults.allow("secretmanager.versions.access")
        assert Peers().db_password.get_secret_value() == CANARY
        denied.faults.deny("secretmanager.versions.access")
        assert Peers().db_password.get_secret_value() == "changeme-default"

    def test_ours_does_not_start(self, denied: Google) -> None:
        """The error names the field, the secret and what is denied; the default is for what is not there."""
        store = gcp_support.store_of(denied)

        class Ours(Settings):
            @classmethod
            def settings_customise_sources(
                cls, settings_cls: type[BaseSettings], *others: Any, **more: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return (SecretsSource(settings_cls, store),)

        with pytest.raises(PartialFailureError, match=r"db_password \(db/password\): ") as caught:
            Ours()
        assert type(caught.value.errors["db_password"]) is PermissionDeniedError
        denied.faults.allow("secretmanager.versions.access")
        assert Ours().db_password.get_secret_value() == CANARY
        store.close()


def plain_client(url: str) -> Any:
    """Another program's client, which asks once."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5, proxies={})
    return session(REGION).client("secretsmanager", endpoint_url=url, config=config)


@dataclass
class Outage:
    """moto's AWS behind a relay that can go away, a clock for each library, and what the peer asked.

    Attributes:
        begin: nobody answers from then on.
        asked: the peer's requests, in order.
        slept: the seconds of the peer's sleeps.
        passed: how far the peer's clock has moved.
    """

    moto: Moto
    port: int
    begin: Callable[[], None]
    clock: FakeClock = field(default_factory=FakeClock)
    asked: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    passed: timedelta = timedelta(0)

    def put(self, value: str) -> None:
        """Another program writes."""
        client = plain_client(self.moto.url)
        with not_ours():
            try:
                client.create_secret(Name=NAME, SecretString=value)
            except client.exceptions.ResourceExistsException:
                client.put_secret_value(SecretId=NAME, SecretString=value)

    def pass_time(self, seconds: float) -> None:
        """For both."""
        self.clock.advance(seconds)
        self.passed += timedelta(seconds=seconds)

    def ours(self) -> SecretStore:
        """Strongroom with its default cache."""
        return strongroom.open(f"aws-sm://{REGION}?endpoint={self.url}", clock=self.clock)

    def peer(self, caching: Any) -> Any:
        """The peer with its defaults, over a client that asks once."""
        client = plain_client(self.url)
        client.meta.events.register("before-call", lambda model, **_: self.asked.append(model.name))
        return caching.SecretCache(client=client)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def outage(moto_server: Moto) -> Iterator[Outage]:
    """AWS with one secret, still answering."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(urlsplit(moto_server.url).port or 0))
        outage = Outage(moto_server, relay.port, stack.close)
        outage.put(OLD)
        yield outage


Load = Callable[[str], Any]


@pytest.fixture
def caching(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports a release of aws-secretsmanager-caching, and puts its clock into the test's hands."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: Any = UTC) -> datetime:  # type: ignore[override]
            return datetime(2026, 1, 1, tzinfo=tz) + outage.passed

    def load(release: str) -> Any:
        for name in [name for name in sys.modules if name.split(".")[0] == PEER]:
            monkeypatch.delitem(sys.modules, name)
        if release == "1.1.3":
            assert (BESIDE / PEER).is_dir(), f"run `make install`: {BESIDE} has no {PEER}"
            monkeypatch.syspath_prepend(str(BESIDE))
        package, items = import_module(PEER), import_module(f"{PEER}.cache.items")
        monkeypatch.setattr(items, "datetime", Now)
        monkeypatch.setattr(items, "time", SimpleNamespace(sleep=outage.slept.append))
        for name in [name for name in sys.modules if name.split(".")[0] == PEER]:
            monkeypatch.delitem(sys.modules, name)
        return package

    return load


def test_refreshing_in_1_1_3_discards_what_it_fetched(outage: Outage, caching: Load) -> None:
    """It sleeps, asks, drops the answer; the rejected password is still the one that it gives."""
    peer = outage.peer(caching("1.1.3"))
    with not_ours():
        assert peer.get_secret_string(NAME) == OLD
        outage.put(NEW)
        outage.asked.clear()
        peer.refresh_secret_now(NAME)
        assert outage.asked == ["DescribeSecret"]
        outage.begin()
        assert peer.get_secret_string(NAME) == OLD
    assert 2.5 <= sum(outage.slept) <= 5.1


def test_refreshing_in_1_2_0_fetches_no_value(outage: Outage, caching: Load) -> None:
    """It sleeps as long and says that it succeeded; the value is asked for later, when nobody may answer."""
    peer = outage.peer(caching("1.2.0"))
    with not_ours():
        assert peer.get_secret_string(NAME) == OLD
        outage.put(NEW)
        outage.asked.clear()
        assert peer.refresh_secret_now(NAME) is True
        assert outage.asked == ["DescribeSecret"]
        outage.begin()
        with pytest.raises(BotoCoreError):
            peer.get_secret_string(NAME)
    assert 2.5 <= sum(outage.slept) <= 5.1


def test_our_refresh_gives_and_keeps_what_it_fetched(outage: Outage) -> None:
    """Without a pause; whoever asks afterwards has it, also in an outage."""
    with outage.ours() as store:
        rejected = store.get(NAME)
        assert rejected.value.matches(OLD)
        outage.put(NEW)
        refreshed = store.refresh(NAME, rejected=rejected.version)
        assert refreshed.value.matches(NEW)
        assert refreshed.version != rejected.version
        outage.begin()
        assert store.get(NAME).value.matches(NEW)
    assert not outage.clock.slept


def test_the_peer_serves_an_outage_for_ever_without_a_sign(outage: Outage, caching: Load) -> None:
    """A bare string, a year after the provider was heard of last."""
    peer = outage.peer(caching("1.2.0"))
    with not_ours():
        peer.get_secret_string(NAME)
        outage.begin()
        outage.asked.clear()
        for _ in range(12):
            outage.pass_time(30 * 86400.0)
            assert peer.get_secret_string(NAME) == OLD
    assert outage.asked


def test_ours_serves_an_outage_with_a_sign_and_a_bound(outage: Outage) -> None:
    """Stale is said, with the time of the last answer; an hour after that it is an error."""
    with outage.ours() as store:
        confirmed = store.get(NAME).confirmed_at
        outage.begin()
        outage.pass_time(1800.0)
        served = store.get(NAME)
        assert (served.value.matches(OLD), served.stale, served.confirmed_at) == (True, True, confirmed)
        outage.pass_time(1800.0)
        with pytest.raises(UnavailableError):
            store.get(NAME)
