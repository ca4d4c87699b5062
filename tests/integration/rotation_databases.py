"""Users of databases whose passwords are rotated, as their administrators and applications see them."""

from __future__ import annotations

import itertools
import os
from typing import Any

import psycopg
import pymysql
from psycopg import sql

from strongroom.rotation.generating import login
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.rotators.mysql import MySQLRotator
from strongroom.rotation.rotators.postgresql import PostgreSQLRotator, PostgreSQLTwoUsersRotator
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import ADMIN, Postgres

_numbers = itertools.count(1)
OLD = SecretValue(f"{CANARY}-old")
NEW = SecretValue(f"{CANARY}-new")


def rotation(current: SecretValue, **more: Any) -> Rotation:
    return Rotation("00000000-0000-4000-8000-000000000001", "db/password", current=current, **more)


def logs_in(server: Postgres, user: str, value: SecretValue) -> bool:
    """As an application does it."""
    try:
        psycopg.connect(server.where, user=user, password=login(value).password.reveal_text()).close()
    except psycopg.OperationalError:
        return False
    return True


class One:
    """A user whose password is `OLD`, and the rotator that changes it."""

    def __init__(self, server: Postgres, **options: Any):
        self.server = server
        self.user = server.new_role(OLD.reveal_text())
        found = {"host": "127.0.0.1", "port": server.port, "user": self.user, **options}
        self.rotator = PostgreSQLRotator(**found)

    def accepts(self, value: SecretValue) -> bool:
        return logs_in(self.server, self.user, value)


class Two:
    """Two users and their role, and the rotator that alternates them."""

    def __init__(self, server: Postgres, **options: Any):
        self.server = server
        self.role = f"shop_{os.getpid()}_{next(_numbers)}"
        self.users = f"{self.role}_a", f"{self.role}_b"
        role, table = sql.Identifier(self.role), sql.Identifier(f"{self.role}_orders")
        with server.admin() as admin:
            admin.execute(sql.SQL("CREATE ROLE {}").format(role))
            admin.execute(sql.SQL("CREATE TABLE {} ()").format(table))
            admin.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, role))
        self.rotator = PostgreSQLTwoUsersRotator(
            host="127.0.0.1", port=server.port, users=self.users, role=self.role,
            admin=lambda: SecretValue.of({"username": ADMIN, "password": server.password}),
            probe=f"SELECT FROM {self.role}_orders", **options,
        )  # fmt: skip

    def first(self) -> SecretValue:
        """The first user's value, set at the server."""
        value = SecretValue.of({"username": self.users[0], "password": f"{CANARY}-first"})
        self.rotator.set_secret(rotation(value), value)
        return value

    def accepts(self, value: SecretValue) -> bool:
        user = login(value).user
        assert user
        return logs_in(self.server, user, value)


class Account:
    """An account whose password is `OLD`, and the rotator that changes it."""

    def __init__(self, server: MariaDB, **options: Any):
        self.server = server
        self.user = server.new_user(OLD.reveal_text())
        found = {"host": "127.0.0.1", "port": server.port, "user": self.user, **options}
        self.rotator = MySQLRotator(**found)

    def accepts(self, value: SecretValue) -> bool:
        """As an application logs in."""
        try:
            self.server.connect(self.user, login(value).password.reveal_text()).close()
        except pymysql.OperationalError:
            return False
        return True
