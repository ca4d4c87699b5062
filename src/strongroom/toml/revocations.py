"""The table ``[revocations]``: its keys, and what it is, read and checked; loaded where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from .containers import Table
from .kinds import Duration, Text, Texts
from .spot import Spot, near

if TYPE_CHECKING:
    from .entries import StoreEntry

REVOCATIONS: Final = Table(
    "",
    {
        "domain": Text(
            "the logical id of what it is about, the same for a store and its replicas",
            form="[a-z0-9]+(?:[._-][a-z0-9]+)*",
            problem="is lower-case letters and digits with . _ - between",
        ),
        "store": Text("the store that keeps it, with compare-and-set"),
        "file": Text(
            "the file that keeps it",
            form="/.*",
            problem="is no absolute path",
            hint="write /path of the file",
            limits="an absolute path",
        ),
        "signer": Text(
            "a key that signs it, by its alias, or the path of a key file that `audit checkpoint` made"
        ),
        "keys": Texts("public keys that are believed besides, as `name+id+base64`", "key"),
        "max_age": Duration("how long after it was signed it is believed", "24h", most="30d"),
    },
    needs={"a domain": (("domain",),), "a signer, or keys that are believed": (("signer", "keys"),)},
    either=("store", "file"),
)


@dataclass(frozen=True)
class RevocationsEntry:
    """``[revocations]``; its attributes are the keys."""

    domain: str
    store: str = ""
    file: str = ""
    signer: str = ""
    keys: tuple[str, ...] = ()
    max_age: timedelta = timedelta(hours=24)


def revocations_entry(
    spot: Spot, values: Mapping[str, Any], stores: Mapping[str, StoreEntry], keys: Mapping[str, object]
) -> RevocationsEntry:
    """The entry that the values of the table mean.

    Raises:
        InvalidRequestError: no such store or key, or a store that is not one place.
    """
    store, signer = values["store"], values["signer"]
    if store and store not in stores:
        (spot / "store").fail(f"no store is called {store!r}", near(store, stores))
    if store and stores[store].failover:  # its members would come to hold different lists
        (spot / "store").fail(f"{store!r} is a failover", "name a store that is one place")
    if signer and not signer.startswith("/") and signer not in keys:
        (spot / "signer").fail(f"no key is called {signer!r}", near(signer, keys))
    return RevocationsEntry(**{**values, "max_age": timedelta(seconds=values["max_age"])})
