"""The examples on real Vaults: a second one that stands in for the first, and a key rotated by an apply."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

import strongroom
from strongroom.backend import Stage
from strongroom.config import Config
from strongroom.errors import SecretNotFoundError
from strongroom.rotations import engine
from strongroom.value import SecretValue
from terraform.tests.examples import copied
from terraform.tests.nightly import on_each_by_night
from terraform.tests.workspace import Workspace
from tests.canary import CANARY
from tests.scale import NIGHTLY
from tests.servers.openbao import OpenBao, dev_server

pytestmark = on_each_by_night


@pytest.fixture(scope="module")
def vaults() -> Iterator[tuple[OpenBao, OpenBao]]:
    """Two of them, as in two places."""
    with dev_server() as here, dev_server() as there:
        yield here, there


def _url(server: OpenBao, prefix: str) -> str:
    """One store of its own for each test."""
    return f"vault:///{server.mount_kv(2)}/{prefix}?endpoint={server.address}"


def _value(config: Config, store: str, name: str) -> str | None:
    with strongroom.open(store, config=config) as opened:
        try:
            return opened.get(name).value.reveal_text()
        except SecretNotFoundError:
            return None


class TestVaultDR:
    @pytest.fixture
    def config(
        self, workspace: Workspace, vaults: tuple[OpenBao, OpenBao], monkeypatch: pytest.MonkeyPatch
    ) -> Config:
        tokens = {"VAULT_PRIMARY_TOKEN": vaults[0].token, "VAULT_DR_TOKEN": vaults[1].token}
        for name, token in tokens.items():
            monkeypatch.setenv(name, token)
        addresses = {
            "vault://vault-a.example.net:8200/secret/app": _url(vaults[0], "app"),
            "vault://vault-b.example.net:8200/secret/app": _url(vaults[1], "app"),
        }
        return copied(workspace, "vault-dr", addresses)

    @staticmethod
    def _said(workspace: Workspace, values: dict[str, str], versions: dict[str, int]) -> None:
        workspace.env |= {"TF_VAR_values": json.dumps(values), "TF_VAR_value_versions": json.dumps(versions)}

    def test_the_second_vault_has_what_the_first_has(self, workspace: Workspace, config: Config) -> None:
        """What an apply writes it replicates in the same run, and what others have written at the first."""
        with strongroom.open("primary", config=config) as store:
            store.put("db/user", f"{CANARY}-user")
        self._said(workspace, {"db/password": f"{CANARY}-1"}, {"db/password": 1})
        workspace.apply()
        assert _value(config, "dr", "db/password") == f"{CANARY}-1"
        assert _value(config, "dr", "db/user") == f"{CANARY}-user"
        assert workspace.state()["outputs"]["in_sync"]["value"] is True
        if NIGHTLY:
            self._later(workspace, config)

    def _later(self, workspace: Workspace, config: Config) -> None:
        """Another value by Terraform and one by hand go over in one apply; a destroy is no loss there."""
        with strongroom.open("primary", config=config) as store:
            store.put("db/user", f"{CANARY}-by-hand")
        self._said(workspace, {"db/password": f"{CANARY}-2"}, {"db/password": 2})
        workspace.apply()
        assert _value(config, "dr", "db/password") == f"{CANARY}-2"
        assert _value(config, "dr", "db/user") == f"{CANARY}-by-hand"
        assert workspace.plan_is_empty()
        workspace.destroy()
        assert _value(config, "primary", "db/password") is None
        assert _value(config, "dr", "db/password") == f"{CANARY}-2"


class TestRotationNow:
    @pytest.fixture
    def config(
        self, workspace: Workspace, vaults: tuple[OpenBao, OpenBao], monkeypatch: pytest.MonkeyPatch
    ) -> Config:
        tokens = {"VAULT_PROD_TOKEN": vaults[0].token, "VAULT_EDGE_TOKEN": vaults[1].token}
        for name, token in tokens.items():
            monkeypatch.setenv(name, token)
        addresses = {
            "vault://vault-a.example.net:8200/secret/app": _url(vaults[0], "app"),
            "vault://vault-b.example.net:8200/secret/edge": _url(vaults[1], "edge"),
            "/var/lib/strongroom/ledger.db": f"{workspace.folder}/ledger.db",
        }
        return copied(workspace, "rotation-now", addresses)

    def test_a_key_is_rotated_and_the_edge_gets_it(self, workspace: Workspace, config: Config) -> None:
        """The ephemeral reads what the rotation of the same apply has made; the one before works on."""
        with strongroom.open("prod", config=config) as store:
            store.put("session/key", CANARY)
        workspace.apply()
        with strongroom.open("prod", config=config) as store:
            made = store.get("session/key").value
            assert store.get("session/key", stage=Stage.PREVIOUS).value.matches(CANARY)
        assert len(made.reveal()) == 43
        assert made.matches(_value(config, "edge", "session/key") or "")
        if NIGHTLY:
            _rotated_once_more(workspace, config, made)


def _rotated_once_more(workspace: Workspace, config: Config, made: SecretValue) -> None:
    """Refused while the key before is in its grace; afterwards the edge gets this one too."""
    assert workspace.plan_is_empty()
    workspace.env["TF_VAR_rotate"] = "2"
    assert "is open" in workspace.apply(check=False).text
    _grace_ends(workspace, config)
    workspace.apply()
    with strongroom.open("prod", config=config) as store:
        again = store.get("session/key").value
    assert not again.matches(made)
    assert again.matches(_value(config, "edge", "session/key") or "")


def _grace_ends(workspace: Workspace, config: Config) -> None:
    """A worker comes by once it is over: everything that the ledger remembers was three hours earlier."""
    by = 3 * 3600 * 1_000_000
    columns = ("due", "started", "updated", "promoted")
    with closing(sqlite3.connect(workspace.folder / "ledger.db")) as ledger, ledger:
        changes = ", ".join(f"{column} = {column} - {by}" for column in columns)
        ledger.execute(f"update strongroom_rotation set {changes}")
        ledger.execute(f"update strongroom_secret set last_success = last_success - {by}")
    with engine(config) as worker:
        worker.tick()
