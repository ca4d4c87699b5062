"""Replicas full of secrets whose records equal their source's: what a drift check costs at each provider.

Secrets are planted past the wire where a double takes that, so that ten thousand of them are there at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.backend import Backend, Clock, Settings
from strongroom.guarded import Stamp
from strongroom.layers.edge import edge
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.recorded import Recorded
from strongroom.lease import Coordinator
from strongroom.memory import MemoryBackend
from strongroom.names import Name, flat_name
from strongroom.registry import open_backend
from strongroom.replication.member import Member
from strongroom.replication.replicator import Replicator
from strongroom.value import SecretValue
from tests.canary import CANARY, not_ours

if TYPE_CHECKING:
    from strongroom.testing.aws import StrictServer
    from tests.servers.azure import Vault
    from tests.servers.google import Google
    from tests.servers.moto import Moto
    from tests.servers.openbao import OpenBao
    from tests.servers.softhsm import TestToken

DOMAIN = "prod"
PREFIX = "drift"
PROJECT = "strongroom-drift"
REGION = "eu-west-1"
_AT = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass(frozen=True)
class Filled:
    """A replica, and what its provider was asked.

    Attributes:
        backend: the replica.
        calls: how often each of the provider's calls was made, since it was last cleared.
        listing: what those calls of it are named that list.
    """

    backend: Backend
    calls: Counter[str] = field(default_factory=Counter)
    listing: tuple[str, ...] = ()

    @property
    def reads(self) -> int:
        """All calls that do not list."""
        return sum(count for call, count in self.calls.items() if call not in self.listing)


def name(number: int) -> Name:
    """The names of a drift check, in their order."""
    return Name(f"app{number % 10}/key-{number:05}")


def value(of: Name) -> SecretValue:
    """Of each its own."""
    return SecretValue(f"{CANARY}-{of}")


class Source:
    """A source in memory whose writes are ordered, and its replicator."""

    def __init__(self, count: int):
        self.backend = MemoryBackend(origin="memory:source")
        self.app = Recorded(self.backend, DOMAIN, alias="source")
        self.names = [name(number) for number in range(count)]
        for each in self.names:
            self.app.put(each, value(each), None)

    @property
    def records(self) -> Mapping[Name, str]:
        """What a replica that is up to date holds."""
        infos = self.backend.list_info("", detail=True)
        return {info.key: str(info.record) for info in infos if isinstance(info.key, Name)}

    def change(self, of: Name) -> None:
        """A new value of one secret, as applications write it."""
        self.app.put(of, SecretValue(f"{value(of).reveal_text()} changed"), None)

    def replicator(self, replica: Filled, **facts: Any) -> Replicator:
        """From here to there, one name at a time."""
        members = Member("source", self.backend, DOMAIN), Member("replica", replica.backend, DOMAIN)
        return Replicator(*members, parallel=1, **facts)


@contextmanager
def memory(records: Mapping[Name, str]) -> Iterator[Filled]:
    """The executable specification."""
    backend = MemoryBackend(origin="memory:replica")
    yield Filled(_planted(backend, records))


@contextmanager
def local(folder: Path, records: Mapping[Name, str]) -> Iterator[Filled]:
    """The embedded store, under its own key."""
    from tests.unit.local_support import local as opened

    bare = opened(folder)
    key = edge(bare).own_key()
    assert key
    yield Filled(_planted(Encrypted(bare, [key], DOMAIN), records))
    bare.close()


def _planted(backend: Backend, records: Mapping[Name, str]) -> Backend:
    for each, record in records.items():
        backend.put(each, value(each), None, record)
    return backend


@contextmanager
def secrets_manager(server: StrictServer, records: Mapping[Name, str]) -> Iterator[Filled]:
    """AWS Secrets Manager's strict double."""
    from strongroom.testing.aws_state import CURRENT, MANAGED_KEY, Secret, Version

    shelf = server.manager._account.shelf(REGION)
    for number, (each, record) in enumerate(records.items()):
        id_, at, full = f"{number:032x}", _AT.timestamp(), f"{PREFIX}/{each}"
        arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:{full}-{number:06x}"
        version = Version(id_, at, value(each).reveal_text(), MANAGED_KEY)
        labels = {CURRENT: id_, f"strongroom/record/{record}": id_}
        shelf[full] = Secret(full, arn, REGION, at, at, versions={id_: version}, labels=labels)
    backend = open_backend(f"aws-sm://{REGION}/{PREFIX}?endpoint={server.url}")
    yield Filled(backend, server.calls, ("ListSecrets",))
    backend.close()


@contextmanager
def parameter_store(
    moto: Moto, coordinator: Coordinator, records: Mapping[Name, str], clock: Clock | None = None
) -> Iterator[Filled]:
    """moto's Parameter Store; a request more for each that was planted."""
    client = moto.client("ssm")
    with not_ours():
        for number, (each, record) in enumerate(records.items()):
            client.put_parameter(
                Name=f"/{PREFIX}/{each}",
                Value=value(each).reveal_text(),
                Type="SecureString",
                Description=f"[strongroom 0.{number:032x}. {record}]",
            )
    settings = Settings(coordinator=coordinator, timeout=30.0, clock=clock or Clock())
    backend = open_backend(f"aws-ssm://{REGION}/{PREFIX}?endpoint={moto.url}", settings)
    inner: Any = backend
    filled = Filled(backend, listing=("DescribeParameters",))
    _count(inner.inner._client, "read", filled.calls, lambda operation, **_: operation)
    yield filled
    backend.close()


@contextmanager
def vault(server: OpenBao, mount: str, records: Mapping[Name, str]) -> Iterator[Filled]:
    """A real OpenBao."""
    from strongroom_vault import layout

    client = server.client()
    with not_ours():
        for number, (each, record) in enumerate(records.items()):
            secret = layout.encode(value(each), record, f"{number:032x}")
            client.secrets.kv.v2.create_or_update_secret(f"{PREFIX}/{each}", secret, mount_point=mount)
    settings = Settings(auth={"method": "token", "token": SecretValue(server.token)})
    backend = open_backend(f"vault:///{mount}/{PREFIX}?endpoint={server.address}", settings)
    inner: Any = backend
    filled = Filled(backend, listing=("LIST",))
    _count(inner.inner._client, "read", filled.calls, lambda request, **_: request.method)
    yield filled
    backend.close()


@contextmanager
def secret_manager(
    server: Google, records: Mapping[Name, str], clock: Clock | None = None
) -> Iterator[Filled]:
    """Google's double."""
    from google.cloud import secretmanager_v1 as api

    parent = f"projects/{PROJECT}"
    for each, record in records.items():
        book = {"strongroom.chain": "1", "strongroom.record": f"1:{record}"}
        secret = api.Secret(replication={"automatic": {}}, annotations=book)
        flat = flat_name(each, PREFIX, "_")
        server.secrets.create_secret(api.CreateSecretRequest(parent=parent, secret_id=flat, secret=secret))
        payload = api.SecretPayload(data=value(each).reveal())
        full = f"{parent}/secrets/{flat}"
        server.secrets.add_secret_version(api.AddSecretVersionRequest(parent=full, payload=payload))
    settings = Settings(clock=clock or Clock())
    backend = open_backend(f"gcp-sm://{PROJECT}/{PREFIX}?endpoint={server.url}", settings)
    yield Filled(backend, server.calls, ("ListSecrets",))
    backend.close()


@contextmanager
def key_vault(server: Vault, coordinator: Coordinator, records: Mapping[Name, str]) -> Iterator[Filled]:
    """Azure's double."""
    from tests.servers.azure_objects import Version
    from tests.servers.azure_secrets import Content

    for each, record in records.items():
        tags = {"strongroom": Stamp.new(None).pack(), "strongroom-record": record}
        content = Content(value(each).reveal_text())
        server.secrets.objects.add(flat_name(each, PREFIX, "-"), Version(content, 1_790_000_000, tags))
    settings = Settings(ca=str(server.ca_file), coordinator=coordinator)
    backend = open_backend(f"azure-kv://example/{PREFIX}?endpoint={server.url}", settings)
    yield Filled(backend, server.calls, ("secrets.list",))
    backend.close()


@contextmanager
def token(softhsm: TestToken, coordinator: Coordinator, records: Mapping[Name, str]) -> Iterator[Filled]:
    """SoftHSM; objects are made without the search that a put begins with."""
    from strongroom_pkcs11 import _entries
    from strongroom_pkcs11._mark import Mark

    prefix = softhsm.unique(PREFIX)
    backend = open_backend(softhsm.url(prefix), softhsm.settings(coordinator=coordinator, timeout=600.0))
    inner: Any = backend

    def plant(session: Any) -> None:
        for each, record in records.items():
            mark = Mark(f"{prefix}/{each}", 1, Stamp.new(None), "text", _AT, record)
            _entries.create(session, mark, value(each))

    inner.inner._versions.change("put", plant)
    filled = Filled(backend, listing=("scan",))
    _count(inner.inner._versions, "read", filled.calls, _searched)
    yield filled
    backend.close()


def _searched(work: Any) -> str:
    return "scan" if "list_info" in getattr(work, "__qualname__", "") else "get"


def _count(client: Any, method: str, calls: Counter[str], named: Callable[..., str]) -> None:
    asked = getattr(client, method)

    def counted(*args: Any, **more: Any) -> Any:
        calls[named(*args, **more)] += 1
        return asked(*args, **more)

    setattr(client, method, counted)
