"""SecretStore: what an application uses. Names, sizes and capabilities are checked here, before any I/O."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from . import stages
from .audit.event import AuditEvent, AuditHook, Auditor, outcome_of
from .backend import (
    ABSENT,
    ANY_CAS,
    Absent,
    Backend,
    Capability,
    Clock,
    Secret,
    SecretInfo,
    SecretVersion,
    Stage,
)
from .cache import Cache, CachePolicy, Pins
from .errors import (
    InvalidRequestError,
    PartialFailureError,
    SecretStoreError,
    UnsupportedOperationError,
)
from .layers.edge import edge
from .names import Name, NameMode, check_beginning
from .value import SecretValue, take

if TYPE_CHECKING:
    from .stages import Pending

T = TypeVar("T")
NOTHING = Capability(0)
_DEFAULT_CACHE = CachePolicy()
_stores: weakref.WeakSet[SecretStore] = weakref.WeakSet()


@final
class SecretStore:
    """Secrets behind one interface. Open one with ``strongroom.open``; use it from any thread; close it.

    Args:
        backend: what keeps the secrets.
        hooks: called before and after every operation.
        cache: how long current values may be served; None asks the provider each time.
        names: ``portable`` or ``native``.
        alias: what the configuration calls this store.
        clock: injected in tests.
        require: capabilities without which this store must not open.

    Raises:
        UnsupportedOperationError: a required capability is missing.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        hooks: Sequence[AuditHook] = (),
        cache: CachePolicy | None = _DEFAULT_CACHE,
        names: NameMode = "portable",
        alias: str = "",
        clock: Clock | None = None,
        require: Capability = NOTHING,
    ):
        self._backend = edge(backend)
        self._auditor = Auditor(hooks)
        self._clock = clock or Clock()
        self._names: NameMode = names
        self._alias = alias
        self._closed = False
        self._pins = Pins(self._backend, self._clock)
        self._cache = Cache(cache, self._pins.read, self._clock) if cache else None
        self._need(require, "open", None)
        _stores.add(self)

    @property
    def capabilities(self) -> Capability:
        """What this store can do; anything else is refused before a request is sent."""
        return self._backend.capabilities

    @property
    def origin(self) -> str:
        """Where answers come from, without credentials."""
        return self._backend.origin

    @property
    def alias(self) -> str:
        """What the configuration calls this store, or an empty string."""
        return self._alias

    def get(self, name: str, *, version: str | None = None, stage: Stage = Stage.CURRENT) -> Secret:
        """Read a secret: the current version, the previous one, or one by its id.

        Raises:
            SecretNotFoundError: missing, deleted, disabled, or no such version.
            PermissionDeniedError: the identity may not read it.
            UnavailableError: the provider does not answer, and nothing within the stale bound is known.
            UnsupportedOperationError: the backend keeps no versions; a pending value is read by ``pending``.
        """
        key = self._key(name, "get")
        if stage is Stage.PENDING:
            raise UnsupportedOperationError(
                "a pending value is read by its rotation id", name=name, hint="use pending()"
            )
        if version is None and stage is Stage.CURRENT:
            return self._run("get", key, lambda: self._current(key), stage=stage.value)
        self._need(Capability.VERSIONS, "get", name)
        wanted: str | Stage = stage if version is None else version
        shown = stage.value if version is None else None
        read = lambda: self._named(self._backend.get(key, wanted), key)  # noqa: E731
        return self._run("get", key, read, version=version, stage=shown)

    def is_warm(self, name: str) -> bool:
        """Whether ``get(name)`` would be answered from the cache, without I/O."""
        return bool(self._cache and self._cache.is_warm(self._key(name, "get")))

    def get_many(self, names: Iterable[str]) -> dict[str, Secret]:
        """Read many current versions, in one request where the provider can.

        Raises:
            PartialFailureError: some could not be read; ``results`` has the others.
        """
        keys = [self._key(name, "get_many") for name in dict.fromkeys(names)]
        return self._run("get_many", f"{len(keys)} names", lambda: self._many(keys))

    def put(
        self,
        name: str,
        value: str | bytes | Mapping[str, Any] | SecretValue,
        *,
        if_version: str | Absent | None = None,
    ) -> SecretVersion:
        """Write a new current version.

        Args:
            name: the secret's name.
            value: text, bytes, or a mapping, which is written as JSON text.
            if_version: the version that must be current (compare-and-set); ABSENT to create only;
                None to write whatever is there.

        Raises:
            SecretConflictError: the secret is not in that state, or its name is in the bin.
            InvalidRequestError: the name, the value or its size.
            UnavailableError: ``performed`` says whether the write happened, None if that is unknown.
        """
        taken, value = take(value), b""
        key = self._key(name, "put")
        if isinstance(taken, InvalidRequestError):
            taken.name, taken.operation = name, "put"
            raise taken
        self._need(_needed_to_put(if_version), "put", name)
        stages.check_size(self._backend, key, taken)
        version = if_version if isinstance(if_version, str) else None
        return self._write("put", key, lambda: self._backend.put(key, taken, if_version), version=version)

    def list_names(self, prefix: str = "") -> Iterator[str]:
        """The names that begin with ``prefix``: all of them, page by page, never a value."""
        self._usable()
        self._need(Capability.LIST, "list", None)
        check_beginning(prefix, self._names)
        return self._listed(prefix)

    def versions(self, name: str) -> list[SecretVersion]:
        """The versions that can be read, newest first; a pending one is not among them."""
        key = self._key(name, "versions")
        self._need(Capability.VERSIONS, "versions", name)
        return self._run("versions", key, lambda: list(self._backend.versions(key)))

    def describe(self, name: str) -> SecretInfo:
        """Tags, dates and the newest version, never a value."""
        key = self._key(name, "describe")
        self._need(Capability.DESCRIBE, "describe", name)
        return self._run("describe", key, lambda: self._backend.describe(key))

    def set_tags(self, name: str, tags: Mapping[str, str | None]) -> None:
        """Set these tags, remove those given as None, keep all others."""
        key = self._key(name, "set_tags")
        self._need(Capability.TAGS, "set_tags", name)
        self._run("set_tags", key, lambda: self._backend.set_tags(key, dict(tags)))

    def delete(self, name: str) -> None:
        """Put the secret in the bin; ``restore`` brings it back.

        Raises:
            UnsupportedOperationError: this provider cannot undo a delete; use ``purge``.
        """
        key = self._key(name, "delete")
        self._need(Capability.DELETE, "delete", name)
        self._end("delete", key, lambda: stages.delete(self._backend.writer, key))

    def restore(self, name: str) -> None:
        """Bring a deleted secret back.

        Raises:
            SecretNotFoundError: it is not in the bin.
        """
        key = self._key(name, "restore")
        self._need(Capability.DELETE, "restore", name)
        self._end("restore", key, lambda: stages.restore(self._backend.writer, key))

    def purge(self, name: str) -> None:
        """Destroy the secret, its versions and its pending value for ever."""
        key = self._key(name, "purge")
        self._need(Capability.PURGE, "purge", name)
        self._end("purge", key, lambda: stages.purge(self._backend.writer, key))

    def rollback(self, name: str, *, if_version: str) -> SecretVersion:
        """Write the previous value as a new version, if ``if_version`` is the current one.

        Raises:
            SecretConflictError: ``if_version`` is not current: somebody was faster.
            SecretNotFoundError: there is no previous value.
        """
        key = self._key(name, "rollback")
        self._need(Capability.VERSIONS | _needed_to_put(if_version), "rollback", name)
        writer, bad = self._backend.writer, self._backend.own_version(if_version)
        return self._write(
            "rollback", key, lambda: self._public(stages.rollback(writer, key, bad)), version=bad
        )

    def refresh(self, name: str, *, rejected: str) -> Secret:
        """Read again because the target refused version ``rejected``; compare versions to see if it changed.

        Callers at the same time share one request, at most one a second and name goes out.
        """
        key = self._key(name, "refresh")
        cache, read = self._cache, self._pins.read
        ask = partial(cache.refresh, key, rejected) if cache else partial(read, key)
        return self._run("refresh", key, lambda: self._named(ask(), key), version=rejected)

    def pending(self, name: str, rotation_id: str) -> Pending:
        """The pending value of a secret under a rotation id (a UUID), to put, get, promote or discard.

        Raises:
            UnsupportedOperationError: this store cannot hold pending values.
        """
        key = self._key(name, "pending")
        if not stages.supports_pending(self.capabilities):
            raise self._unsupported("hold pending values", "pending", name)

        def run(operation: str, call: Callable[[], T]) -> T:
            changes = operation == "pending.promote"
            runner = self._write if changes else self._run
            return runner(operation, key, lambda: self._public(call()), rotation_id=rotation_id)

        return stages.Pending(self._backend, key, rotation_id, run)

    def close(self) -> None:
        """Drop cached values and release connections. Safe to repeat; anything else is refused after."""
        if not self._closed:
            self._closed = True
            if self._cache:
                self._cache.clear()
            self._pins.clear()
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SecretStore {self._alias or self.origin}>"

    def _after_fork(self) -> None:
        self._pins.clear()
        if self._cache:
            self._cache.after_fork()
        self._backend.after_fork()

    def _key(self, name: str, operation: str) -> Name:
        self._usable()
        try:
            return Name.parse(name, self._names)
        except InvalidRequestError as error:
            error.operation = operation
            raise

    def _usable(self) -> None:
        if self._closed:
            raise InvalidRequestError("the store is closed")

    def _need(self, wanted: Capability, operation: str, name: str | None) -> None:
        missing = wanted & ~self.capabilities
        if wanted & ANY_CAS and self.capabilities & ANY_CAS:
            missing &= ~ANY_CAS
        if missing:
            raise self._unsupported(f"{operation} with {', '.join(missing.names).lower()}", operation, name)

    def _unsupported(self, what: str, operation: str, name: str | None) -> UnsupportedOperationError:
        problem = f"{self._alias or self.origin} cannot {what}"
        return UnsupportedOperationError(problem, operation=operation, name=name, backend=self.origin)

    def _current(self, key: Name) -> Secret:
        return self._named(self._cache.get(key) if self._cache else self._pins.read(key), key)

    def _named(self, secret: Secret, key: Name) -> Secret:
        return secret if secret.name == key.text else replace(secret, name=key.text)

    def _public(self, result: T) -> T:
        """Give a writer's answer the version id that this store hands out."""
        if isinstance(result, SecretVersion):
            return replace(result, id=self._backend.public_version(result.id))
        if isinstance(result, Secret):
            return replace(result, version=self._backend.public_version(result.version))
        return result

    def _many(self, keys: Sequence[Name]) -> dict[str, Secret]:
        if not keys:
            return {}
        if Capability.BATCH_GET in self.capabilities:
            found = self._backend.get_many(keys)
            outcomes = {key: found[key] for key in keys}
        else:
            outcomes = {key: self._outcome(key) for key in keys}
        results = {
            key.text: self._named(got, key) for key, got in outcomes.items() if isinstance(got, Secret)
        }
        errors = {key.text: got for key, got in outcomes.items() if isinstance(got, SecretStoreError)}
        if errors:
            first = next(iter(errors))
            raise PartialFailureError(
                f"{len(errors)} of {len(keys)} secrets could not be read, first {first}",
                results=results,
                errors=errors,
            )
        return results

    def _outcome(self, key: Name) -> Secret | SecretStoreError:
        try:
            return self._current(key)
        except SecretStoreError as error:
            return error.with_traceback(None)

    def _listed(self, prefix: str) -> Iterator[str]:
        event = self._intent("list", prefix)
        error: BaseException | None = None
        try:
            for info in self._backend.list_info(prefix):
                if isinstance(info.key, Name):
                    yield info.key.text
        except SecretStoreError as exc:
            error = exc
            raise
        finally:
            self._auditor.outcome(outcome_of(event, self._clock.now(), error))

    def _write(self, operation: str, key: Name, call: Callable[[], T], **facts: str | None) -> T:
        """Run a write, and pin what it made; whatever happens, the cache must not keep the old value."""
        try:
            result = self._run(operation, key, call, **facts)
        finally:
            self._forget(key)
        if isinstance(result, SecretVersion):
            self._pins.set(key, result)
        return result

    def _end(self, operation: str, key: Name, call: Callable[[], None]) -> None:
        self._pins.drop(key)
        try:
            self._run(operation, key, call)
        finally:
            self._forget(key)

    def _forget(self, key: Name) -> None:
        if self._cache:
            self._cache.evict(key)

    def _run(self, operation: str, key: Name | str, call: Callable[[], T], **facts: str | None) -> T:
        event = self._intent(operation, key, **facts)
        result, recorded = self._auditor.run(event, call, self._clock)
        flagged = not recorded and isinstance(result, (Secret, SecretVersion))
        return replace(result, audit_degraded=True) if flagged else result  # type: ignore[type-var]

    def _intent(self, operation: str, key: Name | str, **facts: str | None) -> AuditEvent:
        self._usable()
        location = self._backend.locate(key) if isinstance(key, Name) and self._auditor else ""
        event = AuditEvent(
            operation,
            str(key),
            "intent",
            self._clock.now(),
            store=self._alias,
            backend=self.origin,
            location=location,
            **facts,  # type: ignore[arg-type]
        )
        self._auditor.intent(event)
        return event


def _needed_to_put(if_version: str | Absent | None) -> Capability:
    if if_version is ABSENT:
        return Capability.PUT | Capability.CREATE_ONLY
    return Capability.PUT | (ANY_CAS if isinstance(if_version, str) else NOTHING)


def _after_fork() -> None:
    # Parent and child would write on the same sockets, and a lock may be held by a thread that is gone.
    for store in list(_stores):
        store._after_fork()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
