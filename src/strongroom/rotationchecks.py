"""Whether the rotations of a strongroom.toml leave their readers time: the caches that it gives them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from .rotation.validation import Problem, Readers, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .rotation.policy import Policy
    from .toml.entries import StoreEntry
    from .toml.file import Config
    from .toml.replicas import ReplicaEntry


def readers(config: Config, policy: Policy) -> Readers:
    """Who reads a policy's secret by this file: its store, replicas of it, failovers and aliases of these."""
    urls = {config.stores[policy.store.alias].url}
    copies = [
        one for one in config.replicas.values() if _is_copy(config, one, urls) and one.covers(policy.name)
    ]
    entries = _reaching(config, urls | {config.stores[one.alias].url for one in copies})
    bounds = [entry.cache.bounds(policy.name) for entry in entries if entry.cache]
    cache = timedelta(seconds=max((one.fresh + one.stale for one in bounds), default=0.0))
    return Readers(cache, max((one.max_lag for one in copies), default=timedelta()))


def refuse_bad(config: Config, policies: Iterable[Policy]) -> list[Problem]:
    """The warnings; InvalidRequestError where a policy would break its readers, or cannot be carried out."""
    return refuse(policies, partial(readers, config))


def _is_copy(config: Config, replica: ReplicaEntry, urls: set[str]) -> bool:
    return config.stores[replica.source].url in urls


def _reaching(config: Config, urls: set[str]) -> Iterator[StoreEntry]:
    for entry in config.stores.values():
        members = [config.stores[member] for member in entry.failover] or [entry]
        if any(member.url in urls for member in members):
            yield entry
