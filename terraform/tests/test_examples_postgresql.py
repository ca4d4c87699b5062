"""A password from Terraform into a real PostgreSQL and a real Vault, and into nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import strongroom
from strongroom.config import Config
from terraform.tests.attached import attached
from terraform.tests.examples import copied
from terraform.tests.tools import Terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY
from tests.scale import NIGHTLY
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres

PUBLISHED = "vault://vault.example.net:8200/secret/app"


@pytest.fixture
def administrator(postgres_server: Postgres) -> str:
    """A role that may make roles."""
    role = postgres_server.new_role(CANARY)
    with postgres_server.admin() as admin:
        admin.execute(sql.SQL("ALTER ROLE {} SUPERUSER").format(sql.Identifier(role)))
    return role


@pytest.fixture
def workspace(
    short_folder: Path,
    one_terraform: Terraform,
    standins: Path,
    postgres_server: Postgres,
    administrator: str,
) -> Iterator[Workspace]:
    terraform = Terraform(one_terraform.program, one_terraform.dev_overrides, [standins])
    workspace = Workspace(short_folder, terraform)
    workspace.env |= {
        "TF_VAR_host": "127.0.0.1", "TF_VAR_port": str(postgres_server.port),
        "TF_VAR_administrator": administrator, "TF_VAR_sslmode": "disable",
    }  # fmt: skip
    with attached("terraform.tests.attached", "postgresql") as where:
        workspace.env["TF_REATTACH_PROVIDERS"] = where
        yield workspace
    with postgres_server.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS app")


@pytest.fixture
def config(
    workspace: Workspace, openbao_server: OpenBao, kv2_mount: str, monkeypatch: pytest.MonkeyPatch
) -> Config:
    """The example's store, with the administrator's password in it."""
    monkeypatch.setenv("VAULT_TOKEN", openbao_server.token)
    address = f"vault:///{kv2_mount}/app?endpoint={openbao_server.address}"
    config = copied(workspace, "postgresql", {PUBLISHED: address})
    with strongroom.open(config=config) as store:
        store.put("db/administrator", CANARY)
    return config


def _password(config: Config) -> str:
    with strongroom.open(config=config) as store:
        return store.get("db/app").value.reveal_text()


def _logs_in(server: Postgres, password: str) -> bool:
    try:
        psycopg.connect(server.where, user="app", password=password).close()
    except psycopg.OperationalError:
        return False
    return True


def test_role_and_store_have_one_password_and_no_file_has_it(
    workspace: Workspace, config: Config, postgres_server: Postgres
) -> None:
    """The application logs in with what the store holds, before and after another password."""
    workspace.init()
    workspace.apply()
    first = _password(config)
    assert _logs_in(postgres_server, first)
    assert workspace.plan_is_empty()
    workspace.apply("-var=password_version=2")
    second = _password(config)
    assert _logs_in(postgres_server, second)
    assert not _logs_in(postgres_server, first)
    if NIGHTLY:
        workspace.destroy("-var=password_version=2")
    workspace.assert_no_canary()
    assert workspace.places_of(first, second) == []
