"""The tables ``[replica.ALIAS]``: their keys, and what they are, read and checked; loaded where one is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from strongroom.patterns import matcher

from .containers import Entries, Table
from .kinds import Duration, Flag, Kind, Schema, Text, Texts
from .spot import Spot, near

if TYPE_CHECKING:
    from .entries import StoreEntry

ALL: Final = ("**",)
_DOMAIN: Final = "[a-z0-9]+(?:[._-][a-z0-9]+)*"
_PATTERN: Final = r"(?!/)(?!.*(?:\*\*\*|//))\S+(?<!/)"


class Patterns(Texts):
    """Names of secrets, and patterns of names."""

    def __init__(self, meaning: str, default: tuple[str, ...] = ()):
        super().__init__(meaning, "name")
        self._all = default
        self.default = list(default) or ()

    def absent(self) -> tuple[str, ...]:
        return self._all

    def read(self, spot: Spot, value: Any) -> tuple[str, ...]:
        found = super().read(spot, value)
        for pattern in found:
            if not re.fullmatch(_PATTERN, pattern):
                spot.fail('holds names, or patterns such as "db/*", "exchange/**" or "**"')
        return found


class KeyOfPlace(Kind):
    """The provider's key encryption key at one place; empty for the provider's own."""

    def read(self, spot: Spot, value: Any) -> str:
        if not isinstance(value, str):
            spot.fail("must be a string, empty for the provider's own key")
        return value

    def schema(self) -> Schema:
        return {"type": "string"}


REPLICA: Final = Table(
    "what a store is kept a replica of",
    {
        "source": Text("the store whose secrets it has; the only one that is written"),
        "names": Patterns(
            "which secrets: names, `db/*` for one segment more, `exchange/**` for all below, `**` for all",
            ALL,
        ),
        "domain": Text(
            "the logical id that the source and all its replicas share, through every takeover; "
            "without it that of the source's encryption, or else the source's alias",
            form=_DOMAIN,
            problem="is lower-case letters and digits with . _ - between",
        ),
        "max_lag": Duration("how old the oldest change that it lacks may grow", "5m", most="7d"),
        "revocable": Patterns("secrets that it refuses while no list of revocations is young enough"),
        "adopt": Flag("what somebody else wrote there under one of the names is overwritten"),
        "native": Flag("the provider's own replication makes it: AWS Secrets Manager, Google Secret Manager"),
        "regions": Entries(
            "of a native one: where, and under which of the provider's keys; without it the store's region",
            KeyOfPlace("the provider's key there; empty for its own"),
            form=r"[a-z0-9]+(?:-[a-z0-9]+)*",
            problem="a region is lower-case letters and digits with - between",
        ),
    },
    needs={"a source": (("source",),)},
    only_with={"regions": "native"},
)


@dataclass(frozen=True)
class ReplicaEntry:
    """One ``[replica.ALIAS]``.

    Attributes:
        alias: of the store that is the replica.
        source: alias of the store whose secrets it has.
        domain: the logical id that source and replicas share.
        names: patterns of `strongroom.patterns`.
        max_lag: how old the oldest change that it lacks may grow.
        revocable: patterns of names that it refuses while no list of revocations is young enough.
        adopt: overwrite what somebody else wrote there.
        native: the provider's own replication makes it.
        regions: of a native one, the provider's key by region; empty for the store's own region.
        spot: the place in the file, for errors.
    """

    alias: str
    source: str
    domain: str
    names: tuple[str, ...] = ALL
    max_lag: timedelta = timedelta(minutes=5)
    revocable: tuple[str, ...] = ()
    adopt: bool = False
    native: bool = False
    regions: Mapping[str, str] = field(default_factory=dict)
    spot: Spot = field(default_factory=lambda: Spot(Path("strongroom.toml"), ""), compare=False, repr=False)

    @property
    def whole(self) -> bool:
        """Whether it has all the source's secrets."""
        return "**" in self.names

    def covers(self, name: str) -> bool:
        """Whether it has the source's secret of that name."""
        return matcher(self.names)(name)

    def may_be_revoked(self, name: str) -> bool:
        """Whether a secret of that name is refused while no list of revocations is young enough."""
        return matcher(self.revocable)(name)


def replica_entries(
    found: Mapping[str, tuple[Spot, Mapping[str, Any]]], stores: Mapping[str, StoreEntry]
) -> dict[str, ReplicaEntry]:
    """The entries by alias.

    Raises:
        InvalidRequestError: no such store, one that is not one place, a replica of a replica, domains that
            differ.
    """
    entries = {alias: _entry(alias, spot, values, stores) for alias, (spot, values) in found.items()}
    for entry in entries.values():
        if entry.source in entries:  # a chain: what its middle lost or refused would be lost behind it too
            (entry.spot / "source").fail(
                f"{entry.source!r} is a replica itself", f"name {entries[entry.source].source!r}"
            )
        others = [
            one for one in entries.values() if one.source == entry.source and one.domain != entry.domain
        ]
        if others:
            (entry.spot / "domain").fail(f"replica.{others[0].alias} of the same source has another")
    return entries


def _entry(
    alias: str, spot: Spot, values: Mapping[str, Any], stores: Mapping[str, StoreEntry]
) -> ReplicaEntry:
    source = _place(spot / "source", values["source"], stores)
    replica = _place(spot, alias, stores)
    if alias == source.alias or (replica.url == source.url and not values["native"]):
        (spot / "source").fail("a store is no replica of itself")
    if replica.domain and source.domain and replica.domain != source.domain:
        (spot / "source").fail(
            f"{alias!r} and {source.alias!r} are encrypted under different domains",
            "a store and its replicas share one domain",
        )
    if values["native"]:
        _check_copied(spot, source, replica)
    domain = values["domain"] or source.domain or replica.domain or source.alias
    return ReplicaEntry(
        alias=alias,
        spot=spot,
        **{**values, "domain": domain, "max_lag": timedelta(seconds=values["max_lag"])},
    )


def _check_copied(spot: Spot, source: StoreEntry, replica: StoreEntry) -> None:
    """What a provider copies stays encrypted as the source has encrypted it, under the source's keys."""
    opens = {*replica.keys, *replica.old_keys}
    if (source.keys and not opens & {*source.keys}) or (opens and not source.keys):
        spot.fail(
            f"{replica.alias!r} could not open what the provider copies, as {source.alias!r} encrypts it",
            "give both a key in common, one that is not lost with the source's region",
        )


def _place(spot: Spot, alias: str, stores: Mapping[str, StoreEntry]) -> StoreEntry:
    if alias not in stores:
        spot.fail(f"no store is called {alias!r}", near(alias, stores))
    if stores[alias].failover:  # which of its members is meant could not be told
        spot.fail(f"{alias!r} is a failover", "name a store that is one place")
    return stores[alias]
