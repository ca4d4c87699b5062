"""``strongroom.open``: from an alias or a URL to a store, with encryption and failover as configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from .backend import Backend, Capability, Clock, Settings
from .errors import InvalidRequestError
from .gate import NOTHING
from .layering import encrypted, failover, replicated
from .registry import open_backend, open_key, open_signer
from .store import SecretStore
from .toml.credentials import merged, read_all
from .toml.entries import CoordinatorEntry, KeyEntry, KeyringEntry, NoticeEntry, StoreEntry
from .toml.file import Config
from .value import SecretValue

if TYPE_CHECKING:
    from .audit.event import AuditHook
    from .auditing import Lease
    from .envelope.keyring import Keyring, KeyringPlace
    from .keys import KeyWrapper, Signer
    from .layers.owner import Owned
    from .lease import Coordinator
    from .revokedlist import KnownRevocations
    from .toml.audit_entries import AuditEntry
    from .toml.replicas import ReplicaEntry

One = TypeVar("One", "KeyWrapper", "Coordinator", "Lease", "KnownRevocations")
__all__ = [
    "Config",
    "KeyEntry",
    "KeyringEntry",
    "Opening",
    "StoreEntry",
    "audit",
    "coordinator",
    "key",
    "keyring",
    "open",
    "reach",
    "signer",
]
Override = Mapping[str, "Callable[[Sequence[AuditHook], Capability], SecretStore]"]
overrides: list[Override] = []
"""What ``strongroom.testing.override`` opens in the place of aliases and URLs, the newest last."""


def open(  # noqa: A001  (the module's main verb, as in gzip.open)
    target: str | None = None,
    *,
    require: Capability = NOTHING,
    config: str | os.PathLike[str] | Config | None = None,
    hooks: Sequence[AuditHook] = (),
    auth: Mapping[str, str | SecretValue] | None = None,
    clock: Clock | None = None,
) -> SecretStore:
    """Open a store by its alias in strongroom.toml or by URL; without either, the default store.

    Args:
        target: such as ``"prod"`` or ``"aws-sm://eu-west-1/prod"``.
        require: capabilities without which opening fails.
        config: a file to read instead of looking one up, or one already read.
        hooks: called before and after every operation.
        auth: credentials that are not in the file, such as a passphrase that was asked for; not for a
            failover, whose members have their own.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the configuration or the URL is wrong.
        BackendNotInstalledError: an SDK is missing.
        UnsupportedOperationError: a required capability is missing.
    """
    if overrides and (instead := _overridden(target, config)):
        return instead(hooks, require)
    loaded = config if isinstance(config, Config) else Config.load(config)
    entry = loaded.entry(target)
    if auth and entry.failover:
        message = f"{entry.alias} is a failover: which member's credentials are given cannot be told"
        raise InvalidRequestError(message, hint="give each member its own under its alias in strongroom.toml")
    settings = replace(entry.settings, auth=merged(entry.settings.auth, auth or {}), clock=clock or Clock())
    with ExitStack() as opened:
        opening = Opening(loaded, settings.clock, opened, hooks)
        trail = opening.trail()
        backend = opening.store(replace(entry, settings=settings))
        told = (trail.hook(backend.principal, strict=entry.strict, alias=entry.alias),) if trail else ()
        store = SecretStore(
            backend,
            hooks=(*told, *hooks),  # what a program's own hook refuses was tried, and is recorded
            cache=entry.cache,
            names=settings.names,
            alias=entry.alias,
            clock=settings.clock,
            require=require,
        )
        if entry.notices:
            from .notify.listener import listen

            listen(store, [(one.url, opening.settings(one)) for one in entry.notices])
        opened.pop_all()  # the store closes them from here on
        return store


def key(
    target: str,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    hooks: Sequence[AuditHook] = (),
    clock: Clock | None = None,
) -> KeyWrapper:
    """Open a key encryption key by its alias in strongroom.toml or by URL, or a keyring by its alias.

    The caller closes it.

    Args:
        target: the alias or the URL.
        config: a file to read instead of looking one up, or one already read.
        hooks: called before and after each wrap and unwrap.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the configuration or the URL is wrong.
        BackendNotInstalledError: an SDK is missing.
        SecretStoreError: a keyring cannot be opened.
    """
    loaded = config if isinstance(config, Config) else Config.load(config)
    if target in loaded.keyrings:
        made: KeyWrapper = keyring(target, config=loaded, clock=clock)
    else:
        made = open_key(loaded.key(target).url, reach(loaded.key(target), loaded, clock))
    if not (hooks or loaded.audit):
        return made
    from .layers.audited_keys import AuditedKey

    with ExitStack() as opened:
        opened.callback(made.close)
        told, owned = _key_hooks(loaded, clock, opened, hooks)
        opened.pop_all()
        return AuditedKey(made, target, told, clock or Clock(), owned)


def reach(entry: StoreEntry | KeyEntry, config: Config, clock: Clock | None = None) -> Settings:
    """How to reach what an entry names, its credentials read.

    Raises:
        InvalidRequestError: a credential is missing or unreadable.
        SecretStoreError: as the store that keeps one says.
    """
    with ExitStack() as opened:
        return Opening(config, clock or Clock(), opened).settings(entry)


def keyring(
    target: str,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    clock: Clock | None = None,
    create: bool = False,
) -> Keyring:
    """Open a keyring by its alias in strongroom.toml, or make it; the caller closes it.

    Raises:
        InvalidRequestError: nothing of that name, or the configuration is wrong.
        SecretNotFoundError: it was not made yet.
        SecretConflictError: it was made already.
        SecretStoreError: as its place or its roots say.
    """
    from .envelope.keyring import Keyring

    loaded, clock = config if isinstance(config, Config) else Config.load(config), clock or Clock()
    entry = loaded.keyring(target)
    with ExitStack() as opened:
        opening = Opening(loaded, clock, opened)
        opening.coordinate()
        place, roots = opening.place(entry), [opening.key(alias) for alias in entry.roots]
        make: Callable[..., Keyring] = Keyring.create if create else Keyring.open
        if loaded.audit:
            from .layers.audited_keyring import audited_maker

            make = audited_maker(audit(loaded, loaded.audit, clock), create=create)
        made = make(place, roots, name=entry.alias, forgeable=entry.forgeable, clock=clock)
        opened.pop_all()  # the keyring closes them from here on
        return made


def signer(
    target: str,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    hooks: Sequence[AuditHook] = (),
    clock: Clock | None = None,
) -> Signer:
    """Open a signing key by its alias in strongroom.toml or by URL; the caller closes it.

    Its arguments and errors are those of `key`; the hooks are called before and after each signature.
    """
    loaded = config if isinstance(config, Config) else Config.load(config)
    entry = loaded.key(target)
    made = open_signer(entry.url, reach(entry, loaded, clock))
    if not (hooks or loaded.audit):
        return made
    from .layers.audited_keys import AuditedSigner

    with ExitStack() as opened:
        opened.callback(made.close)
        told, owned = _key_hooks(loaded, clock, opened, hooks)
        opened.pop_all()
        return AuditedSigner(made, target, told, clock or Clock(), owned)


def audit(config: Config, entry: AuditEntry, clock: Clock | None = None) -> Lease:
    """The audit that a table ``[audit]`` means; whoever asks for it closes it.

    Args:
        config: has the keys that the table names; their use is not recorded.
        entry: the table.
        clock: injected in tests.

    Raises:
        InvalidRequestError: what it names is wrong.
        SecretStoreError: as its keys say.
    """
    from .auditing import Keys, Lease

    clock = clock or Clock()

    def found(alias: str) -> tuple[str, Settings]:
        return config.keys[alias].url, reach(config.keys[alias], config, clock)

    keys = Keys(lambda alias: open_key(*found(alias)), lambda alias: open_signer(*found(alias)))
    return Lease(entry, keys, clock)


def _key_hooks(
    config: Config, clock: Clock | None, opened: ExitStack, hooks: Sequence[AuditHook]
) -> tuple[tuple[AuditHook, ...], list[Lease]]:
    trail = Opening(config, clock or Clock(), opened, hooks).trail()
    return ((trail.hook(), *hooks), [trail]) if trail else (tuple(hooks), [])


@contextmanager
def coordinator(config: Config, clock: Clock | None = None) -> Iterator[Coordinator | None]:
    """The coordinator that strongroom.toml names, or None if it names none; closed at the end.

    Raises:
        InvalidRequestError: its store has no compare-and-set.
        SecretStoreError: as its store says.
    """
    with ExitStack() as opened:
        yield Opening(config, clock or Clock(), opened).coordinator()


def _overridden(
    target: str | None, config: str | os.PathLike[str] | Config | None
) -> Callable[[Sequence[AuditHook], Capability], SecretStore] | None:
    known = {alias: opens for override in overrides for alias, opens in override.items()}
    if target is None:  # the default store; where no file says which that is, the only one there is
        loaded = config if isinstance(config, Config) else Config.load(config)
        only = [*loaded.stores] or [*known]
        target = loaded.default or (only[0] if len(only) == 1 else None)
    return known.get(target) if target else None


class Opening:
    """Opens a store with all it stands on; what was opened is closed by `opened` if a later part fails.

    Keys and raw backends are opened once, however many members of a failover name them.
    """

    def __init__(self, config: Config, clock: Clock, opened: ExitStack, hooks: Sequence[AuditHook] = ()):
        self._config, self._clock, self._opened, self._hooks = config, clock, opened, hooks
        self._owned: list[KeyWrapper | Coordinator | Lease | KnownRevocations] = []
        self._keys: dict[str, KeyWrapper] = {}
        self._raws: dict[str, Backend] = {}
        self._coordinator: Coordinator | None = None

    def coordinate(self) -> None:
        """Open what guards the stores opened from here on."""
        self._coordinator = self.coordinator()

    def trail(self) -> Lease | None:
        """The audit that the configuration names; opened first, it is closed last."""
        if self._config.audit is None:
            return None
        lease = self._own(audit(self._config, self._config.audit, self._clock))
        self._hooks = (lease.hook(), *self._hooks)
        return lease

    def store(self, entry: StoreEntry) -> Backend:
        """All that is below a store; it closes what it stands on."""
        self.coordinate()
        backend = self._backend(entry)
        return _owner(backend, self._owned) if self._owned else backend

    def alone(self, entry: StoreEntry) -> Backend:
        """Without the coordinator."""
        return self._backend(entry)

    def member(self, entry: StoreEntry) -> Backend:
        """With its own encryption, and nothing of replication's over it."""
        # Before a keyring that is kept there, since `entry` may have more credentials.
        return encrypted(self._raw(entry), entry, self.key, self._clock)

    def coordinator(self) -> Coordinator | None:
        """The coordinator that the configuration names."""
        entry = self._config.coordinator
        return self._own(self._coordinates(entry)) if entry else None

    def key(self, alias: str) -> KeyWrapper:
        """The key or keyring of an alias, opened once."""
        if alias not in self._keys:
            self._keys[alias] = self._own(self._key(alias))
        return self._keys[alias]

    def place(self, entry: KeyringEntry) -> KeyringPlace:
        """Below the store's own encryption: a keyring cannot be encrypted under itself."""
        from .envelope.keyring import FilePlace, StorePlace

        if entry.file:
            return FilePlace(entry.file)
        backend: Backend = self._raw(self._config.stores[entry.store])
        if self._coordinator:
            backend = _owner(backend, [self._coordinator])
        return StorePlace(backend, entry.alias, clock=self._clock)

    def settings(self, entry: StoreEntry | KeyEntry | NoticeEntry) -> Settings:
        """How to reach what an entry names, its credentials read."""
        auth = read_all(entry.settings.auth, self.secret)
        return replace(entry.settings, auth=auth, clock=self._clock)

    def secret(self, text: str) -> SecretValue:
        """A credential that another store keeps. It is only read, so nothing has to be guarded."""
        from .references import Reference

        reference = Reference.parse(text)
        entry = self._config.stores[reference.alias]
        with ExitStack() as opened:
            backend = Opening(self._config, self._clock, opened, self._hooks).alone(entry)
            names = entry.settings.names
            with SecretStore(backend, hooks=self._hooks, cache=None, names=names, alias=entry.alias) as store:
                return reference.part_of(store.get(reference.name, version=reference.version).value)

    def _key(self, alias: str) -> KeyWrapper:
        if alias in self._config.keyrings:
            entry = self._config.keyrings[alias]
            place, roots = self.place(entry), [self.key(root) for root in entry.roots]
            self._opened.callback(place.close)
            from .layers.lazy_keyring import LazyKeyring  # layers that few stores have are loaded for them

            return LazyKeyring(place, roots, name=entry.alias, forgeable=entry.forgeable, clock=self._clock)
        found = self._config.keys[alias]
        return open_key(found.url, self.settings(found))

    def _own(self, one: One) -> One:
        self._owned.append(one)
        self._opened.callback(one.close)
        return one

    def _coordinates(self, entry: CoordinatorEntry) -> Coordinator:
        from .coordinating import open_coordinator

        stores = self._config.stores
        return open_coordinator(entry, self.secret, lambda one: self._backend(stores[one]), self._clock)

    def _backend(self, entry: StoreEntry) -> Backend:
        if entry.failover:
            members = {alias: self._backend(self._config.stores[alias]) for alias in entry.failover}
            return failover(members, entry, self._config, self._clock)
        if not self._config.replicas:
            return self.member(entry)
        return replicated(self.member(entry), entry, self._config, self._clock, self.checker)

    def _raw(self, entry: StoreEntry) -> Backend:
        if entry.alias not in self._raws:
            settings = replace(self.settings(entry), coordinator=self._coordinator)
            backend = self._raws[entry.alias] = open_backend(entry.url, settings)
            self._opened.callback(backend.close)
        return self._raws[entry.alias]

    def checker(self, replica: ReplicaEntry) -> KnownRevocations | None:
        """What a replica's readers know of revocations. It opens what it needs itself, when first asked."""
        if not self._config.revocations:
            return None
        from .revokedlist import known

        config, clock, hooks = self._config, self._clock, self._hooks
        opening = lambda opened: Opening(config, clock, opened, hooks)  # noqa: E731
        return self._own(known(config, replica, opening, partial(signer, config=config, clock=clock), clock))


def _owner(backend: Backend, owned: Sequence[Owned]) -> Backend:
    from .layers.owner import Owner

    return Owner(backend, owned)
