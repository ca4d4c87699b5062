"""Engine: carries rotations on, from whatever calls it: a command, a worker, cron, a function, a task queue.

Everything that must survive is in the ledger and the store, so that any number of engines may run at once,
and each may be killed at any moment.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.backend import Capability
from strongroom.clock import Clock
from strongroom.companion import check_rotation_id
from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.stages import supports_pending
from strongroom.value import SecretValue, take

from . import events
from .byhand import POLICY, ByHand
from .duty import Duty
from .ending import ADOPTED, BEFORE_PROMOTE, ENDING, SUPERSEDED, ending_of
from .ledger import BY_HAND, LEASE_SECONDS, InProgressError, OvertakenError, State
from .policies import Policies
from .policy import secret_of
from .steps import step
from .work import HookError, Work, backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.audit.event import AuditHook
    from strongroom.backend import SecretVersion

    from .ledger import Entry, Ledger
    from .policy import Policy

ELSEWHERE: Final = timedelta(minutes=5)
"""How long a rotation is left alone whose secret is in no policy of this engine."""


@final
class Engine:
    """Rotates the secrets of some policies. Safe across threads; it starts none and never sleeps.

    Args:
        ledger: where every rotation is recorded; closed with the engine.
        policies: what is rotated; their stores are the caller's to close.
        clock: measures hooks and spreads retries; instants are the ledger's.
        hooks: told of each step, as those of a store.
        owner: what the records call this worker, as the fact ``worker``.

    Raises:
        InvalidRequestError: two policies rotate one secret, or a policy cannot be.
    """

    def __init__(
        self,
        ledger: Ledger,
        policies: Iterable[Policy],
        *,
        clock: Clock | None = None,
        hooks: Sequence[AuditHook] = (),
        owner: str | None = None,
    ):
        self.ledger, self._owner = ledger, owner
        self._clock = clock or Clock()
        self._events = events.Events(hooks, self._clock)
        self._policies = Policies(policies)
        for policy in self._policies:
            _check(policy)
        self._by_hand = ByHand(ledger, self._policies, self._events)
        self._duty = Duty(ledger, self._policies, self._events, self._clock)

    def policy(self, name: str) -> Policy:
        """The policy of a secret: by its name, or by ``STORE:NAME`` where several stores have that name.

        Raises:
            InvalidRequestError: there is none, or more than one.
        """
        return self._policies.named(name)

    def start(self, name: str, *, rotation_id: str | None = None, tick: datetime | None = None) -> Entry:
        """Begin a rotation, once per rotation id; `advance` does the rest.

        Args:
            name: the secret, as `policy` takes it.
            rotation_id: a UUID; the same one again returns what became of it. None: a new one.
            tick: the schedule's instant that it serves, as the ledger says it.

        Raises:
            InProgressError: another rotation of this secret is open.
            OvertakenError: another worker has begun this tick.
            SecretNotFoundError: the secret has no current value.
            UnsupportedOperationError: its store cannot hold pending values.
        """
        policy = self.policy(name)
        wanted = check_rotation_id(rotation_id or str(uuid.uuid4()))
        # Read before the ledger is asked: should this rotation end meanwhile, its base is not current any
        # more, and it cannot begin a second time.
        base = policy.store.pending(policy.name, wanted).read().version
        following = self._policies.after(policy, self.ledger.now()) if tick else None

        def begin() -> Entry:
            return self.ledger.begin(wanted, secret_of(policy), base=base, tick=tick, next_due=following)

        return self._events.run(events.START, policy, wanted, begin, version=base)

    def advance(self, rotation_id: str, *, until: State | None = None) -> Entry:
        """Carry a rotation as far as it goes now, and return its record. Idempotent, fenced; never sleeps.

        What a hook failed at is in the record (`Entry.error`), and is tried again from `Entry.due` on.

        Args:
            rotation_id: of the rotation.
            until: go no further than to prove this state, for a caller whose calls are the schedule.

        Raises:
            SecretNotFoundError: the ledger has no such rotation.
            UnavailableError: the ledger does not answer.
        """
        entry = self.ledger.get(rotation_id)
        if not entry.state.open or entry.state in BY_HAND or entry.due > self.ledger.now():
            return entry
        policy = self._policies.of(entry.secret)
        claimed = None if _has_proved(entry, until) else self.ledger.claim(rotation_id)
        if claimed is None or claimed.lease_until is None:
            return self.ledger.get(rotation_id)
        return self._carry(policy, claimed, until)

    def _carry(self, policy: Policy, entry: Entry, until: State | None = None) -> Entry:
        work = Work(policy, entry, self.ledger, self._events, self._clock, self._owner)
        try:
            while not _has_proved(work.entry, until) and self._goes_on(work):
                pass
            if _has_proved(work.entry, until):
                self.ledger.release(work.entry)
        except OvertakenError:
            pass
        return self.ledger.get(entry.id)

    def _goes_on(self, work: Work) -> bool:
        entry = work.entry
        if not entry.state.open:
            return False
        if entry.state in BY_HAND or entry.due > self.ledger.now():
            self.ledger.release(entry)
            return False
        error: SecretStoreError
        try:
            step(work)
        except OvertakenError:
            raise
        except SecretStoreError as exc:
            error = exc
        else:
            return True
        self._failed(work, error)
        return False

    def _failed(self, work: Work, error: SecretStoreError) -> None:
        """Bounded retries; then automation stops, the old value stays valid, and a person is asked."""
        entry, attempts = work.entry, work.entry.attempts + 1
        kind = error.kind if isinstance(error, HookError) else type(error).__name__
        told = f"{kind} ({entry.state.value})"
        if attempts < work.policy.attempts:
            due, facts = backoff(attempts, self._clock.chance()), {POLICY: work.policy.fingerprint}
            self.ledger.release(entry, due=due, attempts=attempts, error=told, facts=work.facts | facts)
            return work.tell(events.FAILED, kind)
        if ADOPTED in work.facts and entry.state in BEFORE_PROMOTE and not ending_of(entry):
            self.ledger.release(entry, due=timedelta(), facts={**work.facts, ENDING: SUPERSEDED})
            return work.tell(events.FAILED, kind)
        work.record(State.ORPHANED, attempts=attempts, error=told)
        self.ledger.release(work.entry)
        return work.tell(events.ORPHANED, kind)

    def tick(self, limit: int = 100) -> Pass:
        """One pass: plan what has a schedule, begin what is due, advance what is due.

        Args:
            limit: how many rotations to begin, and how many to advance, at most.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        self._policies.plan(self.ledger)
        self._by_hand.hurry()
        begun = self._begin_due(limit)
        return Pass(tuple(begun), tuple(self._advance_due(limit)), tuple(self._overdue()))

    def _begin_due(self, limit: int) -> list[Entry]:
        begun = []
        for task in self._duty.tasks(limit):
            try:
                entry = self.start(secret_of(task.policy), tick=task.tick)
            except (InProgressError, OvertakenError):
                continue
            except SecretStoreError as error:
                self._events.tell(events.FAILED, task.policy, None, outcome=type(error).__name__)
            else:
                begun.append(entry)
                self._duty.tell(task, entry)
        return begun

    def _advance_due(self, limit: int) -> list[Entry]:
        """One at a time: the leases of others would run out while the first is at a slow target."""
        advanced: list[Entry] = []
        while len(advanced) < limit and (claimed := self.ledger.claim_due(1)):
            entry = claimed[0]
            policy = self._policies.find(entry.secret)
            if policy is None:
                self.ledger.release(entry, due=ELSEWHERE)
                continue
            advanced.append(self._carry(policy, entry))
        return advanced

    def _overdue(self) -> list[Entry]:
        """People who have not brought their value in time."""
        late = []
        for entry in self.ledger.find(states=[State.WAITING]):
            policy = self._policies.find(entry.secret)
            if policy is not None and entry.due <= self.ledger.now():
                try:
                    late.append(self._too_late(entry))
                except OvertakenError:
                    continue
                self._events.tell(events.OVERDUE, policy, entry.id)
                self._events.tell(events.ORPHANED, policy, entry.id, outcome="deadline")
        return late

    def _too_late(self, entry: Entry) -> Entry:
        why = "deadline (waiting)"
        return self.ledger.move(entry.id, [State.WAITING], State.ORPHANED, epoch=entry.epoch, error=why)

    def status(self, name: str | None = None) -> list[Entry]:
        """The rotations of one secret or of all policies, the newest first."""
        if name is not None:
            return list(self.ledger.find(secret=secret_of(self.policy(name))))
        return [entry for entry in self.ledger.find() if self._policies.find(entry.secret)]

    def resume(self, rotation_id: str, *, new_value: bool = False) -> Entry:
        """Let an ORPHANED rotation go on, or another try again now, as if it never had failed.

        Args:
            rotation_id: of the rotation.
            new_value: make another value, once the target is proved not to be on the one that is pending.

        Raises:
            SecretConflictError: it is over, or its value is current already.
        """
        self._by_hand.resume(rotation_id, new_value)
        return self.advance(rotation_id)

    def abort(self, rotation_id: str) -> Entry:
        """End a rotation that has not promoted: the target is set back, the pending value discarded.

        It is over when its state is ABORTED; until then it is tried again as any step is.

        Raises:
            SecretConflictError: it is over, or its value is current already: `rollback` within its grace.
        """
        self._by_hand.abort(rotation_id)
        return self.advance(rotation_id)

    def answer(self, rotation_id: str, value: str | bytes | Mapping[str, Any] | SecretValue) -> Entry:
        """Bring the value that a human rotation waits for.

        Raises:
            SecretConflictError: it does not wait, or has got another value.
            InvalidRequestError: not a value, or the current one.
        """
        taken, value = take(value), b""
        if isinstance(taken, InvalidRequestError):
            raise taken
        self._by_hand.answer(rotation_id, taken)
        return self.advance(rotation_id)

    def rollback(self, name: str, *, if_version: str) -> SecretVersion:
        """Make the previous value current again, during the grace of the rotation that replaced it.

        The ledger moves first, which cancels the revoke. Repeat it after a crash.

        Raises:
            SecretConflictError: `if_version` is not current, or the previous value is being revoked, or was.
        """
        return self._by_hand.rollback(self.policy(name), if_version)

    def take_in(self, name: str) -> Entry:
        """Carry on with a pending value that the ledger does not know: another tool's, or of a lost ledger.

        Raises:
            SecretConflictError: there is none, or its rotation is in the ledger.
            IntegrityError: it cannot be read: `clean`.
        """
        return self.advance(self._by_hand.take_in(self.policy(name)).id)

    def clean(self, name: str) -> bool:
        """Drop a pending value that the ledger does not know and that blocks rotations; never current.

        The target is not asked: what accepts the value there is to be removed there.

        Returns:
            whether there was one.

        Raises:
            InProgressError: a rotation of the secret is open: `abort` it.
        """
        return self._by_hand.clean(self.policy(name))

    def after_fork(self) -> None:
        """In a forked child: drop connections, and owe the audit nothing."""
        self.ledger.after_fork()
        self._events.after_fork()

    def close(self) -> None:
        """Close the ledger; the stores are whose they were. Safe to repeat."""
        self.ledger.close()


@dataclass(frozen=True)
class Pass:
    """What one `tick` did.

    Attributes:
        begun: rotations that were due and have begun.
        advanced: rotations that were carried on, as they are now.
        overdue: human rotations whose deadline has passed.
    """

    begun: tuple[Entry, ...] = ()
    advanced: tuple[Entry, ...] = ()
    overdue: tuple[Entry, ...] = ()

    @property
    def states(self) -> dict[str, str]:
        """The state of each rotation that it was at, by its id."""
        return {entry.id: entry.state.value for entry in (*self.begun, *self.advanced, *self.overdue)}


def _has_proved(entry: Entry, until: State | None) -> bool:
    """Whether a rotation is as far as is wanted; one that is to end ends all the same."""
    if until is None or ending_of(entry):
        return False
    order = tuple(State)
    return order.index(entry.state) >= order.index(until)


def _check(policy: Policy) -> None:
    """Before anything is begun that could not be ended."""
    hint = None
    if policy.rotator.hook_seconds >= LEASE_SECONDS:
        hint = f"hook_seconds below {LEASE_SECONDS:.0f}"
    if hint:
        raise InvalidRequestError("a hook would outlive its worker's lease", name=policy.name, hint=hint)
    capabilities = policy.store.capabilities
    if not supports_pending(capabilities) or Capability.VERSIONS not in capabilities:
        hint = "name a coordinator, or use another store"
        raise InvalidRequestError("the store cannot hold pending values", name=policy.name, hint=hint)
