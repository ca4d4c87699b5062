"""How a rotation ends that promotes nothing: superseded, aborted, or its value rejected by the target.

The ledger is told first that it ends. Then, each repeatable: a promote that is still on its way is fenced;
the target is set back; the pending value is discarded; the ledger is told that it has ended. The value goes
last, since only it tells which credential is to be revoked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError, UnavailableError

from . import events
from .ledger import State

if TYPE_CHECKING:
    from strongroom.backend import SecretVersion
    from strongroom.value import SecretValue

    from .ledger import Entry
    from .work import Work

ENDING: Final = "ending"
"""The fact that says that a rotation is to end, and how."""
SUPERSEDED: Final = State.SUPERSEDED.value
ABORTED: Final = State.ABORTED.value
REPLACED: Final = "replaced"
ADOPTED: Final = "adopted"
"""The fact that nobody knows whether the target accepts the value: another worker, or tool, has put it."""
BEFORE_PROMOTE: Final = frozenset([State.STARTED, State.WAITING, State.CREATED, State.SET, State.TESTED])
"""From these a rotation can still be aborted."""


def ending_of(entry: Entry) -> str | None:
    """How a rotation is to end, if it is."""
    return (entry.facts or {}).get(ENDING)


def end(work: Work) -> None:
    """Go on with an end that the ledger has recorded."""
    quiet = work.entry.quiet_until
    if quiet and quiet > work.ledger.now():
        # Whoever was fenced may be in a hook still: what it sets must be set back after, not before.
        return work.record(work.entry.state, due=quiet)
    if made := _fenced(work):
        return work.record(State.PROMOTED, version=made.id, facts={ENDING: None})
    work.run(events.ABORT, lambda: _set_back(work))
    if ending_of(work.entry) == REPLACED:
        return _replace(work)
    with suppress(SecretNotFoundError):
        work.pending.discard()
    how = State(ending_of(work.entry))
    _plan_again(work, how)
    work.record(how)
    work.tell(events.SUPERSEDED if how is State.SUPERSEDED else events.DONE, how.value)
    return None


def _fenced(work: Work) -> SecretVersion | None:
    """From here on no promote of this rotation succeeds; the version if one has."""
    if work.entry.state is State.STARTED:
        return None
    work.pending.fence(base_version=work.entry.base or "")
    with suppress(SecretConflictError, SecretNotFoundError):
        return work.pending.promote()
    return None


def _set_back(work: Work) -> None:
    """The target accepts what is current, and nothing that this rotation brought."""
    current, held = work.current().value, work.held()
    if held is not None and held == current:
        raise IntegrityError("the pending value is current", hint="somebody put it by hand: clean")
    values = {"current": current, "previous": work.previous(), "pending": held}
    if work.rotator.slots == "single":
        if held is not None or work.entry.state is not State.STARTED:  # else nothing was ever set
            _restore(work, current, held, values)
    elif work.rotator.slots != "version" and held is not None:
        _revoke(work, held, current)
    work.hook("reclaim", work.rotator.reclaim, **values)


def _restore(
    work: Work, current: SecretValue, held: SecretValue | None, values: dict[str, SecretValue | None]
) -> None:
    work.hook("set_secret", lambda r: work.rotator.set_secret(r, current), **values)
    work.hook("test_secret", lambda r: work.rotator.test_secret(r, current), **values)
    if held is not None:
        _prove_refused(work, held, current)


def _revoke(work: Work, held: SecretValue, current: SecretValue) -> None:
    work.hook("revoke_secret", lambda r: work.rotator.revoke_secret(r, held), current=held, pending=current)
    _prove_refused(work, held, current)


def _prove_refused(work: Work, held: SecretValue, current: SecretValue) -> None:
    """A value may be thrown away only once the target is known not to be on it."""
    if not work.rotator.probes:
        return
    if not work.hook("refuses", lambda r: work.rotator.refuses(r, held), current=current, pending=held):
        raise UnavailableError("the target accepts the pending value still")


def _replace(work: Work) -> None:
    """Begin anew with another value. Discarding may have written the base again, as a new version."""
    base = work.base()
    work.pending.discard()
    current = work.current()
    if current.version != work.entry.base and (base is None or current.value != base.value):
        return work.record(work.entry.state, facts={ENDING: SUPERSEDED})
    return work.record(
        State.STARTED,
        base=current.version,
        version=None,
        replaced=work.entry.replaced + 1,
        facts={ENDING: None, "made": None},
    )


def _plan_again(work: Work, how: State) -> None:
    """What was superseded has not rotated what is current now: its schedule is due at once."""
    if how is State.SUPERSEDED and work.policy.schedule is not None:
        expected = work.ledger.next_due(work.entry.secret)
        work.ledger.plan(work.entry.secret, work.ledger.now(), expected=expected)
