"""From ``[revocations]`` and the rest of strongroom.toml to what cuts a leaked value off."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from .audit.note import NoteKey
from .clock import Clock
from .config import Opening, signer
from .layering import replicas_of
from .names import Name
from .revokedlist import note_signer
from .rotation.revocation_places import FilePlace, RevocationPlace, StorePlace
from .rotation.revocations import Revocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cachepolicy import CachePolicy
    from .toml.file import Config
    from .toml.revocations import RevocationsEntry


@contextmanager
def revocations(
    config: Config, clock: Clock | None = None, *, place: RevocationPlace | None = None
) -> Iterator[Revocations | None]:
    """The signed list that the file names, or None if it names none; closed at the end. Nothing is read yet.

    Args:
        config: the file.
        clock: injected in tests.
        place: where the list is, if not where the file says; its owner closes it.

    Raises:
        InvalidRequestError: a key of it is none, or its store has no compare-and-set.
        SecretStoreError: as its store or signer says.
    """
    entry, clock = config.revocations, clock or Clock()
    if entry is None:
        yield None
        return
    with ExitStack() as opened:
        if place is None:
            place = _place(config, entry, clock, opened)
            opened.callback(place.close)
        yield Revocations(
            place,
            [NoteKey.parse(key) for key in entry.keys],
            domain=entry.domain,
            signer=note_signer(entry, partial(signer, config=config, clock=clock), opened),
            max_age=entry.max_age,
            clock=clock,
        )


def _place(config: Config, entry: RevocationsEntry, clock: Clock, opened: ExitStack) -> RevocationPlace:
    if entry.file:
        return FilePlace(entry.file)
    opening = Opening(config, clock, opened)
    opening.coordinate()
    return StorePlace(opening.member(config.stores[entry.store]), entry.domain)


def owner(config: Config, target: str | None) -> str:
    """The store that writes go to: of a failover its first member; and as a rotation names it, if one does.

    Under another alias of the same place a rotated secret would be taken for one that nothing renews.

    Raises:
        InvalidRequestError: no such store.
    """
    entry = config.entry(target)
    if entry.failover:
        entry = config.stores[entry.failover[0]]
    rotated = (one.store for one in config.rotations.values())
    same = (alias for alias in rotated if config.stores[alias].url == entry.url)
    return next(same, entry.alias)


def copies(config: Config, target: str | None) -> tuple[str, ...]:
    """The other members of a failover, each with a copy that no revocation here reaches."""
    return tuple(one for one in config.entry(target).failover[1:] if one not in config.replicas)


def replicas_with(config: Config, target: str | None, name: str) -> tuple[str, ...]:
    """The replicas that have a copy of a secret: its replacement is brought there, and the list before it."""
    source = config.entry(owner(config, target))
    return tuple(one.alias for one in replicas_of(config, source) if one.covers(name))


def bound_record(config: Config, target: str | None, name: str, version: str) -> str | None:
    """The record that replicas know a version by, where the version itself bears none, or one that counts no
    more: something else wrote it, or brought it back.

    Raises:
        IntegrityError: what the source keeps of the secret's order is damaged.
        SecretStoreError: as the source says.
    """
    from .replication.page import read_page

    entry = config.entry(owner(config, target))
    if not replicas_of(config, entry):
        return None
    with ExitStack() as opened:
        page, _ = read_page(Opening(config, Clock(), opened).member(entry), Name.parse(name))
    found = page.bindings.get(version)
    return found.text if found else None


def readers(config: Config, alias: str) -> dict[str, CachePolicy | None]:
    """The stores that may serve what one store has, and how long each may serve what it has read."""
    address = config.entry(alias).url
    same = {alias} | {name for name, entry in config.stores.items() if address and entry.url == address}
    reading = {n: e.cache for n, e in config.stores.items() if n in same or same & set(e.failover)}
    return reading or {alias: config.entry(alias).cache}
