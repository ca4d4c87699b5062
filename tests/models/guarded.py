"""A provider without compare-and-set and a coordinator, as the models see them, under the real `Guard`.

Modelled: stamped versions, leases that run out at any moment, fences, the coordinator's record; foreign
writers; with the checker's own crashes, lost answers and late calls, a late call being also a holder that was
suspended before its write. Not modelled: delays of lists (Azure answers from one place; SSM says nothing),
deletion, a coordinator restored from a backup.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from typing import NamedTuple

import pytest

from strongroom.backend import Absent, Backend, Capability, Clock, Secret, SecretVersion, Settings, Stage
from strongroom.companion import Frame
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.guarded import Guard, Head, Stamp, chain
from strongroom.lease import Coordinator, Lease
from strongroom.names import Companion, Key, Name
from strongroom.stamp import back, true_tip
from strongroom.value import SecretValue
from tests.models.ledger import Client, Ledger, keep
from tests.models.replay import Call, Lost, Port, Refused, System

SECRET, COMPANION = 0, 1
WRITES = frozenset({"write", "acquire", "record", "release", "advance", "disable"})
NAME = Name("db/password")


class Version(NamedTuple):
    """`text` is the value; a companion's is its frame. Without a fence it is a foreign writer's."""

    text: Hashable
    before: str | None = None
    fence: int = 0
    write_id: str = ""
    again: bool = False
    disabled: bool = False


class Entry(NamedTuple):
    """One key at the provider, oldest first, and its row at the coordinator. `holder` is empty if free."""

    versions: tuple[Version, ...] = ()
    fence: int = 0
    holder: int = 0
    recorded: str | None = None

    def heads(self) -> list[Head]:
        """As a provider lists them, newest first."""
        numbered = reversed(list(enumerate(self.versions, 1)))
        return [Head(str(number), _stamp(version)) for number, version in numbered]

    def line(self) -> list[Head]:
        """What the rules say is the secret's history, newest first."""
        heads = self.heads()
        tip = true_tip(heads, self.recorded) or (heads[0] if heads else None)
        return back(heads, tip) if tip else []

    def texts(self) -> list[Hashable]:
        """The values in the line, oldest first."""
        return [self.versions[int(head.version) - 1].text for head in reversed(self.line())]


class World(NamedTuple):
    """One secret and its companion; `ledger` as in the companion's model."""

    entries: tuple[Entry, ...] = (Entry((Version("old"),), recorded="1"), Entry())
    ledger: Ledger = ()


def _stamp(version: Version) -> Stamp | None:
    if not version.write_id:
        return None
    return Stamp(version.before, version.fence, version.write_id, version.again)


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to provider, coordinator or ledger, atomically."""
    if call.name in ("ledger", "advance"):
        ledger, answer = keep(world.ledger, call)
        return world._replace(ledger=ledger), answer
    if call.name == "time passes":
        free = tuple(entry._replace(holder=0) for entry in world.entries)
        return world._replace(entries=free), "ok"
    at, *args = call.args
    entry, answer = _ANSWERS[call.name](world.entries[at], *args)
    entries = (*world.entries[:at], entry, *world.entries[at + 1 :])
    return world._replace(entries=entries), answer


def _heads(entry: Entry) -> tuple[Entry, Hashable]:
    return entry, tuple(entry.heads())


def _read(entry: Entry, number: int) -> tuple[Entry, Hashable]:
    number = number or len(entry.versions)
    if not 0 < number <= len(entry.versions) or entry.versions[number - 1].disabled:
        return entry, Refused("missing")
    return entry, (number, entry.versions[number - 1].text)


def _write(entry: Entry, version: Version) -> tuple[Entry, Hashable]:
    return entry._replace(versions=(*entry.versions, version)), len(entry.versions) + 1


def _disable(entry: Entry, number: int) -> tuple[Entry, Hashable]:
    gone = tuple(
        version._replace(disabled=True) if at == number else version
        for at, version in enumerate(entry.versions, 1)
    )
    return entry._replace(versions=gone), "ok"


def _acquire(entry: Entry) -> tuple[Entry, Hashable]:
    if entry.holder:
        return entry, 0
    return entry._replace(fence=entry.fence + 1, holder=entry.fence + 1), entry.fence + 1


def _left(entry: Entry, fence: int) -> tuple[Entry, Hashable]:
    return entry, entry.holder == fence


def _release(entry: Entry, fence: int) -> tuple[Entry, Hashable]:
    return (entry._replace(holder=0) if entry.holder == fence else entry), "ok"


def _recorded(entry: Entry) -> tuple[Entry, Hashable]:
    return entry, entry.recorded


def _record(entry: Entry, fence: int, text: str) -> tuple[Entry, Hashable]:
    if entry.fence != fence:
        return entry, Refused("overtaken")
    return entry._replace(recorded=text), "ok"


_ANSWERS: dict[str, Callable[..., tuple[Entry, Hashable]]] = {
    "heads": _heads, "read": _read, "write": _write, "disable": _disable, "acquire": _acquire,
    "left": _left, "release": _release, "recorded": _recorded, "record": _record,
}  # fmt: skip


class ModelCoordinator(Coordinator):
    """Asks the world."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        fence = self._answer("acquire", int(resource))
        return Lease(resource, fence, 0.0, "") if fence else None

    def seconds_left(self, lease: Lease) -> float:
        return 1e9 if self._answer("left", int(lease.resource), lease.fence) else -1.0

    def release(self, lease: Lease) -> None:
        self._answer("release", int(lease.resource), lease.fence)

    def recorded(self, resource: str) -> str | None:
        recorded: str | None = self._port.call("recorded", int(resource))
        return recorded

    def record(self, lease: Lease, text: str) -> None:
        if isinstance(self._answer("record", int(lease.resource), lease.fence, text), Refused):
            raise SecretConflictError("overtaken")

    def _answer(self, name: str, *args: Hashable) -> int:
        answer: int = self._port.call(name, *args)
        if isinstance(answer, Lost):
            raise UnavailableError("the answer was lost", performed=None)
        return answer


class ModelBackend(Backend):
    """A guarded backend as Azure's, SSM's and the token's are: `put` and `versions_after` through a Guard."""

    capabilities = Capability.VERSIONS | Capability.PUT | Capability.CREATE_ONLY | Capability.CAS_GUARDED
    newest_is_current = True

    def __init__(self, port: Port) -> None:
        self._port = port
        settings = Settings(clock=_Impatient(), coordinator=ModelCoordinator(port))
        self._guard = Guard(self, settings, lambda key: str(_slot(key)))

    def head(self, key: Key) -> Head | None:
        heads = self.heads(key)
        return heads[0] if heads else None

    def heads(self, key: Key) -> Sequence[Head]:
        heads: tuple[Head, ...] = self._port.call("heads", _slot(key))
        return heads

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT:
            return self._guard.current(key, lambda settled: self._read(key, settled or "0"))
        return self._read(key, version)

    def _read(self, key: Key, version: str | Stage) -> Secret:
        number = self._number(key, version)
        found = self._port.call("read", _slot(key), number)
        if isinstance(found, Refused):
            raise SecretNotFoundError("no such version")
        return Secret(str(key), _decode(key, found[1]), str(found[0]))

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        version = Version(_encode(key, value), *astuple(stamp))
        number = self._port.call("write", _slot(key), version)
        if isinstance(number, Lost):
            raise UnavailableError("the answer was lost", performed=None)
        return SecretVersion(str(number))

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self._guard.put(key, value, if_version, record)

    def retire(self, key: Key, version: str) -> None:
        if isinstance(self._port.call("disable", _slot(key), int(version)), Lost):
            raise UnavailableError("the answer was lost", performed=None)

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return [SecretVersion(head.version) for head in self._guard.after(key, base)]

    def _number(self, key: Key, version: str | Stage) -> int:
        if isinstance(version, str):
            return int(version)
        line = chain(self.heads(key))
        if len(line) < 2:
            raise SecretNotFoundError("no previous version")
        return int(line[1].version)


class _Impatient(Clock):
    """Asking for a held lease a second time is all the waiting there is, or no space would be finite."""

    def __init__(self) -> None:
        self._asked = 0.0

    def monotonic(self) -> float:
        return self._asked

    def sleep(self, seconds: float) -> None:
        self._asked += 1e6


def _slot(key: Key) -> int:
    return COMPANION if isinstance(key, Companion) else SECRET


class Framed(NamedTuple):
    """A companion's frame, as text for the traces."""

    rotation: str
    held: bool
    base: str | None
    version: str | None
    was: str | None
    text: str


def _encode(key: Key, value: SecretValue) -> Hashable:
    if not isinstance(key, Companion):
        return value.reveal_text()
    frame, inner = Frame.split(value)
    return Framed(frame.rotation_id, frame.held, frame.base, frame.version, frame.was, inner.reveal_text())


def _decode(key: Key, text: Hashable) -> SecretValue:
    if isinstance(text, Framed):
        frame = Frame(text.rotation, text.held, text.base, text.version, text.was)
        return frame.with_value(SecretValue(text.text))
    return SecretValue(str(text))


class Provider(Client):
    """What programs call beside the backend: the ledger, and the console that knows no coordinator."""

    def foreign_write(self, text: str) -> None:
        self.port.call("write", SECRET, Version(text))


@contextmanager
def write_ids(who: str, run: int) -> Iterator[None]:
    """Write ids of one life of one program: the same each time the checker runs it again."""
    count = iter(range(10**6))

    def next_id() -> uuid.UUID:
        return uuid.uuid5(uuid.NAMESPACE_OID, f"{who} {run} {next(count)}")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("strongroom.stamp.uuid.uuid4", next_id)
        yield


GuardedSystem = System[World]
