"""Every kind of store as a replica, through its own client: each change reaches it, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from strongroom.backend import Capability
from strongroom.coordinator import SQLiteCoordinator
from strongroom.names import Name
from strongroom.testing.aws import StrictServer
from tests import drift
from tests.drift import Filled
from tests.servers.azure import Vault
from tests.servers.google import Google
from tests.servers.softhsm import TestToken
from tests.unit.replication_support import DB, Counted, FakeClock, Pair, actions, delete, pair

Opens = Callable[[Mapping[Name, str]], AbstractContextManager[Filled]]


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[SQLiteCoordinator]:
    """What guards the writes of stores without compare-and-set."""
    made = SQLiteCoordinator(tmp_path / "leases.db")
    yield made
    made.close()


def check(folder: Path, opens: Opens) -> None:
    """Create, update, delete and restore; then nothing is left to do, and nothing is written."""
    with opens({}) as filled:
        two = Pair(pair("memory", folder).here, Counted(filled.backend), FakeClock())
        two.write()
        assert actions(two.sync().done) == {"db/password": "create"}
        assert two.at_replica() == "one"
        two.write(text="two")
        assert actions(two.sync().done) == {"db/password": "update"}
        assert two.at_replica() == "two"
        assert len(two.there.versions(DB)) == 2
        quiet(two)
        if not two.there.capabilities & (Capability.DELETE | Capability.PURGE):
            return
        delete(two.app)
        assert actions(two.sync().done) == {"db/password": "delete"}
        assert two.at_replica() is None
        two.app.restore(DB)
        assert actions(two.sync().done) == {"db/password": "restore"}
        assert two.at_replica() == "two"
        quiet(two)


class Killed(BaseException):
    """The process is gone."""


def killed() -> None:
    raise Killed


def quiet(two: Pair) -> None:
    two.forget_calls()
    report = two.sync()
    assert not report.done
    assert not report.skipped
    assert two.there.calls["writes"] == two.here.calls["writes"] == 0


def test_secrets_manager(tmp_path: Path) -> None:
    """Its versions are pending under a label of their own, and promoted by a label's move."""
    with StrictServer() as server:
        check(tmp_path, lambda records: drift.secrets_manager(server, records))


def test_secrets_manager_keeps_no_payload_that_a_crash_left(tmp_path: Path) -> None:
    """It blocks nothing: it is known by its record, and a newer version stands above it in the end."""
    with StrictServer() as server, drift.secrets_manager(server, {}) as filled:
        two = Pair(pair("memory", tmp_path).here, Counted(filled.backend), FakeClock())
        two.write()
        two.sync()
        two.write(text="two")
        two.there.during["promote_pending"] = killed
        with pytest.raises(Killed):
            two.sync()
        assert two.at_replica() == "one"
        assert two.there.describe(DB).pending
        two.write(text="three")
        two.sync()
        assert two.at_replica() == "three"
        assert not two.there.describe(DB).pending
        quiet(two)


def test_google(tmp_path: Path, google_server: Google) -> None:
    """The payload waits in a companion."""
    check(tmp_path, lambda records: drift.secret_manager(google_server, records))


def test_azure(tmp_path: Path, azure_server: Vault, coordinator: SQLiteCoordinator) -> None:
    """Under a coordinator's lease."""
    azure_server.reset()
    check(tmp_path, lambda records: drift.key_vault(azure_server, coordinator, records))


def test_a_token(tmp_path: Path, softhsm_store: TestToken, coordinator: SQLiteCoordinator) -> None:
    """A PKCS#11 token, likewise."""
    check(tmp_path, lambda records: drift.token(softhsm_store, coordinator, records))
