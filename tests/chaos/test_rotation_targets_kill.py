"""Rotations on real targets, killed before and after every effect, and once more while they resume."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import Composed

import strongroom.audit.https
import strongroom_aws._client
import strongroom_vault.transport
from strongroom.rotation.ledger import State
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.rotators import pgsession
from strongroom.rotation.rotators.http_api_key import HTTPKeyRotator
from strongroom.value import SecretValue
from tests.integration.rotation_targets import account_on, connection_on, engine_on, role_on
from tests.rotation_killing import Case, Effect, Killed
from tests.scale import NIGHTLY, scaled
from tests.servers.exchange import exchange

pytestmark = pytest.mark.timeout(3600 if NIGHTLY else 120)

_READS = ("List", "Get")


def _of_aws(_client: Any, action: str, *_: Any) -> str | None:
    return None if action.startswith(_READS) else action


def _of_vault(_transport: Any, request: Any, *_: Any) -> str | None:
    return request.path if request.operation == "put" else None


def _of_https(_url: str, _body: bytes, _headers: Any, *, method: str, **_: Any) -> str | None:
    return None if method == "GET" else method


def _alters(statement: Any) -> bool:
    return isinstance(statement, Composed) and "PASSWORD" in statement.as_string()


AWS = Effect(strongroom_aws._client.Client, "_call", _of_aws)
VAULT = Effect(strongroom_vault.transport.Transport, "_exchange", _of_vault)
SQL = Effect(pgsession.Session, "run", lambda _self, said, **_: "alter" if _alters(said) else None)
HTTPS = Effect(strongroom.audit.https, "post", _of_https)


@contextmanager
def _iam(request: pytest.FixtureRequest) -> Iterator[Callable[[], Case]]:
    with account_on(request.getfixturevalue("_moto")) as account:

        def case() -> Case:
            user = account.another_user()
            rotator = user.rotator()
            rotator.reclaim(Rotation("", ""))  # what boto reads of its models is there for all workers
            return Case(rotator, user.current, [AWS], user.keys, rotator.credential)

        yield case


@contextmanager
def _approle(request: pytest.FixtureRequest) -> Iterator[Callable[[], Case]]:
    def case() -> Case:
        role = role_on(request.getfixturevalue("openbao_server"))
        rotator = role.rotator()
        return Case(rotator, role.current, [VAULT], role.accessors, rotator.credential)

    yield case


@contextmanager
def _pki(request: pytest.FixtureRequest) -> Iterator[Callable[[], Case]]:
    """Certificates whose key died with a worker are nobody's: only those that the store had are looked at."""

    def case() -> Case:
        engine = engine_on(request.getfixturevalue("openbao_server"))
        rotator = engine.rotator()
        first = SecretValue.of(rotator.create_secret(Rotation("", "")))
        known = {rotator.credential(first)}

        def identifier(value: SecretValue) -> str:
            known.add(rotator.credential(value))
            return rotator.credential(value)

        return Case(
            rotator, first, [VAULT], lambda: {one for one in known if not engine.revoked(one)}, identifier
        )

    yield case


@contextmanager
def _database(request: pytest.FixtureRequest) -> Iterator[Callable[[], Case]]:
    """A password is live if PostgreSQL accepts it; at the end Vault must know it too."""

    def case() -> Case:
        servers = (request.getfixturevalue(name) for name in ("openbao_server", "postgres_server"))
        connection = connection_on(*servers)

        def verifier() -> set[str]:
            asked = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
            with connection.server.admin() as admin:
                return {str(row[0]) for row in admin.execute(asked, [connection.user])}

        def named(value: SecretValue) -> str:
            known = connection.lets_in(value) and connection.vault_manages()
            return verifier().pop() if known else "refused"

        return Case(connection.rotator(), connection.current, [SQL, VAULT], verifier, named)

    yield case


@contextmanager
def _exchange(style: Any) -> Iterator[Callable[[], Case]]:
    """With Coinbase's style the keys manage themselves."""
    with exchange(style) as market:
        market.managed = style == "binance"

        def case() -> Case:
            market.keys.clear()
            first = SecretValue.of(market.add().value())
            admin = (lambda: SecretValue.of(market.manager.value())) if market.managed else None
            rotator = HTTPKeyRotator(**market.options(), admin=admin)
            return Case(rotator, first, [HTTPS], lambda: set(market.keys), rotator.credential)

        yield case


CASES: dict[str, Callable[[pytest.FixtureRequest], Any]] = {
    "aws-iam": _iam,
    "vault-approle": _approle,
    "vault-pki": _pki,
    "vault-database": _database,
    "binance": lambda _request: _exchange("binance"),
    "coinbase": lambda _request: _exchange("coinbase"),
}
LOST = {
    "aws-iam": "after CreateAccessKey",
    "vault-approle": "after auth/approle/role/",
    "vault-pki": "after pki-",
    "vault-database": "after alter",
    "binance": "after POST",
    "coinbase": "after POST",
}
"""The point after which a new credential is at the target and nowhere else."""
ALTERED, PROMOTED = {"after alter"}, {"after store.promote_pending"}
"""Between the two is the window of a single slot, in which readers wait."""


@pytest.fixture(params=list(CASES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _at(number: int) -> Callable[[list[str]], bool]:
    return lambda reached: len(reached) == number


def _named(start: str) -> Callable[[list[str]], bool]:
    return lambda reached: reached[-1].startswith(start)


_tested = _named("after ledger.tested")


def _survives(case: Case, folder: Path, deaths: Sequence[Callable[[list[str]], bool]]) -> int:
    """Workers die as told, one more comes to the end; after each, readers are served. How many died."""
    folder.mkdir()
    rotation, done = Killed(case, folder), set[str]()
    for dies in deaths:
        done |= set(rotation.work(dies))
        if case.rotator.slots != "single" or not done >= ALTERED or done >= PROMOTED:
            rotation.check_readers()
    rotation.points()
    rotation.check_end()
    return rotation.deaths


def test_a_rotation_whose_workers_die_ends_with_one_credential(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    """One dies with the target's answer to the new credential, which nobody else has.

    By night workers die at every point: before and after each effect at the target, in the store and in the
    ledger; and again at another while they resume.
    """
    with CASES[kind](request) as new_case:
        assert _survives(new_case(), tmp_path / "lost", [_named(LOST[kind])]) == 1
        if scaled(40, "crash points of each rotator", share=40) == 1:
            return
        (tmp_path / "points").mkdir()
        points = Killed(new_case(), tmp_path / "points").points()
        for number in range(1, len(points) + 1):
            again = 1 + number * 7 % len(points)
            assert _survives(new_case(), tmp_path / str(number), [_at(number), _at(again)])


def test_a_rotation_that_is_aborted_leaves_what_was(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its worker died when the new value was tested; whoever aborts it dies too, when the target is set back.

    One kind by day; all of them by night, aborted after a death at every point.
    """
    kinds = [*CASES] if NIGHTLY else [random.choice([*CASES])]
    for kind in kinds:
        with CASES[kind](request) as new_case:
            numbers = range(1, 40) if NIGHTLY else ()
            for dies in (_tested, *map(_at, numbers)):
                folder = tmp_path / str(len([*tmp_path.iterdir()]))
                folder.mkdir()
                rotation = Killed(new_case(), folder)
                rotation.work(dies)
                rotation.work(lambda reached: len(reached) == 3, aborts=True)
                rotation.work(lambda _reached: False, aborts=True)
                rotation.check_end(State.ABORTED if dies is _tested else None)
