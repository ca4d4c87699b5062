"""``strongroom.open``: from an alias or a URL to a store, with encryption and failover as configured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from .backend import Backend, Capability, Clock
from .configfile import Config, KeyEntry, StoreEntry
from .gate import NOTHING
from .layers.encrypted import Encrypted
from .layers.failover import Failover
from .layers.owner import Owner
from .names import StoreURL
from .registry import open_backend, open_key, open_signer
from .store import SecretStore
from .value import SecretValue

if TYPE_CHECKING:
    from .audit.event import AuditHook
    from .keys import KeyWrapper, Signer
    from .lease import Coordinator

Owned = TypeVar("Owned", "KeyWrapper", "Coordinator")
__all__ = ["Config", "KeyEntry", "StoreEntry", "coordinator", "key", "open", "signer"]


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
        auth: credentials that are not in the file, such as a passphrase that was asked for.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the configuration or the URL is wrong.
        BackendNotInstalledError: an SDK is missing.
        UnsupportedOperationError: a required capability is missing.
    """
    loaded = config if isinstance(config, Config) else Config.load(config)
    entry = loaded.entry(target)
    settings = replace(entry.settings, auth={**entry.settings.auth, **(auth or {})}, clock=clock or Clock())
    with ExitStack() as opened:
        backend = _Opening(loaded, settings.clock, opened).store(replace(entry, settings=settings))
        store = SecretStore(
            backend,
            hooks=hooks,
            cache=entry.cache,
            names=settings.names,
            alias=entry.alias,
            clock=settings.clock,
            require=require,
        )
        opened.pop_all()  # the store closes them from here on
        return store


def key(
    target: str, *, config: str | os.PathLike[str] | Config | None = None, clock: Clock | None = None
) -> KeyWrapper:
    """Open a key encryption key by its alias in strongroom.toml or by URL; the caller closes it.

    Raises:
        InvalidRequestError: the configuration or the URL is wrong.
        BackendNotInstalledError: an SDK is missing.
    """
    entry = (config if isinstance(config, Config) else Config.load(config)).key(target)
    return open_key(entry.url, replace(entry.settings, clock=clock or Clock()))


def signer(
    target: str, *, config: str | os.PathLike[str] | Config | None = None, clock: Clock | None = None
) -> Signer:
    """Open a signing key by its alias in strongroom.toml or by URL; the caller closes it. Raises as `key`."""
    entry = (config if isinstance(config, Config) else Config.load(config)).key(target)
    return open_signer(entry.url, replace(entry.settings, clock=clock or Clock()))


@contextmanager
def coordinator(config: Config, clock: Clock | None = None) -> Iterator[Coordinator | None]:
    """The coordinator that strongroom.toml names, or None if it names none; closed at the end.

    Raises:
        InvalidRequestError: its store has no compare-and-set.
        SecretStoreError: as its store says.
    """
    with ExitStack() as opened:
        yield _Opening(config, clock or Clock(), opened).coordinator()


class _Opening:
    """Opens a store with all it stands on; what was opened is closed by `opened` if a later part fails."""

    def __init__(self, config: Config, clock: Clock, opened: ExitStack):
        self._config, self._clock, self._opened = config, clock, opened
        self._owned: list[KeyWrapper | Coordinator] = []
        self._coordinator: Coordinator | None = None

    def store(self, entry: StoreEntry) -> Backend:
        self._coordinator = self.coordinator()
        backend = self._backend(entry)
        return Owner(backend, self._owned) if self._owned else backend

    def coordinator(self) -> Coordinator | None:
        url = self._config.coordinator
        return self._own(self._coordinates(StoreURL.parse(url))) if url else None

    def _own(self, one: Owned) -> Owned:
        self._owned.append(one)
        self._opened.callback(one.close)
        return one

    def _coordinates(self, url: StoreURL) -> Coordinator:
        from .coordinator import SQLiteCoordinator, StoreCoordinator

        if url.scheme == "sqlite":
            return SQLiteCoordinator(url.path, self._clock)
        return StoreCoordinator(self._backend(self._config.stores[url.host]), self._clock)

    def _backend(self, entry: StoreEntry) -> Backend:
        if entry.failover:
            return Failover({alias: self._backend(self._config.stores[alias]) for alias in entry.failover})
        settings = replace(entry.settings, clock=self._clock, coordinator=self._coordinator)
        keys = [self._key(self._config.keys[alias]) for alias in entry.keys]
        backend = open_backend(entry.url, settings)
        self._opened.callback(backend.close)
        own = backend.own_key()
        stored: Backend = Encrypted(backend, [own], backend.domain) if own else backend
        return Encrypted(stored, keys, entry.domain, forgeable=entry.forgeable) if keys else stored

    def _key(self, entry: KeyEntry) -> KeyWrapper:
        return self._own(open_key(entry.url, replace(entry.settings, clock=self._clock)))
