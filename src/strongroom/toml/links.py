"""From the values of a strongroom.toml to entries that know each other: aliases, profiles, circles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from strongroom.backend import Settings
from strongroom.cachepolicy import Bounds, CachePolicy
from strongroom.layers.breaker import BreakerPolicy
from strongroom.names import StoreURL

from .credentials import Auth, referring
from .entries import CoordinatorEntry, KeyEntry, KeyringEntry, NoticeEntry, StoreEntry
from .reach import COORDINATORS
from .spot import Spot, near

if TYPE_CHECKING:
    from .audit_entries import AuditEntry
    from .replicas import ReplicaEntry
    from .revocations import RevocationsEntry
    from .rotation_entries import LedgerEntry, RotationEntry

Values = Mapping[str, Any]


class View:
    """What one environment sees: the file's entries, those of a profile standing in for some of them.

    Args:
        top: the top of the file.
        values: what the file says.
        profile: whose entries stand in; empty for none.

    Raises:
        InvalidRequestError: an alias that nothing has, or what cannot be as it is written.

    Attributes:
        default, stores, keys, keyrings, coordinator, audit, replicas, rotations, ledger,
            revocations: as of `strongroom.toml.file.Config`.
    """

    def __init__(self, top: Spot, values: Values, profile: str = ""):
        layers = [(top.seen_by(profile), values)]
        if profile:
            layers.append((layers[0][0] / "profile" / profile, values["profile"][profile]))
        self._layers = layers
        self.keys = {alias: _key(alias, values) for alias, (_, values) in self._all("key").items()}
        self.keyrings = {a: self._keyring(a, *found) for a, found in self._all("keyring").items()}
        self.stores = {a: self._store(a, *found) for a, found in self._all("store").items()}
        for alias, (spot, _) in self._all("store").items():
            self._check_members(spot, self.stores[alias])
        for alias, (spot, _) in self._all("keyring").items():
            self._check_place(spot, self.keyrings[alias].store)
        self.default = self._default()
        self.coordinator = self._coordinator()
        self.audit = self._audit()
        self.replicas = self._replicas()
        self.rotations = self._rotations()
        self.ledger = self._ledger()
        self.revocations = self._revocations()
        self._check_written()
        for one in self.replicas.values():
            if one.revocable and not self.revocations:
                (one.spot / "revocable").fail("needs [revocations], the list that tells which versions are")
        self._check_references(profile)

    def _all(self, group: str) -> dict[str, tuple[Spot, Values]]:
        """Each entry and where it stands; a profile's whole entry replaces another of its alias."""
        return {
            alias: (spot / group / alias, found)
            for spot, values in self._layers
            for alias, found in values[group].items()
        }

    def _one(self, name: str) -> tuple[Spot, Any]:
        found = [(spot / name, values[name]) for spot, values in self._layers if values[name]]
        return found[-1] if found else (self._layers[0][0] / name, None)

    def _default(self) -> str | None:
        spot, default = self._one("default")
        return _known(spot, default, self.stores, "store") if default else None

    def _coordinator(self) -> CoordinatorEntry | None:
        spot, table = self._one("coordinator")
        if not table:
            return None
        check_place(spot, table, self.stores, "coordinator", COORDINATORS)
        return CoordinatorEntry(**table)

    def _audit(self) -> AuditEntry | None:
        spot, table = self._one("audit")
        if not table:
            return None
        from .audit_entries import audit_entry

        return audit_entry(spot, table, self.keys)

    def _replicas(self) -> Mapping[str, ReplicaEntry]:
        found = self._all("replica")
        if not found:
            return {}
        from .replicas import replica_entries

        return replica_entries(found, self.stores)

    def _rotations(self) -> Mapping[str, RotationEntry]:
        found = self._all("rotation")
        if not found:
            return {}
        from .rotation_entries import rotation_entries

        return rotation_entries(found, self.stores, self.default)

    def _ledger(self) -> LedgerEntry | None:
        """Without a table beside the coordinator, which is what guards the writes of the same workers."""
        spot, table = self._one("ledger")
        beside = self.coordinator if self.rotations else None
        if not table and not beside:
            return None
        from .rotation_entries import LedgerEntry, ledger_entry

        if table or not beside:
            return ledger_entry(spot, table, self.stores)
        return LedgerEntry(beside.url, beside.user, beside.password, beside.ca)

    def _revocations(self) -> RevocationsEntry | None:
        spot, table = self._one("revocations")
        if not table:
            return None
        from .revocations import revocations_entry

        return revocations_entry(spot, table, self.stores, self.keys)

    def _check_written(self) -> None:
        """What is written cannot be in a replica, which its source alone changes."""
        places = [(one.spot / "store", one.store) for one in self.rotations.values()]
        for name, entry in (("coordinator", self.coordinator), ("ledger", self.ledger)):
            if entry and entry.url.startswith("strongroom://"):
                places.append((self._one(name)[0] / "url", StoreURL.parse(entry.url).host))
        for spot, store in places:
            if store in self.replicas:
                source = self.replicas[store].source
                spot.fail(f"{store!r} is a replica of {source}", f"name {source!r}, or another store")

    def _check_references(self, profile: str) -> None:
        """Without a credential that another store keeps nothing can need itself."""
        reached = [one.settings.auth for one in self.stores.values()]
        if any(map(referring, [*reached, *(one.settings.auth for one in self.keys.values())])):
            from .circles import check_references

            check_references(self.stores, self.keys, self.keyrings, profile)

    def _keyring(self, alias: str, spot: Spot, values: Values) -> KeyringEntry:
        if alias in self.keys:
            spot.fail("a key has this name already")
        for root in values["roots"]:
            _known(spot / "roots", root, self.keys, "key")
        return KeyringEntry(alias, **values)

    def _check_place(self, spot: Spot, store: str) -> None:
        if store and self.stores[_known(spot / "store", store, self.stores, "store")].failover:
            # its members would come to hold different keyrings
            (spot / "store").fail(f"{store!r} is a failover", "name a store that is one place")

    def _check_members(self, spot: Spot, entry: StoreEntry) -> None:
        for member in entry.failover:
            if self.stores[_known(spot / "failover", member, self.stores, "store")].failover:
                (spot / "failover").fail(f"{member!r} is itself a failover")

    def _store(self, alias: str, spot: Spot, values: Values) -> StoreEntry:
        encrypt = self._encrypt(spot / "encrypt", values["encrypt"]) if values["encrypt"] else {}
        return StoreEntry(
            alias,
            values["url"] or "",
            _settings(values),
            failover=values["failover"],
            hedge=values["hedge"],
            breaker=BreakerPolicy(**values["breaker"]) if values["breaker"] else BreakerPolicy(),
            cache=_cache(values["cache"]),
            strict=values["audit"] == "strict",
            notices=tuple(_notice(spot / "notices", one) for one in values["notices"]),
            **encrypt,
        )

    def _encrypt(self, spot: Spot, values: Values) -> dict[str, Any]:
        if values["keyring"]:
            _known(spot / "keyring", values["keyring"], self.keyrings, "keyring")
        for name in ("keys", "old_keys"):
            for alias in values[name]:
                _known(spot / name, alias, {**self.keys, **self.keyrings}, "key")
        if values["keyring"] in values["keys"]:
            (spot / "keys").fail("names the keyring again")
        first = (values["keyring"],) if values["keyring"] else ()
        rest = {name: value for name, value in values.items() if name != "keyring"}
        return {**rest, "keys": (*first, *values["keys"])}


def _key(alias: str, values: Values) -> KeyEntry:
    return KeyEntry(alias, values["url"], _settings(values))


def _notice(spot: Spot, values: Values) -> NoticeEntry:
    auth = Auth(values["auth"])
    if referring(auth):  # a store that has to be open before its own notices could come
        spot.fail("takes no credential that a store keeps", "name a variable or a file")
    endpoint, ca, timeout = values["endpoint"], values["ca"] or None, values["timeout"]
    return NoticeEntry(values["url"], Settings(endpoint=endpoint, ca=ca, timeout=timeout, auth=auth))


def _settings(values: Values) -> Settings:
    auth, options = dict(values["auth"]), dict(values["options"])
    if values["pin"]:
        auth["pin"] = values["pin"]
    if values["module"]:
        options["module"] = values["module"]
    return Settings(
        names=values.get("names", "portable"),
        endpoint=values["endpoint"],
        ca=values["ca"] or None,
        timeout=values["timeout"],
        attempts=values["attempts"],
        auth=Auth(auth),
        options=options,
    )


def _cache(values: Values | bool | None) -> CachePolicy | None:
    if not values:
        return CachePolicy() if values is None else None
    assert isinstance(values, Mapping)
    fresh, stale = values["fresh"], values["stale"]
    names = {
        pattern: Bounds(own.get("fresh", fresh), own.get("stale", stale))
        for pattern, own in values["names"].items()
    }
    rest = {key: values[key] for key in ("absent", "size", "poll", "spread")}
    return CachePolicy(fresh, stale, names=tuple(names.items()), **rest)


def check_place(spot: Spot, values: Values, stores: Mapping[str, StoreEntry], what: str, places: str) -> None:
    """Refuse a coordinator or a ledger that cannot be where its table says.

    Args:
        spot: the table.
        values: `url`, and of PostgreSQL how to log in.
        stores: of which it may be one, and one may keep its password.
        what: what it is, and `places`: where it may be, for people.
    """
    url, password = StoreURL.parse(values["url"]), values["password"]
    fits = {
        # A path that depended on the working folder would be another place in each.
        "sqlite": not url.host and url.path.startswith("/"),
        "postgresql": bool(url.host and url.path),
    }.get(url.scheme, bool(url.host) and not url.path)
    if url.query or not fits:
        (spot / "url").fail(f"is not where a {what} is", f"write {places}")
    if url.scheme not in ("sqlite", "postgresql"):
        entry = stores[_known(spot / "url", url.host, stores, "store")]
        if entry.failover:  # another member's answer is not what the first compares with
            (spot / "url").fail(f"{url.host!r} is a failover", "name a store that is one place")
    for key in ("user", "password", "ca"):
        if values[key] and url.scheme != "postgresql":
            (spot / key).fail("stands with postgresql:// only")
    if password and password.alias:
        _known(spot / "password", password.alias, stores, "store")


def _known(spot: Spot, alias: str, known: Mapping[str, object], what: str) -> str:
    if alias not in known:
        spot.fail(f"no {what} is called {alias!r}", near(alias, known))
    return alias
