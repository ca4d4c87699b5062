"""Drift checks: what it takes to learn that ten thousand secrets of a replica are as their source has them.

The doubles run in this process, so that part of the time is theirs: an upper bound. moto's Parameter Store
lists ten a page where AWS lists fifty, and looks at all parameters for each page; SoftHSM looks at all
objects for each that is made. These two have a tenth of the secrets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from math import ceil
from pathlib import Path
from typing import NamedTuple

from strongroom.coordinator import SQLiteCoordinator
from strongroom.names import Name
from strongroom.replication.plan import Action
from tests import drift
from tests.bench.harness import Bar, Row
from tests.drift import Filled, Source

SECRETS = 10_000
TIME = Bar(at_most=60.0)
Records = Mapping[Name, str]
Opens = Callable[[Path, SQLiteCoordinator, Records], AbstractContextManager[Filled]]


class Provider(NamedTuple):
    """A provider; `page` is how many secrets it lists at once, and `reads` how many a name takes beside."""

    title: str
    opens: Opens
    page: int = 0
    reads: int = 0
    secrets: int = SECRETS


def rows() -> Iterator[Row]:
    """Seconds and calls of each provider."""
    sources = {count: Source(count) for count in {provider.secrets for provider in PROVIDERS}}
    for provider in PROVIDERS:
        source = sources[provider.secrets]
        with (
            _coordinated() as (folder, coordinator),
            provider.opens(folder, coordinator, source.records) as replica,
        ):
            yield from _measured(provider, source, replica)


def _measured(provider: Provider, source: Source, replica: Filled) -> Iterator[Row]:
    replicator = source.replicator(replica)
    assert not replicator.sync().done  # the sheet and the digest key are there from now on
    replica.calls.clear()
    begin = time.perf_counter()
    plan = replicator.plan()
    seconds, calls = time.perf_counter() - begin, replica.calls.total()
    assert plan.counts == {Action.SAME: provider.secrets}
    begin = time.perf_counter()
    assert sum(1 for _ in replica.backend.list_info("")) == provider.secrets
    names = time.perf_counter() - begin
    yield TIME.row(
        f"drift of {provider.secrets:,}, {provider.title}", seconds, names, "a list of their names"
    )
    if provider.page:
        most = ceil(provider.secrets / provider.page) + provider.reads * provider.secrets
        bar = Bar(at_most=most + 20, unit="calls")  # the reserved names, folders, and the sheet
        yield bar.row(f"calls of it, {provider.title}", calls, provider.secrets, "a read of each")


@contextmanager
def _coordinated() -> Iterator[tuple[Path, SQLiteCoordinator]]:
    with tempfile.TemporaryDirectory() as folder:
        coordinator = SQLiteCoordinator(Path(folder) / "leases.db")
        yield Path(folder) / "local", coordinator
        coordinator.close()


@contextmanager
def _memory(_: Path, __: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    with drift.memory(records) as filled:
        yield filled


@contextmanager
def _local(folder: Path, _: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    folder.mkdir(mode=0o700)
    with drift.local(folder, records) as filled:
        yield filled


@contextmanager
def _secrets_manager(_: Path, __: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from strongroom.testing.aws import StrictServer

    with StrictServer() as server, drift.secrets_manager(server, records) as filled:
        yield filled


@contextmanager
def _parameter_store(_: Path, coordinator: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from tests.servers import moto_mended

    with moto_mended.server() as moto, drift.parameter_store(moto, coordinator, records) as filled:
        yield filled


@contextmanager
def _vault(_: Path, __: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from tests.servers import openbao

    with openbao.dev_server() as server, drift.vault(server, "secret", records) as filled:
        yield filled


@contextmanager
def _secret_manager(_: Path, __: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from tests.servers.google import Google

    with Google() as server, drift.secret_manager(server, records) as filled:
        yield filled


@contextmanager
def _key_vault(_: Path, coordinator: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from tests.servers import azure
    from tests.servers.https import Authority

    with azure.server(Authority()) as server, drift.key_vault(server, coordinator, records) as filled:
        yield filled


@contextmanager
def _token(_: Path, coordinator: SQLiteCoordinator, records: Records) -> Iterator[Filled]:
    from tests.servers import softhsm

    with softhsm.tokens("bench") as [token], drift.token(token, coordinator, records) as filled:
        yield filled


PROVIDERS = (
    Provider("memory", _memory),
    Provider("local", _local),
    Provider("aws-sm", _secrets_manager, 100),
    Provider("aws-ssm", _parameter_store, 10, secrets=1_000),
    Provider("gcp-sm", _secret_manager, 1000),
    Provider("azure-kv", _key_vault, 25),
    Provider("vault", _vault, SECRETS, 1),
    Provider("pkcs11", _token, 1_000, secrets=1_000),
)
