"""Fencing: before anything is replicated, the sheets of both members must tell the same story.

A store that was the source and comes back, from behind a partition or out of a backup, has an older sheet
than its replica. It is fenced, so that its writers are refused, and follows the new source. Where two stores
were made the source in one epoch, by two coordinators or one that was restored, both are fenced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.clock import Clock
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    UnavailableError,
)

from .events import FENCE, QUARANTINE, Events
from .sheet import Sheet, read_sheet, write_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.errors import SecretStoreError

    from .member import Member

_ATTEMPTS: Final = 8


class Read(NamedTuple):
    """A member's sheet as it was read, and its version; both None where there is none."""

    sheet: Sheet | None
    version: str | None


@final
class Fencing:
    """Brings the sheets of a source and its replica in line.

    Args:
        source: what is to be replicated from.
        replica: what is to be written.
        hooks: as of a store; told of each fence.
        clock: injected in tests.
    """

    def __init__(
        self,
        source: Member,
        replica: Member,
        *,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._source, self._replica = source, replica
        self._hooks, self._clock = tuple(hooks), clock or Clock()

    def align(self) -> Sheet | None:
        """Give the replica the source's sheet, and fence it if it was a source itself; the source's sheet.

        None if neither has one: nothing was ever written under replication.

        Raises:
            PermissionDeniedError: the source is none any more; it is fenced now.
            SecretConflictError: both were made the source in one epoch; both are fenced now.
            IntegrityError: the source has no sheet, though its replica has: it was emptied, or is another.
            InvalidRequestError: they are of two domains.
            UnavailableError: others wrote the sheets each time.
        """
        for _ in range(_ATTEMPTS):
            mine, theirs = read(self._source), read(self._replica)
            if mine.sheet is None:
                _require_none(theirs.sheet)
                return None
            error = refusal(mine.sheet, theirs.sheet, self._replica.alias)
            if not self._settled(mine, theirs, error):
                continue
            if error:
                raise error
            return mine.sheet
        raise UnavailableError("others write the replication sheets each time", operation="replicate")

    def check(self) -> Sheet | None:
        """What `align` returns or raises, without a write."""
        mine, theirs = read(self._source).sheet, read(self._replica).sheet
        if mine is None:
            _require_none(theirs)
            return None
        if error := refusal(mine, theirs, self._replica.alias):
            raise error
        return mine

    def _settled(self, mine: Read, theirs: Read, error: SecretStoreError | None) -> bool:
        """Write what has to be written; False if another wrote first."""
        if mine.sheet is None:
            return False
        if error is None:
            return self._followed(mine.sheet, theirs)
        if theirs.sheet is None or theirs.sheet.epoch < mine.sheet.epoch:
            return True
        if theirs.sheet.epoch > mine.sheet.epoch:
            return self._write(
                self._source, FENCE, behind(theirs.sheet, mine.sheet, self._source.alias), mine
            )
        if theirs.sheet.takeover == mine.sheet.takeover:
            return True
        both = [(self._source, mine), (self._replica, theirs)]
        return all(self._stopped(member, held) for member, held in both)

    def _followed(self, mine: Sheet, theirs: Read) -> bool:
        held = theirs.sheet
        if (held and held.epoch == mine.epoch) or mine.source == self._replica.alias:
            return True
        wanted = behind(mine, held, self._replica.alias) if held else replace(mine, apart=())
        was_source = held is not None and held.source == self._replica.alias
        return self._write(self._replica, FENCE if was_source else "", wanted, theirs)

    def _stopped(self, member: Member, held: Read) -> bool:
        """A store that takes writes by its own sheet takes none from now on; a mere replica never did."""
        if held.sheet is None or held.sheet.fenced or held.sheet.source != member.alias:
            return True
        return self._write(member, QUARANTINE, replace(held.sheet, fenced=True), held)

    def _write(self, member: Member, operation: str, sheet: Sheet, held: Read) -> bool:
        def act() -> bool:
            return written(member, sheet, held.version)

        if not operation:
            return act()
        return Events(self._hooks, member, self._clock).run(operation, sheet.domain, act)


def read(member: Member) -> Read:
    """A member's sheet.

    Raises:
        InvalidRequestError: it is another domain's.
        SecretStoreError: as the store says.
    """
    held = Read(*read_sheet(member.backend))
    if held.sheet and held.sheet.domain != member.domain:
        raise InvalidRequestError(
            f"{member.alias} replicates domain {held.sheet.domain}, not {member.domain}",
            hint="a store has one domain; see `encrypt` of its entry in strongroom.toml",
        )
    return held


def written(member: Member, sheet: Sheet, version: str | None) -> bool:
    """Write a member's sheet over the version that was read; False if another was first."""
    try:
        write_sheet(member.backend, sheet, version)
    except SecretConflictError:
        return False
    except UnavailableError as error:  # it is read again: that tells whether it was written
        if error.performed is False:
            raise
        return False
    return True


def behind(newer: Sheet, held: Sheet, alias: str) -> Sheet:
    """The sheet of a member that has fallen behind: the newer one, with what sets the member apart.

    Its writes of an epoch that the newer line has not been through, or through another takeover, stand on a
    line of their own: whatever their place in the order, the newer line has not seen them.
    """
    line = dict((*newer.line, (newer.epoch, newer.takeover)))
    apart = held.apart if line.get(held.epoch) == held.takeover else (*held.apart, held.epoch)
    was_source = held.fenced or held.source == alias
    return replace(newer, fenced=was_source, apart=tuple(sorted({*apart})))


def refusal(mine: Sheet, theirs: Sheet | None, replica: str) -> SecretStoreError | None:
    """Why nothing may be replicated from the store of one sheet to that of another; None if it may.

    Args:
        mine: the source's.
        theirs: the replica's; None before the first sync.
        replica: its alias.
    """
    if theirs is not None and theirs.epoch >= mine.epoch:
        if theirs.epoch == mine.epoch and theirs.takeover != mine.takeover:
            return SecretConflictError(
                f"two stores were made the source in epoch {mine.epoch}: {mine.source} and {theirs.source}",
                operation="replicate",
                hint="neither takes writes now; decide for one of them: strongroom replica takeover",
            )
        if theirs.epoch > mine.epoch:
            return _replaced(theirs)
    # Between the fence and its end a takeover brings over what the old source had acknowledged before.
    bringing_over = mine.source == replica and (theirs is None or theirs.epoch < mine.epoch)
    return _replaced(mine) if (mine.fenced or mine.source == replica) and not bringing_over else None


def _replaced(newer: Sheet) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{newer.source} is the source since epoch {newer.epoch}",
        operation="replicate",
        hint=f"turn the replication around in strongroom.toml: the source is {newer.source}",
    )


def _require_none(theirs: Sheet | None) -> None:
    """A source without a sheet begins with its first write; its replica cannot be ahead of that."""
    if theirs is not None:
        raise IntegrityError(
            f"the source tells nothing of epoch {theirs.epoch}, which its replica has from {theirs.source}",
            operation="replicate",
            hint="it was emptied, or is another store: have the replica take over, or restore it",
        )
