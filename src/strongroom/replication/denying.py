"""Denying: the provider itself refuses the writes of a source that was taken over from, whoever sends them.

A sheet fences those who write through Strongroom. A console, another SDK and the provider's own rotation do
not read it; where the provider can refuse the writes of a secret (AWS: an explicit Deny in its policy), a
person can have it do so, and have it lifted before the store is written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from strongroom.clock import Clock
from strongroom.errors import SecretStoreError, UnsupportedOperationError
from strongroom.names import Name
from strongroom.patterns import matcher, prefix_of

from .events import FENCE, Events
from .plan import Action, Report, Step
from .running import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.native import NativeReplication

    from .member import Member


@final
class Denying:
    """Has a store's provider refuse writes.

    Args:
        member: the store, such as an old source.
        names: patterns of the names that are meant.
        hooks: as of a store; each name is told of as ``replica.fence``.
        clock: injected in tests.
        parallel: how many names at once.

    Raises:
        UnsupportedOperationError: the provider has nothing that could refuse them.
    """

    def __init__(
        self,
        member: Member,
        *,
        names: Sequence[str] = ("**",),
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
        parallel: int = 4,
    ):
        self._member, self._patterns, self._parallel = member, tuple(names), parallel
        self._native = _native(member)
        self._clock = clock or Clock()
        self._events = Events(hooks, member, self._clock)

    def deny(self, progress: Callable[[int, int], object] | None = None) -> Report:
        """Refuse every write of the names that the store lists; a repeat goes on.

        Raises:
            SecretStoreError: the list cannot be read; of a single name it stands in the report.
        """
        return self._each(self._native.fence, "writes are refused", progress)

    def lift(self, progress: Callable[[int, int], object] | None = None) -> Report:
        """Take exactly that refusal away; a repeat goes on.

        Raises:
            SecretStoreError: as `deny`.
        """
        return self._each(self._native.lift, "writes are no longer refused", progress)

    def _each(
        self, call: Callable[[Name], None], reason: str, progress: Callable[[int, int], object] | None
    ) -> Report:
        began, wanted = self._clock.monotonic(), matcher(self._patterns)

        def one(name: Name) -> Step:
            self._events.run(FENCE, str(name), lambda: self._named(call, name))
            return Step(str(name), Action.UPDATE, reason)

        listed = self._member.backend.list_info(prefix_of(self._patterns))
        names = [info.key for info in listed if isinstance(info.key, Name) and wanted(str(info.key))]
        run = Run(self._parallel, one, progress)
        done = run.each(sorted(names, key=str))
        return Report(tuple(done), run.failed, tuple(run.left), self._clock.monotonic() - began)

    def _named(self, call: Callable[[Name], None], name: Name) -> None:
        try:
            call(name)
        except SecretStoreError as exc:
            error = exc.with_traceback(None)
        else:
            return
        error.name, error.backend = str(name), self._member.backend.origin
        raise error


def _native(member: Member) -> NativeReplication:
    found = member.backend.native_replication()
    if found is None:
        raise UnsupportedOperationError(
            f"the provider of {member.alias} cannot refuse writes", hint="take the writers' permissions away"
        )
    return found
