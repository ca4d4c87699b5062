"""What a task queue's worker does for rotations: it opens an engine, lets it go on, and closes it.

Nothing is kept between two tasks: the ledger remembers, so that a task which is lost, delivered twice, or run
by several workers at once does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.config import Config
from strongroom.errors import SecretConflictError, UnavailableError
from strongroom.rotation.ledger import State
from strongroom.rotations import engine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from os import PathLike

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock
    from strongroom.rotation.engine import Engine
    from strongroom.rotation.ledger import Entry

PROVED = frozenset([State.PROMOTED, State.GRACE, State.REVOKING, State.DONE])


class RotationWork:
    """The engine of a strongroom.toml, opened for each call.

    Args:
        config: the file, or what was read of it; without one, ``STRONGROOM_CONFIG`` names it.
        hooks: called before and after every operation.
        clock: injected in tests.
    """

    def __init__(
        self,
        config: str | PathLike[str] | Config | None = None,
        *,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._config, self._hooks, self._clock = config, hooks, clock

    def tick(self, limit: int = 100) -> dict[str, str]:
        """One pass over all that is due: each rotation's state, by its id."""
        with self._opened() as opened:
            return opened.tick(limit).states

    def start(self, secret: str, rotation_id: str) -> Entry:
        """Begin a rotation, or find it begun, and carry it as far as it goes now."""
        with self._opened() as opened:
            return opened.advance(opened.start(secret, rotation_id=rotation_id).id)

    def advance(self, rotation_id: str) -> Entry:
        """Carry a rotation as far as it goes now."""
        with self._opened() as opened:
            return opened.advance(rotation_id)

    def _opened(self) -> AbstractContextManager[Engine]:
        config = self._config if isinstance(self._config, Config) else Config.load(self._config)
        return engine(config, hooks=self._hooks, clock=self._clock)


def require_current(entry: Entry) -> Entry:
    """Return the record of a rotation whose value is current.

    Raises:
        UnavailableError: it is on its way, and goes on when it is tried again.
        SecretConflictError: it ended otherwise, or waits for a person.
    """
    if entry.state in PROVED:
        return entry
    state = f"rotation {entry.id} is {entry.state.value}"
    if entry.state.open and entry.state not in (State.WAITING, State.ORPHANED):
        raise UnavailableError(f"{state}: {entry.error}" if entry.error else state)
    raise SecretConflictError(state, hint="see: strongroom rotation status")
