"""Vault's KV version 2 as the models see it, and a thin client over a `Port`.

Modelled: version numbers, check-and-set, destroy, deletion of the metadata (numbers restart: the next
`life`). Not modelled: soft delete, `max_versions`, replication and performance standbys, permissions.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from tests.models.ledger import Client, Ledger, done, keep
from tests.models.replay import Call, Refused

SECRET, COMPANION = 0, 1
WRITES = frozenset({"put", "destroy", "purge", "advance"})


class Value(NamedTuple):
    """One value of the secret. `by` and `base` are the checker's: who wrote it, over which version it meant
    to."""

    text: str
    by: str = ""
    base: Hashable = None


class Claimed(NamedTuple):
    rotation: str
    epoch: int


class Held(NamedTuple):
    rotation: str
    base: int
    text: str


class Done(NamedTuple):
    rotation: str
    outcome: Hashable
    was: Hashable = None


class Entry(NamedTuple):
    """All versions of one key, oldest first; None is destroyed data."""

    life: int = 0
    versions: tuple[Hashable | None, ...] = ()


class Found(NamedTuple):
    number: int
    life: int
    data: Hashable | None


class World(NamedTuple):
    secret: Entry
    companion: Entry = Entry()
    ledger: Ledger = ()

    def entry(self, key: int) -> Entry:
        return self.secret if key == SECRET else self.companion


def apply(world: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to the provider or the ledger, atomically."""
    if call.name == "read":
        return world, _read(world.entry(call.args[0]), call.args[1])
    if call.name in ("ledger", "advance"):
        ledger, answer = keep(world.ledger, call)
        return world._replace(ledger=ledger), answer
    key = call.args[0]
    entry, answer = _write(world.entry(key), call)
    return (world._replace(secret=entry) if key == SECRET else world._replace(companion=entry)), answer


def _read(entry: Entry, number: int) -> Found | Refused:
    if not 0 < (number or len(entry.versions)) <= len(entry.versions):
        return Refused("missing")
    number = number or len(entry.versions)
    return Found(number, entry.life, entry.versions[number - 1])


def _write(entry: Entry, call: Call) -> tuple[Entry, Hashable]:
    if call.name == "purge":
        return Entry(entry.life + 1), "ok"
    if call.name == "destroy":
        number = call.args[1]
        kept = tuple(None if i == number else data for i, data in enumerate(entry.versions, 1))
        return entry._replace(versions=kept), "ok"
    _, data, cas = call.args
    if cas is not None and cas != len(entry.versions):
        return entry, Refused("check-and-set")
    return entry._replace(versions=(*entry.versions, data)), len(entry.versions) + 1


class KV(Client):
    """The calls of the protocols, by name."""

    def read(self, key: int, number: int = 0) -> Found | None:
        """A version, by default the newest; None if there is none."""
        answer = self.port.call("read", key, number)
        return answer if isinstance(answer, Found) else None

    def put(self, key: int, data: Hashable, cas: int | None) -> int:
        """The number of the version written."""
        return int(done(self.port.call("put", key, data, cas)))

    def destroy(self, key: int, number: int) -> None:
        done(self.port.call("destroy", key, number))

    def purge(self, key: int) -> None:
        done(self.port.call("purge", key))
