"""What is to be done about a name, from what source and replica hold. No I/O.

A record is applied only if it is strictly greater than what the replica knows of, its tombstone among it; so
that whatever is late, repeated or out of order changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .plan import Action, Step
from .record import Verdict

if TYPE_CHECKING:
    from .holding import Holding
    from .record import Record
    from .standing import Standing

_OTHER_VALUE = "source and replica have two values at one place in the order"


def judged(at_source: Standing, held: Holding, *, adopt: bool = False) -> Step:
    """The step for one name.

    Args:
        at_source: what the source has; without a record where it has not ordered its version yet.
        held: what the replica has.
        adopt: a person has decided that the source's value goes over whatever the replica holds.
    """
    action, reason = _judged(at_source, held, adopt)
    since = at_source.secret.created_at if at_source.secret else None
    here = not at_source.deleted
    return Step(str(held.name), action, reason, at_source.record, held.record, since, here)


def _judged(at_source: Standing, held: Holding, adopt: bool) -> tuple[Action, str]:
    if held.page.quarantine and not adopt:
        return Action.QUARANTINE, held.page.quarantine.reason
    if held.strange and not adopt:
        return Action.FOREIGN, held.strange
    if at_source.deleted:
        return _gone(at_source.record, held)
    if at_source.secret is None:
        return Action.REFUSED, "what the source has does not open"
    return _here(at_source.record, held)


def _gone(record: Record | None, held: Holding) -> tuple[Action, str]:
    if held.version is None:
        return Action.SAME, ""
    if record is None:
        return Action.DELETE, "gone from the source without a trace"
    verdict = record.verdict(held.record)
    if verdict is Verdict.SAME:  # the tombstone is here, and what it deletes came after it: a late write
        return Action.DELETE, "deleted already, and written again by a late hand"
    return _action(verdict, Action.DELETE)


def _here(record: Record | None, held: Holding) -> tuple[Action, str]:
    if held.version is None:
        return _absent(record, held)
    if record is None:
        return Action.UPDATE, "the source has not ordered its version yet"
    if held.strange:
        return Action.UPDATE, held.strange
    return _action(record.verdict(held.record), Action.UPDATE)


def _absent(record: Record | None, held: Holding) -> tuple[Action, str]:
    deleted = held.page.tombstone
    if deleted is None:
        return Action.CREATE, ""
    if record is None:
        return Action.RESTORE, "the source has not ordered its version yet"
    return _action(record.verdict(deleted), Action.RESTORE)


def _action(verdict: Verdict, newer: Action) -> tuple[Action, str]:
    if verdict is Verdict.APPLY:
        return newer, ""
    if verdict is Verdict.SAME:
        return Action.SAME, ""
    if verdict is Verdict.OLDER:
        return Action.AHEAD, "the replica is newer than its source"
    return Action.QUARANTINE, _OTHER_VALUE
