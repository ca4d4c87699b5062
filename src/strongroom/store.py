"""SecretStore: what an application uses. Names, sizes and capabilities are checked here, before any I/O."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

from . import pairs, stages
from .audit.event import AuditHook, Auditor
from .backend import Absent, Backend, Capability, Clock, Secret, SecretInfo, SecretVersion, Stage
from .cachepolicy import CachePolicy
from .errors import InvalidRequestError
from .gate import NOTHING, Gate, needed_to_put
from .hinting import Hints
from .layers.edge import edge
from .names import Name, NameMode
from .opened import stores
from .operations import Operations, made_current
from .reads import Accounting, Reads, named
from .value import SecretValue, take
from .watching import POLL, Calls, Watcher, begin, changes

if TYPE_CHECKING:
    from .cached import Entry
    from .layers.reencrypting import Reencrypted
    from .stages import Pending
    from .watching import Joined, Subscriber

T = TypeVar("T")
_CURRENT = Stage.CURRENT  # a global is found faster than a member of an enum
_DEFAULT_CACHE = CachePolicy()


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

    _lent = False  # a handle on another's backend and cache, which that one releases

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
        self._alias = alias
        self._gate = Gate(self._backend, names, alias)
        self._operations = Operations(self._backend, self._auditor, self._gate, self._clock, alias)
        self._run = self._operations.run
        self._reads = Reads(self._backend, cache, self._clock, alias)
        # Hooks hear of each read, or of its count: otherwise none may be answered from this dict.
        self._warm, self._monotonic = {} if hooks else self._reads.warm, self._reads.monotonic
        self._accounting = Accounting(self._reads, self._auditor.hooks, weakref.WeakMethod(self._serve))
        poll = cache.poll if cache else POLL
        self._watcher = Watcher(self._reads.look, self._reads.current, poll, self._clock)
        self._reads.saw = self._watcher.saw
        self._hints = Hints(self._reads, self._watcher.watched, cache, self._clock)
        self._gate.need(require, "open", None)
        stores.add(self)

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
        try:
            entry, now = self._warm[name], self._monotonic  # called as a method it would be looked up twice
            if now() < entry.until and version is None and stage is _CURRENT:
                return next(entry.reads)
        except (KeyError, TypeError):  # not cached, or no name at all
            pass
        return self._get(name, version, stage)

    def _known(self, name: str) -> Secret | None:
        """What ``get`` would answer without waiting; None too where hooks have to hear of each read."""
        key = self._gate.key(name, "get")
        return self._reads.known(key) if self._accounting.allowed or not self._auditor else None

    def _serve(self, warm: dict[str, Entry]) -> None:
        self._warm = warm

    def _get(self, name: str, version: str | None, stage: Stage) -> Secret:
        key = self._gate.key(name, "get")
        if stage is Stage.PENDING:
            raise self._gate.unsupported(
                "get a pending value", "get", name, "use pending() with its rotation id"
            )
        if version is None and stage is Stage.CURRENT:
            if self._accounting.allowed and (known := self._reads.known(key)):
                return known
            return self._run("get", key, lambda: self._reads.current(key), stage=stage.value)
        self._gate.need(Capability.VERSIONS, "get", name)
        wanted: str | Stage = stage if version is None else version
        shown = stage.value if version is None else None
        read = lambda: named(self._backend.get(key, wanted), key)  # noqa: E731
        return self._run("get", key, read, version=version, stage=shown)

    def is_warm(self, name: str) -> bool:
        """Whether ``get(name)`` would be answered from the cache, without I/O."""
        return self._reads.is_warm(self._gate.key(name, "get"))

    def get_many(self, names: Iterable[str]) -> dict[str, Secret]:
        """Read many current versions, in one request where the provider can.

        Raises:
            PartialFailureError: some could not be read; ``results`` has the others.
        """
        keys = [self._gate.key(name, "get_many") for name in dict.fromkeys(names)]
        return self._operations.run_many("get_many", keys, lambda: self._reads.every(keys))

    def prefetch(self, names: Iterable[str]) -> None:
        """Read what will be needed into the cache, if there is one, in as few requests as can be.

        Raises:
            PartialFailureError: some could not be read; the others are in the cache.
        """
        keys = [self._gate.key(name, "prefetch") for name in dict.fromkeys(names)]
        self._operations.run_many("prefetch", keys, lambda: self._reads.every(keys))

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
        key = self._gate.key(name, "put")
        if isinstance(taken, InvalidRequestError):
            taken.name, taken.operation = name, "put"
            raise taken
        self._gate.need(needed_to_put(if_version), "put", name)
        stages.check_size(self._backend, key, taken, "put")
        version = if_version if isinstance(if_version, str) else None
        call = lambda: self._backend.put(key, taken, if_version)  # noqa: E731
        return self._write("put", key, call, taken, version=version)

    def list_names(self, prefix: str = "") -> Iterator[str]:
        """The names that begin with ``prefix``: all of them, page by page, never a value."""
        return (str(info.key) for info in self._operations.listed(self._gate.beginning(prefix)))

    def list_info(self, prefix: str = "") -> Iterator[SecretInfo]:
        """As ``list_names``, with what the provider tells along with them: of ``describe``'s, or nothing."""
        return self._operations.listed(self._gate.beginning(prefix), detail=True)

    def versions(self, name: str) -> list[SecretVersion]:
        """The versions that can be read, newest first; a pending one is not among them."""
        key = self._gate.key(name, "versions")
        self._gate.need(Capability.VERSIONS, "versions", name)
        return self._run("versions", key, lambda: list(self._backend.versions(key)))

    def describe(self, name: str) -> SecretInfo:
        """Tags, dates and the newest version, never a value."""
        key = self._gate.key(name, "describe")
        self._gate.need(Capability.DESCRIBE, "describe", name)
        return self._run("describe", key, lambda: self._backend.describe(key))

    def set_tags(self, name: str, tags: Mapping[str, str | None]) -> None:
        """Set these tags, remove those given as None, keep all others."""
        key = self._gate.key(name, "set_tags")
        self._gate.need(Capability.TAGS, "set_tags", name)
        self._run("set_tags", key, lambda: self._backend.set_tags(key, dict(tags)))

    def delete(self, name: str) -> None:
        """Put the secret in the bin; ``restore`` brings it back.

        Raises:
            UnsupportedOperationError: this provider cannot undo a delete; use ``purge``.
        """
        key = self._gate.key(name, "delete")
        self._gate.need(Capability.DELETE, "delete", name)
        self._write("delete", key, lambda: pairs.delete(self._backend.writer, key))

    def restore(self, name: str) -> None:
        """Bring a deleted secret back.

        Raises:
            SecretNotFoundError: it is not in the bin.
        """
        key = self._gate.key(name, "restore")
        self._gate.need(Capability.DELETE, "restore", name)
        self._write("restore", key, lambda: pairs.restore(self._backend.writer, key))

    def purge(self, name: str) -> None:
        """Destroy the secret, its versions and its pending value for ever."""
        key = self._gate.key(name, "purge")
        self._gate.need(Capability.PURGE, "purge", name)
        self._write("purge", key, lambda: pairs.purge(self._backend.writer, key))

    def rollback(self, name: str, *, if_version: str) -> SecretVersion:
        """Write the previous value as a new version, if ``if_version`` is the current one.

        Raises:
            SecretConflictError: ``if_version`` is not current: somebody was faster.
            SecretNotFoundError: there is no previous value.
        """
        key = self._gate.key(name, "rollback")
        self._gate.need(Capability.VERSIONS | needed_to_put(if_version), "rollback", name)
        call = lambda: self._public(stages.rollback(self._backend, key, if_version))  # noqa: E731
        return self._write("rollback", key, call, version=if_version)

    def retire(self, name: str, *, version: str) -> None:
        """Destroy that one version's value as far as the provider can; a conflict if it is current."""
        key = self._gate.key(name, "retire")
        self._gate.need(Capability.VERSIONS | Capability.PUT, "retire", name)
        self._write("retire", key, lambda: stages.retire(self._backend, key, version), version=version)

    def reencrypt(self, name: str, *, dry_run: bool = False) -> Reencrypted:
        """Write the current value anew under exactly the keys this store has now, unless it is already.

        Repeat it for as long as it is interrupted; `reencrypt_store` does all names. It revokes nothing: the
        previous versions stay under their keys, and a secret that leaked must be changed.

        Args:
            dry_run: decrypt, verify and say what would be done.

        Raises:
            InvalidRequestError: the store is not encrypted by its configuration, or is a failover.
            SecretNotFoundError: there is no such secret.
            SecretConflictError: others wrote each time; nothing of theirs was replaced.
            IntegrityError: what is stored does not open.
            UnsupportedOperationError: the store has no compare-and-set.
        """
        from .layers.reencrypting import Reencryption, encryption

        key = self._gate.key(name, "reencrypt")
        layer = encryption(self._backend)
        if dry_run:
            return self._run("reencrypt", key, lambda: Reencryption(layer, dry_run=True).of(key))
        self._gate.need(needed_to_put(""), "reencrypt", name, layer)
        return self._write("reencrypt", key, lambda: Reencryption(layer).of(key))

    def refresh(self, name: str, *, rejected: str) -> Secret:
        """Read again because the target refused version ``rejected``; compare versions to see if it changed.

        Callers at the same time share one request, at most one a second and name goes out.
        """
        key = self._gate.key(name, "refresh")
        return self._run("refresh", key, lambda: self._reads.refresh(key, rejected), version=rejected)

    def on_change(self, name: str, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """Call ``callback(name, version)`` once for each change of the current version from now on.

        Changes by others are found every ``CachePolicy.poll`` seconds, by one thread for all names; what
        this store writes or reads is told at once. The callback runs in a thread of its own, and what it
        raises is logged by type. A deleted secret is no change until it is back with another version.

        Returns:
            What ends it: no further call begins after that. It may be called again, also in the callback.

        Raises:
            PermissionDeniedError: the identity may not read it. A missing secret can be watched.
            UnavailableError: no thread can be started. A provider that does not answer can be watched.
        """
        return begin(*self._join("on_change", name, Calls(name, callback)))

    def watch(self, name: str, timeout: float | None = None) -> Iterator[str]:
        """The versions that become current from now on, as `on_change`; each step waits for the next.

        It ends when none came for ``timeout`` seconds, or when the store is closed.

        Raises:
            PermissionDeniedError: the identity may not read it.
            UnavailableError: no thread can be started.
        """
        return changes(self._watcher, lambda waiting: begin(*self._join("watch", name, waiting)), timeout)

    def hint(self, name: str | None = None) -> None:
        """Say that a secret may have changed, or None: that any may have. It neither waits nor raises.

        What is cached is served on, and read again behind at most once a second. Other names are noise.
        """
        with suppress(InvalidRequestError):
            self._hints.hint(None if name is None else self._gate.key(name, "hint"))

    def pending(self, name: str, rotation_id: str) -> Pending:
        """The pending value of a secret under a rotation id (a UUID), to put, get, promote or discard.

        Raises:
            UnsupportedOperationError: this store cannot hold pending values.
        """
        key = self._gate.key(name, "pending")
        if not stages.supports_pending(self.capabilities):
            raise self._gate.unsupported("hold pending values", "pending", name)

        def run(operation: str, call: Callable[[], T]) -> T:
            # A discard may write current's value anew, so that the version the cache knows is another.
            changes = operation.removeprefix("pending.") in ("promote", "discard", "fence", "clean")
            runner = self._write if changes else self._run
            return runner(operation, key, lambda: self._public(call()), rotation_id=rotation_id)

        return stages.Pending(self._backend, key, rotation_id, run)

    def close(self) -> None:
        """Drop cached values and release connections. Safe to repeat; anything else is refused after."""
        if not self._gate.closed:
            self._gate.closed = True
            self._watcher.close()
            self._accounting.close()
            if self._lent:
                self._warm = {}
                return
            self._hints.close()
            self._reads.clear()
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SecretStore {self._alias or self.origin}>"

    def _after_fork(self) -> None:
        self._auditor.after_fork()
        self._reads.after_fork()
        self._watcher.after_fork()
        self._hints.after_fork()
        self._backend.after_fork()

    def _join(self, operation: str, name: str, subscriber: Subscriber) -> Joined:
        key = self._gate.key(name, operation)
        learn = lambda: self._watcher.learn(key)  # noqa: E731
        return self._watcher.join(key, subscriber), lambda: self._run(operation, key, learn)

    def _public(self, result: T) -> T:
        """Give a writer's answer the version id that this store hands out."""
        if isinstance(result, SecretVersion):
            return replace(result, id=self._backend.public_version(result.id))
        if isinstance(result, Secret):
            return replace(result, version=self._backend.public_version(result.version))
        return result

    def _write(
        self, operation: str, key: Name, call: Callable[[], T], value: SecretValue | None = None, **facts: Any
    ) -> T:
        with self._reads.writing(key) as write:
            result = self._run(operation, key, call, **facts)
            if made := made_current(operation, result):
                write.made(made, value)
        return result
