"""The steps of a rotation: each may be begun again after a crash, by another process, and ends the same.

What a step proves is recorded when it returns. None begins before the ledger has said that the rotation is
still this worker's; what a paused worker then still does is the one effect it was at, which is idempotent
(PROTOCOLS section 6).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from strongroom.errors import (
    IntegrityError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.value import SecretValue

from . import events
from .ending import ADOPTED, ENDING, REPLACED, SUPERSEDED, end, ending_of
from .ledger import State
from .work import HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from .rotator import Rotation
    from .work import Work


def step(work: Work) -> None:
    """One step from the state that was recorded last.

    Raises:
        HookError: a hook failed; the step is to be tried again.
        OvertakenError: another worker has it by now.
        SecretStoreError: the store or the audit did not do its part.
    """
    if ending_of(work.entry):
        return end(work)
    return STEPS[work.entry.state](work)


def create(work: Work) -> None:
    """STARTED: hold a value that nobody else will make a second time."""
    if work.held() is None:
        if work.current().version != work.entry.base:
            return supersede(work)
        if later := rolled_back(work):
            return work.record(State.STARTED, due=later)
        try:
            work.run(events.CREATE, lambda: _create(work))
        except HookError as error:
            if not error.waiting:
                raise
            return work.record(State.WAITING, due=error.deadline or work.policy.deadline)
    return work.record(State.CREATED, version=_version_held(work))


def rolled_back(work: Work) -> datetime | None:
    """End the credential of the rotation before, if that was rolled back: a target has room for so many.

    Returns:
        until when readers may still use it; None once it is ended, or if there is none.
    """
    found = work.ledger.find(secret=work.entry.secret, states=[State.ROLLED_BACK], limit=1)
    if work.rotator.slots != "two" or not found:
        return None
    before, current = found[0], work.current()
    left = work.value_of(before.version)
    if left is None or left == current.value:
        return None
    if (later := before.updated + work.policy.grace) > work.ledger.now():
        return later
    call = partial(work.rotator.revoke_secret, previous=left)
    ends = partial(work.hook, "revoke_secret", call, pending=current.value)
    work.run(events.REVOKE, ends, version=before.version)
    work.policy.store.retire(work.policy.name, version=before.version or "")
    return None


def _create(work: Work) -> None:
    """The claim keeps a paused worker's value out; `reclaim` removes what that one made at the target."""
    pending, base = work.pending, work.base()
    if stray := pending.stray():
        work.record(work.entry.state, facts={"stray": stray.rotation_id or stray.version})
        raise SecretConflictError("a pending value is in the way", hint="take it in, or clean it")
    pending.claim(work.entry.epoch, work.check)
    values = {"current": base.value if base else None, "previous": work.previous()}
    _report(work, work.hook("reclaim", work.rotator.reclaim, **values))
    made = work.hook("create_secret", lambda r: SecretValue.of(work.rotator.create_secret(r)), **values)
    try:
        work.check()
        pending.put(made, base_version=work.entry.base or "", epoch=work.entry.epoch)
    except SecretConflictError as error:
        conflict = error.with_traceback(None)
    else:
        return work.record(work.entry.state, facts={"made": str(work.entry.epoch)})
    _take_back(work, made, values)
    work.record(work.entry.state, facts={ADOPTED: "yes"})
    raise conflict


def _take_back(work: Work, made: SecretValue, values: Mapping[str, SecretValue | None]) -> None:
    """Another's value is held, or will be: nobody else could find this one at the target, if it had room."""
    if work.rotator.slots == "two" and made != work.held():
        work.undo("revoke_secret", lambda r: work.rotator.revoke_secret(r, made), **values)


def _report(work: Work, strangers: tuple[str, ...]) -> None:
    if strangers:
        work.record(work.entry.state, facts={"strangers": ", ".join(strangers)[:512]})
        work.tell(events.STRANGERS)


def _version_held(work: Work) -> str | None:
    try:
        return work.pending.get().version
    except SecretNotFoundError:
        return None


def set_(work: Work) -> None:
    """CREATED: make the target accept the pending value."""
    pending = work.held()
    if pending is None:
        return lost(work)
    try:
        work.run(events.SET, lambda: _set(work, pending), version=work.entry.version)
    except HookError as error:
        if not error.rejected:
            raise
        return reject(work, error)
    return work.record(State.SET)


def _set(work: Work, pending: SecretValue) -> None:
    base = work.base()
    current = base.value if base else None
    values = {"current": current, "previous": work.previous(), "pending": pending}
    work.hook("set_secret", lambda r: work.rotator.set_secret(r, pending), **values)


def reject(work: Work, error: HookError) -> None:
    """The target will not have this value, and would not have it the next time either."""
    if work.entry.replaced >= work.policy.replaces:
        raise error
    work.record(work.entry.state, facts={ENDING: REPLACED})


def test(work: Work) -> None:
    """SET: prove that the target accepts the pending value."""
    pending = work.held()
    if pending is None:
        return lost(work)
    work.run(events.TEST, lambda: _test(work, pending), version=work.entry.version)
    return work.record(State.TESTED)


def _test(work: Work, pending: SecretValue) -> None:
    """A target that refuses it may have been set back by a worker that was late: set it again, once."""
    try:
        work.hook("test_secret", lambda r: work.rotator.test_secret(r, pending), pending=pending)
    except HookError as error:
        if not error.refused:
            raise
    else:
        return
    _set(work, pending)
    work.hook("test_secret", lambda r: work.rotator.test_secret(r, pending), pending=pending)


def promote(work: Work) -> None:
    """TESTED: make it current, after whoever does that has proved it again on this very version."""
    pending = work.held()
    if pending is None:
        return lost(work)
    if work.current().version == work.entry.base:  # else it is superseded, or was promoted just now
        work.run(events.TEST, lambda: _test(work, pending), version=work.entry.version)
    work.check()
    try:
        made = work.run(events.PROMOTE, work.pending.promote)
    except SecretConflictError as error:
        if error.retryable:
            raise
        return supersede(work)
    return work.record(State.PROMOTED, version=made.id)


def lost(work: Work) -> None:
    """Nothing is held under the rotation's id: then it was promoted, by a worker that could not say so."""
    try:
        made = work.pending.promote()
    except SecretNotFoundError:
        made = None
    except SecretConflictError:
        return supersede(work)
    if made is None:
        raise IntegrityError("the pending value is gone", hint="abort this rotation and start another")
    return work.record(State.PROMOTED, version=made.id)


def supersede(work: Work) -> None:
    """Somebody else's value became current. The ledger is told first: a crash must not leave it guessing."""
    work.record(work.entry.state, facts={ENDING: SUPERSEDED})


def begin_grace(work: Work) -> None:
    """PROMOTED: the previous value goes on working while readers learn of the new one."""
    single = work.rotator.slots == "single"
    grace = work.policy.grace
    work.record(State.GRACE, due=grace - grace if single else grace)


def begin_revoke(work: Work) -> None:
    """GRACE, and it is over: from here on nobody rolls back to the previous value."""
    work.record(State.REVOKING)


def revoke(work: Work) -> None:
    """REVOKING: end the previous credential, unless it is what is in use."""
    if "revoked" not in work.facts:
        victim, current = work.base(), work.current()
        if victim is None:
            raise UnavailableError("the previous value cannot be read, so that it cannot be revoked")
        if current.value == victim.value:
            work.tell(events.ROLLBACK)
            return work.record(State.ROLLED_BACK)
        # A key's old version is read for as long as anything is signed or encrypted by it: that is no misuse.
        operation = events.FINISH if work.rotator.slots == "version" else events.REVOKE
        work.run(operation, lambda: _revoke(work, victim.value, current.value), version=work.entry.base)
        work.record(State.REVOKING, facts={"revoked": "yes"})
    if work.rotator.slots != "version":
        work.policy.store.retire(work.policy.name, version=work.entry.base or "")
    work.record(State.DONE)
    return work.tell(events.DONE)


def _revoke(work: Work, victim: SecretValue, current: SecretValue) -> None:
    """What is current must work before what was is ended; a late set of the old one is found here."""
    values = {"current": victim, "pending": current}
    _in_use(work, current, values)
    work.hook("revoke_secret", lambda r: work.rotator.revoke_secret(r, victim), **values)
    if work.rotator.probes and not work.hook("refuses", lambda r: work.rotator.refuses(r, victim), **values):
        raise UnavailableError("the target accepts the revoked credential still")
    _sweep(work, current)


def _in_use(work: Work, current: SecretValue, values: Mapping[str, SecretValue]) -> None:
    def works(r: Rotation) -> None:
        work.rotator.test_secret(r, current)

    try:
        return work.hook("test_secret", works, **values)
    except HookError as error:
        if not error.refused or work.current().version != work.entry.version:
            raise
    work.hook("set_secret", lambda r: work.rotator.set_secret(r, current), **values)
    return work.hook("test_secret", works, **values)


def _sweep(work: Work, current: SecretValue) -> None:
    """A paused worker may have made a credential after another reclaimed: it bears a lower epoch.

    Where the ledger was not told whose value is held, by a worker that died just then, none of theirs is of a
    higher epoch than this worker's, and the one in use is known by its value.
    """
    made, promoted = work.facts.get("made"), work.value_of(work.entry.version)
    if made is None and promoted is None:
        return
    epoch = work.entry.epoch if made is None else int(made)
    values = {"pending": current, "previous": promoted}
    _report(work, work.hook("reclaim", work.rotator.reclaim, epoch=epoch, **values))


STEPS: Final[Mapping[State, Callable[[Work], None]]] = {
    State.STARTED: create,
    State.CREATED: set_,
    State.SET: test,
    State.TESTED: promote,
    State.PROMOTED: begin_grace,
    State.GRACE: begin_revoke,
    State.REVOKING: revoke,
}
