"""The contract a backend author implements: ``Backend``, its flags and what it returns.

A backend is right when ``strongroom.testing.BackendConformance`` passes. ``MemoryBackend`` is the
executable specification. Users never see a Backend: they call ``SecretStore``, which checks names,
sizes and capabilities, audits, caches, and only then asks the backend.

A backend may raise its SDK's exceptions as they are; ``error_for`` translates them once, at the edge.
Every method may block and may be called from many threads.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, Self, final

from .clock import Clock
from .errors import SecretStoreError, UnsupportedOperationError
from .names import Key, StoreURL
from .settings import Settings, WriteBudget
from .value import SecretValue

if TYPE_CHECKING:
    from .keys import KeyWrapper
    from .native import NativeReplication

__all__ = ["ABSENT", "ANY_CAS", "READ_FLAGS", "Absent", "Backend", "Capability", "Clock", "Secret"]
__all__ += ["SecretInfo", "SecretVersion", "Settings", "Stage", "WriteBudget", "unsupported"]


class Stage(enum.Enum):
    """Which version of a secret: the one in use, the one before it, the one to be promoted."""

    CURRENT = "current"
    PREVIOUS = "previous"
    PENDING = "pending"


@final
class Absent(enum.Enum):
    """The type of ``ABSENT``."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""``if_version=ABSENT``: write only if the name was never written, is purged, or its newest is destroyed."""


class Capability(enum.Flag):
    """What a backend instance can do; the store refuses everything else before any request is sent."""

    LIST = enum.auto()
    VERSIONS = enum.auto()
    DESCRIBE = enum.auto()
    BATCH_GET = enum.auto()
    PUT = enum.auto()
    CREATE_ONLY = enum.auto()
    CAS = enum.auto()
    CAS_GUARDED = enum.auto()
    DELETE = enum.auto()
    PURGE = enum.auto()
    TAGS = enum.auto()
    NATIVE_PENDING = enum.auto()

    @property
    def reads(self) -> Capability:
        """The flags that concern reading: behind failover, what all members share."""
        return self & READ_FLAGS

    @property
    def writes(self) -> Capability:
        """The flags that concern writing: behind failover, what the first member has."""
        return self & ~READ_FLAGS

    @property
    def names(self) -> tuple[str, ...]:
        """The flags' names, in order of declaration."""
        return tuple(flag.name or "" for flag in Capability if flag in self)


READ_FLAGS: Final = Capability.LIST | Capability.VERSIONS | Capability.DESCRIBE | Capability.BATCH_GET
ANY_CAS: Final = Capability.CAS | Capability.CAS_GUARDED


@dataclass(frozen=True)
class SecretVersion:
    """One version's metadata, never its value.

    Attributes:
        id: opaque; never repeats in the life of a store, not even after a purge.
        created_at: UTC, as precise as the provider tells, or None.
        stages: the stages it holds now.
        audit_degraded: the write happened, but its outcome could not be recorded.
    """

    id: str
    created_at: datetime | None = None
    stages: frozenset[Stage] = frozenset()
    audit_degraded: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """A value and what is known of it.

    Attributes:
        name: as the caller gave it.
        value: the secret itself; see ``SecretValue``.
        version: the version's id, to hand back as ``if_version``.
        stage: the stage asked for, or None when a version was asked for by id.
        origin: which store answered.
        created_at: when the version was written, if the provider tells.
        confirmed_at: when the provider last said that this is the answer.
        stale: served from the cache past ``fresh``, because the provider does not answer.
        degraded: a failover member answered that cannot prove how new its answer is.
        behind: by how many writes a failover member's answer is known to be older than its source's.
        audit_degraded: the read happened, but its outcome could not be recorded.
        record: replication's record, where one was written with the value.
    """

    name: str
    value: SecretValue
    version: str
    stage: Stage | None = Stage.CURRENT
    origin: str = ""
    created_at: datetime | None = None
    confirmed_at: datetime | None = None
    stale: bool = False
    degraded: bool = False
    behind: int = 0
    audit_degraded: bool = False
    record: str | None = None


@dataclass(frozen=True)
class SecretInfo:
    """What a listing or description tells of a secret, never its value.

    Attributes:
        key: the name, or the companion key beside it.
        tags: the user's own tags; Strongroom's are hidden. Empty where a listing does not tell them.
        newest: the newest version that is not only pending; None where a listing does not tell it.
        created_at: when the secret was first written, if the provider tells.
        record: replication's record.
        pending: of native pending values, the base version by rotation id. Empty unless detail was asked for.
        foreign: a pending version that no rotation of ours put there, with or without a value: its id.
    """

    key: Key
    tags: Mapping[str, str] = field(default_factory=dict)
    newest: SecretVersion | None = None
    created_at: datetime | None = None
    record: str | None = None
    pending: Mapping[str, str] = field(default_factory=dict)
    foreign: str | None = None


class Backend(ABC):
    """One provider's secrets. Only ``get`` is required; each other method stands behind a capability.

    A backend that opens by URL also has ``scheme``, ``from_url`` and ``error_for``.

    Attributes:
        scheme: the URL scheme, such as ``"consul"``.
        capabilities: what this instance can do.
        origin: what answers say of where they came from, without credentials.
        newest_is_current: the newest version is always the current one (Vault, Google, Azure).
        eventual: labels and lists may lag behind a write, so that the store pins what it wrote.
        domain: the logical id that encrypted values are bound to, where the backend records one (local).
        needs_coordinator: which of its class's capabilities an instance lacks without one.
        auth_keys: all that it takes in ``auth``, so that a misspelled key is refused; None where it judges.
        option_keys: all that it takes in ``options``.
        read_only: why it takes no writes though its provider would, for people; empty where that is not so.
        lists_records: a listing in detail tells each record without a read of its value.
        leases: what it gives ends; it keeps that in memory itself, and the store must not.
        write_budget: what the provider takes, with its source in a comment; None if it sets no limit.
        loggers: the SDK's loggers, kept at INFO while the store is open: at DEBUG they print requests.
    """

    scheme: ClassVar[str]
    capabilities: Capability = Capability(0)
    origin: str = ""
    newest_is_current: bool = False
    eventual: bool = False
    domain: str = ""
    read_only: str = ""
    lists_records: bool = False
    leases: bool = False
    write_budget: WriteBudget | None = None
    loggers: ClassVar[tuple[str, ...]] = ()
    needs_coordinator: ClassVar[Capability] = Capability(0)
    auth_keys: ClassVar[tuple[str, ...] | None] = None
    option_keys: ClassVar[tuple[str, ...] | None] = None

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the store a URL names, without I/O where that is possible.

        Raises:
            InvalidRequestError: the URL or a setting is wrong.
        """
        raise NotImplementedError

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate the SDK's exception by table; None for one that is not known.

        The error holds no provider text. For a write, ``performed`` says whether it happened: False
        only if it cannot have (refused, or never sent), None if the answer was lost.
        """
        return None

    @abstractmethod
    def get(self, key: Key, version: str | Stage) -> Secret:
        """Read a version by id, or the one at stage CURRENT or PREVIOUS. One request.

        At PENDING it is the value of `SecretInfo.foreign`: a rotation's own is read by ``get_pending``.

        Raises:
            SecretNotFoundError: missing, deleted, disabled or destroyed; only pending; or no such version.
        """

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        """Write a new current version; kind and record travel with the value. Needs PUT.

        ``if_version``: an id writes only if it is current (CAS or CAS_GUARDED), ABSENT only if there is
        none (CREATE_ONLY), None always. The version returned comes from the write's own answer.

        Raises:
            SecretConflictError: not in that state, or the name is in the bin; nothing of ours became current.
            UnavailableError: with ``performed=None`` if the answer was lost and reading back did not tell.
        """
        raise unsupported(self, "put")

    def purge(self, key: Key) -> None:
        """Destroy the secret and all its versions for ever, also when it is in the bin. Needs PURGE."""
        raise unsupported(self, "purge")

    def delete(self, key: Key) -> None:
        """Put the secret in the bin, whence ``restore`` brings it back whole. Needs DELETE."""
        raise unsupported(self, "delete")

    def restore(self, key: Key) -> None:
        """Bring a deleted secret back. Needs DELETE.

        Raises:
            SecretNotFoundError: not in the bin (also when it was never deleted).
        """
        raise unsupported(self, "restore")

    def retire(self, key: Key, version: str) -> None:
        """Destroy exactly that version's value, if the provider can; repeating it is not an error."""

    def refused(self, key: Key, version: str) -> None:
        """The target refused this version: give another from now on, where the provider makes them."""

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        """All names and companion keys that begin with ``prefix``; none binned or Reserved. Needs LIST.

        ``detail`` adds replication's record, and of the rest what the provider tells along with it:
        ``describe`` tells all. Where the class says ``lists_records`` it costs no more requests.
        """
        raise unsupported(self, "list")

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        """The versions that can be read, newest first; one that is only pending is hidden. Needs VERSIONS."""
        raise unsupported(self, "versions")

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        """The versions written right after ``base`` and later, oldest first. Needs VERSIONS.

        Raises:
            SecretNotFoundError: what came right after ``base`` can no longer be told.
        """
        raise unsupported(self, "versions")

    def describe(self, key: Key) -> SecretInfo:
        """Tags and dates of one secret, in full detail. Needs DESCRIBE."""
        raise unsupported(self, "describe")

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        """Set these tags, remove those that are None, keep the others. Needs TAGS."""
        raise unsupported(self, "set_tags")

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        """Read the current versions of many secrets; an outcome for each key. Needs BATCH_GET."""
        raise unsupported(self, "get_many")

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        """Hold a value that native readers of "the secret" do not see; a repeat is one. Needs NATIVE_PENDING.

        The record is written with the value, as ``put`` does: it is in force once the value is promoted.

        Raises:
            SecretNotFoundError: there is no current version.
            SecretConflictError: another id or value is held, the id is done, or the base is not current.
        """
        raise unsupported(self, "put_pending")

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        """Read the value held under this rotation id.

        Raises:
            SecretNotFoundError: nothing is held under it.
        """
        raise unsupported(self, "get_pending")

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        """Make the held version current, if its base still is. A repeat returns the same version.

        Raises:
            SecretConflictError: superseded: something else became current since.
            SecretNotFoundError: nothing was ever held under this id, or it was discarded.
        """
        raise unsupported(self, "promote_pending")

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        """Drop what is held under this id; nothing held is not an error.

        Raises:
            SecretConflictError: it was promoted.
        """
        raise unsupported(self, "discard_pending")

    def locate(self, key: Key) -> str:
        """The provider's own canonical name of the resource, for leases and audit; no credential in it."""
        return f"{self.origin}/{key}"

    def limit(self, key: Key) -> int | None:
        """The most bytes, as ``size`` counts them, that a value may take; None if there is no limit.

        A name's limit leaves room for a companion's frame (``stages.FRAME_BYTES``) on stores that
        need one, so that a value at the limit can still be rotated.
        """
        return None

    def size(self, value: SecretValue) -> int:
        """How many bytes of the limit a value takes, after whatever encoding this backend gives it."""
        return len(value.reveal())

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        """Refuse what the provider never holds, without a request; how large a value is, ``limit`` says.

        Raises:
            InvalidRequestError: an empty value, say; or tags, all that the secret would have.
        """

    @property
    def writer(self) -> Backend:
        """The backend that takes the writes; every read that feeds a write goes there too."""
        return self

    def own_version(self, version: str) -> str:
        """The writer's own id of a version that this backend handed out (failover qualifies ids).

        Raises:
            SecretConflictError: the version is another member's.
        """
        return version

    def public_version(self, version: str) -> str:
        """What this backend hands out for the writer's own version id."""
        return version

    def native_replication(self) -> NativeReplication | None:
        """What configures and watches the provider's own replication, where it has one."""
        return None

    def own_key(self) -> KeyWrapper | None:
        """The key encryption key this backend keeps for itself, where it must be encrypted (local)."""
        return None

    def principal(self) -> str | None:
        """Who the provider takes us for, where it can be asked, for the audit; never a credential."""
        return None

    def after_fork(self) -> None:
        """In a forked child: drop sessions and sockets without closing them, the parent still uses them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""


def unsupported(backend: Backend, operation: str) -> UnsupportedOperationError:
    """The error for an operation a backend does not have."""
    who = backend.origin or type(backend).__name__
    return UnsupportedOperationError(f"{who} cannot {operation}", operation=operation)
