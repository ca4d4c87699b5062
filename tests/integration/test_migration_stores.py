"""Migration between unlike stores, each behind its real protocol: what leaves one kind arrives in another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from strongroom.backend import Stage
from strongroom.cli.copying import target_of
from strongroom.replication.migrating import Migration, Move
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.chaos.forked import Forked, Say
from tests.conformance.aws import aws
from tests.conformance.pkcs11 import token_store
from tests.conformance.test_vault import vault
from tests.integration.gcp_support import store_of
from tests.scale import scaled
from tests.servers.google import Google
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import TestToken
from tests.unit.local_support import encrypted, local

pytestmark = pytest.mark.timeout(1800)

TEXT, BINARY = "migrated/text", "migrated/binary"
VALUES: dict[str, list[str | bytes]] = {
    TEXT: [f"{CANARY} one", f"{CANARY} zwölf €", f"{CANARY} one"],
    BINARY: [b"\x00\xff" + CANARY.encode(), f"{CANARY} was text once", b"\xfe" * 300],
}
TAGS = {"owner": "ledger", "team": "custody"}


@pytest.fixture
def stores(
    tmp_path: Path,
    openbao_server: OpenBao,
    kv2_mount: str,
    moto_server: Moto,
    google_server: Google,
    softhsm_token: TestToken,
) -> Iterator[list[SecretStore]]:
    """One of each kind, in the order of the journey, which ends in an embedded one as it began."""
    ends = [encrypted(local(tmp_path, name=name)) for name in ("from.db", "home.db")]
    between = [vault(openbao_server, kv2_mount), aws(moto_server.url)]
    opened = [SecretStore(backend, cache=None) for backend in (ends[0], *between)]
    opened += [store_of(google_server), SecretStore(token_store(softhsm_token), cache=None)]
    with ExitStack() as stack:
        yield [stack.enter_context(store) for store in (*opened, SecretStore(ends[1], cache=None))]


def test_a_history_survives_a_journey_through_every_kind_of_store(stores: list[SecretStore]) -> None:
    """Embedded, OpenBao, AWS, Google, a token, home: values, kinds, order, previous, tags as they were."""
    for name, values in VALUES.items():
        for value in values:
            stores[0].put(name, value)
        stores[0].set_tags(name, TAGS)
    for source, target in itertools.pairwise(stores):
        migration = Migration(source, target_of(target, FakeClock()))
        steps = migration.plan(list(VALUES))
        assert [step.losses for step in steps] == [(), ()], target.origin
        outcome = migration.apply(steps)
        assert (outcome.errors, outcome.losses) == ({}, []), target.origin
        _assert_arrived(target)
        assert [step.move for step in migration.plan(list(VALUES))] == [Move.SAME] * 2, target.origin


def _assert_arrived(target: SecretStore) -> None:
    for name, values in VALUES.items():
        read = [target.get(name, version=version.id).value for version in reversed(target.versions(name))]
        wanted = [SecretValue(value) for value in values]
        assert [(value, value.kind) for value in read] == [(value, value.kind) for value in wanted], (
            target.origin
        )
        assert target.get(name, stage=Stage.PREVIOUS).value == SecretValue(values[-2]), target.origin
        assert target.describe(name).tags == TAGS, target.origin


def test_what_only_the_source_can_hold_is_told_of_each_kind(stores: list[SecretStore]) -> None:
    """An empty value, and tags that are too long: what a plan does not tell of is carried."""
    source, name = stores[0], "odd"
    for value in (f"{CANARY} one", "", f"{CANARY} two"):
        source.put(name, value)
    source.set_tags(name, {"*" * 130: "x" * 300})
    told = {}
    for target in stores[1:]:
        migration = Migration(source, target_of(target, FakeClock()))
        steps = migration.plan([name])
        told[target.origin.partition(":")[0]] = [loss.what for loss in steps[0].losses]
        outcome = migration.apply(steps)
        assert outcome.errors == {}, target.origin
        assert len(target.versions(name)) == 3 - told[target.origin.partition(":")[0]].count("version")
    assert told == {
        "vault": ["tags"],
        "aws-sm": ["version", "tags"],
        "gcp-sm": ["tags"],
        "pkcs11": [],
        "local": [],
    }


def _open(folder: Path, name: str) -> SecretStore:
    return SecretStore(encrypted(local(folder, None, name=name, timeout=60)), cache=None)


def _copy(folder: Path, names: list[str], say: Say) -> None:
    """The run that is killed."""
    with _open(folder, "from.db") as source, _open(folder, "to.db") as target:
        migration = Migration(source, target_of(target), progress=lambda items, verb: _said(items, verb, say))
        migration.apply(migration.plan(names))


def _said(items: Sequence[str], verb: str, say: Say) -> Iterator[str]:
    for number, item in enumerate(items):
        say([verb, number])
        yield item


def test_a_migration_killed_in_the_middle_is_resumed_without_a_version_twice(tmp_path: Path) -> None:
    """SIGKILL while it copies: a repeat does what is missing, and each name has its two versions once."""
    count = scaled(10_000, "names of a killed migration", share=500)
    names = [f"n{number}" for number in range(count)]
    for name in ("from.db", "to.db"):
        local(tmp_path, name=name).close()
    with _open(tmp_path, "from.db") as source:
        for name in names:
            for number in range(2):
                source.put(name, f"{CANARY}-{name}-{number}")
    child = Forked(lambda say: _copy(tmp_path, names, say))
    while (said := child.hear()) != ["copying", count // 2]:
        assert said, "it ended before it was killed"
    child.kill()
    assert child.wait() == -9
    with _open(tmp_path, "from.db") as source, _open(tmp_path, "to.db") as target:
        migration = Migration(source, target_of(target))
        steps = migration.plan(names)
        assert count // 2 - 1 <= sum(step.move is Move.SAME for step in steps) < count
        assert migration.apply(steps).errors == {}
        assert {len(target.versions(name)) for name in names} == {2}
        assert all(target.get(name).value == source.get(name).value for name in names)
