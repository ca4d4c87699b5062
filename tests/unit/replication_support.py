"""Pairs of stores for the tests of replication: a source as applications write it, and a replica of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from strongroom import pairs
from strongroom.backend import Absent, Backend, Capability, Clock, Secret, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError
from strongroom.layers.edge import edge
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.layer import Layer
from strongroom.layers.recorded import Recorded
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Key, Name
from strongroom.replication.member import Member
from strongroom.replication.order import Order
from strongroom.replication.replicator import Replicator
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.unit.envelope_support import local_key
from tests.unit.local_support import local

DOMAIN = "prod"
NATIVE, COMPANION = ALL, ALL & ~Capability.NATIVE_PENDING
DB = Name("db/password")
KINDS = ("memory", "companion", "encrypted", "local")
WRITES = ("put", "put_pending", "promote_pending", "delete", "restore", "purge", "retire")


class FakeClock(Clock):
    """Stands still, but for sleeps, which take no time of the test's."""

    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 1, tzinfo=UTC)
        self.slept = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.moment += timedelta(seconds=seconds)


class Counted(Layer):
    """Counts calls, and the writes of secrets themselves; `during` is called in the middle of one."""

    def __init__(self, inner: Backend):
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.during: dict[str, Any] = {}

    def _note(self, call: str, key: Key | None = None) -> None:
        self.calls[call] += 1
        if call in WRITES:
            self.calls["writes"] += 1
            if isinstance(key, Name):
                self.writes[str(key)] += 1
        if call in self.during:
            self.during.pop(call)()

    def get(self, key: Key, version: str | Stage) -> Secret:
        self._note("get", key)
        return self.inner.get(key, version)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._note("put", key)
        return self.inner.put(key, value, if_version, record)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._note("put_pending", key)
        return self.inner.put_pending(key, rotation_id, value, base_version, record)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        self._note("promote_pending", key)
        return self.inner.promote_pending(key, rotation_id)

    def delete(self, key: Key) -> None:
        self._note("delete", key)
        self.inner.delete(key)

    def purge(self, key: Key) -> None:
        self._note("purge", key)
        self.inner.purge(key)

    def list_info(self, prefix: str, detail: bool = False) -> Any:
        self._note("list")
        return self.inner.list_info(prefix, detail)


@dataclass
class Pair:
    """A source and its replica. What is written to `app` is written as applications write it."""

    here: Counted
    there: Counted
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.app = Recorded(self.here, DOMAIN, alias="here", clock=self.clock)
        self.order = Order(self.here, DOMAIN, clock=self.clock, alias="here")

    def replicator(self, **facts: Any) -> Replicator:
        members = Member("here", self.here, DOMAIN), Member("there", self.there, DOMAIN)
        return Replicator(*members, clock=self.clock, **{"parallel": 1, **facts})

    def write(self, name: Name = DB, text: str = "one") -> None:
        self.app.put(name, value(text), None)

    def sync(self, **facts: Any) -> Any:
        report = self.replicator(**facts).sync()
        assert not report.failed, {name: str(error) for name, error in report.failed.items()}
        return report

    def forget_calls(self) -> None:
        self.here.calls.clear()
        self.there.calls.clear()

    def at_replica(self, name: Name = DB) -> str | None:
        return read(self.there, name)


def value(text: str) -> SecretValue:
    return SecretValue(f"{CANARY}-{text}")


def read(backend: Backend, name: Name = DB) -> str | None:
    """What a store has, without the canary; None if it has nothing."""
    try:
        return backend.get(name, Stage.CURRENT).value.reveal_text().removeprefix(f"{CANARY}-")
    except SecretNotFoundError:
        return None


def delete(layer: Recorded, name: Name = DB) -> None:
    pairs.delete(layer, name)


def store(kind: str, folder: Path, name: str) -> Counted:
    """A store of one of `KINDS`."""
    if kind == "local":
        bare: Backend = local(folder, name=f"{name}.db")
        key = edge(bare).own_key()
        assert key
        return Counted(Encrypted(bare, [key], DOMAIN))
    inner = MemoryBackend(NATIVE if kind == "memory" else COMPANION, origin=f"memory:{name}")
    return Counted(Encrypted(inner, [local_key(name=name)], DOMAIN) if kind == "encrypted" else inner)


def pair(kind: str, folder: Path, source: str = "memory") -> Pair:
    return Pair(store(source, folder, "here"), store(kind, folder, "there"))


def actions(steps: Any) -> Mapping[str, str]:
    """What is to be done, by name."""
    return {step.name: step.action.value for step in steps}
