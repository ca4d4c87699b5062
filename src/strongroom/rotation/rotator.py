"""What a rotation author writes: hooks, which reach the target and never the store.

The engine owns the order (`strongroom.rotation.steps`), the value's way through the store, and what is
remembered of it. Each hook may be called again after a crash, by another process, under the same rotation id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strongroom.errors import IntegrityError, PermissionDeniedError, UnavailableError
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from datetime import datetime

Value = str | bytes | Mapping[str, Any] | SecretValue
Source = Callable[[], SecretValue]
"""Gives a credential that a rotator needs for itself. Asked anew in each hook: that one rotates too."""

Slots = Literal["single", "two", "version", "human"]


def _unfenced() -> None:
    """No engine watches: the hooks of a test."""


def _no_limit() -> float:
    return 30.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a hook is told.

    Attributes:
        id: the rotation id, a UUID chosen before any effect; the same in every attempt.
        name: the secret's name.
        epoch: higher in each process that takes the rotation over. A credential made at the target carries
            `id` and `epoch` where there is room for them.
        current: the value that was current when the rotation began.
        previous: the one before it, if there is one that can still be read.
        pending: the value of this rotation, once it is made.
        check: raises if another process has taken the rotation over; call it before each effect of a hook
            that has several.
        remaining: seconds that the hook may still take. Time-outs of its requests must be below.
    """

    id: str
    name: str
    epoch: int = 1
    current: SecretValue | None = None
    previous: SecretValue | None = None
    pending: SecretValue | None = None
    check: Callable[[], None] = field(default=_unfenced, repr=False)
    remaining: Callable[[], float] = field(default=_no_limit, repr=False)


class Rotator(ABC):
    """Rotates the credentials of one kind of target.

    What a hook raises decides what happens: `PermissionDeniedError`, the target refuses the credential that
    was tried; `InvalidRequestError`, the target will not have this pending value (its policy), so another one
    is made; `UnavailableError` and everything else, the step is tried again later. Only the class is kept.

    Attributes:
        slots: how many credentials the target accepts at once. ``single``: setting the pending value ends
            the current one, so there is no grace. ``two``: both work until the old one is revoked.
            ``version``: a key whose old version goes on verifying or decrypting. ``human``: somebody brings
            the value.
        probes: whether the target can be asked if it refuses a credential; after a revoke it is.
        hook_seconds: how long any hook may take; it is less than the engine's lease.
    """

    slots: ClassVar[Slots] = "two"
    probes: ClassVar[bool] = True
    hook_seconds: ClassVar[float] = 40.0

    @abstractmethod
    def create_secret(self, r: Rotation) -> Value:
        """The next value. A credential made at the target carries `r.id` and `r.epoch`."""

    def reclaim(self, r: Rotation) -> tuple[str, ...]:
        """Remove from the target what an earlier, crashed `create_secret` of this rotation left there.

        Only credentials that carry `r.id` and an epoch below `r.epoch` may be removed, and none that
        `r.current`, `r.previous` or `r.pending` holds.

        Returns:
            identifiers of credentials that nobody is known to have made; they are reported, never removed.
        """
        return ()

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        """Make the target accept a value; one that it accepts already is a success.

        It is called with `r.current` to undo a rotation of a ``single`` slot: then `r.pending` may be what
        the target accepts now.
        """

    @abstractmethod
    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the target accepts the value and it may do what it is for.

        Raises:
            PermissionDeniedError: the target refuses it.
        """

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """Make the target refuse a value for ever; one that it refuses already is a success."""

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        """Whether the target refuses a value now: what shows that a revoke has worked."""
        try:
            self.test_secret(r, value)
        except PermissionDeniedError:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential that the target accepts, as it lists them.

    Attributes:
        id: what the target calls it: an access key id, an accessor, a user.
        rotation_id: which rotation made it; None if nothing at the target tells.
        epoch: under which claim; None if nothing at the target tells.
    """

    id: str
    rotation_id: str | None = None
    epoch: int | None = None


class SingleSlot(Rotator):
    """A target that accepts one credential at a time: changing it ends the one before.

    The order is fixed here: the pending value first, since an earlier attempt may have set it; then the
    current one; then the one before it, which heals what an older rotation left half done. A value of
    another principal is refused, or whoever can write the pending value could change somebody else's
    credential with our access.
    """

    slots: ClassVar[Slots] = "single"

    @abstractmethod
    def connect(self, r: Rotation, value: SecretValue) -> AbstractContextManager[Any]:
        """A session at the target as the value says, with time-outs below `r.remaining()`.

        Raises:
            PermissionDeniedError: the target refuses the value; nothing else may be told so.
        """

    @abstractmethod
    def change(self, r: Rotation, session: Any, pending: SecretValue) -> None:
        """Make the target accept the pending value instead. One effect, last in the hook.

        Raises:
            InvalidRequestError: the target will not have it (its policy).
        """

    @abstractmethod
    def principal(self, value: SecretValue) -> Hashable:
        """Whom a value logs in as, and where: user, host, port, database. Never the credential itself."""

    def verify(self, r: Rotation, session: Any) -> None:
        """Try in a session what the value is for; PermissionDeniedError if it may not."""

    def set_secret(self, r: Rotation, pending: SecretValue) -> None:
        whose = self._principal(r, pending)
        if not self.refuses(r, pending):
            return
        for value in (r.current, r.pending, r.previous):
            if value is None or value == pending or self.principal(value) != whose:
                continue
            if self._changed(r, value, pending):
                return
        raise PermissionDeniedError(
            "the target accepts neither the pending, the current nor the previous value"
        )

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        with self.connect(r, value) as session:
            self.verify(r, session)

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        try:
            with self.connect(r, value):
                return False
        except PermissionDeniedError:
            return True

    def _principal(self, r: Rotation, pending: SecretValue) -> Hashable:
        whose = self.principal(pending)
        if r.current is not None and self.principal(r.current) != whose:
            hint = "a rotation changes the credential alone; put the new user or host in by hand"
            raise IntegrityError("the pending value is for another user or host", hint=hint)
        return whose

    def _changed(self, r: Rotation, value: SecretValue, pending: SecretValue) -> bool:
        """False if the target refuses the value to log in with; what `change` is refused is an error."""
        with ExitStack() as opened:
            try:
                session = opened.enter_context(self.connect(r, value))
            except PermissionDeniedError:
                return False
            r.check()
            self.change(r, session, pending)
        return True


class TwoSlot(Rotator):
    """A target that accepts the old and the new credential at once, and can list what it accepts.

    `issue` makes one and marks it with `r.id` and `r.epoch` where there is room, so that what a crash
    left behind is found again by `listed` and withdrawn. Nobody else's is ever touched.
    """

    slots: ClassVar[Slots] = "two"

    @abstractmethod
    def issue(self, r: Rotation) -> Value:
        """Have the target make another credential, in one effect; the value holds all that is needed."""

    @abstractmethod
    def listed(self, r: Rotation) -> Iterable[Credential]:
        """Every credential that the target accepts of this principal."""

    @abstractmethod
    def withdraw(self, r: Rotation, credential: str) -> None:
        """Make the target refuse a credential for ever; one that it does not know is a success."""

    @abstractmethod
    def credential(self, value: SecretValue) -> str:
        """What the target calls the credential in a value."""

    def create_secret(self, r: Rotation) -> Value:
        r.check()
        return self.issue(r)

    def reclaim(self, r: Rotation) -> tuple[str, ...]:
        known = {self.credential(value) for value in (r.current, r.previous, r.pending) if value is not None}
        strangers = []
        for found in tuple(self.listed(r)):
            if found.id in known:
                continue
            if found.rotation_id == r.id and found.epoch is not None and found.epoch < r.epoch:
                r.check()
                self.withdraw(r, found.id)
            elif found.rotation_id != r.id:
                strangers.append(found.id)
        return tuple(strangers)

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        victim = self.credential(previous)
        if r.pending is not None and r.pending != previous and self.credential(r.pending) == victim:
            raise IntegrityError("the new value holds the credential that is to be revoked")
        r.check()
        self.withdraw(r, victim)


class WaitingForHumanError(UnavailableError):
    """Raised by `create_secret` when a person has to bring the value.

    Attributes:
        deadline: until when it is wanted; None without a limit.
    """

    deadline: datetime | None = None
