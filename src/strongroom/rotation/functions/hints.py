"""Events of Google and Azure are hints: they come twice, late, in any order, or never.

So an event only says where to look. Whether a secret is due is computed from its schedule and its last
success, as for every other way to run rotations; a timer that calls `Hints.tick` finds what no event told of.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from strongroom.rotation.ledger import InProgressError, OvertakenError
from strongroom.rotation.policy import secret_of
from strongroom.rotation.schedule import due, replanned

from .opening import configuration, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from os import PathLike

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock
    from strongroom.config import Config
    from strongroom.rotation.ledger import Entry
    from strongroom.rotation.policy import Policy

    from .opening import Opened

LIMIT: Final = 100
"""Rotations that one call of a timer begins and goes on with at most. A function that is stopped on its way
loses nothing: another goes on when the lease has ended.
"""
_EVENTS: Final = uuid.UUID("5b3c1c0e-8f0e-5d3a-9a3e-6f1f0c6d2a57")
"""The name space of the rotation ids that are made of an event's id."""


class Hints:
    """Looks where an event points.

    Args:
        config: a strongroom.toml; without one, ``STRONGROOM_CONFIG`` names it, or it lies in the folder that
            the function starts in.
        hooks: called before and after every operation.
        clock: injected in tests.
    """

    def __init__(
        self,
        *,
        config: str | PathLike[str] | Config | None = None,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._config, self._hooks, self._clock = config, hooks, clock

    def look(self, matches: Callable[[Policy], bool], event_id: str) -> dict[str, str]:
        """Begin what is due, or go on with what has begun, of the secrets that an event is about.

        Args:
            matches: whether a policy's secret is meant.
            event_id: the provider's; the same event delivered twice is one rotation.

        Returns:
            each rotation's state, by its id; empty where nothing is due.

        Raises:
            SecretStoreError: it failed, and the event should be delivered again.
        """
        with opened(configuration(self._config), hooks=self._hooks, clock=self._clock) as found:
            meant = [policy for policy in found.policies if matches(policy)]
            entries = [_looked_at(found, policy, event_id) for policy in meant]
        return {entry.id: entry.state.value for entry in entries if entry}

    def tick(self) -> dict[str, str]:
        """Do all that is due, as a timer asks for: each rotation's state, by its id."""
        with opened(configuration(self._config), hooks=self._hooks, clock=self._clock) as found:
            return found.engine.tick(LIMIT).states


def _looked_at(found: Opened, policy: Policy, event_id: str) -> Entry | None:
    secret = secret_of(policy)
    done = None
    for entry in found.engine.status(secret):
        if entry.state.open:
            done = found.engine.advance(entry.id)
    tick = None if done and done.state.open else _due(found, policy)
    if tick is None:
        return done
    rotation_id = str(uuid.uuid5(_EVENTS, f"{event_id} {secret}"))
    try:
        entry = found.engine.start(secret, rotation_id=rotation_id, tick=tick)
    except (InProgressError, OvertakenError):  # another event or the timer was faster
        return done
    return found.engine.advance(entry.id)


def _due(found: Opened, policy: Policy) -> datetime | None:
    """The tick that is to be served now, once the ledger knows it; what missed its window is a timer's."""
    if policy.schedule is None:
        return None
    secret, ledger = secret_of(policy), found.ledger
    known, last, now = ledger.next_due(secret), ledger.last_success(secret), ledger.now()
    tick = replanned(policy.schedule, secret, last, known, now)
    if tick != known and not ledger.plan(secret, tick, expected=known):
        return None
    return tick if tick <= now and due(policy.schedule, secret, last, now) else None
