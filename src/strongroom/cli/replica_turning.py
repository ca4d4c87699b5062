"""What a strongroom.toml has to say once another store is the source: for a person to write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.toml.file import Config


def turned(config: Config, source: str) -> list[str]:
    """The lines that are to be other than they are; none if the file is turned around already.

    Args:
        config: the file as it is.
        source: the alias of the store that is the source now.
    """
    entry = config.replicas.get(source)
    if entry is None:
        return []
    before = entry.source
    lines = [
        f"[store.{alias}] failover = {json.dumps(order)}"
        for alias, order in _failovers(config, before, source)
    ]
    lines += [
        f"[replica.{alias}] {_of(source, entry.domain)}" for alias in _members(config, entry.domain, source)
    ]
    lines += [
        f'[rotation.{label}] store = "{source}"'
        for label, one in config.rotations.items()
        if one.store == before
    ]
    return [f'default = "{source}"', *lines] if config.default == before else lines


def _of(source: str, domain: str) -> str:
    return f'source = "{source}", domain = "{domain}"'


def _members(config: Config, domain: str, source: str) -> list[str]:
    named = [
        alias for one in config.replicas.values() if one.domain == domain for alias in (one.source, one.alias)
    ]
    return [alias for alias in dict.fromkeys(named) if alias != source]


def _failovers(config: Config, before: str, source: str) -> Iterator[tuple[str, list[str]]]:
    """A failover writes to its first member."""
    for alias, entry in config.stores.items():
        if entry.failover and entry.failover[0] == before:
            yield alias, [source, *(one for one in entry.failover if one != source)]
