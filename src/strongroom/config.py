"""``strongroom.open``: from an alias or a URL to a store, with encryption and failover as configured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .backend import Backend, Capability, Clock
from .configfile import Config, StoreEntry
from .layers.encrypted import Encrypted
from .layers.failover import Failover
from .registry import open_backend, open_key
from .store import NOTHING, SecretStore
from .value import SecretValue

if TYPE_CHECKING:
    from .audit.event import AuditHook

__all__ = ["Config", "StoreEntry", "open"]


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
    backend = _backend(loaded, replace(entry, settings=settings))
    try:
        return SecretStore(
            backend,
            hooks=hooks,
            cache=entry.cache,
            names=settings.names,
            alias=entry.alias,
            clock=settings.clock,
            require=require,
        )
    except BaseException:
        backend.close()
        raise


def _backend(config: Config, entry: StoreEntry) -> Backend:
    if entry.failover:
        return _members(config, entry)
    keys = [open_key(config.keys[alias], entry.settings) for alias in entry.keys]
    backend = open_backend(entry.url, entry.settings)
    try:
        own = backend.own_key()
        stored: Backend = Encrypted(backend, [own], backend.domain) if own else backend
        return Encrypted(stored, keys, entry.domain, forgeable=entry.forgeable) if keys else stored
    except BaseException:
        backend.close()
        raise


def _members(config: Config, entry: StoreEntry) -> Failover:
    opened: dict[str, Backend] = {}
    try:
        for alias in entry.failover:
            member = config.stores[alias]
            settings = replace(member.settings, clock=entry.settings.clock)
            opened[alias] = _backend(config, replace(member, settings=settings))
        return Failover(opened)
    except BaseException:
        for backend in opened.values():
            backend.close()
        raise
