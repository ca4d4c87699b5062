"""A target for rotations: it accepts some credentials, refuses all others, and remembers every change.

It lives in one SQLite file, so that workers in other processes, killed at any moment, reach the same one. It
keeps digests, never values. `fault` is called with ``before:EFFECT`` and ``after:EFFECT`` around each effect
(``issue``, ``change``, ``withdraw``) and with ``at:login``; it may raise, kill the process, or do something
behind the rotator's back.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.errors import InvalidRequestError, PermissionDeniedError
from strongroom.rotation.rotator import Credential, Rotation, SingleSlot, TwoSlot
from strongroom.value import SecretValue
from tests.canary import CANARY

_TABLES = """
create table if not exists credentials
    (id text primary key, digest text, rotation_id text, epoch integer, live integer);
create table if not exists changes
    (n integer primary key, effect text, id text, rotation_id text, epoch integer);
"""


def no_fault(point: str) -> None:
    """Nothing goes wrong."""


@dataclass(frozen=True)
class Change:
    """One change of what the target accepts."""

    effect: str
    id: str
    rotation_id: str | None
    epoch: int | None


class Target:
    """What rotators of either kind rotate.

    Args:
        path: the file; it is made where it is missing.
        fault: see above.
    """

    def __init__(self, path: Path, fault: Callable[[str], None] = no_fault):
        self.path, self.fault = path, fault
        with self._database() as database:
            database.executescript(_TABLES)

    def accepts(self, value: SecretValue) -> bool:
        """Whether a login with it works now."""
        self.fault("at:login")
        rows = self._rows("select 1 from credentials where digest = ? and live", digest(value))
        return bool(rows)

    def live(self) -> set[str]:
        """The ids of all credentials that it accepts."""
        return {row[0] for row in self._rows("select id from credentials where live")}

    def listed(self) -> list[Credential]:
        """All credentials that it accepts, as a provider lists them."""
        return [
            Credential(*row)
            for row in self._rows("select id, rotation_id, epoch from credentials where live")
        ]

    def changes(self, effect: str | None = None) -> list[Change]:
        """Every change so far, in order; a repeated one that changed nothing is not among them."""
        rows = self._rows("select effect, id, rotation_id, epoch from changes order by n")
        return [Change(*row) for row in rows if effect in (None, row[0])]

    def issue(
        self, identifier: str, value: SecretValue, rotation_id: str | None = None, epoch: int | None = None
    ) -> None:
        """Accept one more credential."""
        self._effect(
            "issue",
            identifier,
            rotation_id,
            epoch,
            "insert into credentials values (?, ?, ?, ?, 1)",
            (identifier, digest(value), rotation_id, epoch),
        )

    def change(
        self, identifier: str, value: SecretValue, rotation_id: str | None = None, epoch: int | None = None
    ) -> None:
        """Accept another secret under the same id, and the one before no more."""
        self._effect(
            "change",
            identifier,
            rotation_id,
            epoch,
            "update credentials set digest = ? where id = ? and digest != ?",
            (digest(value), identifier, digest(value)),
        )

    def withdraw(self, identifier: str, rotation_id: str | None = None, epoch: int | None = None) -> None:
        """Accept a credential no more."""
        self._effect(
            "withdraw",
            identifier,
            rotation_id,
            epoch,
            "update credentials set live = 0 where id = ? and live",
            (identifier,),
        )

    def _effect(
        self,
        effect: str,
        identifier: str,
        rotation_id: str | None,
        epoch: int | None,
        sql: str,
        facts: tuple[Any, ...],
    ) -> None:
        self.fault(f"before:{effect}")
        with self._database() as database:
            database.execute("begin immediate")
            if database.execute(sql, facts).rowcount:
                told = (effect, identifier, rotation_id, epoch)
                database.execute(
                    "insert into changes (effect, id, rotation_id, epoch) values (?, ?, ?, ?)", told
                )
            database.execute("commit")
        self.fault(f"after:{effect}")

    def _rows(self, sql: str, *facts: object) -> list[tuple[Any, ...]]:
        with self._database() as database:
            return database.execute(sql, facts).fetchall()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            database.execute(
                "pragma synchronous = off"
            )  # a killed process loses nothing; no power is cut here
            yield database
        finally:
            database.close()


def digest(value: SecretValue) -> str:
    """What the target knows of a value: the file must not hold secrets."""
    return hashlib.sha256(value.reveal_json()["secret"].encode()).hexdigest()


def credential(identifier: str) -> SecretValue:
    """A new value for a credential of this id."""
    return SecretValue(json.dumps({"id": identifier, "secret": f"{CANARY}{uuid.uuid4().hex}"}))


def identifier_of(value: SecretValue) -> str:
    """The id in a value."""
    return str(value.reveal_json("/id"))


class OneSlot(SingleSlot):
    """Rotates the password of one user of a target.

    Attributes:
        rejects: called with each new value's id count; True: the target's policy will not have it.
    """

    def __init__(self, target: Target, rejects: Callable[[], bool] = lambda: False):
        self.target, self.rejects = target, rejects

    @contextmanager
    def connect(self, r: Rotation, value: SecretValue) -> Iterator[str]:
        if not self.target.accepts(value):
            raise PermissionDeniedError("refused")
        yield identifier_of(value)

    def principal(self, value: SecretValue) -> str:
        return identifier_of(value)

    def change(self, r: Rotation, session: Any, pending: SecretValue) -> None:
        if self.rejects():
            raise InvalidRequestError("the password policy")
        self.target.change(session, pending, r.id, r.epoch)

    def create_secret(self, r: Rotation) -> SecretValue:
        assert r.current
        return credential(identifier_of(r.current))


class TwoSlots(TwoSlot):
    """Rotates API keys of a target that accepts several."""

    def __init__(self, target: Target):
        self.target = target

    def issue(self, r: Rotation) -> SecretValue:
        value = credential(f"key-{uuid.uuid4().hex[:8]}")
        self.target.issue(identifier_of(value), value, r.id, r.epoch)
        return value

    def listed(self, r: Rotation) -> Iterable[Credential]:
        return self.target.listed()

    def withdraw(self, r: Rotation, credential: str) -> None:
        self.target.withdraw(credential, r.id, r.epoch)

    def credential(self, value: SecretValue) -> str:
        return identifier_of(value)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        if not self.target.accepts(value):
            raise PermissionDeniedError("refused")
