"""Rotations of database users, killed before and after every effect, and once more while they resume."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import Composed

from strongroom.rotation.generating import login
from strongroom.rotation.rotators import mysql, pgsession
from strongroom.value import SecretValue
from tests.integration.rotation_databases import OLD, Account, One, Two
from tests.rotation_killing import Case, Effect, Killed
from tests.scale import NIGHTLY
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

KINDS = ["postgresql-two-users", "postgresql", "mariadb"]
LEAST = 14
"""Points that a rotation has at least."""
POSTGRESQL = [Effect(pgsession.Session, "run", lambda _self, said, **_: "alter" if _alters(said) else None)]
MARIADB = [Effect(mysql.Session, "run", lambda _self, said, *_: "alter" if "SET PASSWORD" in said else None)]


def _alters(statement: Any) -> bool:
    return isinstance(statement, Composed) and "PASSWORD" in statement.as_string()


def one(server: Postgres) -> Case:
    """A user whose password is changed in place; the administrator sees which verifier it has."""
    target = One(server)
    return Case(
        target.rotator,
        OLD,
        POSTGRESQL,
        lambda: _verifiers(server, target.user),
        lambda value: next(iter(_verifiers(server, target.user))) if target.accepts(value) else "refused",
    )


def two(server: Postgres) -> Case:
    """Two users that take turns; the administrator sees who has a verifier and may log in."""
    target = Two(server)
    first = target.first()

    def named(value: SecretValue) -> str:
        [found] = _verifiers(server, login(value).user or "") or {"none"}
        return found if target.accepts(value) else "refused"

    return Case(target.rotator, first, POSTGRESQL, lambda: _verifiers(server, *target.users), named)


def account(server: MariaDB) -> Case:
    """An account whose password is changed in place; the administrator sees its hash."""
    target = Account(server)

    def hashes() -> set[str]:
        found = server.run("SELECT authentication_string FROM mysql.user WHERE user = %s", target.user)
        return {str(row[0]) for row in found}

    def named(value: SecretValue) -> str:
        return next(iter(hashes())) if target.accepts(value) else "refused"

    return Case(target.rotator, OLD, MARIADB, hashes, named)


def _verifiers(server: Postgres, *users: str) -> set[str]:
    asked = "SELECT rolpassword FROM pg_authid WHERE rolname = ANY(%s) AND rolcanlogin AND rolpassword > ''"
    with server.admin() as admin:
        return {str(row[0]) for row in admin.execute(asked, [list(users)])}


@pytest.fixture(params=KINDS if NIGHTLY else KINDS[:1])
def new_case(request: pytest.FixtureRequest) -> Callable[[], Case]:
    """Makes targets of one kind, on one server."""
    if request.param == "mariadb":
        mariadb: MariaDB = request.getfixturevalue("mariadb_server")
        return lambda: account(mariadb)
    postgres: Postgres = request.getfixturevalue("postgres_server")
    return lambda: one(postgres) if request.param == "postgresql" else two(postgres)


class Walk:
    """One rotation, its workers, and what they did before they died."""

    def __init__(self, make: Case, folder: Path):
        folder.mkdir()
        self.case, self.killed = make, Killed(make, folder)
        self.done: list[str] = []

    def die_at(self, number: int) -> bool:
        """A worker that dies at its so manyth point; False if it ended before."""
        reached = self.killed.work(lambda points: len(points) == number)
        self.done += [point for point in reached if point.startswith("after ")]
        if not self._in_window():
            self.killed.check_readers()
        return len(reached) == number

    def _in_window(self) -> bool:
        """The declared window of a single slot: from the change at the target to its promotion."""
        promoted = "after store.promote_pending" in self.done
        return self.case.rotator.slots == "single" and "after alter" in self.done and not promoted


def test_a_worker_killed_at_any_point_leaves_what_another_finishes(
    new_case: Callable[[], Case], tmp_path: Path
) -> None:
    """Once killed, and once more while it resumes: done, only current is live, and the next may begin.

    At no point does a reader get a password that the database refuses, but in a single slot's window.
    """
    count = len(Walk(new_case(), tmp_path / "counted").killed.points()) if NIGHTLY else LEAST
    assert count >= LEAST
    chance = random.Random()
    firsts = range(1, count + 1) if NIGHTLY else [chance.randint(1, count)]
    for first in firsts:
        second = chance.randint(1, count)
        walk = Walk(new_case(), tmp_path / str(first))
        assert walk.die_at(first)
        walk.die_at(second)
        walk.killed.points()
        walk.killed.check_end()
