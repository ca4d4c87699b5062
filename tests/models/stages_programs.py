"""Callers of the real `strongroom.stages`, as a rotation's worker and an operator would be."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Hashable
from typing import Any, cast

from strongroom.backend import Absent, Secret, SecretVersion, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.layers.reencrypting import Reencryption
from strongroom.names import Key, Name
from strongroom.stages import Pending, rollback
from strongroom.value import SecretValue
from tests.models.companion import DISCARDED, SUPERSEDED
from tests.models.kv2 import KV, SECRET, Value
from tests.models.ledger import NONE, ConflictError, UnknownError
from tests.models.port_backend import PortBackend
from tests.models.replay import Port, Program

NAME = Name.parse("db/password")


def pending(kv: KV, rotation: str) -> Pending:
    return Pending(PortBackend(kv), NAME, str(uuid.uuid5(uuid.NAMESPACE_OID, rotation)))


def rotate(kv: KV, rotation: str, text: str) -> None:
    """The base is read before the ledger. Superseded goes into the ledger first, then the value is discarded:
    the other way round, a crash in between leaves a companion that is done and a ledger that cannot know
    how."""
    base = PortBackend(kv).get(NAME, Stage.CURRENT).version
    outcome = kv.ledger(rotation)
    mine = pending(kv, rotation)
    if outcome == NONE:
        outcome = promote(mine, text, base)
        with contextlib.suppress(ConflictError):
            kv.advance(rotation, NONE, outcome)
    if outcome == SUPERSEDED:
        mine.discard()


def promote(mine: Pending, text: str, base: str) -> Hashable:
    """Promoting first finds what an earlier life of this worker left behind."""
    try:
        return int(mine.promote().id)
    except SecretNotFoundError:
        pass
    except SecretConflictError:
        return SUPERSEDED
    mine.put(SecretValue(text), base_version=base)
    try:
        return int(mine.promote().id)
    except SecretConflictError:
        return SUPERSEDED


def told(program: Callable[[Port], str]) -> Program:
    """Errors as results."""

    def run(port: Port) -> str:
        try:
            return program(port)
        except (SecretConflictError, SecretNotFoundError, ConflictError):
            return "ConflictError"
        except (UnavailableError, UnknownError):
            return "UnknownError"

    return run


def worker(name: str, *rotations: str) -> Program:
    """Runs rotations one after another; after a crash it would make another value, never the same again."""

    def program(port: Port) -> str:
        kv = KV(port)
        for rotation in rotations:
            rotate(kv, rotation, f"{rotation} by {name}{port.run}")
        return "ended"

    return told(program)


def discarder(rotation: str) -> Program:
    """Discards what is held, then tells the ledger; repeats both until they are answered."""

    def program(port: Port) -> str:
        kv = KV(port)
        mine = pending(kv, rotation)
        try:
            mine.get()
            until_answered(mine.discard)
        except (SecretNotFoundError, SecretConflictError):
            return "refused"
        with contextlib.suppress(ConflictError):
            until_answered(lambda: kv.advance(rotation, NONE, DISCARDED))
        return DISCARDED

    return program


def until_answered(act: Callable[[], None]) -> None:
    while True:
        try:
            return act()
        except (UnavailableError, UnknownError):
            continue


class Anew(PortBackend):
    """An `Encrypted` layer in which everything is due: what is written again is told apart by its text."""

    def __init__(self, kv: KV) -> None:
        super().__init__(kv)
        self.kv, self.inner = kv, PortBackend(kv)

    def is_message(self, stored: SecretValue) -> bool:
        return False

    def opened(self, key: Key, secret: Secret) -> Secret:
        return secret

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        again = SecretValue(f"again {value.reveal_text()}") if isinstance(key, Name) else value
        return super().put(key, again, if_version, record)


class Careless(Anew):
    """Obvious: the value stays the same, so just write it."""

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if not isinstance(key, Name):
            return super().put(key, value, if_version, record)
        meant = Value(f"again {value.reveal_text()}", "again", int(str(if_version)))
        return SecretVersion(str(self.kv.put(SECRET, meant, None)))


def reencrypter(layer: Callable[[KV], Anew] = Anew) -> Program:
    """Puts the secret, and the companion that is done, under other keys."""

    def program(port: Port) -> str:
        return Reencryption(cast("Any", layer(KV(port)))).of(NAME).outcome.value

    return told(program)


def roller(bad: str) -> Program:
    """An operator rolls back from version `bad`."""

    def program(port: Port) -> str:
        return f"ok {rollback(PortBackend(KV(port)), NAME, bad).id}"

    return told(program)
