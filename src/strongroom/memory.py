"""MemoryBackend: the executable specification of ``Backend``, with every capability.

It is also the store for tests of an application. Nothing is kept when the process ends.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Self

from .backend import (
    ABSENT,
    Absent,
    Backend,
    Capability,
    Clock,
    Secret,
    SecretInfo,
    SecretVersion,
    Settings,
    Stage,
)
from .errors import SecretConflictError, SecretNotFoundError, SecretStoreError
from .names import Companion, Key, Name, StoreURL
from .value import SecretValue

ALL = ~Capability(0) & ~Capability.CAS_GUARDED
_LIMIT = 1 << 20


@dataclass(slots=True)
class _Version:
    id: str
    created_at: datetime
    value: SecretValue | None  # None once destroyed
    record: str | None = None


@dataclass(slots=True)
class _Held:
    rotation_id: str
    base: str
    version: _Version


@dataclass(slots=True)
class _Entry:
    created_at: datetime
    history: list[_Version] = field(default_factory=list)  # every version that was ever current, oldest first
    held: _Held | None = None
    done: dict[str, str | None] = field(default_factory=dict)  # rotation id -> the version it became, or None
    tags: dict[str, str] = field(default_factory=dict)
    deleted: bool = False

    @property
    def current(self) -> _Version | None:
        newest = self.history[-1] if self.history else None
        return newest if newest and newest.value else None

    @property
    def previous(self) -> _Version | None:
        before = self.history[-2] if len(self.history) > 1 else None
        return before if before and before.value else None


class MemoryBackend(Backend):
    """Secrets in this process's memory: ``memory://``, or ``memory://NAME`` shared within the process.

    Args:
        capabilities: withhold some to specify a lesser backend; without NATIVE_PENDING the pending
            values take the companion's way.
        clock: injected in tests.
    """

    scheme = "memory"
    lists_records = True
    capabilities = ALL
    _shared: ClassVar[dict[str, MemoryBackend]] = {}

    def __init__(self, capabilities: Capability = ALL, clock: Clock | None = None, origin: str = "memory"):
        self.capabilities = capabilities
        self.newest_is_current = Capability.NATIVE_PENDING not in capabilities
        self.origin = origin
        self._clock = clock or Clock()
        self._entries: dict[Key, _Entry] = {}
        self._lock = threading.RLock()

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``memory://`` (private) or ``memory://NAME`` (one per process)."""
        url.allow()
        name = f"{url.host}/{url.path}".strip("/")
        if not name:
            return cls(clock=settings.clock)
        fresh = cls(clock=settings.clock, origin=f"memory:{name}")
        return cls._shared.setdefault(name, fresh)  # type: ignore[return-value]

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """None: there is no SDK here."""
        return None

    def get(self, key: Key, version: str | Stage) -> Secret:
        with self._lock:
            found = self._find(self._entry(key), version)
            if found is None or found.value is None:
                raise SecretNotFoundError("no such version")
            stage = version if isinstance(version, Stage) else None
            return self._secret(key, found, stage)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        with self._lock:
            entry = self._entries.get(key)
            if entry and entry.deleted:
                raise SecretConflictError("the name is in the bin", hint="restore or purge it first")
            current = entry.current if entry else None
            if if_version is ABSENT and current:
                raise SecretConflictError("exists already")
            if isinstance(if_version, str) and (not current or current.id != if_version):
                raise SecretConflictError("if_version is not the current version")
            entry = self._entries.setdefault(key, entry or _Entry(self._clock.now()))
            return self._become_current(entry, self._new(value, record))

    def purge(self, key: Key) -> None:
        with self._lock:
            if self._entries.pop(key, None) is None:
                raise SecretNotFoundError("no such secret")

    def delete(self, key: Key) -> None:
        with self._lock:
            self._entry(key).deleted = True

    def restore(self, key: Key) -> None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.deleted:
                raise SecretNotFoundError("not in the bin")
            entry.deleted = False

    def retire(self, key: Key, version: str) -> None:
        with self._lock:
            for found in self._entries[key].history if key in self._entries else []:
                if found.id == version:
                    found.value = None

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        with self._lock:
            shown = sorted((str(key), key) for key, entry in self._entries.items() if not entry.deleted)
            listed = [key for _, key in shown if _listed(key, prefix)]
            infos = [self._info(key) if detail else SecretInfo(key) for key in listed]
        yield from infos

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        with self._lock:
            entry = self._entry(key)
            return [self._public(entry, version) for version in reversed(entry.history) if version.value]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        with self._lock:
            entry = self._entry(key)
            ids = [version.id for version in entry.history]
            if base not in ids:
                raise SecretNotFoundError("the base version is not known")
            return [self._public(entry, version) for version in entry.history[ids.index(base) + 1 :]]

    def describe(self, key: Key) -> SecretInfo:
        with self._lock:
            self._entry(key)
            return self._info(key)

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        with self._lock:
            merged = {**self._entry(key).tags, **tags}
            self._entries[key].tags = {name: text for name, text in merged.items() if text is not None}

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {key: self._outcome(key) for key in keys}

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        with self._lock:
            entry = self._entry(key)
            if rotation_id in entry.done:
                raise SecretConflictError("this rotation is done", hint="begin a new one")
            if entry.held:
                return self._held_again(entry, entry.held, rotation_id, value)
            if not entry.current:
                raise SecretNotFoundError("a pending value needs a current one")
            if entry.current.id != base_version:
                raise SecretConflictError("base_version is not the current version")
            entry.held = _Held(rotation_id, base_version, self._new(value, record))
            return self._public(entry, entry.held.version)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        with self._lock:
            entry = self._entry(key)
            if not entry.held or entry.held.rotation_id != rotation_id:
                raise SecretNotFoundError("nothing is pending under this rotation id")
            return self._secret(key, entry.held.version, Stage.PENDING)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        with self._lock:
            entry = self._entry(key)
            if became := entry.done.get(rotation_id):
                return self._public(entry, next(v for v in entry.history if v.id == became))
            if not entry.held or entry.held.rotation_id != rotation_id:
                raise SecretNotFoundError("nothing is pending under this rotation id")
            if not entry.current or entry.current.id != entry.held.base:
                raise SecretConflictError(
                    "superseded: another version became current", hint="discard it and rotate anew"
                )
            held, entry.held = entry.held, None
            entry.done[rotation_id] = held.version.id
            return self._become_current(entry, held.version)

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        with self._lock:
            entry = self._entry(key)
            if entry.done.get(rotation_id):
                raise SecretConflictError("it was promoted already", hint="use rollback")
            if entry.held and entry.held.rotation_id == rotation_id:
                entry.held = None
                entry.done[rotation_id] = None

    def limit(self, key: Key) -> int | None:
        return _LIMIT if not isinstance(key, Name) else _LIMIT - 1024

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def _entry(self, key: Key) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            raise SecretNotFoundError("no such secret")
        if entry.deleted:
            raise SecretNotFoundError("the secret is in the bin", hint="restore brings it back")
        return entry

    @staticmethod
    def _find(entry: _Entry, version: str | Stage) -> _Version | None:
        if version is Stage.CURRENT:
            return entry.current
        if version is Stage.PREVIOUS:
            return entry.previous
        return next((found for found in entry.history if found.id == version), None)

    def _new(self, value: SecretValue, record: str | None) -> _Version:
        return _Version(uuid.uuid4().hex, self._clock.now(), value, record)

    def _become_current(self, entry: _Entry, version: _Version) -> SecretVersion:
        entry.history.append(version)
        return self._public(entry, version)

    def _held_again(self, entry: _Entry, held: _Held, rotation_id: str, value: SecretValue) -> SecretVersion:
        if held.rotation_id != rotation_id:
            raise SecretConflictError(
                "another pending value is held", hint=f"rotation {held.rotation_id} holds it"
            )
        if held.version.value != value:
            raise SecretConflictError("another value is pending under this rotation id")
        return self._public(entry, held.version)

    def _public(self, entry: _Entry, version: _Version) -> SecretVersion:
        holds = {Stage.CURRENT: entry.current, Stage.PREVIOUS: entry.previous}
        stages = {stage for stage, holder in holds.items() if holder is version}
        if entry.held and entry.held.version is version:
            stages.add(Stage.PENDING)
        return SecretVersion(version.id, version.created_at, frozenset(stages))

    def _secret(self, key: Key, version: _Version, stage: Stage | None) -> Secret:
        assert version.value is not None
        return Secret(
            str(key),
            version.value,
            version.id,
            stage,
            self.origin,
            version.created_at,
            self._clock.now(),
            record=version.record,
        )

    def _info(self, key: Key) -> SecretInfo:
        entry = self._entries[key]
        newest = entry.history[-1] if entry.history else None
        public = self._public(entry, newest) if newest else None
        record, held = newest.record if newest else None, entry.held
        pending = {held.rotation_id: held.base} if held else {}
        return SecretInfo(key, dict(entry.tags), public, entry.created_at, record, pending)

    def _outcome(self, key: Key) -> Secret | SecretStoreError:
        try:
            return self.get(key, Stage.CURRENT)
        except SecretStoreError as error:
            return error.with_traceback(None)


def _listed(key: Key, prefix: str) -> bool:
    return isinstance(key, (Name, Companion)) and str(key if isinstance(key, Name) else key.name).startswith(
        prefix
    )
