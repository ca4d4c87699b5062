"""A rotation that cannot wait: taken from its worker, run to its end, and its grace cut short."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar, final

from strongroom.errors import UnavailableError

from .ending import ending_of
from .ledger import BY_HAND, PROMOTED, InProgressError, State
from .policy import secret_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock

    from .engine import Engine
    from .ledger import Entry
    from .policy import Policy

T = TypeVar("T")
PATIENCE: Final = timedelta(minutes=3)
"""How long a step is tried: a worker that was overtaken is out of its hook after two minutes."""

_OPEN: Final = tuple(state for state in State if state.open)
_BEFORE: Final = frozenset([State.STARTED, State.CREATED, State.SET, State.TESTED])
_PAUSE: Final = 2.0


def reached(entry: Entry) -> State:
    """How far a rotation has come, also if it has stopped there."""
    return entry.proved if entry.state is State.ORPHANED and entry.proved else entry.state


@final
class Replacing:
    """The rotation of one secret, in a hurry.

    Args:
        engine: rotates it.
        policy: the secret's.
        clock: waits.
        patience: for how long.
    """

    def __init__(self, engine: Engine, policy: Policy, clock: Clock, patience: timedelta):
        self._engine, self._ledger, self._policy = engine, engine.ledger, policy
        self._clock, self._patience = clock, patience.total_seconds()

    def open(self) -> Entry | None:
        """The secret's open rotation."""
        found = self._ledger.find(secret=secret_of(self._policy), states=_OPEN, limit=1)
        return found[0] if found else None

    def fence(self) -> Entry | None:
        """Take the open rotation from whatever worker has it: that one records nothing and begins nothing."""
        entry = self.open()
        if entry is None:
            return None
        # A grace or a person's time goes on unless what follows ends it; a step is tried at once.
        due = self._ledger.now() if entry.state in _BEFORE else entry.due
        return self._ledger.move(entry.id, [entry.state], entry.state, due=due)

    def renew(self, entry: Entry | None) -> Entry:
        """Run a rotation, the open one or a new one, until its value is current.

        Raises:
            UnavailableError: in the time there is it did not come so far, or a person has to bring the value.
            SecretStoreError: it cannot begin.
        """
        entry = entry or self._begun()
        if entry.state is State.ORPHANED:
            entry = self._engine.resume(entry.id)
        done = self._until(entry, lambda found: found.state in PROMOTED or not found.state.open)
        if done.state in PROMOTED:
            return done
        if ending_of(entry):  # it was about to end when it was taken, and makes room for another
            return self.renew(None)
        raise UnavailableError(f"rotation {done.id} ended {done.state.value}")

    def _begun(self) -> Entry:
        return self._patiently(lambda: self._engine.start(secret_of(self._policy)))

    def halt(self) -> None:
        """Let no worker go on with what could not be finished: a person resumes or aborts it.

        One that waits for a value is over: what it would follow is gone.
        """
        entry = self.open()
        if entry and entry.state is State.WAITING:
            self._engine.abort(entry.id)
        elif entry and entry.state in _BEFORE:
            self._ledger.move(entry.id, [entry.state], State.ORPHANED)

    def end(self, entry: Entry) -> Entry:
        """End a promoted rotation's grace now, and revoke what it replaced.

        The ledger says so first: should this process die here, workers go on with it.

        Raises:
            UnavailableError: in the time there is it did not come to its end.
        """
        if entry.state is State.ORPHANED:
            entry = self._engine.resume(entry.id)
        entry = self._until(entry, lambda found: found.state is not State.PROMOTED)
        if entry.state.open:
            entry = self._ledger.move(entry.id, [entry.state], entry.state)  # which is due from then on
        done = self._until(entry, lambda found: not found.state.open)
        if done.state is not State.DONE:
            raise UnavailableError(f"rotation {done.id} ended {done.state.value}")
        return done

    def _until(self, entry: Entry, enough: Callable[[Entry], bool]) -> Entry:
        end = self._clock.monotonic() + self._patience
        while not enough(entry):
            before, entry = entry, self._engine.advance(entry.id)
            stuck = entry.state in BY_HAND or self._clock.monotonic() >= end
            if stuck and not enough(entry):
                raise UnavailableError(
                    f"rotation {entry.id} is {entry.state.value}: {entry.error or 'it waits'}"
                )
            if entry.state is before.state:
                self._clock.sleep(_PAUSE)
        return entry

    def _patiently(self, call: Callable[[], T]) -> T:
        """What a call gives, once a worker that was overtaken cannot be in a hook any more."""
        end = self._clock.monotonic() + self._patience
        while True:
            try:
                return call()
            except InProgressError as error:
                problem = error
            if problem.retry_after is None or self._clock.monotonic() >= end:
                raise problem
            self._clock.sleep(_PAUSE)
