"""The layers of one store of strongroom.toml: its encryption, and what replication puts over that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import ANY_CAS
from .layers.encrypted import Encrypted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .backend import Backend, Clock
    from .keys import KeyWrapper
    from .layers.revocable import Checker
    from .toml.entries import StoreEntry
    from .toml.file import Config
    from .toml.replicas import ReplicaEntry


def encrypted(backend: Backend, entry: StoreEntry, key: Callable[[str], KeyWrapper], clock: Clock) -> Backend:
    """A raw backend under the keys of its entry, and under its own where it has one.

    Args:
        backend: as it was opened.
        entry: names the keys.
        key: opens the key or keyring of an alias.
        clock: injected in tests.
    """
    keys, old_keys = ([key(alias) for alias in aliases] for aliases in (entry.keys, entry.old_keys))
    own = backend.own_key()
    stored: Backend = Encrypted(backend, [own], backend.domain) if own else backend
    if not keys:
        return stored
    data_keys = None
    if entry.data_key_cache:
        from .envelope.datakeys import DataKeyCache

        data_keys = DataKeyCache(max_age=entry.data_key_cache, clock=clock.monotonic)
    return Encrypted(
        stored,
        keys,
        entry.domain,
        old_keys=old_keys,
        forgeable=entry.forgeable,
        allow_plaintext=entry.allow_plaintext,
        data_keys=data_keys,
    )


def failover(members: Mapping[str, Backend], entry: StoreEntry, config: Config, clock: Clock) -> Backend:
    """The members of an entry as one store.

    Args:
        members: opened, by alias, in the entry's order.
        entry: the failover's.
        config: says which of them are replicas.
        clock: injected in tests.
    """
    from .layers.failover import Failover

    replicas = {alias: one for alias, one in config.replicas.items() if alias in members}
    return Failover(members, replicas=replicas, hedge=entry.hedge, breaker=entry.breaker, clock=clock)


def replicated(
    backend: Backend,
    entry: StoreEntry,
    config: Config,
    clock: Clock,
    checker: Callable[[ReplicaEntry], Checker | None],
) -> Backend:
    """What applications open of a store: a source orders its writes, a replica takes none.

    Args:
        backend: the store with its encryption.
        entry: the store's.
        config: says what is a replica of what.
        clock: injected in tests.
        checker: gives what a replica's readers know of revocations; None where nothing is known.
    """
    if held := replica_of(config, entry):
        return _replica(backend, held, checker)
    kept = replicas_of(config, entry)
    if not kept:
        return backend
    from .layers.recorded import Recorded

    if not backend.capabilities & ANY_CAS:
        from .layers.replica import ReadOnly

        why = f"{entry.alias} is a source of replication, whose writes need compare-and-set to have an order"
        return ReadOnly(backend, f"{why}: name a [coordinator] in strongroom.toml")
    covers = [one.covers for one in kept]
    return Recorded(
        backend,
        kept[0].domain,
        alias=kept[0].source,
        covers=lambda name: any(covered(name) for covered in covers),
        clock=clock,
    )


def replica_of(config: Config, entry: StoreEntry) -> ReplicaEntry | None:
    """The table that makes a store a replica; None for any other store.

    Whoever opens it by another alias, or by its URL, must not write to it either.
    """
    if entry.alias in config.replicas:
        return config.replicas[entry.alias]
    if replicas_of(config, entry):  # of a provider's own replication source and replica may have one URL
        return None
    return next((one for one in config.replicas.values() if _is(config, one.alias, entry)), None)


def replicas_of(config: Config, entry: StoreEntry) -> list[ReplicaEntry]:
    """The tables that make a store a source."""
    return [one for one in config.replicas.values() if _is(config, one.source, entry)]


def _is(config: Config, alias: str, entry: StoreEntry) -> bool:
    same = bool(entry.url) and _place(entry.url) == _place(config.stores[alias].url)
    return entry.alias == alias or same


def _place(url: str) -> tuple[str, frozenset[str]]:
    """What a URL names, however it is to be made there."""
    base, _, query = url.partition("?")
    return base, frozenset(one for one in query.split("&") if one and not one.startswith("create="))


def _replica(
    backend: Backend, held: ReplicaEntry, checker: Callable[[ReplicaEntry], Checker | None]
) -> Backend:
    from .layers.replica import ReadOnly, said_of

    told = ReadOnly(backend, said_of(held.alias, held.source))
    knows = checker(held)
    if knows is None:
        return told
    from .layers.revocable import Revocable

    return Revocable(told, knows, held.may_be_revoked)
