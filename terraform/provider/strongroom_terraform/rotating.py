"""One secret's rotation, begun and carried on by an apply."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, final

from strongroom.errors import SecretNotFoundError
from strongroom.rotation.ledger import InProgressError, State
from strongroom.toml.spot import near

from .metadata import moment
from .places import blamed, config_of
from .problems import Diagnostic, ProblemError, problem
from .reference import written
from .schema import Value, Values

if TYPE_CHECKING:
    from strongroom.rotation.engine import Engine
    from strongroom.rotation.ledger import Entry
    from strongroom.toml.file import Config
    from strongroom.toml.rotation_entries import RotationEntry

    from .stores import Stores

PATIENCE: Final = timedelta(minutes=3)
"""How long an apply waits for a rotation: past the lease of a worker that was killed (a minute, and 40 s for
the hook that it may be in), or past the first three failures of a step."""

_NAMESPACE: Final = uuid.UUID("6f6a1b0e-6d0b-5a57-9a3c-0d2f7d1b8c44")
_AGAIN: Final = (State.ABORTED, State.SUPERSEDED)
"""What ended before its value was current: the same trigger may begin another one."""
_SETTLED: Final = (State.GRACE, State.DONE, State.ROLLED_BACK)
_SERVED: Final = (State.PROMOTED, State.REVOKING, *_SETTLED)
_STATUS: Final = "see: strongroom rotation status"


@dataclass(frozen=True, slots=True)
class Subject:
    """The secret that a resource means.

    Attributes:
        policy: the [rotation.LABEL] that names it.
        name: of the secret.
    """

    policy: RotationEntry
    name: str

    @property
    def secret(self) -> str:
        """As the ledger calls it."""
        return f"{self.policy.store}:{self.name}"

    @property
    def reference(self) -> str:
        """As a reference."""
        return written(self.policy.store, self.name)


def subject(stores: Stores, values: Values) -> Subject | Diagnostic:
    """The secret that the attributes mean, or what is wrong with its name.

    A failover's secrets are rotated at its first member, which takes its writes.

    Raises:
        ProblemError: there is no such store.
    """
    config, store = config_of(stores), values["store"]
    with blamed("store"):
        entry = config.entry(store if isinstance(store, str) else None)
    if config.ledger is None:
        hint = 'write [ledger] with url = "sqlite:///path of a file" in strongroom.toml'
        return Diagnostic("there is no ledger, which remembers how far a rotation has come", hint, ("name",))
    places = {entry.alias, *entry.failover[:1]}
    name = str(values["name"])
    here = [one for one in config.rotations.values() if one.store in places]
    for one in here:
        if one.covers(name):
            return Subject(one, name)
    hint = near(name, [known for one in here for known in one.names], f" at {entry.alias}") if here else ""
    write = f'write [rotation.LABEL] with names = ["{name}"] in strongroom.toml'
    return Diagnostic(f"no rotation of {entry.alias} names {name!r}", hint or write, ("name",))


@final
class Rotating:
    """An engine that has this secret's policy alone: what others name is neither opened nor judged."""

    def __init__(self, engine: Engine, meant: Subject, stores: Stores) -> None:
        self._engine, self._meant = engine, meant
        self._clock, self._stopping = stores.clock, stores.stopping

    @classmethod
    @contextmanager
    def opened(cls, stores: Stores, meant: Subject) -> Iterator[Rotating]:
        """Closed at the end; every error in between is the name's."""
        from strongroom.rotations import engine

        with (
            blamed("name"),
            engine(
                _alone(config_of(stores), meant), clock=stores.clock, owner=f"terraform {os.getpid()}"
            ) as opened,
        ):
            yield cls(opened, meant, stores)

    def rotate(self, before: str, trigger: str, *, wait: bool) -> tuple[Entry, tuple[Diagnostic, ...]]:
        """Begin the rotation that this trigger asks for, unless it was begun, and carry it on.

        Args:
            before: the id of this resource's rotation before; empty if it had none.
            trigger: as the configuration says it.
            wait: until the new value is current.

        Raises:
            ProblemError: it has stopped before that, or another rotation is open.
            SecretStoreError: as the ledger or the store says.
        """
        wanted = self._wanted(before, trigger)
        begun = self._known(wanted)
        entry = begun or self._begun(wanted, wait=wait)
        if wait:
            entry = self._carried(entry)
            _refuse(entry)
        return entry, tuple(_warnings(entry, begun))

    def facts(self, rotation_id: Value) -> Values:
        """What the ledger knows; of the newest rotation if none is named. One that it forgot is no fact."""
        from strongroom.rotation.planning import outlook

        policy, ledger = self._engine.policy(self._meant.secret), self._engine.ledger
        [one] = outlook([policy], ledger)
        found: Values = {"last_rotated_at": moment(one.last), "next_due_at": moment(one.next)}
        entry = self._known(rotation_id) if isinstance(rotation_id, str) else self._newest()
        return found | ({"rotation_id": entry.id, "state": entry.state.value} if entry else {})

    def _wanted(self, before: str, trigger: str) -> str:
        wanted = uuid.uuid5(_NAMESPACE, json.dumps([self._meant.secret, before, trigger]))
        while (known := self._known(str(wanted))) and known.state in _AGAIN:
            wanted = uuid.uuid5(wanted, "again")
        return str(wanted)

    def _begun(self, wanted: str, *, wait: bool) -> Entry:
        until = self._clock.monotonic() + (PATIENCE.total_seconds() if wait else 0)
        while True:
            try:
                return self._engine.start(self._meant.secret, rotation_id=wanted)
            except InProgressError as error:
                busy = error
            left = until - self._clock.monotonic()
            if busy.retry_after is None or busy.retry_after > left:
                hint = "it ends with its grace, or is ended by: strongroom rotation abort, rollback"
                raise problem(str(busy), "name", detail=f"{hint}; {_STATUS}")
            self._pause(max(1.0, busy.retry_after))

    def _carried(self, entry: Entry) -> Entry:
        """An apply is a person's wish to try now: what waited after a failure waits no longer."""
        if entry.attempts and entry.state not in (State.ORPHANED, State.WAITING):
            entry = self._engine.resume(entry.id)
        else:
            entry = self._engine.advance(entry.id)
        until = self._clock.monotonic() + PATIENCE.total_seconds()
        while self._goes_on(entry) and (left := until - self._clock.monotonic()) > 0:
            due = (entry.due - self._engine.ledger.now()).total_seconds()
            self._pause(min(max(due, 1.0), left))
            entry = self._engine.advance(entry.id)
        return entry

    def _pause(self, seconds: float) -> None:
        """A second at a time: whoever interrupts an apply does not want to wait for another minute."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            if self._stopping.is_set():
                raise problem(
                    "interrupted while a rotation goes on", "name", detail=f"apply again; {_STATUS}"
                )
            self._clock.sleep(min(left, 1.0))

    @staticmethod
    def _goes_on(entry: Entry) -> bool:
        by_hand = (State.ORPHANED, State.WAITING)
        return entry.state.open and entry.state not in (*_SETTLED, *by_hand)

    def _known(self, rotation_id: str) -> Entry | None:
        try:
            return self._engine.ledger.get(rotation_id)
        except SecretNotFoundError:
            return None

    def _newest(self) -> Entry | None:
        return next(iter(self._engine.ledger.find(secret=self._meant.secret, limit=1)), None)


def _alone(config: Config, meant: Subject) -> Config:
    policy = replace(meant.policy, names=(meant.name,))
    return replace(config, rotations={policy.label: policy})


def _refuse(entry: Entry) -> None:
    if entry.state in _SERVED or entry.state is State.WAITING:
        return
    summary = f"the rotation of {entry.secret} is {entry.state.value}"
    if entry.error:
        summary += f": {entry.error}"
    hint = {
        State.ORPHANED: f"strongroom rotation resume {entry.id}, or abort; then apply again",
        State.SUPERSEDED: "somebody else wrote the secret meanwhile; apply again, and another one begins",
        State.ABORTED: "somebody has ended it; apply again, and another one begins",
    }.get(entry.state, f"it is tried again by a worker, or when you apply again; {_STATUS}")
    raise ProblemError(Diagnostic(summary, f"{hint} ({entry.id})", ("name",)))


def _warnings(entry: Entry, begun: Entry | None) -> Iterator[Diagnostic]:
    name = entry.secret.partition(":")[2]
    if begun and begun.state in _SETTLED:
        yield Diagnostic(
            f"{name} was rotated for this trigger already, and is not rotated again",
            f"rotation {entry.id}, {moment(entry.promoted)}; another trigger begins another one",
            ("trigger",),
            warning=True,
        )
    if entry.state is State.WAITING:
        command = f"strongroom put {name} --rotation {entry.id}"
        yield Diagnostic(f"the rotation of {name} waits for a person", command, warning=True)
    if entry.state in (State.PROMOTED, State.REVOKING):
        summary = f"the value of {name} before is not revoked yet: {entry.error or entry.state.value}"
        yield Diagnostic(summary, "the new one is current; a worker goes on", warning=True)
