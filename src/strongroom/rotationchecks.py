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


def readers(config: Config, policy: Policy) -> Readers:
    """Who reads a policy's secret by this file: the store itself, and failovers and aliases that reach it."""
    entries = _reaching(config, policy.store.alias)
    bounds = [entry.cache.bounds(policy.name) for entry in entries if entry.cache]
    return Readers(timedelta(seconds=max((one.fresh + one.stale for one in bounds), default=0.0)))


def refuse_bad(config: Config, policies: Iterable[Policy]) -> list[Problem]:
    """The warnings; InvalidRequestError where a policy would break its readers, or cannot be carried out."""
    return refuse(policies, partial(readers, config))


def _reaching(config: Config, alias: str) -> Iterator[StoreEntry]:
    own = config.stores[alias]
    for entry in config.stores.values():
        members = [config.stores[member] for member in entry.failover] or [entry]
        if any(member.url == own.url for member in members):
            yield entry
