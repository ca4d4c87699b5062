"""A drift check costs list calls where the provider lists records, and one read a name where it does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from math import ceil
from pathlib import Path

import pytest

from strongroom.coordinator import SQLiteCoordinator
from strongroom.names import Name
from strongroom.replication.plan import Action
from strongroom.testing.aws import StrictServer
from strongroom.testing.clock import FakeClock
from tests import drift
from tests.drift import Filled, Source
from tests.scale import scaled
from tests.servers.azure import Vault
from tests.servers.google import Google
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import TestToken

Opens = Callable[[Mapping[Name, str]], AbstractContextManager[Filled]]
SHEETS = 8
"""Reads of what a check looks at once, however many secrets there are: the replica's sheet."""

_turns = itertools.count()  # each test changes another secret: what is planted has each one's first value


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[SQLiteCoordinator]:
    made = SQLiteCoordinator(tmp_path / "leases.db")
    yield made
    made.close()


@pytest.fixture(scope="module")
def source() -> Source:
    """Filled once: each test's replica begins with what it holds then."""
    return Source(scaled(3000, "secrets of a drift check"))


def check(source: Source, opens: Opens, pages: Callable[[int], int]) -> None:
    """Nothing is due and nothing was read; then one secret changes, and it alone is found."""
    with opens(source.records) as replica:
        replicator = source.replicator(replica)
        assert not replicator.sync().done  # the sheet and the digest key are there from now on
        replica.calls.clear()
        plan = replicator.plan()
        assert plan.counts == {Action.SAME: len(source.names)}
        assert sum(replica.calls[call] for call in replica.listing) == pages(len(source.names))
        assert replica.reads <= SHEETS, dict(replica.calls)
        changed = source.names[next(_turns)]
        source.change(changed)
        [step] = replicator.plan().due
        assert (step.name, step.action, step.behind) == (str(changed), Action.UPDATE, 1)


def test_memory(source: Source) -> None:
    """Nothing to count: the rule itself."""
    check(source, drift.memory, lambda _: 0)


def test_the_embedded_store(tmp_path: Path, source: Source) -> None:
    """One query."""
    check(source, lambda records: drift.local(tmp_path, records), lambda _: 0)


def test_secrets_manager(source: Source) -> None:
    """A hundred secrets a page."""
    with StrictServer() as server:
        check(source, lambda records: drift.secrets_manager(server, records), lambda n: ceil(n / 100))


def test_google(google_server: Google, source: Source) -> None:
    """A thousand secrets a page."""
    check(source, lambda records: drift.secret_manager(google_server, records), lambda n: ceil(n / 1000))


def test_azure(azure_server: Vault, coordinator: SQLiteCoordinator, source: Source) -> None:
    """Twenty-five secrets a page, with what Strongroom keeps beside them: the sheet and the digest key."""
    azure_server.reset()
    opens = lambda records: drift.key_vault(azure_server, coordinator, records)  # noqa: E731
    check(source, opens, lambda n: ceil((n + 2) / 25))


def test_a_token(softhsm_store: TestToken, coordinator: SQLiteCoordinator) -> None:
    """One search."""
    few = Source(scaled(400, "objects of a drift check"))
    check(few, lambda records: drift.token(softhsm_store, coordinator, records), lambda _: 1)


def test_vault_is_read_name_by_name(openbao_server: OpenBao, kv2_mount: str) -> None:
    """A LIST tells names alone, and the record stands beside the value: each newest version is read."""
    source = Source(scaled(1000, "names that Vault is asked for"))
    with drift.vault(openbao_server, kv2_mount, source.records) as replica:
        replicator = source.replicator(replica)
        assert not replicator.sync().done
        replica.calls.clear()
        assert replicator.plan().counts == {Action.SAME: len(source.names)}
        assert 0 <= replica.calls["GET"] - len(source.names) <= SHEETS, dict(replica.calls)


def test_google_s_quotas_of_a_minute_hold_at_the_budget_s_pace(google_server: Google) -> None:
    """600 writing and 600 reading requests a minute and project (https://cloud.google.com/secret-manager/quotas).

    A put makes several of either, so that the budget counts puts; reading a value has a quota of its own.
    """
    clock, source = FakeClock(), Source(scaled(1000, "changes at Google", share=200))
    with drift.secret_manager(google_server, source.records, clock) as replica:
        replicator = source.replicator(replica, clock=clock)
        replicator.sync()
        replica.calls.clear()
        began = clock.monotonic()
        for name in source.names:
            source.change(name)
        assert len(replicator.sync().done) == len(source.names)
        calls, minutes = replica.calls, (clock.monotonic() - began) / 60
        reads = sum(
            calls[call] for call in ("GetSecret", "GetSecretVersion", "ListSecrets", "ListSecretVersions")
        )
        assert reads <= 600 * minutes, (dict(calls), minutes)
        assert calls.total() - calls["AccessSecretVersion"] - reads <= 600 * minutes, (dict(calls), minutes)
