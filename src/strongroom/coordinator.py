"""Coordinators: who may write now, where a provider has no compare-and-set of its own.

One process guards nothing against another unless both ask the same coordinator: `SQLiteCoordinator` for the
processes of one machine, `StoreCoordinator` for all who reach a store that has compare-and-set.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass, replace
from typing import Any

from .backend import ABSENT, Backend, Capability, Clock, Stage
from .errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from .lease import Coordinator, Lease
from .names import Name, Reserved
from .sqlitefile import SQLiteFile
from .value import SecretValue

_SCHEMA = """CREATE TABLE IF NOT EXISTS lease (
    resource TEXT PRIMARY KEY, fence INTEGER NOT NULL, expires REAL NOT NULL,
    holder TEXT NOT NULL, recorded TEXT
) STRICT"""


class SQLiteCoordinator(Coordinator):
    """Coordinates the processes of one machine through a SQLite file (0600, made when missing).

    Time is the machine's wall clock. A clock that jumps forward ends leases early, which the fence
    makes harmless; one that jumps back makes the next holder wait.

    Args:
        path: the file; not on a network file system, whose locks SQLite cannot trust.
        clock: injected in tests.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None):
        self._file = SQLiteFile(path, _SCHEMA, "the coordinator's database")
        self._clock = clock or Clock()

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        now = self._now()
        lease = Lease(resource, 0, now + seconds, uuid.uuid4().hex)
        rows = self._run(
            """INSERT INTO lease (resource, fence, expires, holder) VALUES (?, 1, ?, ?)
            ON CONFLICT (resource) DO UPDATE SET fence = fence + 1, expires = excluded.expires,
            holder = excluded.holder WHERE expires <= ? RETURNING fence""",
            (resource, lease.expires, lease.holder, now),
        )
        return Lease(resource, rows[0][0], lease.expires, lease.holder) if rows else None

    def seconds_left(self, lease: Lease) -> float:
        return lease.expires - self._now()

    def release(self, lease: Lease) -> None:
        self._run(
            "UPDATE lease SET expires = 0 WHERE resource = ? AND holder = ?", (lease.resource, lease.holder)
        )

    def recorded(self, resource: str) -> str | None:
        rows = self._run("SELECT recorded FROM lease WHERE resource = ?", (resource,))
        return rows[0][0] if rows else None

    def record(self, lease: Lease, text: str) -> None:
        mine = (text, lease.resource, lease.fence, lease.holder)
        rows = self._run(
            "UPDATE lease SET recorded = ? WHERE resource = ? AND fence = ? AND holder = ? RETURNING 1", mine
        )
        if not rows:
            raise SecretConflictError("the lease was overtaken", hint="stop; another holder writes now")

    def close(self) -> None:
        self._file.close()

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return self._file.write(lambda connection: connection.execute(statement, values).fetchall())


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a store keeps of one resource, as JSON, under a key of the reserved name space."""

    resource: str
    fence: int = 0
    expires: float = 0.0
    holder: str = ""
    recorded: str | None = None

    def pack(self) -> SecretValue:
        facts = {"fence": self.fence, "expires": self.expires, "holder": self.holder}
        return SecretValue(json.dumps({"resource": self.resource, **facts, "recorded": self.recorded}))

    @classmethod
    def parse(cls, value: SecretValue, resource: str) -> _Entry:
        try:
            entry = cls(**json.loads(value.reveal()))
        except (ValueError, TypeError):
            entry = cls("")
        if entry.resource != resource or not entry.sound:
            raise IntegrityError("a lease in the coordinator's store is damaged", hint="purge it there")
        return entry

    @property
    def sound(self) -> bool:
        """Whether the facts are of the types they should be: another store's writer may have written them."""
        numbers = type(self.fence) is int and self.fence >= 0 and type(self.expires) in (int, float)
        return numbers and type(self.holder) is str and isinstance(self.recorded, str | None)


class StoreCoordinator(Coordinator):
    """Coordinates all processes that reach one store with compare-and-set, such as Vault's KV version 2.

    Time is each process's own wall clock; ``guarded.SKEW`` says how far two may run apart, and the fence
    makes a larger difference harmless. A guarded write costs three writes here.

    Args:
        backend: has Capability.CAS; this object closes it.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the store has no compare-and-set of its own.
    """

    def __init__(self, backend: Backend, clock: Clock | None = None):
        if Capability.CAS not in backend.capabilities:
            raise InvalidRequestError(
                f"{backend.origin} cannot coordinate", hint="name a store with compare-and-set of its own"
            )
        self._backend = backend
        self._clock = clock or Clock()

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        entry, version = self._read(resource)
        now = self._clock.now().timestamp()
        if entry.expires > now:
            return None
        taken = replace(entry, fence=entry.fence + 1, expires=now + seconds, holder=uuid.uuid4().hex)
        return _lease(taken) if self._write(taken, version) else None

    def seconds_left(self, lease: Lease) -> float:
        return lease.expires - self._clock.now().timestamp()

    def release(self, lease: Lease) -> None:
        entry, version = self._read(lease.resource)
        if _lease(entry) == lease:
            self._write(replace(entry, expires=0.0), version)

    def recorded(self, resource: str) -> str | None:
        return self._read(resource)[0].recorded

    def record(self, lease: Lease, text: str) -> None:
        entry, version = self._read(lease.resource)
        if _lease(entry) != lease or not self._write(replace(entry, recorded=text), version):
            raise SecretConflictError("the lease was overtaken", hint="stop; another holder writes now")

    def after_fork(self) -> None:
        self._backend.after_fork()

    def close(self) -> None:
        self._backend.close()

    def _read(self, resource: str) -> tuple[_Entry, str | None]:
        try:
            found = self._backend.get(_reserved(resource), Stage.CURRENT)
        except SecretNotFoundError:
            return _Entry(resource), None
        return _Entry.parse(found.value, resource), found.version

    def _write(self, entry: _Entry, version: str | None) -> bool:
        """Whether the entry is now as given. A lost answer is read back."""
        if_version = ABSENT if version is None else version
        try:
            self._backend.put(_reserved(entry.resource), entry.pack(), if_version)
            return True
        except SecretConflictError:
            return False
        except UnavailableError as error:
            if error.performed is False:
                raise
        return self._read(entry.resource)[0] == entry


def _lease(entry: _Entry) -> Lease:
    return Lease(entry.resource, entry.fence, entry.expires, entry.holder)


def _reserved(resource: str) -> Reserved:
    """A resource's name is longer than a portable name, and of other characters."""
    return Reserved("lease", Name(hashlib.sha256(resource.encode()).hexdigest()[:32]))
