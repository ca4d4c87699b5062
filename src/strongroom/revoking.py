"""From ``[revocations]`` and the rest of strongroom.toml to what cuts a leaked value off."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .audit.note import NoteKey, NoteSigner
from .audit.notekey import FileSigner
from .clock import Clock
from .config import Opening, signer
from .rotation.revocation_places import FilePlace, RevocationPlace, StorePlace
from .rotation.revocations import Revocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cachepolicy import CachePolicy
    from .toml.file import Config
    from .toml.revocations import RevocationsEntry


@contextmanager
def revocations(config: Config, clock: Clock | None = None) -> Iterator[Revocations | None]:
    """The signed list that the file names, or None if it names none; closed at the end. Nothing is read yet.

    Raises:
        InvalidRequestError: a key of it is none, or its store has no compare-and-set.
        SecretStoreError: as its store or signer says.
    """
    entry, clock = config.revocations, clock or Clock()
    if entry is None:
        yield None
        return
    with ExitStack() as opened:
        place = _place(config, entry, clock, opened)
        opened.callback(place.close)
        yield Revocations(
            place,
            [NoteKey.parse(key) for key in entry.keys],
            domain=entry.domain,
            signer=_signer(config, entry, clock, opened),
            max_age=entry.max_age,
            clock=clock,
        )


def _place(config: Config, entry: RevocationsEntry, clock: Clock, opened: ExitStack) -> RevocationPlace:
    if entry.file:
        return FilePlace(entry.file)
    opening = Opening(config, clock, opened)
    opening.coordinate()
    return StorePlace(opening.alone(config.stores[entry.store]), entry.domain)


def _signer(config: Config, entry: RevocationsEntry, clock: Clock, opened: ExitStack) -> NoteSigner | None:
    if not entry.signer:
        return None
    if entry.signer.startswith("/"):
        key = FileSigner.open(entry.signer)
        return NoteSigner(key.name, key)
    made = signer(entry.signer, config=config, clock=clock)
    opened.callback(made.close)
    return NoteSigner(f"{entry.domain}/revocations", made)


def readers(config: Config, alias: str) -> dict[str, CachePolicy | None]:
    """The stores that may serve what one store has, and how long each may serve what it has read."""
    address = config.stores[alias].url if alias in config.stores else ""
    found = {
        name: entry.cache
        for name, entry in config.stores.items()
        if name == alias or alias in entry.failover or (address and entry.url == address)
    }
    return found or {alias: config.entry(alias).cache}
