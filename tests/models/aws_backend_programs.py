"""Callers of the real `strongroom_aws`, whose SDK client is the model: every boto3 call it makes is a
step."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable, Hashable, Iterator
from unittest import mock

from botocore.exceptions import ReadTimeoutError

from strongroom.backend import Settings, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.names import Name, StoreURL
from strongroom.stages import Pending
from strongroom.value import SecretValue
from strongroom_aws.secrets_manager import SecretsManager
from tests.models.aws import CURRENT, World
from tests.models.aws_protocol import DISCARDED, HELD, SUPERSEDED
from tests.models.boto import PortClient
from tests.models.ledger import NONE, Client, ConflictError, UnknownError
from tests.models.replay import Port, Program

NAME = Name.parse("db/password")
FIRST = str(uuid.UUID(int=1))
START = World(((FIRST, "old"),), ((CURRENT, FIRST),), ((FIRST, "put"),))
R1, R2 = str(uuid.UUID(int=0xA1)), str(uuid.UUID(int=0xA2))


def backend(port: Port) -> SecretsManager:
    """One attempt per call, so that no answer is waited for: the model has no delay."""
    store = SecretsManager(StoreURL.parse("aws-sm://eu-west-1"), Settings(attempts=1))
    store._client._sdk = PortClient(port)
    return store


@contextlib.contextmanager
def tokens(name: str, run: int) -> Iterator[None]:
    """Version ids of this life of an actor: random in the product, the same in every re-execution here."""
    numbers = itertools.count()

    def token() -> str:
        return f"{name}-{run}-{next(numbers)}".ljust(36, ".")

    with mock.patch("strongroom_aws._writes.new_token", token):
        yield


def told(name: str, program: Callable[[Port], str]) -> Program:
    """Errors as results; an unknown outcome is told from a conflict."""

    def run(port: Port) -> str:
        try:
            with tokens(name, port.run):
                return program(port)
        except (SecretConflictError, SecretNotFoundError, ConflictError):
            return "ConflictError"
        except UnknownError:
            return "UnknownError"
        except UnavailableError as error:
            return "UnknownError" if error.performed is None else "not performed"

    return run


def worker(name: str, *rotations: str, otherwise: str = SUPERSEDED) -> Program:
    """Runs rotations one after another; `otherwise` is what its ledger calls a promote that was refused."""

    def program(port: Port) -> str:
        for rotation in rotations:
            rotate(port, rotation, f"{rotation[-2:]} by {name}{port.run}", otherwise)
        return "ended"

    return told(name, program)


def rotate(port: Port, rotation: str, text: str, otherwise: str) -> None:
    store, ledger = backend(port), Client(port)
    base = store.get(NAME, Stage.CURRENT).version
    outcome = ledger.ledger(rotation)
    pending = Pending(store, NAME, rotation)
    if outcome == NONE:
        outcome = promote(pending, text, base, otherwise)
        with contextlib.suppress(ConflictError):
            ledger.advance(rotation, NONE, outcome)
    if outcome == otherwise:
        with contextlib.suppress(SecretConflictError):
            pending.discard()


def promote(pending: Pending, text: str, base: str, otherwise: str) -> Hashable:
    """Promoting first finds what an earlier life of this worker left behind."""
    try:
        pending.promote()
        return "promoted"
    except SecretNotFoundError:
        pass
    except SecretConflictError:
        return otherwise
    pending.put(SecretValue(text), base_version=base)
    try:
        pending.promote()
        return "promoted"
    except SecretConflictError:
        return otherwise


def holder(name: str, rotation: str) -> Program:
    """Holds a value, and goes no further."""

    def program(port: Port) -> str:
        store = backend(port)
        base = store.get(NAME, Stage.CURRENT).version
        Pending(store, NAME, rotation).put(SecretValue(f"{rotation[-2:]} by {name}"), base_version=base)
        return HELD

    return told(name, program)


def discarder(rotation: str) -> Program:
    """Discards what is held, then tells the ledger; repeats both until they are answered."""

    def program(port: Port) -> str:
        pending = Pending(backend(port), NAME, rotation)
        try:
            until_answered(pending.get)
            until_answered(pending.discard)
        except (SecretNotFoundError, SecretConflictError):
            return "refused"
        with contextlib.suppress(ConflictError):
            until_answered(lambda: Client(port).advance(rotation, NONE, DISCARDED))
        return DISCARDED

    return told("discarder", program)


def until_answered(act: Callable[[], object]) -> None:
    while True:
        try:
            act()
            return
        except (UnavailableError, UnknownError):
            continue


def writer(name: str) -> Program:
    """Reads which version is current and writes over exactly that one; not started again, since its next
    token would be another."""

    def program(port: Port) -> str:
        store = backend(port)
        seen = store.get(NAME, Stage.CURRENT).version
        return f"ok {store.put(NAME, SecretValue(name), seen).id}"

    def once(port: Port) -> str:
        outcome = str(told(name, program)(port))
        return "unknown" if outcome == "UnknownError" else outcome.replace("ConflictError", "conflict")

    return once


def native_writer(name: str, times: int) -> Program:
    """The console: AWSCURRENT moves with the put."""

    def program(port: Port) -> str:
        for number in range(times):
            token = f"{name}{number}{port.run}".ljust(36, ".")
            with contextlib.suppress(ReadTimeoutError):
                PortClient(port).put_secret_value(ClientRequestToken=token, SecretString=name)
        return "ok"

    return program
