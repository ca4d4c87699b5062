"""Two stores with compare-and-set as the checker sees them, and a `Backend` that speaks to one of them.

Modelled: versions, compare-and-set, the bin, purge, one native pending value, pages, sheets. A slot is what
one key holds. `log` is the checker's: what readers of the secret got, one after the other; DELETED where
nothing.
Not modelled: label and list delay, encryption, tags.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from strongroom.backend import Absent, Backend, Capability, Secret, SecretInfo, SecretVersion, Stage
from strongroom.clock import Clock
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.names import Companion, Key, Name, Reserved
from strongroom.replication.order import DIGEST_KEY
from strongroom.replication.sheet import NO_TAKEOVER, SHEET_KEY, Sheet
from strongroom.value import SecretValue
from tests.models.replay import Call, Lost, Port, Refused

NAME, DOMAIN = Name("db/password"), "prod"
KEY = SecretValue(b"\x07" * 32)
DELETED = "-"
SOURCE = Capability.VERSIONS | Capability.PUT | Capability.CREATE_ONLY | Capability.CAS
SOURCE |= Capability.DELETE | Capability.PURGE | Capability.NATIVE_PENDING
REPLICA = Capability.PUT | Capability.CREATE_ONLY | Capability.CAS | Capability.DELETE | Capability.PURGE
COMPANION = REPLICA | Capability.VERSIONS
NATIVE = COMPANION | Capability.NATIVE_PENDING | Capability.DESCRIBE
WRITES = frozenset({"put", "retire", "hold", "promote", "discard", "delete", "restore", "purge"})


class Version(NamedTuple):
    """`id` never repeats in the life of a slot, not even after a purge."""

    id: int
    text: str
    record: str | None = None


class Held(NamedTuple):
    """A native pending value, of a rotation or a payload."""

    by: str
    version: Version
    base: int


class Slot(NamedTuple):
    """All that one key of one store holds, oldest first."""

    versions: tuple[Version, ...] = ()
    binned: bool = False
    given: int = 0
    held: Held | None = None
    done: tuple[tuple[str, int], ...] = ()

    @property
    def current(self) -> Version | None:
        return None if self.binned or not self.versions else self.versions[-1]

    @property
    def text(self) -> str:
        return self.current.text if self.current else DELETED


World = tuple[tuple[tuple[str, str], Slot], ...]
"""Slots by store and key; those of secrets have a second one, `log`, for the checker."""


def world(**slots: Slot) -> World:
    """A world out of `STORE_KEY=slot`."""
    found = {tuple(place.split("_")): slot for place, slot in slots.items()}
    return _packed({(one, other): slot for (one, other), slot in found.items()})


def _packed(slots: Mapping[tuple[str, str], Slot]) -> World:
    return tuple(sorted(slots.items()))


def slot(of: World, store: str, key: str = "secret") -> Slot:
    """What a key of a store holds."""
    return dict(of).get((store, key), Slot())


def log(of: World, store: str) -> tuple[str, ...]:
    """What readers of the store's secret got, one after the other."""
    return tuple(version.text for version in slot(of, store, "log").versions)


def apply(of: World, _actor: str, call: Call) -> tuple[World, Hashable]:
    """One call to one store, atomically."""
    store, key, *rest = call.args
    before = slot(of, store, key)
    after, answer = _CALLS[call.name](before, *rest)
    if after == before:
        return of, answer
    slots = {**dict(of), (store, key): after}
    if key == "secret" and after.text != before.text:
        told = slot(of, store, "log")
        slots[store, "log"] = told._replace(versions=(*told.versions, Version(0, after.text)))
    return _packed(slots), answer


def _get(of: Slot, number: int) -> tuple[Slot, Hashable]:
    if of.current is None:
        return of, Refused("missing")
    if number < 0:
        return of, of.versions[number - 1] if len(of.versions) > -number else Refused("missing")
    found = of.current if number == 0 else next((one for one in of.versions if one.id == number), None)
    return of, found or Refused("missing")


def _put(of: Slot, text: str, record: str | None, cas: int | None) -> tuple[Slot, Hashable]:
    """`cas`: None for always, 0 for absent."""
    if of.binned or (cas is not None and cas != (of.current.id if of.current else 0)):
        return of, Refused("conflict")
    return _with(of, Version(of.given + 1, text, record)), of.given + 1


def _with(of: Slot, version: Version) -> Slot:
    return of._replace(versions=(*of.versions, version), given=of.given + 1)


def _versions(of: Slot) -> tuple[Slot, Hashable]:
    if of.current is None:
        return of, Refused("missing")
    return of, tuple(one.id for one in reversed(of.versions))


def _after(of: Slot, base: int) -> tuple[Slot, Hashable]:
    ids = [one.id for one in of.versions]
    if of.current is None or base not in ids:
        return of, Refused("missing")
    return of, tuple(ids[ids.index(base) + 1 :])


def _retire(of: Slot, number: int) -> tuple[Slot, Hashable]:
    return of._replace(versions=tuple(one for one in of.versions if one.id != number)), "ok"


def _hold(of: Slot, by: str, text: str, base: int, record: str | None) -> tuple[Slot, Hashable]:
    if of.held and (of.held.by, of.held.version.text) == (by, text):
        return of, "ok"
    if of.held or by in dict(of.done) or of.current is None or of.current.id != base:
        return of, Refused("conflict")
    return of._replace(held=Held(by, Version(0, text, record), base)), "ok"


def _held(of: Slot, by: str) -> tuple[Slot, Hashable]:
    mine = of.held and (by in ("", of.held.by))
    return of, of.held if mine and of.current else Refused("missing")


def _promote(of: Slot, by: str) -> tuple[Slot, Hashable]:
    if became := dict(of.done).get(by):
        return of, became
    if of.held is None or of.held.by != by:
        return of, Refused("missing")
    if of.current is None or of.current.id != of.held.base:
        return of, Refused("conflict")
    version = of.held.version._replace(id=of.given + 1)
    after = _with(of._replace(held=None), version)
    return after._replace(done=(*of.done, (by, version.id))), version.id


def _discard(of: Slot, by: str) -> tuple[Slot, Hashable]:
    if dict(of.done).get(by):
        return of, Refused("conflict")
    if of.held is None or of.held.by != by:
        return of, "ok"
    return of._replace(held=None, done=(*of.done, (by, 0))), "ok"


def _delete(of: Slot) -> tuple[Slot, Hashable]:
    return (of, Refused("missing")) if of.current is None else (of._replace(binned=True), "ok")


def _restore(of: Slot) -> tuple[Slot, Hashable]:
    return (of._replace(binned=False), "ok") if of.binned else (of, Refused("missing"))


def _purge(of: Slot) -> tuple[Slot, Hashable]:
    return (Slot(given=of.given), "ok") if of.versions else (of, Refused("missing"))


def _fence(of: Slot) -> tuple[Slot, Hashable]:
    return of._replace(given=of.given + 1), of.given + 1


def _claim(of: Slot, text: str, fence: int) -> tuple[Slot, Hashable]:
    """A coordinator's record: never under a lower fence than the last one given."""
    if fence < of.given:
        return of, Refused("overtaken")
    return of._replace(versions=(Version(fence, text),)), "ok"


_CALLS: Mapping[str, Any] = {
    "fence": _fence,
    "claim": _claim,
    "get": _get,
    "put": _put,
    "versions": _versions,
    "after": _after,
    "retire": _retire,
    "hold": _hold,
    "held": _held,
    "promote": _promote,
    "discard": _discard,
    "delete": _delete,
    "restore": _restore,
    "purge": _purge,
}


class Still(Clock):
    """A clock on which nobody waits: others may act between any two calls anyway."""

    def now(self) -> datetime:
        """Always the same moment."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        """At once."""

    def chance(self) -> float:
        """No chance at all: a program is run again and again, and must do the same."""
        return 0.0


_FIRST = Sheet(DOMAIN, 1, NO_TAKEOVER, "")


class Store(Backend):
    """Speaks to one store. What never changes is answered here: the digest key, and a sheet that is given."""

    scheme = "model"

    def __init__(self, port: Port, store: str, capabilities: Capability, sheet: Sheet | None = _FIRST):
        self.port, self.store, self.capabilities, self.sheet = port, store, capabilities, sheet

    def get(self, key: Key, version: str | Stage) -> Secret:
        if key == DIGEST_KEY:
            return Secret(str(key), KEY, "1")
        if key == SHEET_KEY and self.sheet:
            return Secret(str(key), SecretValue(self.sheet.text), "1")
        number = -1 if version is Stage.PREVIOUS else 0 if isinstance(version, Stage) else int(version)
        found = self._call("get", key, number)
        return Secret(str(key), SecretValue(found.text), str(found.id), record=found.record)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        cas = None if if_version is None else 0 if isinstance(if_version, Absent) else int(if_version)
        return SecretVersion(str(self._call("put", key, value.reveal_text(), record, cas)))

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        return [SecretVersion(str(one)) for one in self._call("versions", key)]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return [SecretVersion(str(one)) for one in self._call("after", key, int(base))]

    def describe(self, key: Key) -> SecretInfo:
        found = self._call("get", key, 0)
        held: Held | None = None
        with contextlib.suppress(SecretNotFoundError):
            held = self._call("held", key, "")
        pending = {held.by: str(held.base)} if held else {}
        return SecretInfo(key, newest=SecretVersion(str(found.id)), record=found.record, pending=pending)

    def retire(self, key: Key, version: str) -> None:
        self._call("retire", key, int(version))

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._call("hold", key, rotation_id, value.reveal_text(), int(base_version), record)
        return SecretVersion("pending", stages=frozenset({Stage.PENDING}))

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        held = self._call("held", key, rotation_id).version
        return Secret(str(key), SecretValue(held.text), "pending", Stage.PENDING, record=held.record)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return SecretVersion(str(self._call("promote", key, rotation_id)))

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._call("discard", key, rotation_id)

    def delete(self, key: Key) -> None:
        self._call("delete", key)

    def restore(self, key: Key) -> None:
        self._call("restore", key)

    def purge(self, key: Key) -> None:
        self._call("purge", key)

    def _call(self, name: str, key: Key, *args: Hashable) -> Any:
        answer = self.port.call(name, self.store, _place(key), *args)
        if isinstance(answer, Lost):
            raise UnavailableError("the answer was lost", performed=None)
        if isinstance(answer, Refused):
            raise (SecretNotFoundError if answer.why == "missing" else SecretConflictError)(answer.why)
        return answer


def _place(key: Key) -> str:
    if isinstance(key, Reserved):
        kind = {"replication": "page", "replication-sheet": "sheet"}.get(key.kind, key.kind)
        return kind if key.name in (NAME, SHEET_KEY.name) else f"{kind} {key.name}"
    return "companion" if isinstance(key, Companion) else "secret"
