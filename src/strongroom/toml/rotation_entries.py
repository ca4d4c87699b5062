"""What the tables ``[rotation.LABEL]`` and ``[ledger]`` are, read and checked; loaded where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from .credentials import Credential
from .entries import StoreEntry
from .links import check_place
from .rotation import LEDGERS
from .spot import Spot, near


def _nowhere() -> Spot:
    return Spot(Path("strongroom.toml"), "")


@dataclass(frozen=True)
class ScheduleEntry:
    """``schedule`` of a rotation; its attributes are the keys, not judged yet."""

    every: str
    timezone: str = "UTC"
    window: timedelta | None = None
    max_age: timedelta | None = None


@dataclass(frozen=True)
class RotationEntry:
    """One ``[rotation.LABEL]``.

    Attributes:
        label: what the file calls it.
        names: secrets, and prefixes such as ``exchange/**``.
        store: alias of the store that has them.
        rotator: a short name, or ``package.module:Class``.
        schedule: when; None on request alone.
        grace, attempts, deadline, puts_count: as of `strongroom.rotation.policy.Policy`.
        options: what the rotator takes; a credential is read when a hook needs it.
        spot: the place in the file, for errors.
    """

    label: str
    names: tuple[str, ...]
    store: str
    rotator: str
    schedule: ScheduleEntry | None = None
    grace: timedelta = timedelta(hours=2)
    attempts: int = 12
    deadline: timedelta = timedelta(days=7)
    puts_count: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    spot: Spot = field(default_factory=_nowhere, compare=False, repr=False)

    def covers(self, name: str) -> bool:
        """Whether a secret of its store is among the names."""
        return any(name.startswith(one[:-2]) if one.endswith("/**") else name == one for one in self.names)


@dataclass(frozen=True)
class LedgerEntry:
    """``[ledger]``.

    Attributes:
        url: which one.
        user, password, ca: how to log in to PostgreSQL.
        keep: how long rotations that are over are remembered.
    """

    url: str
    user: str = ""
    password: Credential | None = None
    ca: str = ""
    keep: timedelta = timedelta(days=400)


def rotation_entries(
    found: Mapping[str, tuple[Spot, Mapping[str, Any]]], stores: Mapping[str, StoreEntry], default: str | None
) -> dict[str, RotationEntry]:
    """The entries by label.

    Raises:
        InvalidRequestError: no such store, or two of them name one secret.
    """
    entries = {
        label: _rotation(label, spot, values, stores, default) for label, (spot, values) in found.items()
    }
    owners: dict[tuple[str, str], str] = {}
    for entry in entries.values():
        for name in entry.names:
            other = owners.setdefault((entry.store, name), entry.label)
            if other != entry.label:
                (entry.spot / "names").fail(f"{name} is in rotation.{other} too", "a secret has one rotation")
    return entries


def _rotation(
    label: str,
    spot: Spot,
    values: Mapping[str, Any],
    stores: Mapping[str, StoreEntry],
    default: str | None,
) -> RotationEntry:
    store = values["store"] or default or (next(iter(stores)) if len(stores) == 1 else "")
    if not store:
        spot.fail("needs a store, since there is no default one")
    if store not in stores:
        (spot / "store").fail(f"no store is called {store!r}", near(store, stores))
    if members := stores[store].failover:  # one secret under two names could be rotated twice at once
        (spot / "store").fail(f"{store!r} is a failover", f"name {members[0]!r}, which takes its writes")
    for option in values["options"].values():
        if isinstance(option, Credential) and option.alias and option.alias not in stores:
            option.spot.fail(f"no store is called {option.alias!r}", near(option.alias, stores))
    return RotationEntry(
        label,
        values["names"],
        store,
        values["rotator"],
        _schedule(values["schedule"]),
        timedelta(seconds=values["grace"]),
        values["attempts"],
        timedelta(seconds=values["deadline"]),
        values["puts_count"],
        values["options"],
        spot,
    )


def _schedule(values: Mapping[str, Any] | None) -> ScheduleEntry | None:
    if not values:
        return None
    window, max_age = (
        timedelta(seconds=values[key]) if values[key] else None for key in ("window", "max_age")
    )
    return ScheduleEntry(values["every"], values["timezone"], window, max_age)


def ledger_entry(spot: Spot, values: Mapping[str, Any], stores: Mapping[str, StoreEntry]) -> LedgerEntry:
    """The entry that the values of the table mean.

    Raises:
        InvalidRequestError: the URL is no ledger's, or names no store.
    """
    check_place(spot, values, stores, "ledger", LEDGERS)
    return LedgerEntry(**{**values, "keep": timedelta(seconds=values["keep"])})
