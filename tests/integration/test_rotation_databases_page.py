"""What docs/rotation-databases.md says: its configuration opens, its grants are enough on real servers."""

from __future__ import annotations

import itertools
import os
import re
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from strongroom.config import Config
from strongroom.errors import PermissionDeniedError
from strongroom.rotation.generating import login
from strongroom.rotation.rotators.mysql import MySQLRotator
from strongroom.rotation.rotators.names import rotator_class
from strongroom.rotation.rotators.postgresql import PostgreSQLRotator, PostgreSQLTwoUsersRotator
from strongroom.rotations import rotations
from strongroom.value import SecretValue
from tests.integration.rotation_databases import NEW, OLD, logs_in, rotation
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

PAGE = Path(__file__).parents[2] / "docs" / "rotation-databases.md"
ROTATOR = SecretValue("DEMO")
_numbers = itertools.count(1)


def block(mark: str) -> str:
    found = re.search(rf"<!-- test: {mark} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


def own(statements: str, *names: str) -> tuple[str, list[str]]:
    """The statements about names that no other test has."""
    mark = f"_of_page_{os.getpid()}_{next(_numbers)}"
    for name in names:
        statements = re.sub(rf"\b{name}\b", f"{name}{mark}", statements)
    return statements, [f"{name}{mark}" for name in names]


def test_the_configuration_opens(tmp_path: Path) -> None:
    """Every rotator is made from its options, and no credential is asked for."""
    file = tmp_path / "strongroom.toml"
    file.write_text(block("toml rotations").replace("/var/lib/app", str(tmp_path)))
    with rotations(Config.load(file)) as opened:
        made = {policy.label: type(policy.rotator) for policy in opened.policies}
    names = {"reports": "postgresql", "shop": "postgresql-two-users", "blog": "mysql"}
    assert made == {label: rotator_class(name) for label, name in names.items()}


def test_the_grants_on_postgresql_are_enough(postgres_server: Postgres) -> None:
    """For two users that the rotator makes, that own what was there, and that it revokes; no superuser."""
    setup, (shop, rotator, before) = own(block("sql postgresql"), "shop", "rotator", "shop_before")
    with postgres_server.admin() as admin:
        admin.execute(
            f"CREATE ROLE {before}; CREATE TABLE {shop}_orders (); "
            f"ALTER TABLE {shop}_orders OWNER TO {before}; {setup}"
        )
    users = [f"{shop}_a", f"{shop}_b"]
    two = PostgreSQLTwoUsersRotator(
        host="127.0.0.1", port=postgres_server.port, users=users, role=shop, admin=lambda: ROTATOR,
        admin_user=rotator, probe=f"SELECT FROM {shop}_orders",
    )  # fmt: skip
    current = SecretValue.of({"username": users[0], "password": "none yet"})
    for _ in range(2):
        r = rotation(current)
        new = SecretValue.of(two.create_secret(r))
        two.set_secret(r, new)
        two.test_secret(r, new)
        two.revoke_secret(rotation(current, pending=new), current)
        assert two.refuses(r, current)
        current = new
    one = PostgreSQLRotator(
        host="127.0.0.1", port=postgres_server.port, user=users[0], admin=lambda: ROTATOR, admin_user=rotator
    )
    one.set_secret(rotation(OLD), NEW)
    assert logs_in(postgres_server, users[0], NEW)


def test_the_admins_own_secret_rotates_like_any_other(postgres_server: Postgres) -> None:
    """It changes its own password, in a session of its own."""
    user = postgres_server.new_role("DEMO")
    rotator = PostgreSQLRotator(host="127.0.0.1", port=postgres_server.port, user=user)
    rotator.set_secret(rotation(ROTATOR), NEW)
    with psycopg.connect(postgres_server.where, user=user, password=login(NEW).password.reveal_text()):
        pass


@pytest.mark.parametrize("without", ["", "GRANT SELECT", "GRANT CREATE USER"])
def test_the_grants_on_mariadb_are_enough(mariadb_server: MariaDB, without: str) -> None:
    """And none of them may be left out."""
    setup, (rotator,) = own(block("sql mariadb"), "rotator")
    for line in filter(None, setup.splitlines()):
        if not without or not line.startswith(without):
            mariadb_server.run(line.replace("%", "%%"))
    user = mariadb_server.new_user(OLD.reveal_text())
    by_admin = MySQLRotator(
        host="127.0.0.1", port=mariadb_server.port, user=user, admin=lambda: ROTATOR, admin_user=rotator
    )
    with pytest.raises(PermissionDeniedError) if without else nullcontext():
        by_admin.set_secret(rotation(OLD), NEW)
    assert by_admin.refuses(rotation(OLD), NEW) == bool(without)
