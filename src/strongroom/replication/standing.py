"""Standing: how a secret stands at one store, and which record counts for what is current there. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import IntegrityError, PermissionDeniedError

from .page import BEFORE_ALL, Page, Place
from .record import Record

if TYPE_CHECKING:
    from strongroom.backend import Secret
    from strongroom.names import Name

GAP: Final = 1024
"""Places left free above the last one known, where nothing is current: more writes than one purge takes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a secret stands at a store.

    Attributes:
        name: the secret.
        secret: what is current, with its value; None if that was not asked for or does not open.
        version: the version that is current; None if the secret is missing, purged or in the bin.
        record: the one that counts. None: `Order.bind` gives the version one, `Order.bury` a deletion.
        bound: the record stands on the page, not with the version.
        own: what the version itself bears, whether it counts or not.
        page: what is kept beside the secret.
    """

    name: Name
    secret: Secret | None
    version: str | None
    record: Record | None
    bound: bool = False
    own: Record | None = None
    page: Page = field(default_factory=Page)

    @property
    def deleted(self) -> bool:
        """Whether nothing is current: missing, purged or in the bin."""
        return self.version is None


class Version(NamedTuple):
    """A version as it was read; the secret is None if its value does not open."""

    id: str
    own: Record | None
    secret: Secret | None


def judged(name: Name, page: Page, current: Version | None, *, genuine: bool) -> Standing:
    """Which record counts.

    Args:
        name: the secret.
        page: what is kept beside it.
        current: the version that is current; None if there is none.
        genuine: the version's own record is of exactly its value.
    """
    if current is None:
        counts = page.tombstone and page.tombstone.order >= page.floor
        return Standing(name, None, None, page.tombstone if counts else None, page=page)
    if bound := page.bound(current.id):
        return Standing(name, current.secret, current.id, bound, True, current.own, page)
    # At or below the floor it was current before something that was ordered above it: restored since, say.
    counts = genuine and current.own is not None and current.own.order > page.floor
    return Standing(
        name, current.secret, current.id, current.own if counts else None, False, current.own, page
    )


def after(epoch: int, place: Place, *, unseen: bool = False) -> Place:
    """The next place after another, in an epoch.

    Args:
        epoch: the store's.
        place: the highest that is known to be given out; `BEFORE_ALL` if none is.
        unseen: nothing is current, so that nobody can tell what was given out last: a write that lands
            between a tombstone and its purge is gone with it, and replicas may have it. `GAP` is left for it.

    Raises:
        PermissionDeniedError: the other is of a later epoch: somebody has taken over.
    """
    if place[0] > epoch:
        raise PermissionDeniedError(
            f"another store is the source since epoch {place[0]}", hint="strongroom replica status"
        )
    return epoch, place[1] + (GAP if unseen and place != BEFORE_ALL else 1)


def parsed(text: str | None) -> Record | None:
    """A record; one that cannot be read orders nothing."""
    try:
        return Record.parse(text) if text else None
    except IntegrityError:
        return None
