"""Warm reads under an audit: counted where the store's hook takes counts, otherwise each an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .audit.event import AuditHook, Hit
    from .cached import Entry
    from .reads import Reads

    Serve = Callable[[], Callable[[dict[str, Entry]], None] | None]
    """A weak reference to what puts a dict in the place of the one that the store reads from."""


@final
class Accounting:
    """The warm reads of one store; a `WarmReads` for its hook.

    Args:
        reads: what counts them.
        hooks: the store's; only a hook that is alone may take counts, or another would not hear of them.
        serve: told what the store may answer from without its hooks.

    Attributes:
        allowed: what the cache knows may be answered without telling the hooks.
    """

    def __init__(self, reads: Reads, hooks: Sequence[AuditHook], serve: Serve):
        self._reads, self._serve = reads, serve
        self._hook = hooks[0] if len(hooks) == 1 else None
        self.allowed = False
        if not (reads.caches and self._hook and self._hook.account(self)):
            self._hook = None

    def drain(self) -> Sequence[Hit]:
        """What was read since this was called last."""
        return self._reads.drain_hits()

    def serve(self, allowed: bool) -> None:
        """Whether warm reads may go on; one that has begun is still counted."""
        serve = self._serve()
        if allowed != self.allowed and serve:
            self.allowed = allowed
            serve(self._reads.warm if allowed else {})

    def close(self) -> None:
        """No warm read comes any more; the hook takes the last counts."""
        self.serve(allowed=False)
        hook, self._hook = self._hook, None
        if hook:
            hook.leave(self)
