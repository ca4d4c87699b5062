"""Detaching: what a provider has copied to a replica becomes the replica's own, so that it takes writes.

It is the step of a takeover, for when the source's region is lost: the replica's own region is asked, and
nothing else. There is no way back but a fresh replication.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnsupportedOperationError
from strongroom.names import Name
from strongroom.native import CopyState
from strongroom.patterns import matcher

from .events import TAKEOVER, Events
from .order import DIGEST_KEY
from .plan import Action, Report, Step
from .running import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.native import NativeReplication

    from .member import Member


@final
class Detaching:
    """Takes a replica's copies over from the provider.

    Args:
        replica: the store that becomes the source.
        names: patterns of the names that were replicated.
        hooks: as of a store; each name is told of as ``replica.takeover``.
        clock: injected in tests.
        parallel: how many names at once.

    Raises:
        UnsupportedOperationError: the provider has no replication of its own.
    """

    def __init__(
        self,
        replica: Member,
        *,
        names: Sequence[str] = ("**",),
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
        parallel: int = 4,
    ):
        self._native, self._wanted, self._parallel = native_of(replica), matcher(names), parallel
        self._clock, self._alias = clock or Clock(), replica.alias
        self._events = Events(hooks, replica, self._clock)

    def run(self, progress: Callable[[int, int], object] | None = None) -> Report:
        """Make every copy that is listed a secret of its own; a repeat goes on with what is left.

        Raises:
            InvalidRequestError: the store is no single place, so that nothing can be taken apart (Google).
            SecretStoreError: the list cannot be read; of a single name it stands in the report.
        """
        began, place = self._clock.monotonic(), self._native.place
        if not place:
            raise InvalidRequestError(f"{self._alias} has no single place", hint="its copies stay together")
        copies = self._native.survey([place])[place]
        held = {key for key, copy in copies.items() if copy.state is not CopyState.ALIEN}
        names = [key for key in held if isinstance(key, Name) and self._wanted(str(key))]
        run = Run(self._parallel, lambda name: self._detached(name, place), progress)
        done = run.each(sorted(names, key=str))
        if not run.failed and not run.left:
            self._detach_digest_key(place)
        return Report(tuple(done), run.failed, tuple(run.left), self._clock.monotonic() - began)

    def _detached(self, name: Name, place: str) -> Step:
        self._events.run(TAKEOVER, str(name), lambda: self._native.detach(name, place))
        return Step(str(name), Action.UPDATE, f"stands alone in {place}")

    def _detach_digest_key(self, place: str) -> None:
        try:
            self._native.detach(DIGEST_KEY, place)
        except SecretNotFoundError:
            return  # the source bore no records


def native_of(member: Member) -> NativeReplication:
    """The replication of a store's provider.

    Raises:
        UnsupportedOperationError: it has none.
    """
    found = member.backend.native_replication()
    if found is None:
        raise UnsupportedOperationError(
            f"{member.alias} has no replication of its own", hint="leave native away: ours does it"
        )
    return found
