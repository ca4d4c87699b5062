"""Credentials that other stores keep: each store is known, and none is needed to open itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from strongroom.errors import InvalidRequestError

from .credentials import Credential, referring
from .entries import KeyEntry, KeyringEntry, StoreEntry
from .spot import near

Node = tuple[str, str]
"""What is opened: a ``store``, its ``place`` below all encryption, a ``key``, a ``keyring``; its alias."""


def check_references(
    stores: Mapping[str, StoreEntry],
    keys: Mapping[str, KeyEntry],
    keyrings: Mapping[str, KeyringEntry],
    profile: str,
) -> None:
    """Refuse a credential of no store, and one that waits for itself.

    Raises:
        InvalidRequestError: with the credential's line.
    """
    entries: list[StoreEntry | KeyEntry] = [*stores.values(), *keys.values()]
    for credential in [one for entry in entries for one in referring(entry.settings.auth)]:
        _check(credential, stores, profile)
    walk = _Walk(stores, keys, keyrings, profile)
    for node in [*(("store", alias) for alias in stores), *(("key", alias) for alias in keys)]:
        walk.enter(node)


def _check(credential: Credential, stores: Mapping[str, StoreEntry], profile: str) -> None:
    from strongroom.references import Reference

    try:
        alias, problem = Reference.parse(credential.reference).alias, None
    except InvalidRequestError as error:
        alias, problem = "", error
    spot = credential.spot.seen_by(profile)
    if problem:
        spot.fail(problem.message, problem.hint)
    if alias not in stores:
        spot.fail(f"no store is called {alias!r}", near(alias, stores))


class _Walk:
    """Goes from each thing to what opening it needs, and fails where it comes back to one it is still in."""

    def __init__(
        self,
        stores: Mapping[str, StoreEntry],
        keys: Mapping[str, KeyEntry],
        keyrings: Mapping[str, KeyringEntry],
        profile: str,
    ):
        self._stores, self._keys, self._keyrings, self._profile = stores, keys, keyrings, profile
        self._within: list[tuple[Node, Credential | None]] = []
        self._done: set[Node] = set()

    def enter(self, node: Node, by: Credential | None = None) -> None:
        if node in self._done:
            return
        within = [one for one, _ in self._within]
        self._within.append((node, by))
        if node in within:
            self._fail(within.index(node))
        for needed, credential in self._needs(node):
            self.enter(needed, credential)
        self._within.pop()
        self._done.add(node)

    def _needs(self, node: Node) -> Iterator[tuple[Node, Credential | None]]:
        kind, alias = node
        if kind in ("place", "key"):
            entry = self._stores[alias] if kind == "place" else self._keys[alias]
            yield from ((("store", one.alias), one) for one in referring(entry.settings.auth))
        elif kind == "keyring":
            ring = self._keyrings[alias]
            yield from ((("key", root), None) for root in ring.roots)
            if ring.store:  # below that store's own encryption, which may be under this very keyring
                yield ("place", ring.store), None
        else:
            yield ("place", alias), None
            yield from ((("store", member), None) for member in self._stores[alias].failover)
            yield from ((self._key(key), None) for key in self._stores[alias].keys)
            yield from ((self._key(key), None) for key in self._stores[alias].old_keys)

    def _key(self, alias: str) -> Node:
        return ("keyring" if alias in self._keyrings else "key"), alias

    def _fail(self, start: int) -> None:
        circle = self._within[start:]
        way = " needs ".join(f"{kind} {alias}" for (kind, alias), _ in circle if kind != "place")
        last = [credential for _, credential in circle[1:] if credential][-1]
        last.spot.seen_by(self._profile).fail(f"opening it would need itself: {way}")
