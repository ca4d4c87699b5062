"""What a rotation author writes: hooks, which reach the target and never the store.

The engine owns the order (`strongroom.rotation.steps`), the value's way through the store, and what is
remembered of it. Each hook may be called again after a crash, by another process, under the same rotation id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strongroom.errors import PermissionDeniedError, SecretStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.value import SecretValue

    Value = str | bytes | Mapping[str, Any] | SecretValue

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

        Only credentials that carry `r.id` and an epoch below `r.epoch` may be removed.

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


class WaitingForHumanError(SecretStoreError):
    """Raised by `create_secret` when a person has to bring the value.

    Attributes:
        deadline: until when it is wanted; None without a limit.
    """

    deadline: datetime | None = None
