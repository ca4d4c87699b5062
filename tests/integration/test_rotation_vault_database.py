"""The rotator of the database engine's own password, against OpenBao and PostgreSQL."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from strongroom.errors import (
    IntegrityError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.rotation.rotator import Rotation
from strongroom.value import SecretValue
from tests.canary import CANARY, not_ours
from tests.integration.rotation_targets import Connection, connection_on
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres


@pytest.fixture(scope="module")
def connection(openbao_server: OpenBao, postgres_server: Postgres) -> Connection:
    return connection_on(openbao_server, postgres_server)


def _rotation(current: SecretValue, **facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "vault/root", "current": current, **facts})


def _rotated(connection: Connection) -> tuple[SecretValue, SecretValue]:
    """The value before and the one after, in the course of which the target changed."""
    rotator, old = connection.rotator(), connection.current
    r = _rotation(old)
    new = rotator.create_secret(r)
    r = replace(r, pending=new)
    for _ in range(2):  # a repeat after a crash changes nothing
        rotator.set_secret(r, new)
    rotator.test_secret(r, new)
    assert rotator.refuses(r, old)
    connection.current = new
    return old, new


def test_the_password_is_changed_at_the_database_and_in_vault(connection: Connection) -> None:
    """The old one is refused, and Vault makes users over a new connection; its roles are as they were."""
    old, new = _rotated(connection)
    assert not connection.lets_in(old)
    assert connection.lets_in(new)
    assert connection.vault_manages()


def test_a_vault_that_was_not_told_is_told_by_the_next_attempt(connection: Connection) -> None:
    """The worker died between the two: the database has the new password, Vault the old one."""
    rotator, r = connection.rotator(), _rotation(connection.current)
    new = rotator.create_secret(r)
    connection.server.set_password(connection.user, new.reveal_text())
    assert not connection.vault_manages()
    rotator.set_secret(replace(r, pending=new, epoch=2), new)
    connection.current = new
    assert connection.vault_manages()


def test_a_connection_that_cannot_be_told_is_found_before_anything_changes(connection: Connection) -> None:
    """Missing, of another user, or with the password written into its URL."""
    r = _rotation(connection.current)
    root = {"credential": lambda: SecretValue(connection.bao.token)}
    with pytest.raises(SecretNotFoundError, match="no such connection"):
        connection.rotator(connection="nothing", **root).create_secret(r)
    with pytest.raises(IntegrityError, match="another user"):
        connection.rotator(user="somebody").create_secret(r)
    with not_ours():
        url = f"postgresql://app:{CANARY}@127.0.0.1:{connection.server.port}/postgres"
        connection.bao.client().secrets.database.configure(
            "fixed", "postgresql-database-plugin", connection_url=url, verify_connection=False,
            mount_point=connection.mount,
        )  # fmt: skip
    with pytest.raises(UnsupportedOperationError, match="holds the password"):
        connection.rotator(connection="fixed", **root).create_secret(r)


def _url(url: str) -> dict[str, Any]:
    return {"connection_url": url, "verify_connection": False}


def test_a_vault_that_cannot_reach_the_database_is_no_reason_for_another_password(
    connection: Connection,
) -> None:
    """The database has accepted it; the step is tried again until Vault has it too."""
    client, api = connection.bao.client().adapter, connection.bao.client().secrets.database
    rotator, r = connection.rotator(), _rotation(connection.current)
    with not_ours():
        good = api.read_connection("shop", connection.mount)["data"]["connection_details"]["connection_url"]
        path = f"/v1/{connection.mount}/config/shop"
        client.post(path, json=_url(good.replace("127.0.0.1", "127.0.0.2")))
    try:
        with pytest.raises(UnavailableError, match="Vault cannot log in"):
            rotator.set_secret(replace(r, pending=connection.current), connection.current)
    finally:
        with not_ours():
            client.post(path, json=_url(good))
    rotator.set_secret(replace(r, pending=connection.current), connection.current)
    assert connection.vault_manages()
