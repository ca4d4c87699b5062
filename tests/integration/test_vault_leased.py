"""Leases of the real OpenBao, made by its database engine on the real PostgreSQL, on a clock that tests move."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from strongroom.backend import Settings
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import not_ours
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres

_numbers = itertools.count(1)
HOUR = 3600


class Engine:
    """A mount of its own whose roles live an hour, and users who may do with it as they are told."""

    def __init__(self, bao: OpenBao, server: Postgres):
        self.bao, self.mount, self.clock = bao, f"unit-{next(_numbers)}", FakeClock()
        self.root: Any = bao.client()
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{server.port}/postgres?sslmode=disable"
        password = SecretValue("manager-9").reveal_text()
        self.user = server.new_role(password)
        with not_ours():
            self.root.sys.enable_secrets_engine("database", self.mount)
            with server.admin() as admin:
                admin.execute(f'ALTER ROLE "{self.user}" CREATEROLE'.encode())
            self.root.secrets.database.configure(
                "db", "postgresql-database-plugin", allowed_roles=["app"], connection_url=url,
                username=self.user, password=password, mount_point=self.mount, verify_connection=True,
            )  # fmt: skip
        self.role(HOUR, 24 * HOUR)

    def role(self, ttl: int, most: int) -> None:
        self.root.secrets.database.create_role(
            "app", "db", ["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'"],
            default_ttl=ttl, max_ttl=most, revocation_statements=['DROP ROLE IF EXISTS "{{name}}"'],
            mount_point=self.mount,
        )  # fmt: skip

    def store(self, **auth: str | SecretValue) -> SecretStore:
        url = f"vault-leased:///{self.mount}?endpoint={self.bao.address}"
        given = auth or {"token": SecretValue(self.bao.token)}
        return SecretStore(open_backend(url, Settings(auth=given, clock=self.clock)))


@pytest.fixture(scope="module")
def engine(openbao_server: OpenBao, postgres_server: Postgres) -> Engine:
    return Engine(openbao_server, postgres_server)


def test_first(engine: Engine) -> None:
    with engine.store() as store:
        first = store.get("app")
        assert set(json.loads(first.value.reveal())) == {"username", "password"}
        assert store.get("app") == first
        engine.clock.advance(0.7 * HOUR)
        again = store.get("app")
        assert again.version == first.version and again.confirmed_at > first.confirmed_at
        assert store.refresh("app", rejected=first.version).version != first.version
