"""What a person does to rotations: the ledger moves first, under compare-and-set, whoever has the lease."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, final

from strongroom.companion import check_rotation_id
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
)

from . import events
from .ending import ABORTED, ADOPTED, BEFORE_PROMOTE, ENDING, REPLACED
from .ledger import BY_HAND, InProgressError, OvertakenError, State
from .policy import secret_of

if TYPE_CHECKING:
    from strongroom.backend import SecretVersion
    from strongroom.companion import Stray
    from strongroom.stages import Pending
    from strongroom.value import SecretValue

    from .events import Events
    from .ledger import Entry, Ledger
    from .policies import Policies
    from .policy import Policy

_RECENT = 100
"""Among so many of a secret's rotations is the one that made its current version."""
_OPEN = tuple(state for state in State if state.open)
_TRIED = tuple(state for state in _OPEN if state not in (*BY_HAND, State.GRACE))
POLICY = "policy"
"""The fact that names the policy under which a step has failed."""


@final
class ByHand:
    """Interventions, as `strongroom.rotation.engine.Engine` documents them.

    Args:
        ledger: moved.
        policies: of the secrets.
        events: told.
    """

    def __init__(self, ledger: Ledger, policies: Policies, events: Events):
        self._ledger, self._policies, self._events = ledger, policies, events
        self._hurried = False

    def hurry(self) -> None:
        """Once: what waits after a failure under another policy waits no longer; somebody has mended it."""
        if self._hurried:
            return
        for entry in self._ledger.find(states=_TRIED):
            if entry.attempts and entry.due > self._ledger.now() and self._is_changed(entry):
                claimed = self._ledger.claim(entry.id)
                if claimed and claimed.lease_until:
                    self._ledger.release(claimed, due=timedelta(), attempts=0, error=None)
        self._hurried = True

    def _is_changed(self, entry: Entry) -> bool:
        policy, tried = self._policies.find(entry.secret), (entry.facts or {}).get(POLICY)
        return policy is not None and tried is not None and tried != policy.fingerprint

    def resume(self, rotation_id: str, new_value: bool) -> None:
        """See `strongroom.rotation.engine.Engine.resume`."""
        entry = self._ledger.get(rotation_id)
        policy, back = self._policies.of(entry.secret), _reached(entry)
        if not entry.state.open:
            raise SecretConflictError(f"the rotation is {entry.state.value}", hint="start another")
        if new_value and back not in BEFORE_PROMOTE - {State.WAITING}:
            raise SecretConflictError(f"the rotation is {back.value}", hint="its value cannot be replaced")
        due = {State.WAITING: policy.deadline, State.GRACE: entry.due}.get(back, timedelta())
        self._move(entry, back, {ENDING: REPLACED} if new_value else {}, due=due)

    def abort(self, rotation_id: str) -> None:
        """See `strongroom.rotation.engine.Engine.abort`."""
        entry = self._ledger.get(rotation_id)
        back = _reached(entry)
        if back not in BEFORE_PROMOTE:
            hint = "roll it back" if back is State.GRACE else "it cannot be aborted any more"
            raise SecretConflictError(f"the rotation is {back.value}", hint=hint)
        # No worker claims one that waits for a person; as STARTED it is claimed, and ended.
        self._move(entry, State.STARTED if back is State.WAITING else back, {ENDING: ABORTED})

    def _move(self, entry: Entry, to: State, facts: dict[str, str], **changes: Any) -> Entry:
        fresh = {"attempts": 0, "error": None, "facts": dict(entry.facts or {}) | facts}
        return self._ledger.move(entry.id, [entry.state], to, epoch=entry.epoch, **fresh | changes)

    def answer(self, rotation_id: str, value: SecretValue) -> None:
        """See `strongroom.rotation.engine.Engine.answer`."""
        entry = self._ledger.get(rotation_id)
        policy = self._policies.of(entry.secret)
        if _reached(entry) is not State.WAITING:
            raise SecretConflictError(f"the rotation is {entry.state.value}, and waits for no value")
        pending = policy.store.pending(policy.name, entry.id)
        if pending.read().value == value:
            raise InvalidRequestError("that is the current value", hint="bring the new one")
        version = self._held(pending, entry, value)
        self._move(entry, State.CREATED, {}, version=version)

    def _held(self, pending: Pending, entry: Entry, value: SecretValue) -> str:
        def check() -> None:
            if self._ledger.get(entry.id).epoch != entry.epoch:
                raise OvertakenError("the rotation was moved meanwhile")

        try:
            pending.get()  # of another try: `put` says whether that was the same value
        except SecretNotFoundError:
            pending.claim(entry.epoch, check)
        return pending.put(value, base_version=entry.base or "", epoch=entry.epoch).id

    def rollback(self, policy: Policy, if_version: str) -> SecretVersion:
        """See `strongroom.rotation.engine.Engine.rollback`."""
        found = self._ledger.find(secret=secret_of(policy), limit=_RECENT)
        entry = next((entry for entry in found if entry.version == if_version), None)
        if entry is None:
            raise SecretConflictError("if_version was not made current by the last rotation")
        if policy.store.pending(policy.name, entry.id).read().version != if_version:
            raise SecretConflictError("if_version is not the current version")

        def back() -> SecretVersion:
            if entry.state is not State.ROLLED_BACK:
                self._ledger.move(entry.id, [State.GRACE], State.ROLLED_BACK)
            return policy.store.rollback(policy.name, if_version=if_version)

        return self._events.run(events.ROLLBACK, policy, entry.id, back, version=if_version)

    def take_in(self, policy: Policy) -> Entry:
        """See `strongroom.rotation.engine.Engine.take_in`."""
        stray = self._unknown(policy)
        if stray is None:
            raise SecretConflictError("nothing is pending that the ledger does not know", name=policy.name)
        wanted = stray.rotation_id or (_uuid(stray.version) if stray.value is not None else None)
        if wanted is None:
            raise IntegrityError("the pending value cannot be taken in", name=policy.name, hint="clean it")
        return self._events.run(
            events.TAKE_IN,
            policy,
            wanted,
            lambda: self._taken_in(policy, wanted, stray),
            version=stray.version,
        )

    def _taken_in(self, policy: Policy, rotation_id: str, stray: Stray) -> Entry:
        """It is ours in the store first: repeated after a crash, it is found there as a rotation's own."""
        pending = policy.store.pending(policy.name, rotation_id)
        base = stray.base or pending.read().version
        if stray.value is not None:
            pending.put(stray.value, base_version=base)
        entry = self._ledger.begin(rotation_id, secret_of(policy), base=base)
        if entry.state is not State.STARTED:
            raise SecretConflictError(f"the rotation is {entry.state.value}", hint="clean it")
        # Nobody has proved that the target knows this value: in the end it may have to give way to another.
        return self._move(entry, State.STARTED, {ADOPTED: "yes"})

    def clean(self, policy: Policy) -> bool:
        """See `strongroom.rotation.engine.Engine.clean`."""
        found = self._ledger.find(secret=secret_of(policy), states=_OPEN, limit=1)
        if found:
            problem = f"rotation {found[0].id} is open"
            raise InProgressError(problem, rotation_id=found[0].id, name=policy.name, hint="abort it")
        pending = policy.store.pending(policy.name, str(uuid.uuid4()))
        return self._events.run(events.CLEAN, policy, None, pending.clean)

    def _unknown(self, policy: Policy) -> Stray | None:
        stray = policy.store.pending(policy.name, str(uuid.uuid4())).stray()
        if stray is None or stray.rotation_id is None:
            return stray
        try:
            entry = self._ledger.get(stray.rotation_id)
        except SecretNotFoundError:
            return stray
        hint = "advance or abort it" if entry.state.open else "clean it"
        raise SecretConflictError(f"it is rotation {entry.id}, which is {entry.state.value}", hint=hint)


def _uuid(version: str) -> str | None:
    """A version that a rotation of Secrets Manager's made has its token for a name, which may be our id."""
    try:
        return version if check_rotation_id(version) == version else None
    except InvalidRequestError:
        return None


def _reached(entry: Entry) -> State:
    """How far a rotation has come, also if it has stopped there."""
    return entry.proved if entry.state is State.ORPHANED and entry.proved else entry.state
