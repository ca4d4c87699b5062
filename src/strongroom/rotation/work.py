"""One rotation in one worker's hands: its record, its values, and the calls of its rotator's hooks."""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, final

from strongroom.backend import Stage
from strongroom.companion import rotation_uuid
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
)

from .ledger import OvertakenError
from .rotator import Rotation, WaitingForHumanError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.backend import Secret
    from strongroom.clock import Clock
    from strongroom.stages import Pending
    from strongroom.value import SecretValue

    from .events import Events
    from .ledger import Entry, Ledger, State
    from .policy import Policy

T = TypeVar("T")


class HookError(UnavailableError):
    """What a hook raised, by class alone: its text and its frames may hold a credential.

    Attributes:
        kind: the class's name.
        refused: the target refuses the credential.
        rejected: the target will not have the pending value.
        deadline: of a human rotation, until when the value is wanted.
        waiting: a person has to bring the value.
    """

    def __init__(self, hook: str, error: Exception):
        super().__init__(f"{type(error).__name__} in {hook}", performed=None)
        self.kind = f"{type(error).__name__} in {hook}"
        self.refused = isinstance(error, PermissionDeniedError)
        self.rejected = isinstance(error, InvalidRequestError)
        self.waiting = isinstance(error, WaitingForHumanError)
        self.deadline: datetime | None = getattr(error, "deadline", None) if self.waiting else None


@final
class Work:
    """A claimed rotation.

    Args:
        policy: its secret's.
        entry: as the ledger gave it.
        ledger: where it is recorded.
        events: told of each step.
        clock: measures how long hooks take.
        owner: who works, for people to read.

    Attributes:
        entry: as it was recorded last.
    """

    def __init__(
        self,
        policy: Policy,
        entry: Entry,
        ledger: Ledger,
        events: Events,
        clock: Clock,
        owner: str | None = None,
    ):
        self.policy, self.entry, self.ledger = policy, entry, ledger
        self.rotator = policy.rotator
        self._events, self._clock = events, clock
        self._signed: dict[str, str | None] = {"worker": owner} if owner else {}

    @property
    def pending(self) -> Pending:
        """The pending value, under an id of its own if the target rejected others before it."""
        return self.policy.store.pending(self.policy.name, pending_id(self.entry))

    @property
    def facts(self) -> dict[str, str]:
        """What is remembered beside the state."""
        return dict(self.entry.facts or {})

    def record(self, state: State, *, facts: dict[str, str | None] | None = None, **changes: Any) -> None:
        """Write what was proved; facts are merged, those that are None go."""
        if facts is not None or self._signed:
            merged = {**self.facts, **self._signed, **(facts or {})}
            changes["facts"] = {name: text for name, text in merged.items() if text is not None}
        self.entry = self.ledger.record(self.entry, state, **changes)

    def check(self) -> None:
        """Keep the lease; OvertakenError if the rotation is another's by now."""
        self.entry = self.ledger.renew(self.entry)

    def current(self) -> Secret:
        """What is current at the store that takes the writes."""
        return self.pending.read()

    def base(self) -> Secret | None:
        """The version that was current when the rotation began; None if it cannot be read any more."""
        with suppress(SecretNotFoundError):
            return self.pending.read(self.entry.base or "")
        return None

    def value_of(self, version: str | None) -> SecretValue | None:
        """The value of a version that was current; None if it cannot be read any more."""
        with suppress(SecretNotFoundError):
            return self.pending.read(version or "").value
        return None

    def held(self) -> SecretValue | None:
        """The pending value, if one is held."""
        with suppress(SecretNotFoundError):
            return self.pending.get().value
        return None

    def previous(self) -> SecretValue | None:
        """The value before the current one."""
        with suppress(SecretNotFoundError):
            return self.pending.read(Stage.PREVIOUS).value
        return None

    def run(self, operation: str, call: Callable[[], T], *, version: str | None = None) -> T:
        """A step, told to the audit before and after."""
        return self._events.run(operation, self.policy, self.entry.id, call, version=version)

    def tell(self, operation: str, outcome: str | None = None) -> None:
        """Something that happened, told to the audit."""
        self._events.tell(operation, self.policy, self.entry.id, outcome=outcome)

    def hook(self, name: str, call: Callable[[Rotation], T], **values: Any) -> T:
        """Call a hook under a whole lease, longer than any hook may take.

        Raises:
            HookError: the hook failed.
            OvertakenError: the rotation is another's by now; the hook has stopped, or was not begun.
        """
        self.check()
        return self._called(name, call, self._rotation(self.check, **values))

    def undo(self, name: str, call: Callable[[Rotation], T], **values: Any) -> T:
        """Call a hook that takes back what this worker just did, though the rotation be another's by now.

        Raises:
            HookError: the hook failed.
        """
        return self._called(name, call, self._rotation(lambda: None, **values))

    @staticmethod
    def _called(name: str, call: Callable[[Rotation], T], r: Rotation) -> T:
        error: Exception
        try:
            return call(r)
        except OvertakenError as exc:
            error = exc.with_traceback(None)
        except Exception as exc:  # noqa: BLE001  (a hook is a stranger's code)
            error = HookError(name, exc)
        raise error

    def _rotation(
        self, fence: Callable[[], None], *, epoch: int | None = None, **values: SecretValue | None
    ) -> Rotation:
        until = self._clock.monotonic() + self.rotator.hook_seconds

        def remaining() -> float:
            return max(0.0, until - self._clock.monotonic())

        def check() -> None:
            if not remaining():
                raise UnavailableError("the hook took longer than it may")
            fence()

        return Rotation(
            self.entry.id,
            self.policy.name,
            self.entry.epoch if epoch is None else epoch,
            check=check,
            remaining=remaining,
            **values,
        )


def pending_id(entry: Entry) -> str:
    """Under which the store holds the value: a value that was discarded leaves its id behind for good."""
    if not entry.replaced:
        return entry.id
    return str(uuid.uuid5(rotation_uuid(entry.id), str(entry.replaced)))


def backoff(attempts: int, chance: float) -> timedelta:
    """How long a step waits after so many failures: 10 s, 20 s, … at most 15 min, and up to a fifth more."""
    return timedelta(seconds=min(2.0**attempts * 5, 900.0) * (1 + chance / 5))
