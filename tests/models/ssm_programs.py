"""Callers of the real `ParameterStore`, whose boto3 client is the model: every call it makes is a step."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from strongroom.backend import ABSENT, Absent, Settings
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.names import Companion, Key, Name, StoreURL
from strongroom.stamp import Head, back, true_tip
from strongroom.value import SecretValue
from strongroom_aws._parameter_history import heads, in_order
from strongroom_aws.parameter_store import ParameterStore
from tests.models import ssm
from tests.models.guarded import _ANSWERS, Entry, ModelCoordinator, _Impatient, write_ids
from tests.models.replay import Call, Port, Program

KEY = Name("db/password")
FULL = "/db/password"
START = 1_800_000_000_000
BASE = f"1.{START}"
WRITES = ssm.WRITES | {"acquire", "record", "release"}


class World(NamedTuple):
    """The account, and the coordinator's rows of the secret and its companion."""

    account: ssm.World = ssm.World()
    rows: tuple[Entry, ...] = (Entry(), Entry())

    def line(self) -> list[Head]:
        """What the rules say is the secret's history, newest first, with what was written again."""
        found = heads(in_order([ssm.shown(version) for version in self.account.of(FULL)]))
        tip = true_tip(found, self.rows[0].recorded or None) or (found[0] if found else None)
        return back(found, tip) if tip else []


def having(text: str = "old", *, recorded: bool = True) -> World:
    """A world with one version."""
    account, _ = ssm.apply(ssm.World(), Call("ssm_put", (FULL, text, "users", False)))
    return World(account, (Entry(recorded=BASE if recorded else None), Entry()))


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to AWS or the coordinator, atomically."""
    if call.name.startswith("ssm_"):
        account, answer = ssm.apply(world.account, call)
        return world._replace(account=account), answer
    if call.name == "time passes":
        return world._replace(rows=tuple(row._replace(holder=0) for row in world.rows)), "ok"
    at, *args = call.args
    row, answer = _ANSWERS[call.name](world.rows[at], *args)
    return world._replace(rows=(*world.rows[:at], row, *world.rows[at + 1 :])), answer


def store(port: Port, *, guarded: bool) -> ParameterStore:
    """One attempt per call: the model has no delay."""
    coordinator = ModelCoordinator(port) if guarded else None
    settings = Settings(attempts=1, clock=_Impatient(), coordinator=coordinator)
    opened = ParameterStore(StoreURL.parse("aws-ssm://eu-west-1"), settings)
    opened._client._sdk = ssm.PortClient(port)
    opened._names.arn = _row  # type: ignore[method-assign]
    return opened


def _row(key: Key) -> str:
    return "1" if isinstance(key, Companion) else "0"


def told(who: str, act: Callable[[Port], Any]) -> Program:
    """Errors as results; an unknown outcome is told from none."""

    def program(port: Port) -> str:
        with write_ids(who, port.run):
            try:
                return f"ok {act(port)}"
            except SecretConflictError:
                return "conflict"
            except SecretNotFoundError:
                return "missing"
            except UnavailableError as error:
                return "nothing" if error.performed is False else "maybe"

    return program


def writer(who: str, if_version: str | Absent | None, *, guarded: bool = True) -> Program:
    """One put; it is not repeated when its outcome is unknown."""
    return told(who, lambda port: store(port, guarded=guarded).put(KEY, SecretValue(who), if_version).id)


def creator(who: str, *, guarded: bool) -> Program:
    """Creates the secret, if nobody has."""
    return writer(who, ABSENT, guarded=guarded)


def renewer() -> Program:
    """Purges the secret and makes it anew."""

    def act(port: Port) -> str:
        opened = store(port, guarded=True)
        opened.purge(KEY)
        return opened.put(KEY, SecretValue("new life"), ABSENT).id

    return told("renewer", act)


def console() -> Program:
    """Saves a value, and with it the description that it found."""

    def program(port: Port) -> str:
        port.call("ssm_put", FULL, "by hand", None, True)
        return "done"

    return program


def passing_time() -> Program:
    """All leases run out at some moment."""

    def program(port: Port) -> str:
        port.call("time passes")
        return "over"

    return program
